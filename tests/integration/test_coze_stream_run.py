"""``stream_run`` over loopback: a simulated Coze, the whole API, real connections; all ends are recorded."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from threading import Barrier, Thread
from typing import Any

import httpx
import pytest
from coze_proxy import LIMITS, PATH, SHORT_LEASE, Proxy, events_in, make_app, serve
from loguru import logger

from flowledger.api import coze as coze_api
from flowledger.api.backend import ApiOptions
from flowledger.bootstrap.ledgers import decoders
from flowledger.domain.history import OperationQuery, RunQuery
from flowledger.domain.record_kinds import COZE
from flowledger.domain.runs import AppKey
from flowledger.errors import LedgerError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import Ledger
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger_simulator.coze_server import (
    DEBUG_URL,
    TOKENS,
    Act,
    Pause,
    Script,
    SimulatedCoze,
    done,
    end_node,
    failed,
    interrupted,
    message,
    refused,
    serve_coze,
    spoken,
)

HALF = spoken("half of it", pieces=2)


@pytest.fixture
def coze() -> Iterator[SimulatedCoze]:
    """Serve a Coze for each test."""
    with serve_coze() as server:
        yield server


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Keep everything in memory."""
    with ExitStack() as stack:
        memory = SqlLedger.open("memory://", decoders())
        stack.callback(memory.close)
        yield memory


@pytest.fixture
def proxy(coze: SimulatedCoze, ledger: Ledger) -> Iterator[Proxy]:
    """Serve the API before it."""
    with serve(make_app(ledger, coze.base_url)) as running:
        yield running


def id_in(told: list[Any]) -> str:
    """Give the id that the first event tells."""
    assert told[0]["event"] == "workflow_started"
    return str(told[0]["data"]["execute_id"])


@pytest.mark.parametrize("path", [PATH, f"/api{PATH}", f"{PATH}/"])
def test_a_good_run_is_streamed_and_recorded(proxy: Proxy, path: str) -> None:
    """All events come in order, [DONE] is last, and the record says success."""
    told = proxy.told(parameters={"city": "Київ"}, user_id="ann", bot_id="b", conversation_id="c", path=path)
    assert [each["event"] for each in told[:-1]] == ["workflow_started"] + ["data"] * 5
    assert [each["data"]["event"] for each in told[1:-1]] == ["Message"] * 4 + ["Done"]
    assert told[-1] == "[DONE]"
    record = proxy.record("w", id_in(told))
    expected = {
        "execute_status": "success",
        "output": {"Output": "Why did the ruler go to the cinema?", "End": '{"output": "It was long."}'},
        "input_parameters": {"city": "Київ"},
        "usage": TOKENS,
        "debug_url": DEBUG_URL,
        "run_mode": 1,
        "bot_id": "b",
        "conversation_id": "c",
        "connector_uid": "ann",
        "error_code": None,
    }
    assert {name: record[name] for name in expected} == expected


def test_the_answer_is_kept_by_nobody_on_the_way(proxy: Proxy) -> None:
    """Neither caches nor buffers of proxies hold it back."""
    with proxy.streamed() as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in answer.headers["cache-control"]
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("steps", "status", "code"),
    [
        ((*HALF, done()), "success", None),
        ((*HALF, failed(4200, "not published")), "failed", 4200),
        ((*HALF, interrupted("a/b")), "interrupted", None),
        (HALF, "failed", "stream_ended"),
        ((*HALF, Act.CUT), "failed", "unreachable"),
        ((*HALF, b"data: {cut\n\n"), "failed", "garbled"),
        ((*HALF, done(), b"data: {cut\n\n"), "success", None),
    ],
)
def test_every_end_of_coze_has_its_status(
    coze: SimulatedCoze, proxy: Proxy, steps: tuple[Any, ...], status: str, code: object
) -> None:
    """What came before it is streamed and kept in each case."""
    coze.scripts["w"] = Script(steps)
    told = proxy.told()
    assert told[-1] == "[DONE]"
    errors = [each for each in told[:-1] if each["event"] == "error"]
    assert len(errors) == (status == "failed")
    record = proxy.record("w", id_in(told))
    assert (record["execute_status"], record["error_code"]) == (status, code)
    assert record["output"] == {"Output": "half of it"}
    assert "lease" not in record["metadata"]
    assert record["metadata"]["coze_log_id"] == "simulated-log-id"
    if errors:
        assert errors[0]["data"]["error_code"] == code
        assert errors[0]["data"]["execute_status"] == "failed"


