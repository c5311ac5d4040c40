"""``POST /coze/workflows/stream_run``, also under ``/api``: runs a Coze workflow, streams it and records it.

The answer is a stream of ``data: {"event", "data", "timestamp"}``: first ``workflow_started``, then ``data``
with each event of Coze, ``error`` where it fails, and ``data: [DONE]`` at the end.  Lines of comment between
them keep the connection open.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

from fastapi import APIRouter, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from flowledger.api.auth import Operator, must_reach
from flowledger.api.backend import backend_of
from flowledger.api.problems import MEDIA_TYPE, documented
from flowledger.api.query_params import Word
from flowledger.domain.access_keys import Caller
from flowledger.domain.coze_runs import (
    CLIENT_GONE,
    ERROR,
    SERVER_STOPPED,
    CozeEvent,
    Ending,
    WorkflowOrder,
)
from flowledger.domain.record_kinds import COZE
from flowledger.domain.runs import AppKey
from flowledger.errors import FlowledgerError, RecordConflictError, SourceBusyError
from flowledger.io.json_text import dumps_strict
from flowledger.services.secret_masking import redacted
from flowledger.services.streaming import StreamedRun, StreamItem, Streams, TooManyStreamsError

PART = "streams"
"""The name of the ``Streams`` in ``Backend.parts``."""
HEARTBEAT_S = 15.0
PATIENCE_S = 5.0
"""So long a refusal of Coze is waited for, that can be an HTTP error; later it is an event."""
HEARTBEAT = b": waiting for Coze\n\n"
LAST = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-cache, no-store", "X-Accel-Buffering": "no"}
RECORD_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"


class RunWorkflow(BaseModel):
    """Which workflow is to run, and with what."""

    model_config = ConfigDict(extra="forbid")

    workflow_id: str = Field(pattern=RECORD_ID, examples=["73505836754923"])
    parameters: dict[str, Any] = Field(
        default={}, description="What its start node takes.", examples=[{"city": "Kyiv"}]
    )
    bot_id: Word | None = Field(default=None, description="The bot whose database and variables it uses.")
    conversation_id: Word | None = Field(default=None, description="Recorded with the run; Coze is not told.")
    user_id: Word | None = Field(default=None, description="For whom it runs; Coze is told as ext.user_id.")

    def order(self) -> WorkflowOrder:
        """Give the order."""
        return WorkflowOrder(
            self.workflow_id, self.parameters, self.bot_id, self.conversation_id, self.user_id
        )


StreamKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key again runs nothing: it is answered 409 with the run's execute_id.",
    ),
]


@asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    streams: Streams | None = app.state.backend.parts.get(PART)
    if streams is None:
        yield
        return
    await streams.start()
    try:
        yield
    finally:
        await streams.close()


router = APIRouter(prefix="/coze/workflows", tags=["coze"], lifespan=_living)


@router.post(
    "/stream_run",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The run as server-sent events; it is recorded however it ends.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        502: {
            "description": "Coze refused, or could not be asked; the run is recorded as failed.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
        **documented(400, 404, 409, 413),
    },
)
async def stream_run(
    request: Request, asked: RunWorkflow, caller: Operator, key: StreamKey = None
) -> Response:
    """Run a workflow in Coze and stream what it tells."""
    must_reach(caller, AppKey(COZE, asked.workflow_id))
    run = await _begun(_streams(request), asked, caller, key)
    try:
        await _opening(run, request)
    except BaseException:
        run.stop(SERVER_STOPPED)
        raise
    where = f"/coze/workflows/{asked.workflow_id}/history/{run.execute_id}"
    error = run.opened.result() if run.opened.done() else None
    if error is not None:
        raise _refused(error, where)
    return StreamAnswer(run, {**HEADERS, "Content-Location": where})


async def _begun(streams: Streams, asked: RunWorkflow, caller: Caller, key: str | None) -> StreamedRun:
    execute_id = None if key is None else _id_of(caller, asked.workflow_id, key)
    try:
        return await streams.begin(asked.order(), caller.name, execute_id)
    except TooManyStreamsError as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from error
    except RecordConflictError as error:
        where = f"/coze/workflows/{asked.workflow_id}/history/{execute_id}"
        raise HTTPException(
            409, f"this Idempotency-Key has run already, as {execute_id}: see {where}", {"Location": where}
        ) from error


async def _opening(run: StreamedRun, request: Request) -> None:
    """Wait until Coze has answered, for a while, or the client has gone."""
    # After the body, all that comes is that the client has gone.
    leaving = asyncio.ensure_future(request.receive())
    either: set[asyncio.Future[Any]] = {run.opened, leaving}
    try:
        await asyncio.wait(either, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            run.stop(CLIENT_GONE)
    finally:
        leaving.cancel()


class StreamAnswer(StreamingResponse):
    """The stream of one run; when it ends for whatever reason, so does the run."""

    media_type = "text/event-stream"

    def __init__(self, run: StreamedRun, headers: Mapping[str, str]) -> None:
        super().__init__(_frames(run), headers=headers)
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until the run ends or the client has gone."""
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            self._run.stop(SERVER_STOPPED)
            raise
        finally:
            self._run.stop(CLIENT_GONE)


async def _frames(run: StreamedRun) -> AsyncIterator[bytes]:
    order = run.record.order
    yield _frame(
        "workflow_started",
        {"workflow_id": order.workflow_id, "execute_id": run.execute_id},
        run.record.clock(),
    )
    told: list[StreamItem | None] = []
    while None not in told:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                told = await run.next()
        except TimeoutError:
            yield HEARTBEAT
        else:
            yield b"".join(LAST if each is None else _frame_of(each) for each in told)


def _frame_of(told: StreamItem) -> bytes:
    match told.what:
        case Ending(status=status, error_code=code, error_message=message):
            why = {"error_code": code, "error_message": redacted(message or ""), "execute_status": status}
            return _frame("error", why, told.at)
        case CozeEvent(event=word, data=data) if word == ERROR:
            return _frame("error", {**data, "execute_status": "failed"}, told.at)
        case CozeEvent(event=word, data=data, number=number):
            return _frame("data", {"event": word, "id": number, "data": data}, told.at)


def _frame(event: str, data: Mapping[str, Any], at: datetime) -> bytes:
    # JSON in UTF-8 has no line breaks of its own, so that one line holds it.
    return b"data: " + dumps_strict({"event": event, "data": data, "timestamp": at.isoformat()}) + b"\n\n"


def _refused(error: FlowledgerError, where: str) -> HTTPException:
    detail = f"{redacted(str(error))}; recorded as {where}"
    if isinstance(error, SourceBusyError):
        wait = max(1, round(error.retry_after_s or 5))
        return HTTPException(503, detail, {"Retry-After": str(wait), "Location": where})
    return HTTPException(502, detail, {"Location": where})


def _streams(request: Request) -> Streams:
    streams: Streams | None = backend_of(request).parts.get(PART)
    if streams is None:
        raise HTTPException(404, "this server runs no workflows of Coze: set COZE_API_TOKEN")
    return streams


def _id_of(caller: Caller, workflow_id: str, key: str) -> str:
    """Give the same id for the same key of the same caller, whichever process is asked."""
    return str(uuid5(NAMESPACE_URL, f"stream_run\n{caller.key_id}\n{workflow_id}\n{key}"))
