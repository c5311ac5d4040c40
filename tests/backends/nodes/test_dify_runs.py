"""DIFY_RUN against a server on loopback that streams, breaks off, refuses and never ends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from flowledger.domain.workflows.steps import ExecutionFacts
from flowledger.http.address_guard import AddressGuard
from flowledger.http.async_calls import AsyncCaller
from flowledger.nodes.dify_run import DifyApp, DifyRunNode
from flowledger.workflow_ports import NodeAnswer, NodeCall

FACTS = ExecutionFacts(1, "e", 1, 1, "1.0", datetime(2026, 1, 1, tzinfo=UTC))
TOKEN = "app-planted-key-of-tests"
STARTED = {"event": "workflow_started", "task_id": "t1", "workflow_run_id": "r1", "data": {"id": "r1"}}
PING = "event: ping\n\n"
HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def finished(status: str, outputs: Any = None, error: str | None = None) -> dict[str, Any]:
    """The event that ends a run."""
    data = {"id": "r1", "status": status, "outputs": outputs, "error": error, "total_tokens": 7}
    return {"event": "workflow_finished", "task_id": "t1", "workflow_run_id": "r1", "data": data}


def stream(*events: dict[str, Any]) -> str:
    """A stream of events with pings between them; without a length, so that its end may be a break."""
    return HEAD + "".join(f"data: {json.dumps(each)}\n\n{PING}" for each in events)


def plain(document: Any, status: str = "200 OK") -> str:
    """An answer of JSON."""
    body = json.dumps(document)
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head + body


@dataclass
class Dify:
    """Answers by path, each answer once and the last one for ever; ``hangs`` keeps the stream open."""

    answers: dict[str, list[str]]
    hangs: bool = False
    asked: list[tuple[str, Any]] = field(default_factory=list)
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                assert f"Bearer {TOKEN}".lower() in head.lower()
                length = next(
                    (line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:")),
                    "0",
                )
                body = await reader.readexactly(int(length))
                path = head.split(" ")[1]
                self.asked.append((path, json.loads(body) if body else None))
                answers = self.answers[path]
                text = answers.pop(0) if len(answers) > 1 else answers[0]
                writer.write(text.encode())
                await writer.drain()
                if text.startswith(HEAD):
                    self.streaming.set()
                    if self.hangs and "workflow_finished" not in text:
                        await self.over.wait()
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


RUN, DETAIL, STOP = "/v1/workflows/run", "/v1/workflows/run/r1", "/v1/workflows/tasks/t1/stop"


def call(**config: Any) -> NodeCall:
    """The call of a step."""
    config = {"inputs": {"query": "你好"}, **config}
    return NodeCall("dify", "dify", "Dify", "DIFY_RUN", config, FACTS, "e:dify:1", deadline_s=20.0)


def with_dify(dify: Dify, use: Callable[[DifyRunNode], Awaitable[Any]]) -> Any:
    """Run a coroutine beside the server; return its result."""

    async def run() -> Any:
        async with await asyncio.start_server(dify.serve, "127.0.0.1", 0) as server:
            caller = AsyncCaller(AddressGuard.of(["127.0.0.1"]))
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            app = DifyApp("sales", url, SecretStr(TOKEN), caller)
            result = await use(DifyRunNode(lambda _: app, poll_s=0.001))
            await caller.close()
            dify.over.set()
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
            return result

    return asyncio.run(run())


def answer_of(dify: Dify, **config: Any) -> NodeAnswer:
    """The answer of one step."""
    answer = with_dify(dify, lambda node: node.run(call(**config)))
    assert isinstance(answer, NodeAnswer)
    return answer


@pytest.mark.parametrize("status", ["succeeded", "partial-succeeded"])
def test_a_run_that_streams_to_its_end(status: str) -> None:
    """Its outputs are the step's; its id and its tokens are kept."""
    dify = Dify({RUN: [stream(STARTED, finished(status, {"answer": "世界"}))]})
    answer = answer_of(dify, user="ann")
    assert (answer.error, answer.output, answer.metrics) == (None, {"answer": "世界"}, {"tokens": 7.0})
    response: Any = answer.response
    assert response["body"]["workflow_run_id"] == "r1"
    assert dify.asked == [
        (RUN, {"inputs": {"query": "你好"}, "response_mode": "streaming", "user": "ann"}),
    ]


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (finished("failed", None, "node LLM: no model"), "DifyRunFailed", "is failed: node LLM: no model"),
        (finished("stopped", {}, "Stopped by user."), "DifyRunStopped", "is stopped: Stopped by user."),
    ],
)
def test_a_run_that_fails(end: dict[str, Any], kind: str, words: str) -> None:
    """Its error is the step's."""
    answer = answer_of(Dify({RUN: [stream(STARTED, end)]}))
    assert answer.error_type == kind
    assert answer.error == f"the run r1 {words}"