def test_an_interrupted_run_keeps_what_resuming_needs(coze: SimulatedCoze, proxy: Proxy) -> None:
    """Its event_id and type are in the metadata."""
    coze.scripts["w"] = Script((interrupted("a/b"),))
    record = proxy.record("w", id_in(proxy.told()))
    assert record["metadata"]["interrupt"]["interrupt_data"] == {"data": "", "event_id": "a/b", "type": 2}


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (refused(4200, "not published"), 502, 4200),
        (refused(4100, "wrong token", status=401), 502, 4100),
        (refused(4013, "too many"), 503, "busy"),
        (Script((b"<html>",), content_type="text/html"), 502, "garbled"),
    ],
)
def test_a_refusal_is_an_error_of_http_and_recorded(
    coze: SimulatedCoze, proxy: Proxy, script: Script, status: int, code: object
) -> None:
    """Nothing was streamed yet, so the caller sees it as what it is, and where it is recorded."""
    coze.scripts["w"] = script
    with proxy.streamed() as answer:
        problem = httpx.Response(200, content=answer.read()).json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert ("retry-after" in answer.headers) == (status == 503)
    record = proxy.record("w", answer.headers["location"].rsplit("/", 1)[1])
    assert (record["execute_status"], record["error_code"]) == ("failed", code)
    assert len(coze.requests) == 1


def test_a_coze_that_is_not_there_is_an_error_of_http(ledger: Ledger) -> None:
    """The run is recorded as failed, and nobody tries again."""
    with serve(make_app(ledger, "http://127.0.0.1:9")) as proxy, proxy.streamed() as answer:
        assert answer.status_code == 502
        assert "COZE_BASE_URL" in answer.read().decode()


def test_a_client_that_leaves_a_silent_run_ends_it_at_once(coze: SimulatedCoze, proxy: Proxy) -> None:
    """Coze's connection is closed, and the record says interrupted with what had come."""
    coze.scripts["w"] = Script((*HALF, Act.SILENCE))
    with proxy.streamed() as answer:
        events = events_in(answer)
        told = [next(events) for _ in range(3)]
    assert coze.left.get(timeout=5) == "w"
    record = proxy.ended("w", id_in(told))
    assert (record["execute_status"], record["error_code"]) == ("interrupted", "client_gone")
    assert record["output"] == {"Output": "half of it"}


def test_a_client_that_leaves_before_coze_answers_ends_it(coze: SimulatedCoze, proxy: Proxy) -> None:
    """Also where no byte has been sent yet."""
    coze.scripts["w"] = Script(wait_before_answer_s=3.0)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(proxy.base_url + PATH, json={"workflow_id": "w"}, timeout=0.5, verify=False)
    listed = httpx.get(f"{proxy.base_url}/coze/workflows/w/history").json()["histories"]
    record = proxy.ended("w", listed[0]["execute_id"])
    assert (record["execute_status"], record["error_code"]) == ("interrupted", "client_gone")


