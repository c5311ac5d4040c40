"""What is recorded, deleted and ordered; twice is once, and what is wrong changes nothing."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_world import COZE, NIGHTLY, SALES, World, opened_world, own_world, shared_world

from flowledger.api.backend import ApiOptions
from flowledger.api.processes import own_process
from flowledger.domain.history import OperationQuery, RunQuery
from flowledger.domain.operations import Operation

shared = pytest.fixture(scope="module")(shared_world)
world = pytest.fixture(own_world)
EXECUTION = {"workflow_id": "wf-1", "execution_id": "e-1", "status": "running", "context": {"a": 1}}
HISTORY = f"/coze/workflows/{COZE.app_id}/history"


def count(world: World) -> tuple[int, int]:
    """Count the runs and the operations of the ledger."""
    return len(list(world.ledger.facts(RunQuery()))), len(world.ledger.operations())


def test_an_execution_is_recorded_and_comes_back(world: World) -> None:
    """As it was given, and with an operation that names the key."""
    answer = world.post("/logs/executions", {**EXECUTION, "own": [1, None]})
    assert answer.status_code == 200
    assert world.get("/logs/executions/e-1").json()["own"] == [1, None]
    (operation,) = world.ledger.operations(OperationQuery(types=("LOG_EXECUTION",)))
    assert (operation.user, operation.subject) == ("operator-key", "e-1")
    assert world.get("/runs?workflow=wf-1").json()["items"][0]["source"] == "log"


def test_an_execution_changes(world: World) -> None:
    """Messages are added; an end that contradicts the end is 409 and changes nothing."""
    world.post("/logs/executions", EXECUTION)
    header = world.headers["operator"]
    path = "/logs/executions/e-1"
    for body in ({"messages": ["one"]}, {"messages": ["two"], "status": "completed"}):
        assert world.client.patch(path, json=body, headers=header).status_code == 200
    assert world.client.patch(path, json={"status": "failed"}, headers=header).status_code == 409
    found = world.get(path).json()
    assert (found["messages"], found["status"]) == (["one", "two"], "completed")
    assert world.client.patch("/logs/executions/e-2", json={}, headers=header).status_code == 404


def test_an_operation_is_recorded(world: World) -> None:
    """By the key, or by the user it is told of."""
    body = {"operation_type": "PUBLISH", "workflow_id": "wf-1", "data": {"version": 7}}
    assert world.post("/logs/operations", body).json()["user"] == "operator-key"
    world.post("/logs/operations", {**body, "user": "ann"})
    found = world.get("/logs/operations?type=PUBLISH&user=ann").json()["items"]
    assert [(row["workflow_id"], row["data"]) for row in found] == [("wf-1", {"version": 7})]
    assert len(world.get("/logs/operations?app=log:wf-1").json()["items"]) == 2


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/logs/executions", {}, 422),
        ("/logs/executions", {"workflow_id": "../x"}, 422),
        ("/logs/executions", {"workflow_id": "wf", "execution_id": "a/b"}, 422),
        ("/logs/executions", {"workflow_id": 7}, 422),
        ("/logs/executions", {**EXECUTION, "status": 7}, 422),
        ("/logs/executions", {**EXECUTION, "start_time": "soon"}, 422),
        ("/logs/executions", {**EXECUTION, "context": "text"}, 422),
        ("/logs/executions", {**EXECUTION, "context": {"a": "x\0y"}}, 400),
        ("/logs/executions", {**EXECUTION, "context": {"a\0": 1}}, 400),
        ("/logs/operations", {"operation_type": "X"}, 422),
        ("/logs/operations", {"operation_type": "X", "workflow_id": "wf", "more": 1}, 422),
        ("/logs/operations", {"operation_type": "a\nb", "workflow_id": "wf"}, 422),
        ("/reports", {"app": "unknown"}, 422),
        ("/reports", {"app": "sales", "period": "someday"}, 422),
        ("/reports", {"app": "sales", "formats": ["pdf"]}, 422),
        ("/reports", {"app": "sales", "formats": []}, 422),
        ("/reports", {"app": "sales", "period": "today", "after": "2026-11-01"}, 422),
        ("/reports", {"app": "sales", "after": "2026-13-01"}, 422),
        ("/reports", {"app": "sales", "output_dir": "/etc"}, 422),
        ("/reports", {"app": "sales", "status": "odd"}, 422),
        ("/reports", {}, 422),
    ],
)
def test_wrong_bodies_are_refused_and_nothing_is_written(
    world: World, path: str, body: Any, status: int
) -> None:
    """With the reason."""
    before = count(world)
    answer = world.post(path, body, headers={"Idempotency-Key": "k"} if status == 400 else {})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert count(world) == before
    assert world.queue.orders == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"workflow_id": NaN}', 400),
        (b'{"workflow_id": "\\ud800"}', 400),
        (b"[" * 5000 + b"]" * 5000, 400),
        (b'{"workflow_id": "wf", "context": ' + b'{"a":' * 101 + b"1" + b"}" * 102, 400),
        (b"null", 422),
        (b"[]", 422),
        (b'"text"', 422),
        (b"", 422),
    ],
)
def test_bodies_that_are_no_json_objects_are_refused(world: World, content: bytes, status: int) -> None:
    """Torn, odd or far too deep."""
    before = count(world)
    header = world.headers["operator"] | {"Content-Type": "application/json"}
    answer = world.client.post("/logs/executions", content=content, headers=header)
    assert answer.status_code == status, answer.text
    assert count(world) == before


def test_other_types_than_json_are_refused(world: World) -> None:
    """A form of a foreign page cannot write."""
    header = world.headers["operator"] | {"Content-Type": "text/plain"}
    body = json.dumps(EXECUTION)
    assert world.client.post("/logs/executions", content=body, headers=header).status_code == 422


def test_large_bodies_are_refused_early(tmp_path: Path) -> None:
    """413 by what is announced, and by what comes where nothing is."""
    with opened_world(tmp_path, ApiOptions(max_body_bytes=1000)) as world:
        large = {**EXECUTION, "context": {"a": "x" * 2000}}
        assert world.post("/logs/executions", large).status_code == 413
        parts = iter([b'{"workflow_id":"wf","a":"', b"x" * 2000, b'"}'])
        header = world.headers["operator"] | {"Content-Type": "application/json"}
        assert world.client.post("/logs/executions", content=parts, headers=header).status_code == 413
        assert world.get("/runs?workflow=wf").json()["items"] == []


def test_the_same_request_again_gets_the_stored_answer(world: World) -> None:
    """Byte for byte, marked as such, and nothing is done twice."""
    body = {"operation_type": "PUBLISH", "workflow_id": "wf-1"}
    first, second = (
        world.post("/logs/operations", body, headers={"Idempotency-Key": "k-1"}) for _ in range(2)
    )
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert ("idempotent-replayed" in first.headers, second.headers["idempotent-replayed"]) == (False, "true")
    assert len(world.get("/logs/operations?type=PUBLISH").json()["items"]) == 1


def test_a_key_serves_one_request_of_one_caller(world: World) -> None:
    """Another body or path is 422; another caller has keys of its own."""
    body = {"operation_type": "PUBLISH", "workflow_id": "wf-1"}
    header = {"Idempotency-Key": "k-1"}
    world.post("/logs/operations", body, headers=header)
    assert world.post("/logs/operations", {**body, "user": "x"}, headers=header).status_code == 422
    assert world.post("/logs/executions", EXECUTION, headers=header).status_code == 422
    assert world.post("/logs/operations", {**body, "user": "x"}, "admin", headers=header).status_code == 200


def test_a_request_in_progress_is_not_begun_again(world: World) -> None:
    """409 while the first is at work; after a while it is taken for dead."""
    body = {"operation_type": "PUBLISH", "workflow_id": "wf-1"}
    header = {"Idempotency-Key": "k-1"}
    world.post("/logs/operations", body, headers=header)
    forget = "DELETE FROM key_values WHERE key LIKE 'request-%-answer'"
    world.ledger.transactions.write((), lambda connection: connection.exec_driver_sql(forget))
    assert world.post("/logs/operations", body, headers=header).status_code == 409
    world.clock.now += timedelta(minutes=11)
    assert world.post("/logs/operations", body, headers=header).status_code == 200
    assert "idempotent-replayed" in world.post("/logs/operations", body, headers=header).headers


def test_what_failed_may_be_tried_again_with_the_same_key(world: World) -> None:
    """A refused request leaves its key free, and is refused again."""
    path = "/logs/executions/e-1"
    header = {"Idempotency-Key": "k-1"}
    said = world.headers["operator"] | header
    assert world.client.patch(path, json={"status": "failed"}, headers=said).status_code == 404
    world.post("/logs/executions", EXECUTION)
    assert world.client.patch(path, json={"status": "failed"}, headers=said).status_code == 200
    other = world.headers["operator"] | {"Idempotency-Key": "k-2"}
    for _ in range(2):
        assert world.client.patch(path, json={"status": "running"}, headers=other).status_code == 409


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "ключ".encode()])
def test_idempotency_keys_are_words(world: World, key: Any) -> None:
    """Anything else is 422."""
    body = {"operation_type": "X", "workflow_id": "wf"}
    header = world.headers["operator"] | {"Idempotency-Key": key}
    assert world.client.post("/logs/operations", json=body, headers=header).status_code == 422


def test_coze_executions_are_deleted(world: World) -> None:
    """One, then all; each leaves an operation with the key's name."""
    header = world.headers["operator"]
    assert world.client.delete(f"{HISTORY}/none", headers=header).status_code == 404
    assert world.client.delete(f"/api{HISTORY}/cz-1", headers=header).json() == {
        "success": True,
        "deleted": 1,
    }
    assert world.client.delete(HISTORY, headers=header).json() == {"success": True, "deleted": 0}
    assert world.get(HISTORY).json()["total"] == 0
    (operation,) = world.ledger.operations(OperationQuery(types=("DELETE",)))
    assert (operation.user, operation.app) == ("operator-key", COZE)


