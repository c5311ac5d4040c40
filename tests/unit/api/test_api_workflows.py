"""Workflows over HTTP: defined, checked, published, drawn, exported, in the words of the old guide."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_world import World, opened_world, own_world
from workflow_place import KeptSchedules
from workflow_world import ADDING, accepted, form, imported

from flowledger.api.backend import Backend
from flowledger.domain.access_keys import Role
from flowledger.domain.runs import AppKey
from flowledger.services.api_keys import create_key
from flowledger.services.workflows.scheduling import Scheduling
from flowledger.settings.schedules import check_cron

world = pytest.fixture(own_world)
NOTHING = 404


@pytest.fixture
def draft(world: World) -> World:
    """A draft of a START and an END that are not connected yet."""
    world.post("/workflows", {"name": "w", "tags": ["a"], "config": {"timeout": 300}}, "admin")
    for name in ("start", "end"):
        world.post("/workflows/1/nodes", {"name": name, "node_type": name.upper()}, "admin")
    return world


def test_a_workflow_is_made_read_changed_and_deleted(world: World) -> None:
    """201, 200, 200, 204, then 404; a slash at the end changes nothing."""
    made = world.post("/workflows/", {"name": "示例工作流", "version": "1.0", "tags": ["demo"]}, "admin")
    assert (made.status_code, made.json()["id"], made.json()["status"]) == (201, 1, "draft")
    assert {"id", "name", "description", "version", "status", "created_at"} <= made.json().keys()
    assert world.get("/workflows/1/").json()["tags"] == ["demo"]
    assert world.put("/workflows/1", {"name": "other"}).json()["name"] == "other"
    assert world.delete("/workflows/1").status_code == 204
    assert world.get("/workflows/1").status_code == NOTHING
    assert world.delete("/workflows/1").status_code == NOTHING


def test_nodes_and_connections_are_made_read_changed_and_deleted(draft: World) -> None:
    """Numbers count within the workflow, and one that was deleted is not used again."""
    connection = {"from_node_id": 1, "to_node_id": 2, "connection_type": "SEQUENCE", "condition": None}
    made = draft.post("/workflows/1/connections", connection | {"config": {"delay": 0}}, "admin")
    assert (made.status_code, made.json()["id"], made.json()["workflow_id"]) == (201, 1, 1)
    assert draft.get("/workflows/1/connections/1").json() == made.json()
    changed = draft.put("/workflows/1/connections/1", {"connection_type": "CONDITIONAL", "condition": "true"})
    assert (changed.json()["connection_type"], changed.json()["to_node_id"]) == ("CONDITIONAL", 2)
    assert [each["name"] for each in draft.get("/workflows/1/nodes").json()] == ["start", "end"]
    renamed = draft.put("/workflows/1/nodes/1", {"name": "begin", "timeout": 5})
    assert (renamed.json()["name"], renamed.json()["alias"], renamed.json()["timeout"]) == (
        "begin",
        "start",
        5,
    )
    assert draft.get("/workflows/1/nodes/1").json() == renamed.json()
    assert draft.delete("/workflows/1/nodes/1").status_code == 204
    assert draft.get("/workflows/1/connections").json() == []
    again = draft.post("/workflows/1/nodes", {"name": "start", "node_type": "START"}, "admin")
    assert again.json()["id"] == 3
    assert draft.post("/workflows/1/connections", connection, "admin").json()["id"] == 2
    assert draft.delete("/workflows/1/connections/2").status_code == 204
    for path in ("nodes/1", "connections/2", "nodes/99"):
        assert draft.get(f"/workflows/1/{path}").status_code == NOTHING
        assert draft.put(f"/workflows/1/{path}", {}).status_code == NOTHING
        assert draft.delete(f"/workflows/1/{path}").status_code == NOTHING


def test_a_change_of_another_revision_is_refused(draft: World) -> None:
    """412, and nothing changes; without If-Match the last one wins."""
    first = draft.get("/workflows/1").headers["etag"]
    assert draft.get("/workflows/1", headers={"If-None-Match": first}).status_code == 304
    mine = draft.put("/workflows/1", {"name": "mine"}, headers={"If-Match": first})
    assert mine.status_code == 200
    refused = draft.put("/workflows/1", {"name": "late"}, headers={"If-Match": first})
    assert (refused.status_code, "revision" in refused.json()["detail"]) == (412, True)
    assert draft.put("/workflows/1", {}, headers={"If-Match": '"nonsense"'}).status_code == 412
    assert draft.put("/workflows/1", {"name": "x"}, headers={"If-Match": mine.headers["etag"]}).is_success
    assert draft.put("/workflows/1", {"name": "last"}).json()["name"] == "last"


def test_all_faults_are_named_and_keep_it_from_being_published(draft: World) -> None:
    """By node and field; a published one has a version, and the same again is the same."""
    draft.post("/workflows/1/nodes", {"name": "c", "node_type": "CONDITION", "config": {}}, "admin")
    checked = draft.post("/workflows/1/validate", None).json()
    assert checked["valid"] is False
    assert {each["node"] for each in checked["errors"]} >= {"c", "end"}
    refused = draft.post("/workflows/1/publish", None, "admin")
    assert refused.status_code == 422
    assert len(refused.json()["faults"]) == len(checked["errors"])
    draft.delete("/workflows/1/nodes/3")
    draft.post("/workflows/1/connections", {"from_node_id": 1, "to_node_id": 2}, "admin")
    versions = [draft.post("/workflows/1/publish", None, "admin").json() for _ in range(2)]
    assert versions[0] == versions[1]
    assert (versions[0]["number"], versions[0]["created_by"]) == (1, "admin-key")
    assert draft.get("/workflows/1/versions").json() == versions[:1]
    assert draft.get("/workflows/1").json()["status"] == "active"
    assert draft.post("/workflows/1/deactivate", None, "admin").json()["status"] == "inactive"
    assert draft.post("/workflows/1/execute", {}).status_code == 409


def test_an_exported_workflow_comes_in_again(world: World) -> None:
    """Under a name of its own; a dry run says what is missing and stores nothing."""
    first = imported(world, ADDING)
    exported = world.get(f"/workflows/{first}/export").json()
    assert world.get(f"/workflows/{first}/export?version=1").json() == exported
    assert world.get(f"/workflows/{first}/export?version=9").status_code == NOTHING
    dry = world.post("/workflows/import?dry_run=true", exported, "admin").json()
    assert (dry["valid"], dry["name"], dry["nodes"], dry["dry_run"]) == (True, "客户同步(副本)", 3, True)
    second = world.post("/workflows/import", exported, "admin").json()
    assert second["name"] == "客户同步(副本)"
    again = world.get(f"/workflows/{second['id']}/export").json()
    assert {**again, "name": ""} == {**exported, "name": ""}
    broken = form([("x", "NO_SUCH_TYPE", {})])
    told = world.post("/workflows/import", {**broken, "dry_run": True}, "admin").json()
    assert any("NO_SUCH_TYPE" in each["message"] for each in told["errors"])
    assert world.post("/workflows/import", {"format": "other"}, "admin").status_code == 422


def test_a_graph_has_a_place_for_each_node(world: World) -> None:
    """Those that people placed stay; a cycle ends; Mermaid is text."""
    number = imported(world, ADDING)
    world.put(f"/workflows/{number}/nodes/2", {"position_x": 7, "position_y": 8})
    world.post(f"/workflows/{number}/connections", {"from_node_id": 3, "to_node_id": 1}, "admin")
    graph = world.get(f"/workflows/{number}/graph").json()
    places = [(each["position_x"], each["position_y"]) for each in graph["nodes"]]
    assert places == [(0, 0), (7, 8), (400, 0)]
    assert len(graph["connections"]) == 3
    mermaid = world.get(f"/workflows/{number}/graph?format=mermaid")
    assert mermaid.headers["content-type"].startswith("text/plain")
    assert "n1 --> n2" in mermaid.text


def test_lists_have_pages_and_filters(world: World) -> None:
    """Newest first, each once."""
    for number in range(5):
        world.post("/workflows", {"name": f"w{number}", "tags": ["even"] if number % 2 == 0 else []}, "admin")
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = world.get(f"/workflows?limit=2{cursor and '&cursor=' + cursor}").json()
        names += [each["name"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert names == ["w4", "w3", "w2", "w1", "w0"]
    assert [each["name"] for each in world.get("/workflows?tag=even").json()["items"]] == ["w4", "w2", "w0"]
    assert [each["name"] for each in world.get("/workflows?name=w3").json()["items"]] == ["w3"]
    assert world.get("/workflows?status=active").json()["items"] == []
    assert world.get("/workflows?status=none").status_code == 422


def test_schedules_need_prefect(world: World) -> None:
    """Without it that is said; admins alone give one; of an unknown workflow there is none."""
    number = imported(world, ADDING)
    path = f"/workflows/{number}/schedule"
    answers = [world.get(path), world.put(path, {"cron": "0 2 * * *"}), world.delete(path)]
    assert {each.status_code for each in answers} == {422}
    assert "PREFECT_API_URL is not set" in answers[0].json()["detail"]
    assert world.put(path, {"cron": "0 2 * * *"}, "operator").status_code == 403
    assert world.put(path, {"cron": "0 2 * * *", "every": 5}).status_code == 422
    assert world.get("/workflows/99/schedule").status_code == NOTHING


def test_schedules_are_kept_and_left_in_the_audit_trail(tmp_path: Path) -> None:
    """Put, shown and deleted, in what Prefect stands for here."""
    kept = KeptSchedules()
    with opened_world(tmp_path, change=lambda backend: with_schedules(backend, kept)) as world:
        number = imported(world, ADDING)
        path = f"/workflows/{number}/schedule"
        assert world.get(path).status_code == NOTHING
        row = world.put(path, {"cron": "0 2 * * *", "input": {"a": 1}}).json()
        assert (row["cron"], row["timezone"], row["active"]) == ("0 2 * * *", "Asia/Shanghai", True)
        assert world.get(path).json() == row
        assert world.put(path, {"cron": "0 2 * * *", "input": {"a": "x"}}).status_code == 422
        assert world.delete(path).status_code == 204
        assert world.delete(path).status_code == NOTHING
        kinds = [each.operation_type for each in world.client.app.state.backend.ledger.operations()]  # type: ignore[attr-defined]  # FastAPI's
        assert {"SCHEDULE_WORKFLOW", "UNSCHEDULE_WORKFLOW"} <= set(kinds)


def with_schedules(backend: Backend, kept: KeptSchedules) -> Backend:
    """Let schedules be kept in memory."""
    assert backend.workflows is not None
    services = backend.workflows.services
    made = Scheduling(services.authoring, kept, check_cron, "Asia/Shanghai")
    changed = replace(services, scheduling=lambda: made)
    return replace(backend, workflows=replace(backend.workflows, services=changed))


def test_viewers_read_operators_execute_admins_define(draft: World) -> None:
    """Whoever may do less is refused, and the refusal names the role."""
    draft.post("/workflows/1/connections", {"from_node_id": 1, "to_node_id": 2}, "admin")
    defining = [
        draft.post("/workflows", {"name": "x"}, "operator"),
        draft.put("/workflows/1", {"name": "x"}, "operator"),
        draft.post("/workflows/1/nodes", {"name": "x", "node_type": "MERGE"}, "operator"),
        draft.post("/workflows/1/publish", None, "operator"),
        draft.delete("/workflows/1", "operator"),
        draft.post("/apis", {"path": "/x"}, "operator"),
    ]
    assert {each.status_code for each in defining} == {403}
    assert "admin" in defining[0].json()["detail"]
    assert draft.post("/workflows/1/execute", {}, "viewer").status_code == 403
    assert draft.post("/workflows/1/execute", {}, "operator").json()["requested_by"] == "operator-key"
    assert draft.get("/workflows/1", "viewer").status_code == 200


def test_a_key_of_one_workflow_sees_no_other(tmp_path: Path) -> None:
    """Neither in lists nor by number; the registries are for keys that reach all."""
    with opened_world(tmp_path) as world:
        first, second = imported(world, ADDING), imported(world, ADDING)
        runs = [accepted(world, number, input_data={"a": 1}) for number in (first, second)]
        own = (AppKey("local", str(second)),)
        _, secret = create_key(world.ledger, "one", Role.ADMIN, user="root", at=world.clock.now, apps=own)
        world.headers["one"] = {"X-API-Key": secret}
        world.clock.now += timedelta(seconds=3)
        assert [each["id"] for each in world.get("/workflows", "one").json()["items"]] == [second]
        assert [each["id"] for each in world.get("/executions", "one").json()["items"]] == [runs[1]["id"]]
        assert [each["id"] for each in world.get("/monitor/active", "one").json()] == [runs[1]["id"]]
        for path in (f"/workflows/{first}", f"/workflows/{first}/nodes", f"/executions/{runs[0]['id']}"):
            assert world.get(path, "one").status_code == NOTHING, path
        assert world.post(f"/workflows/{first}/execute", {}, "one").status_code == NOTHING
        assert world.delete(f"/workflows/{first}", "one").status_code == NOTHING
        for path in ("/apis", "/admin/node-types", "/monitor/metrics"):
            assert world.get(path, "one").status_code == 403, path
        assert world.post("/workflows", {"name": "x"}, "one").status_code == 403


def test_what_defines_leaves_operations(world: World) -> None:
    """The audit trail names the key."""
    number = imported(world, ADDING)
    world.post(f"/workflows/{number}/deactivate", None, "admin")
    world.delete(f"/workflows/{number}")
    done = [(each.operation_type, each.user, str(each.app)) for each in world.ledger.operations()]
    for kind in ("IMPORT_WORKFLOW", "PUBLISH_WORKFLOW", "DEACTIVATE_WORKFLOW", "DELETE_WORKFLOW"):
        assert (kind, "admin-key", f"local:{number}") in done


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/workflows", {}),
        ("/workflows", {"name": ""}),
        ("/workflows", {"name": 7}),
        ("/workflows", {"name": "x", "nodes": []}),
        ("/workflows", {"name": "x", "config": []}),
        ("/workflows/1/nodes", {"name": "x"}),
        ("/workflows/1/nodes", {"name": "x", "node_type": "END", "position_x": "left"}),
        ("/workflows/1/nodes", {"name": "x", "node_type": "END", "no_such_field": 1}),
        ("/workflows/1/connections", {"from_node_id": 1}),
        ("/workflows/1/connections", {"from_node_id": 1, "to_node_id": 2, "connection_type": "ARROW"}),
        ("/workflows/1/connections", {"from_node_id": 0, "to_node_id": 2}),
        ("/workflows/0/nodes", {"name": "x", "node_type": "END"}),
        ("/workflows/x/execute", {}),
        ("/workflows/1/execute", {"config": {"no_such": 1}}),
        ("/workflows/1/execute", {"config": {"timeout": -1}}),
    ],
)
def test_wrong_bodies_are_refused_with_the_place(draft: World, path: str, body: object) -> None:
    """422, as a problem."""
    answer = draft.post(path, body, "admin")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_a_doubled_alias_is_a_conflict(draft: World) -> None:
    """409."""
    answer = draft.post("/workflows/1/nodes", {"name": "x", "node_type": "END", "alias": "end"}, "admin")
    assert answer.status_code == 409


def test_the_same_key_makes_one_workflow(world: World) -> None:
    """And the same answer."""
    once: dict[str, Any] = {"headers": {"Idempotency-Key": "k1"}}
    answers = [world.post("/workflows", {"name": "x"}, "admin", **once) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(world.get("/workflows").json()["items"]) == 1