def test_a_slow_coze_is_waited_for_with_an_open_stream(
    coze: SimulatedCoze, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer begins before Coze's does; a refusal that comes later is an event."""
    monkeypatch.setattr(coze_api, "REFUSAL_WAIT_S", 0.01)
    monkeypatch.setattr(coze_api, "HEARTBEAT_S", 0.02)
    coze.scripts["w"] = replace(refused(4200, "not published"), wait_before_answer_s=0.2)
    told = proxy.told()
    assert None in told, "comments keep the connection open"
    (error,) = [each for each in told if each and each != "[DONE]" and each["event"] == "error"]
    assert error["data"]["error_code"] == 4200


def test_comments_keep_a_silent_stream_open(
    coze: SimulatedCoze, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no events."""
    monkeypatch.setattr(coze_api, "HEARTBEAT_S", 0.02)
    coze.scripts["w"] = Script((*HALF, Pause(0.2), done()))
    told = proxy.told()
    assert told.count(None) >= 2
    assert [each["event"] for each in told if each not in (None, "[DONE]")] == ["workflow_started"] + [
        "data"
    ] * 3


def test_a_run_that_takes_too_long_is_ended(coze: SimulatedCoze, ledger: Ledger) -> None:
    """The deadline is a failure with its reason."""
    coze.scripts["w"] = Script((*HALF, Act.SILENCE))
    with serve(make_app(ledger, coze.base_url, replace(LIMITS, deadline_s=0.2))) as proxy:
        told = proxy.told()
        record = proxy.record("w", id_in(told))
    assert (record["execute_status"], record["error_code"]) == ("failed", "deadline")
    assert coze.left.get(timeout=5) == "w"


def test_the_server_being_stopped_is_no_fault_of_the_client(coze: SimulatedCoze, ledger: Ledger) -> None:
    """Its runs are interrupted, with that reason, before it ends."""
    coze.scripts["w"] = Script((*HALF, Act.SILENCE))
    told: list[Any] = []

    def read(proxy: Proxy) -> None:
        with proxy.streamed() as answer:
            for event in events_in(answer):
                told.append(event)
                begun.wait(timeout=10) if len(told) == 3 else None

    begun = Barrier(2)
    with serve(make_app(ledger, coze.base_url)) as proxy:
        reader = Thread(target=_quietly(read), args=(proxy,))
        reader.start()
        begun.wait(timeout=10)
    reader.join(timeout=10)
    entry = ledger.history(RunQuery(sources=(COZE,)), with_details=True).entries[0]
    assert b"server_stopped" in entry.run.raw


def test_a_large_output_is_trimmed_in_the_record_only(coze: SimulatedCoze, ledger: Ledger) -> None:
    """The client gets all of it."""
    coze.scripts["w"] = Script((*[message("x" * 1000) for _ in range(50)], done()))
    with serve(
        make_app(ledger, coze.base_url, replace(LIMITS, output_bytes=10_000, waiting_events=2))
    ) as proxy:
        told = proxy.told()
        record = proxy.record("w", id_in(told))
    assert sum(len(each["data"]["data"].get("content", "")) for each in told[1:-1]) == 50_000
    assert record["is_output_trimmed"] is True
    assert len(record["output"]["Output"]) < 10_000


def test_the_same_key_runs_once(coze: SimulatedCoze, proxy: Proxy) -> None:
    """The second is told which run it was; another caller's or workflow's key is another one."""
    headers = {"Idempotency-Key": "nightly-1"}
    told = proxy.told(headers=headers)
    with proxy.streamed(headers=headers) as answer:
        assert answer.status_code == 409
        assert id_in(told) in answer.read().decode()
        assert answer.headers["location"] == f"/coze/workflows/w/history/{id_in(told)}"
    assert proxy.told("other", headers=headers)[-1] == "[DONE]"
    assert len(coze.requests) == 2
    assert proxy.record("w", id_in(told))["execute_status"] == "success"


def test_more_runs_than_allowed_are_asked_to_wait(coze: SimulatedCoze, ledger: Ledger) -> None:
    """503 with Retry-After, and nothing is recorded."""
    coze.scripts["w"] = Script((*HALF, Act.SILENCE))
    with serve(make_app(ledger, coze.base_url, replace(LIMITS, most_streams=1))) as proxy:
        with proxy.streamed() as first:
            events = events_in(first)
            next(events)
            with proxy.streamed("other") as second:
                assert (second.status_code, second.headers["retry-after"]) == (503, "5")
        assert ledger.locate(COZE, "other") is None
    assert len(ledger.apps()) == 1


def test_fifty_runs_at_once_are_all_recorded(coze: SimulatedCoze, proxy: Proxy, ledger: Ledger) -> None:
    """Each has its own record, ended well."""
    coze.scripts["w"] = Script((*HALF, Pause(0.5), end_node("x"), done()))
    ids: list[str] = []

    def run() -> None:
        ids.append(id_in(proxy.told()))

    threads = [Thread(target=run) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(set(ids)) == 50
    assert {proxy.record("w", each)["execute_status"] for each in ids} == {"success"}
    assert coze.most_at_once > 10


def test_a_run_leaves_an_operation_with_its_user(proxy: Proxy, ledger: Ledger) -> None:
    """The audit trail says who ran it."""
    execute_id = id_in(proxy.told())
    (operation,) = ledger.operations(OperationQuery(types=("EXECUTE",)))
    assert (operation.user, operation.subject, operation.app) == ("local", execute_id, AppKey(COZE, "w"))


class FailingRecords(ExecutionHistoryService):
    """Cannot keep the end of anything."""

    async def update_execution_record(self, workflow_id: str, execute_id: str, **changes: Any) -> Any:  # type: ignore[override]
        """Fail where it ends."""
        if changes.get("execute_status", "running") != "running":
            raise LedgerError("the disk is full")
        return await super().update_execution_record(workflow_id, execute_id, **changes)


def test_an_end_that_cannot_be_kept_is_reconciled_later(coze: SimulatedCoze, ledger: Ledger) -> None:
    """The client gets its events, the log tells it, and the record does not stay open."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="ERROR")
    try:
        records = FailingRecords(ledger=ledger)
        with serve(make_app(ledger, coze.base_url, SHORT_LEASE, records=records)) as proxy:
            told = proxy.told()
            assert told[-1] == "[DONE]"
            record = proxy.ended("w", id_in(told))
    finally:
        logger.remove(sink)
    assert (record["execute_status"], record["error_code"]) == ("interrupted", "process_gone")
    assert any("the disk is full" in line for line in lines)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"workflow_id": "../etc"},
        {"workflow_id": "w", "parameters": [1]},
        {"workflow_id": "w", "bot_id": ""},
        {"workflow_id": "w", "user_id": "a\nb"},
        {"workflow_id": "w", "strange": 1},
    ],
)
def test_bad_words_are_refused_and_nothing_is_asked(
    coze: SimulatedCoze, proxy: Proxy, ledger: Ledger, body: dict[str, Any]
) -> None:
    """4xx, no record, no request to Coze."""
    answer = httpx.post(proxy.base_url + PATH, json=body, verify=False)
    assert answer.status_code == 422
    assert coze.requests == []
    assert ledger.apps() == []