def test_a_report_is_ordered_and_can_be_followed(world: World) -> None:
    """202 with a place to ask; the order names who wanted it."""
    answer = world.post("/reports", {"app": "sales", "period": "last_week", "formats": ["csv", "json"]})
    assert answer.status_code == 202
    place = answer.headers["location"]
    assert world.get(place).json()["state"] == "waiting"
    ((order, order_id),) = world.queue.orders
    assert (order.app, order.period, order.formats) == ("sales", "last_week", "csv,json")
    (operation,) = world.ledger.operations(OperationQuery(types=("ORDER_REPORT",)))
    assert (operation.user, place) == ("operator-key", f"/reports/orders/{order_id}")
    assert world.get(place, "scoped").status_code == 404


def test_an_order_of_a_killed_server_has_failed(world: World) -> None:
    """It says so at once and for ever, not after a day; one whose server lives is running."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    states = []
    for number, process in enumerate((own_process() | {"pid": child.pid}, own_process())):
        order_id = f"{number:032x}"
        data = {"order": {}, "reference": "", "process": process}
        placed = Operation(f"order-{order_id}", "ORDER_REPORT", world.clock(), "ann", SALES, data=data)
        world.ledger.record(placed)
        states += [world.get(f"/reports/orders/{order_id}").json() for _ in range(2)]
    assert [each["state"] for each in states] == ["failed", "failed", "running", "running"]
    assert states[0]["reason"] == "the server was stopped: order it again"


def test_a_report_ordered_twice_is_made_once(world: World) -> None:
    """The order's id comes from the key, so that Prefect knows it, too."""
    header = {"Idempotency-Key": "nightly-1"}
    answers = [world.post("/reports", {"app": "sales"}, headers=header) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert len(world.queue.orders) == 1


def test_an_order_that_cannot_be_placed_says_why(world: World) -> None:
    """422 with the reason, and no order is left."""
    answer = world.post("/reports", {"app": "sales", "keyword": "unplaceable"})
    assert (answer.status_code, "register" in answer.json()["detail"]) == (422, True)
    assert world.ledger.operations(OperationQuery(types=("ORDER_REPORT",))) == []


def test_reports_are_listed_and_downloaded(shared: World) -> None:
    """By an id that is no path; the file is for keeping, not for showing."""
    (report,) = shared.get("/reports?type=csv").json()["items"]
    path = f"/reports/{report['report_id']}"
    assert shared.get(path).json() == report
    file = shared.get(f"{path}/files/{report['files'][0]}")
    assert file.text == "a,b\n1,2\n"
    assert file.headers["content-disposition"].startswith("attachment")
    assert file.headers["x-content-type-options"] == "nosniff"
    assert shared.get(path, "scoped").status_code == 404
    assert shared.get(f"{path}/files/other.csv").status_code == 404
    assert shared.get(f"/reports?app={NIGHTLY}").json()["items"] == []
    assert shared.get("/reports?app=log:../../x").json()["items"] == []