@pytest.mark.parametrize("outputs", ['{"answer": "ok"}', {"answer": "ok"}])
def test_a_stream_that_breaks_is_followed_by_asking(outputs: Any) -> None:
    """The run goes on in Dify: it is asked for until it has ended, whatever is in the way."""
    details = [
        plain({"status": None}),
        plain({}, "503 Service Unavailable"),
        plain({"status": "running"}),
        plain({"status": "paused"}),
        plain({"status": "succeeded", "outputs": outputs, "total_tokens": 3}),
    ]
    dify = Dify({RUN: [stream(STARTED)], DETAIL: details})
    answer = answer_of(dify)
    assert (answer.error, answer.output, answer.metrics) == (None, {"answer": "ok"}, {"tokens": 3.0})
    assert [path for path, _ in dify.asked] == [RUN] + [DETAIL] * 5


def test_a_run_that_nobody_knows_any_more() -> None:
    """What cannot be found out is said, as a fault of the connection."""
    dify = Dify({RUN: [stream(STARTED)], DETAIL: [plain({}, "500 Internal Server Error")]})
    answer = answer_of(dify)
    assert (answer.error_type, answer.output) == ("ConnectionError", None)
    assert answer.error == "the run r1 is unknown: what became of it cannot be asked: HTTP 500"


def test_a_cancelled_step_stops_its_run() -> None:
    """Nobody waits for the run any more, so it is stopped in Dify."""

    async def cancelled(node: DifyRunNode) -> None:
        task = asyncio.create_task(node.run(call()))
        await dify.streaming.wait()
        await asyncio.sleep(0.05)  # what was written is on its way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    dify = Dify({RUN: [stream(STARTED)], STOP: [plain({"result": "success"})]}, hangs=True)
    with_dify(dify, cancelled)
    assert dify.asked[-1] == (STOP, {"user": "flowledger"})


def test_a_run_without_end_is_stopped_when_its_time_is_over() -> None:
    """The step fails within its time."""
    streams = [stream(STARTED, finished("succeeded")), stream(STARTED)]
    dify = Dify({RUN: streams, STOP: [plain({"result": "success"})]}, hangs=True)

    async def twice(node: DifyRunNode) -> NodeAnswer:
        await node.run(call())  # the first call of a process reads all certificates
        return await node.run(replace(call(), deadline_s=1.0))

    answer = with_dify(dify, twice)
    assert (answer.error_type, answer.error) == ("Timeout", "no end within 1 s")
    assert dify.asked[-1][0] == STOP


def test_what_dify_refuses() -> None:
    """Its status decides whether the step is tried again."""
    refusal = plain({"code": "not_workflow_app", "message": "check mode"}, "400 Bad Request")
    answer = answer_of(Dify({RUN: [refusal]}))
    assert (answer.error_type, answer.http_status) == ("HTTPError", 400)
    assert "not_workflow_app" in str(answer.error)
    assert answer_of(Dify({RUN: [plain({"hello": 1})]})).error_type == "NoDify"
    assert TOKEN not in repr(answer)