def test_without_a_key_nothing_is_run(coze: SimulatedCoze, ledger: Ledger) -> None:
    """The gate stands before it."""
    with serve(make_app(ledger, coze.base_url, options=ApiOptions())) as proxy:
        assert httpx.post(proxy.base_url + PATH, json={"workflow_id": "w"}, verify=False).status_code == 401
    assert coze.requests == []


def test_the_token_is_in_no_log_and_no_answer(ledger: Ledger) -> None:
    """Whatever goes wrong with Coze."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message} {exception}", level="TRACE", diagnose=True)
    scripts = {"cut": Script((*HALF, Act.CUT)), "bad": refused(4100, "wrong", status=401)}
    try:
        with serve_coze(scripts) as coze:
            coze.token = "pat_other"
            with serve(make_app(ledger, coze.base_url, token="pat_mistaken")) as proxy:
                for workflow in ("w", "cut", "bad"):
                    with proxy.streamed(workflow) as answer:
                        lines.append(answer.read().decode() + str(answer.headers))
    finally:
        logger.remove(sink)
    assert lines
    assert not any("pat_mistaken" in line for line in lines)


def _quietly(work: Callable[..., None]) -> Callable[..., None]:
    def working(*words: Any) -> None:
        try:
            work(*words)
        except httpx.HTTPError:
            return  # the server has gone

    return working
