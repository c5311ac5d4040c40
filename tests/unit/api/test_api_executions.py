"""Executions over HTTP: ordered, watched, controlled, measured; the registry that their calls use."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from api_world import CRM_SECRET, World, opened_world, own_world
from workflow_world import ADDING, accepted, form, imported, work

from flowledger.api import event_stream
from flowledger.api.event_stream import StreamCount
from flowledger.errors import LedgerError

world = pytest.fixture(own_world)


@pytest.fixture
def ended(world: World) -> World:
    """One execution that has succeeded."""
    accepted(world, imported(world, ADDING), input_data={"a": 1}, execution_name="测试执行")
    work(world, 1)
    return world


def frames_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    parts = [part.split("\n") for part in text.split("\n\n") if part and not part.startswith(":")]
    for lines in parts:
        assert [line.partition(": ")[0] for line in lines] == ["id", "event", "data"]
    return [json.loads(lines[2].removeprefix("data: ")) for lines in parts]


def test_an_execution_is_accepted_and_found_by_both_its_names(ended: World) -> None:
    """202 at first; later its end, by number and by id."""
    row = ended.get("/executions/1/").json()
    assert (row["status"], row["progress"], row["output_data"], row["attempt"]) == ("success", 100, 2, 1)
    assert (row["execution_name"], row["requested_by"], row["workflow_id"]) == ("测试执行", "operator-key", 1)
    assert ended.get(f"/executions/{row['execution_id']}").json() == row
    assert ended.get("/executions").json() == {"items": [row], "next_cursor": None}
    assert ended.get("/executions?status=failed").json()["items"] == []
    assert ended.get("/executions?workflow_id=1&name=测试执行").json()["items"] == [row]
    for unknown in ("2", "x", "9" * 30, "%20"):
        assert ended.get(f"/executions/{unknown}").status_code == 404, unknown
    assert ended.get(f"/runs/local/1/{row['execution_id']}").json()["status"] == "success"


def test_an_input_that_does_not_fit_is_refused(world: World) -> None:
    """422 with the place; and what is unknown is 404."""
    number = imported(world, ADDING)
    answer = world.post(f"/workflows/{number}/execute", {"input_data": {"a": "one"}})
    assert (answer.status_code, ".a" in answer.json()["detail"]) == (422, True)
    assert world.post("/workflows/9/execute", {}).status_code == 404
    assert world.get("/executions").json()["items"] == []


def test_whoever_waits_gets_the_end_or_202(world: World) -> None:
    """``async`` false: 202 where nobody executes it in time, 200 where it has ended."""
    number = imported(world, ADDING)
    order = {"input_data": {"a": 1}, "config": {"async": False, "timeout": 5}}
    same: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}}
    late = world.post(f"/workflows/{number}/execute", order, **same)
    assert (late.status_code, late.json()["status"]) == (202, "pending")
    work(world, 1)
    there = world.post(f"/workflows/{number}/execute", order, **same)
    assert (there.status_code, there.json()["output_data"]) == (200, 2)
    assert there.headers["idempotent-replayed"] == "true"


def test_the_same_key_is_the_same_execution(world: World) -> None:
    """Another body with that key is refused."""
    number = imported(world, ADDING)
    path = f"/workflows/{number}/execute"
    same: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}}
    first, again = (world.post(path, {"input_data": {"a": 1}}, **same) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["execution_id"] == again.json()["execution_id"]
    assert world.post(path, {"input_data": {"a": 2}}, **same).status_code == 422
    assert len(world.get("/executions").json()["items"]) == 1


def test_logs_have_a_row_for_each_try(ended: World) -> None:
    """In the order they settled, with the columns of the old table."""
    rows = ended.get("/executions/1/logs").json()
    assert [(row["step_key"], row["status"]) for row in rows] == [
        ("start", "success"),
        ("加", "success"),
        ("end", "success"),
    ]
    columns = {"id", "execution_id", "node_id", "step_name", "status", "input_data", "output_data"}
    columns |= {"error_message", "execution_time", "started_at", "completed_at", "created_at"}
    assert columns | {"alias", "try_no", "generation", "superseded"} <= rows[0].keys()
    assert ended.get("/executions/1/logs?offset=1&limit=1").json() == rows[1:2]
    assert ended.get("/executions/9/logs").status_code == 404


def test_events_come_in_order_page_by_page(ended: World) -> None:
    """None missing, none twice, however large the pages are."""
    whole = ended.get("/executions/1/events").json()
    assert (whole["ended"], whole["next_cursor"]) == (True, None)
    assert [each["cursor"] for each in whole["items"]] == list(range(1, len(whole["items"]) + 1))
    assert whole["items"][0]["event"] == "EXECUTION_CREATED"
    assert whole["items"][-1]["event"] == "EXECUTION_COMPLETED"
    paged: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = ended.get(f"/executions/1/events?after={after}&limit=3").json()
        paged += page["items"]
        after = page["next_cursor"]
    assert paged == whole["items"]


def test_events_are_streamed_and_go_on_where_they_broke_off(ended: World) -> None:
    """Until the end; when nothing can come any more, 204 tells a browser not to ask again."""
    whole = ended.get("/executions/1/events").json()["items"]
    streamed = ended.get("/executions/1/events", headers={"Accept": "text/event-stream"})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert frames_of(streamed.text) == whole
    rest = ended.get("/executions/1/events?stream=true", headers={"Last-Event-ID": "4"})
    assert frames_of(rest.text) == whole[4:]
    last = {"Last-Event-ID": str(len(whole))}
    assert ended.get("/executions/1/events?stream=true", headers=last).status_code == 204
    assert ended.get("/executions/1/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_a_stream_gives_what_happens_while_it_is_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins before the execution does, and ends with it; silence is filled with comments."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.0)
    number = imported(world, ADDING)
    accepted(world, number, input_data={"a": 1})
    store = world.client.app.state.backend.workflows.services.store  # type: ignore[attr-defined]

    async def watch() -> list[bytes]:
        parts = []
        async for part in event_stream.frames(store, 1, 0):
            parts.append(part)
            if len(parts) == 2:
                await asyncio.to_thread(work, world, 1)
        return parts

    parts = asyncio.run(watch())
    assert parts[1] == event_stream.HEARTBEAT
    seen = frames_of(b"".join(parts).decode())
    assert seen == world.get("/executions/1/events").json()["items"]


def test_a_stream_ends_when_the_ledger_goes_away_or_the_server_stops(world: World) -> None:
    """The answer has begun, so that it can only end; the client goes on with its last cursor."""
    accepted(world, imported(world, ADDING), input_data={"a": 1})
    store = world.client.app.state.backend.workflows.services.store  # type: ignore[attr-defined]

    class Away:
        def execution(self, _: int) -> None:
            raise LedgerError("the ledger is away")

    async def first_of(place: Any, stop: asyncio.Event) -> list[bytes]:
        parts = []
        async for part in event_stream.frames(place, 1, 0, stop=stop):
            parts.append(part)
            stop.set()
        return parts

    async def both() -> tuple[list[bytes], list[bytes]]:
        return await first_of(Away(), asyncio.Event()), await first_of(store, asyncio.Event())

    away, stopped = asyncio.run(both())
    assert away == []
    assert len(frames_of(b"".join(stopped).decode())) == 1


def test_the_number_of_streams_is_bounded(world: World) -> None:
    """503, and later again."""
    accepted(world, imported(world, ADDING), input_data={"a": 1})
    world.client.app.state.event_streams = StreamCount(most=0)  # type: ignore[attr-defined]  # FastAPI's
    refused = world.get("/executions/1/events?stream=true")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    world.client.app.state.event_streams = StreamCount(most=1)  # type: ignore[attr-defined]  # FastAPI's
    for _ in range(2):
        assert world.get("/executions/1/events?stream=true").status_code == 200


def test_an_execution_is_cancelled_rerun_and_resumed(ended: World) -> None:
    """What does not fit its status is 409."""
    assert ended.post("/executions/1/cancel", None).status_code == 409
    assert ended.post("/executions/1/resume", None).status_code == 409
    again = ended.post("/executions/1/rerun", None)
    assert (again.status_code, again.json()["id"], again.json()["input_data"]) == (202, 2, {"a": 1})
    assert ended.post("/executions/2/pause", None).json()["status"] == "paused"
    assert ended.post("/executions/2/step", None).status_code == 409
    assert ended.post("/executions/2/resume", {}).json()["status"] in ("pending", "paused")
    cancelled = ended.post("/executions/2/cancel", None).json()
    assert (cancelled["status"], "operator-key" in cancelled["error_message"]) == ("cancelled", True)
    assert ended.post("/executions/2/resume", {"recovery_strategy": "nonsense"}).status_code == 422
    assert ended.post("/executions/2/resume", {"recovery_strategy": "continue"}).status_code == 200
    work(ended, 2)
    assert ended.get("/executions/2").json()["status"] == "success"
    assert ended.post("/executions/2/cancel", None, "viewer").status_code == 403
    assert ended.post("/executions/7/cancel", None).status_code == 404


def test_step_by_step_each_request_lets_one_node_run(world: World) -> None:
    """Paused after each."""
    number = imported(world, ADDING)
    accepted(world, number, input_data={"a": 1}, config={"step_by_step": True})
    work(world, 1)
    done = []
    while world.get("/executions/1").json()["status"] == "paused":
        done.append(len(world.get("/executions/1/logs").json()))
        assert world.post("/executions/1/step", None).status_code == 200
        work(world, 1)
    assert done == sorted(done)
    assert world.get("/executions/1").json()["status"] == "success"


FAILING = form(
    [
        ("start", "START", {}),
        ("取", "API_CALL", {"method": "GET", "url": "http://127.0.0.1:1/x", "timeout": 5}),
        ("end", "END", {}),
    ],
    ("start", "取"),
    ("取", "end"),
    name="failing",
)


def test_a_workflow_with_open_executions_is_not_deleted(world: World) -> None:
    """409, and 204 once they have ended; their history stays."""
    number = imported(world, ADDING)
    accepted(world, number, input_data={"a": 1})
    assert world.delete(f"/workflows/{number}").status_code == 409
    work(world, 1)
    assert world.delete(f"/workflows/{number}").status_code == 204
    assert world.get("/executions/1").json()["status"] == "success"
    assert len(world.get("/executions/1/logs").json()) == 3


def test_figures_of_a_workflow(ended: World) -> None:
    """Stats, performance, errors, custom metrics: one, some, all."""
    stats = ended.get("/workflows/1/metrics?type=stats").json()["stats"]
    assert (stats["total_executions"], stats["success_rate"], stats["by_status"]) == (
        1,
        100.0,
        {"success": 1},
    )
    assert stats["avg_execution_time"] >= 0
    whole = ended.get("/workflows/1/metrics").json()
    assert whole.keys() == {"stats", "performance", "errors", "custom_metrics"}
    assert {node["name"] for node in whole["performance"]["nodes"]} == {"start", "加", "end"}
    assert whole["errors"] == []
    failing = imported(ended, FAILING)
    for number in (2, 3):
        accepted(ended, failing)
        work(ended, number)
    (error,) = ended.get(f"/workflows/{failing}/metrics?type=errors").json()["errors"]
    assert (error["error_type"], error["count"], error["nodes"]) == ("ConnectionError", 2, ["取"])
    assert error["last_occurrence"]
    assert ended.get(f"/workflows/{failing}/metrics?type=custom").json() == {"custom_metrics": {}}
    assert ended.get("/workflows/1/metrics?type=nonsense").status_code == 422
    assert ended.get("/workflows/9/metrics").status_code == 404


def test_nodes_of_a_custom_type_give_metrics(world: World) -> None:
    """As the guide shows them: means of what its handler gave."""
    made = {
        "type_name": "CUSTOM_PROCESSOR",
        "description": "自定义数据处理节点",
        "config_schema": {"processor_type": "string", "parameters": "object"},
        "execution_handler": "custom_processor_handler",
    }
    first = world.post("/admin/node-types", made, "admin")
    assert (first.status_code, first.json()["installed"]) == (201, True)
    assert first.json()["config_schema"]["properties"]["parameters"] == {"type": "object"}
    for wrong, status in (
        ({"type_name": "START"}, 409),
        ({"type_name": "lower"}, 422),
        ({"execution_handler": "os:system"}, 422),
        ({"config_schema": {"type": "no-such-kind"}}, 422),
    ):
        assert world.post("/admin/node-types", made | wrong, "admin").status_code == status, wrong
    names = [each["type_name"] for each in world.get("/admin/node-types").json()]
    assert names[-1] == "CUSTOM_PROCESSOR"
    assert "API_CALL" in names
    custom = form(
        [
            ("start", "START", {}),
            ("p", "CUSTOM_PROCESSOR", {"processor_type": "x", "parameters": {"a": 1, "b": None}}),
            ("end", "END", {}),
        ],
        ("start", "p"),
        ("p", "end"),
    )
    accepted(world, imported(world, custom))
    work(world, 1)
    metrics = world.get("/workflows/1/metrics?type=custom").json()["custom_metrics"]
    assert metrics.keys() == {"processing_time", "data_throughput", "error_rate"}
    assert (metrics["data_throughput"], metrics["error_rate"]) == (2.0, 0.5)


def test_what_goes_on_now(ended: World) -> None:
    """Only what is open, with where it is."""
    accepted(ended, 1, input_data={"a": 1})
    (active,) = ended.get("/monitor/active").json()
    assert (active["id"], active["status"], active["workflow_name"]) == (2, "pending", "客户同步")
    assert {"current_node", "elapsed_time", "progress"} <= active.keys()
    assert ended.get("/monitor/active?workflow_id=7").json() == []
    now = ended.get("/monitor/metrics").json()
    assert (now["active_executions"], now["executions_per_minute"]) == (1, 2)
    assert now["system_load"] >= 0


def test_the_registry_of_apis(world: World) -> None:
    """Made, changed field by field, deleted; secrets by their names only."""
    entry = {"system": "http://127.0.0.1:1", "method": "GET", "path": "/users/{id}", "version": "v1"}
    made = world.post("/apis/", entry | {"auth": {"type": "bearer", "token": "{{secrets.CRM}}"}}, "admin")
    assert (made.status_code, made.json()["id"]) == (201, 1)
    changed = world.put("/apis/1", {"timeout": 3, "version": None}).json()
    assert (changed["timeout"], changed["version"], changed["path"]) == (3, None, "/users/{id}")
    assert world.get("/apis").json() == [changed] == [world.get("/apis/1").json()]
    for wrong in (
        {},
        entry | {"auth": {"type": "bearer", "token": "plain"}},
        entry | {"auth": {"type": "kerberos"}},
        entry | {"headers": {"Authorization": "Bearer plain"}},
        entry | {"request_schema": {"type": "no-such-kind"}},
        entry | {"path": "/{{input.}}"},
        entry | {"no_such_field": 1},
    ):
        assert world.post("/apis", wrong, "admin").status_code == 422, wrong
    assert world.delete("/apis/1").status_code == 204
    for answer in (world.get("/apis/1"), world.put("/apis/1", {}), world.delete("/apis/1")):
        assert answer.status_code == 404


def test_an_api_is_tried_without_telling_its_secret(tmp_path: Path) -> None:
    """The answer says how it ended; what is sent is data, never a template."""
    with opened_world(tmp_path) as world:
        entry = {"system": "http://127.0.0.1:1", "method": "POST", "path": "/x"}
        world.post("/apis", entry | {"headers": {"X-API-Key": "{{secrets.CRM}}"}}, "admin")
        tried = world.post("/apis/1/call", {"parameters": {"id": "{{secrets.CRM}}"}, "timeout": 5})
        assert (tried.status_code, tried.json()["success"]) == (200, False)
        assert tried.json()["error_type"] == "ConnectionError"
        assert CRM_SECRET not in tried.text
        assert world.post("/apis/9/call", {}).status_code == 404
        assert world.post("/apis/1/call", {}, "viewer").status_code == 403
