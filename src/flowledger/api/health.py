"""``/health``, ``/ready`` and ``/metrics``: for whoever watches the program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from fastapi import APIRouter, HTTPException, Request
from loguru import logger
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.responses import Response

from flowledger import __version__
from flowledger.api.auth import Viewer
from flowledger.api.problems import documented
from flowledger.api.responses import JSON
from flowledger.errors import FlowledgerError
from flowledger.io.json_text import dumps_strict

router = APIRouter(tags=["watching"])
CHECK_INTERVAL = timedelta(seconds=15)
"""A check of a storage writes a file, and requests to a bucket cost money."""


class HealthShape(BaseModel):
    """The program answers."""

    status: str = Field(examples=["ok"])
    version: str = Field(examples=["0.1.0"])


class ReadyShape(BaseModel):
    """Each part that is needed: `ok`, or `away` (the program's log says why)."""

    status: str = Field(examples=["ready"])
    parts: dict[str, str] = Field(examples=[{"ledger": "ok", "storage": "ok", "prefect": "ok"}])


@dataclass(slots=True)
class Readiness:
    """The latest state of each part; threads may share it."""

    checks: Mapping[str, Callable[[], object]]
    checked_at: datetime | None = None
    states: dict[str, str] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock, repr=False)

    def look(self, now: datetime) -> Mapping[str, str]:
        """Return the state of each part, checked anew where that was ``CHECK_INTERVAL`` ago or more."""
        with self.lock:
            # A clock that was set back makes the difference negative: check then, too.
            if self.checked_at is None or not timedelta() <= now - self.checked_at < CHECK_INTERVAL:
                self.states = {name: _state(name, check) for name, check in self.checks.items()}
                self.checked_at = now
            return self.states


def _state(name: str, check: Callable[[], object]) -> str:
    try:
        check()
    except FlowledgerError as error:
        logger.warning("not ready: {}: {}", name, error)
        return "away"
    return "ok"


@router.get("/health", response_model=HealthShape)
async def health() -> Response:
    """Answer that the process is alive; open to everybody, and no other part is used for it."""
    return Response(dumps_strict({"status": "ok", "version": __version__}), media_type=JSON)


@router.get(
    "/ready",
    response_model=ReadyShape,
    responses={
        **documented(),
        503: {"model": ReadyShape, "description": "A part is away, or the ledger is."},
    },
)
def ready(request: Request, _caller: Viewer) -> Response:
    """Answer whether ledger, storage and (where it is configured) Prefect can be used."""
    readiness: Readiness = request.app.state.readiness
    parts = readiness.look(request.app.state.backend.clock())
    is_ready = all(state == "ok" for state in parts.values())
    body = dumps_strict({"status": "ready" if is_ready else "not ready", "parts": parts})
    return Response(body, 200 if is_ready else 503, {"Cache-Control": "no-store"}, JSON)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **documented(),
        200: {"description": "Metrics for Prometheus.", "content": {"text/plain": {}}},
    },
)
def metrics(request: Request, caller: Viewer) -> Response:
    """Return metrics of the ledger and of this process for Prometheus, to keys that reach all apps."""
    if caller.apps is not None:
        raise HTTPException(403, "metrics are of all apps together, and this key reaches only some")
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
