"""The API that streams runs of a simulated Coze: in a thread, or as a process that can be killed."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from flowledger.api.app import create_app
from flowledger.api.backend import ApiOptions, Backend
from flowledger.bootstrap.ledgers import decoders
from flowledger.coze.client import CozeClient
from flowledger.ledger import open_ledger
from flowledger.ports import Ledger
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.services.stream_records import RecordPace
from flowledger.services.streaming import StreamLimits, Streams
from flowledger_simulator.coze_server import TOKEN

PATH = "/coze/workflows/stream_run"
LIMITS = StreamLimits(pace=RecordPace(save_s=0.05))
SHORT_LEASE = StreamLimits(pace=RecordPace(save_s=0.05, renew_s=0.2, lease_s=2.5))
"""Long enough for a busy machine to renew it, short enough to wait for."""


def utc_now() -> datetime:
    """Give the present: processes that share a ledger share the time as well."""
    return datetime.now(UTC)


def make_app(
    ledger: Ledger,
    coze_url: str,
    limits: StreamLimits = LIMITS,
    token: str = TOKEN,
    options: ApiOptions | None = None,
    records: Any = None,
) -> FastAPI:
    """Make the API over a ledger."""
    history = ExecutionHistoryService(ledger=ledger)
    client = CozeClient(coze_url, SecretStr(token))
    streams = Streams(client.prepare, records or history, ledger, utc_now, limits)
    backend = Backend(ledger, utc_now, ZoneInfo("UTC"), coze=history, streams=streams)
    return create_app(backend, options or ApiOptions(require_keys=False))


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running API, and how to talk to it."""

    base_url: str

    @contextmanager
    def streamed(
        self, workflow_id: str = "w", headers: dict[str, str] | None = None, path: str = PATH, **more: Any
    ) -> Iterator[httpx.Response]:
        """Ask for a run, and read its answer as it comes."""
        body = {"workflow_id": workflow_id, **more}
        with (
            httpx.Client(base_url=self.base_url, timeout=30, verify=False) as client,
            client.stream("POST", path, json=body, headers=headers) as answer,
        ):
            yield answer

    def told(self, workflow_id: str = "w", **more: Any) -> list[Any]:
        """Run a workflow, and give all that it tells."""
        with self.streamed(workflow_id, **more) as answer:
            assert answer.status_code == 200, answer.read()
            return list(events_in(answer))

    def record(self, workflow_id: str, execute_id: str) -> dict[str, Any]:
        """Give what is recorded of a run."""
        answer = httpx.get(
            f"{self.base_url}/coze/workflows/{workflow_id}/history/{execute_id}", verify=False, timeout=30
        )
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()["execution"]
        return record

    def ended(self, workflow_id: str, execute_id: str) -> dict[str, Any]:
        """Give what is recorded of a run, once it has ended."""
        while (record := self.record(workflow_id, execute_id))["execute_status"] == "running":
            pass
        return record


def events_in(answer: httpx.Response) -> Iterator[Any]:
    """Give each event as it is read: ``[DONE]`` as text, comments as ``None``."""
    for line in answer.iter_lines():
        if line.startswith(":"):
            yield None
        elif line:
            text = line.removeprefix("data: ")
            yield text if text == "[DONE]" else json.loads(text)


@contextmanager
def serve(app: FastAPI) -> Iterator[Proxy]:
    """Serve an app in a thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="on", log_config=None, ws="none", timeout_graceful_shutdown=1)
        )
        thread = Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            pass
        try:
            yield Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            assert not thread.is_alive()


def main(ledger_url: str, coze_url: str) -> None:
    """Serve until killed; the address is the only line written."""
    ledger = open_ledger(ledger_url, decoders())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            make_app(ledger, coze_url, SHORT_LEASE), lifespan="on", log_config=None, ws="none"
        )
        uvicorn.Server(config).run([listener])
    ledger.close()


if __name__ == "__main__":
    os.chdir(sys.argv[3])
    main(sys.argv[1], sys.argv[2])
