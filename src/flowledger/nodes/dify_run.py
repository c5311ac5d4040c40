"""DIFY_RUN: starts a workflow in Dify with the key of an app of the settings, and waits for its end.

The run is followed as it streams.  Where the stream ends before the run has (it broke, or the run waits for
people), the run is asked for until it has ended.  A step that is cancelled stops its run.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import SecretStr

from flowledger.domain.json_values import bounded
from flowledger.domain.runs import Json
from flowledger.domain.workflows.steps import ErrorType
from flowledger.errors import UsageError
from flowledger.http.async_calls import AsyncCaller, CallError, CallReply
from flowledger.http.event_stream import EventParser
from flowledger.io.json_text import dumps_strict, loads
from flowledger.nodes.api_call import answer_of
from flowledger.nodes.options import OBJECT, TEXT, Schema, handled
from flowledger.workflow_ports import NodeAnswer, NodeCall

RUNS = "/v1/workflows/run"
USER = "flowledger"
LONGEST_S = 86_400.0
"""Of a run whose step has no timeout."""
ASKED_WITHIN_S = 30.0
STOPPED_WITHIN_S = 3.0
MOST_FAILURES = 30
"""So often in a row a run may be asked for in vain."""
_SUCCESSES = ("succeeded", "partial-succeeded")
_FAILURES = ("failed", "stopped")
_FACTS = ("status", "error", "elapsed_time", "total_tokens", "total_steps")
"""What the response of a step has of its run, beside its id."""


@dataclass(frozen=True, slots=True)
class DifyApp:
    """An app of the settings: its server and key, and what sends requests there."""

    name: str
    base_url: str
    token: SecretStr
    caller: AsyncCaller
    most_bytes: int = 64 * 2**20

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        within_s: float,
        taking: Callable[[bytes], None] | None = None,
    ) -> CallReply:
        """Send a request with the app's key.

        :raises CallError: when there is no complete answer.
        """
        headers = {
            "authorization": f"Bearer {self.token.get_secret_value()}",
            "content-type": "application/json",
        }
        content = None if body is None else dumps_strict(body)
        url = f"{self.base_url}{path}"
        return await self.caller.send(method, url, headers, content, deadline_s=within_s, taking=taking)


def no_apps(_: str | None) -> DifyApp:
    """Refuse every app.

    :raises UsageError: always.
    """
    raise UsageError("no app is configured")


@dataclass(slots=True)
class _Run:
    """What is known of a run: its ids, and what ended it."""

    parser: EventParser
    run_id: str | None = None
    task_id: str | None = None
    end: Mapping[str, Json] | None = None

    def take(self, piece: bytes) -> None:
        for event in self.parser.feed(piece):
            with suppress(ValueError):
                self._note(loads(event.data))

    def _note(self, event: Any) -> None:
        if not isinstance(event, dict):
            return
        self.run_id = _word(event.get("workflow_run_id")) or self.run_id
        self.task_id = _word(event.get("task_id")) or self.task_id
        if event.get("event") == "workflow_finished" and isinstance(event.get("data"), dict):
            self.end = bounded(event["data"])


@dataclass(frozen=True)
class DifyRunNode:
    """Runs the workflow of ``app`` with ``inputs``; its output is the run's outputs."""

    config_schema: ClassVar[Schema] = handled(app=TEXT, inputs=OBJECT, user=TEXT)
    dify_apps: Callable[[str | None], DifyApp] = no_apps
    poll_s: float = field(default=2.0, repr=False)

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Start the run and follow it to its end.

        :raises UsageError: when the settings have no such app.
        """
        app = self.dify_apps(_word(call.config.get("app")))
        user = _word(call.config.get("user")) or USER
        run = _Run(EventParser(app.most_bytes))
        seconds = min(call.deadline_s or LONGEST_S, LONGEST_S)
        try:
            async with asyncio.timeout(seconds):
                return await self._followed(app, run, _inputs(call.config), user, seconds)
        except TimeoutError:
            await _stop(app, run, user)
            return NodeAnswer(error=f"no end within {seconds:g} s", error_type=ErrorType.TIMEOUT)
        except asyncio.CancelledError:
            await _stop(app, run, user)
            raise

    async def _followed(
        self, app: DifyApp, run: _Run, inputs: Mapping[str, Json], user: str, seconds: float
    ) -> NodeAnswer:
        body = {"inputs": inputs, "response_mode": "streaming", "user": user}
        try:
            reply = await app.send("POST", RUNS, body, within_s=seconds, taking=run.take)
        except CallError as error:
            if run.run_id is None:  # whether it began is not known
                return NodeAnswer(error=str(error), error_type=error.kind)
        else:
            if reply.status >= 400:
                return answer_of(reply, 0.0, datetime.now(UTC))
        if run.run_id is None and run.end is None:
            text = f"{app.base_url} answered something else than the events of a run: is it a Dify server?"
            return NodeAnswer(error=text, error_type="NoDify")
        return run_answer(run.run_id, run.end or await self._awaited(app, run))

    async def _awaited(self, app: DifyApp, run: _Run) -> Mapping[str, Json]:
        """Ask for a run until it has ended."""
        problem = "it does not know this run"
        for _ in range(MOST_FAILURES):
            await asyncio.sleep(self.poll_s)
            while (state := await self._state(app, run)) in ("running", "paused"):
                await asyncio.sleep(self.poll_s)
            if run.end is not None:
                return run.end
            problem = state or problem
        return {"status": "unknown", "error": f"what became of it cannot be asked: {problem}"}

    async def _state(self, app: DifyApp, run: _Run) -> str:
        """Return a run's status, or why it cannot be had; keep its end."""
        try:
            reply = await app.send("GET", f"{RUNS}/{run.run_id}", None, within_s=ASKED_WITHIN_S)
            document = loads(reply.body)
        except (CallError, ValueError) as error:
            return str(error)
        if reply.status != 200 or not isinstance(document, dict):
            return f"HTTP {reply.status}"
        status = _word(document.get("status")) or ""
        if status in (*_SUCCESSES, *_FAILURES):
            run.end = bounded(document)
        return status


def run_answer(run_id: str | None, end: Mapping[str, Json]) -> NodeAnswer:
    """Return what the end of a run gives its step."""
    outputs = end.get("outputs")
    if isinstance(outputs, str):  # up to Dify 1.12 the detail of a run has them as a text
        with suppress(ValueError):
            outputs = bounded(loads(outputs))
    status = end.get("status")
    body = {
        "workflow_run_id": run_id,
        **{
            name: end.get(name) for name in ("status", "error", "elapsed_time", "total_tokens", "total_steps")
        },
    }
    response: dict[str, Json] = {"status": 200, "headers": {}, "body": body}
    tokens = end.get("total_tokens")
    metrics = {"tokens": float(tokens)} if type(tokens) is int else {}
    if status in _SUCCESSES:
        return NodeAnswer(outputs or {}, response, metrics=metrics)
    kind = {"stopped": "DifyRunStopped", "unknown": ErrorType.CONNECTION}.get(str(status), "DifyRunFailed")
    text = f"the run {run_id} is {status}: {end.get('error') or 'Dify gave no reason'}"
    return NodeAnswer(outputs, response, error=text, error_type=kind, metrics=metrics)


async def _stop(app: DifyApp, run: _Run, user: str) -> None:
    """Stop a run that nobody waits for any more; where that fails it goes on."""
    if run.task_id is None or run.end is not None:
        return
    path = f"/v1/workflows/tasks/{run.task_id}/stop"
    with suppress(CallError, TimeoutError):
        async with asyncio.timeout(STOPPED_WITHIN_S):
            await app.send("POST", path, {"user": user}, within_s=STOPPED_WITHIN_S)


def _inputs(config: Mapping[str, Json]) -> Mapping[str, Json]:
    inputs = config.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {}


def _word(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None
