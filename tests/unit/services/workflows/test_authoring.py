"""Authoring and ordering: what people define, publish, export, and ask to be executed."""

from typing import Any

import pytest
from workflow_place import Place, failing, place

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows import exchange
from flowledger.domain.workflows.definition import WorkflowStatus
from flowledger.errors import InvalidWorkflowError, RecordConflictError, RecordNotFoundError, UsageError
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.ordering import Ordering


def services(there: Place) -> tuple[Authoring, Ordering]:
    """Authoring and ordering of a place."""
    authoring = Authoring(there.store, lambda: there.now)
    return authoring, Ordering(there.store, authoring, lambda: there.now)


FORM: dict[str, Any] = {
    "format": "workflow/1",
    "name": "客户同步",
    "version": "1.0",
    "nodes": [
        {"alias": "start", "name": "开始", "node_type": "START", "config": {}},
        {"alias": "get", "name": "读取", "node_type": "API_CALL", "config": {"api_id": 4, "timeout": 5}},
        {"alias": "end", "name": "结束", "node_type": "END", "config": {"output": "{{get}}"}},
    ],
    "connections": [
        {"from": "start", "to": "get", "connection_type": "SEQUENCE"},
        {"from": "get", "to": "end", "connection_type": "SEQUENCE"},
    ],
    "apis": [{"id": 4, "name": "读用户", "system": "crm", "method": "GET", "path": "/u"}],
}


def test_the_calls_of_the_old_guide_work_in_their_order() -> None:
    """A draft without START and END, connected to a node still to come, is executed as it is meant."""
    there = place()
    authoring, ordering = services(there)
    made = authoring.create(
        {
            "name": "示例工作流",
            "version": "1.0",
            "config": {"timeout": 300, "retry_count": 3},
            "tags": ["demo"],
        }
    )
    assert (made.id, made.status) == (1, WorkflowStatus.DRAFT)
    node = authoring.add_node(
        1,
        {
            "name": "API调用节点",
            "node_type": "API_CALL",
            "config": {"api_id": 1, "timeout": 30},
            "position_x": 100,
        },
    )
    assert (node["id"], node["alias"]) == (1, "API调用节点")
    connection = authoring.add_connection(
        1,
        {
            "from_node_id": 1,
            "to_node_id": 2,
            "connection_type": "SEQUENCE",
            "condition": None,
            "config": {"delay": 0},
        },
    )
    assert connection["id"] == 1
    execution = ordering.execute(
        1, name="测试执行", input_data={"value": "x"}, config={"async": True, "timeout": 600}, by="ann"
    )
    assert (execution.id, execution.status) == (1, RunStatus.PENDING)
    ended = there.run(execution)
    assert (ended.status, ended.output) == (RunStatus.SUCCESS, {"API调用节点": "API调用节点"})
    assert authoring.get(1).status is WorkflowStatus.DRAFT


def test_a_renamed_node_keeps_its_alias_and_numbers_are_not_used_twice() -> None:
    """What refers to a node goes on doing so; a deleted one's number is not given again."""
    there = place()
    authoring, _ = services(there)
    authoring.create({"name": "w"})
    first = authoring.add_node(1, {"name": "读取", "node_type": "API_CALL"})
    assert authoring.update_node(1, first["id"], {"name": "取用户"})["alias"] == "读取"
    assert authoring.add_node(1, {"name": "读取", "node_type": "API_CALL"})["alias"] == "读取_2"
    authoring.add_connection(1, {"from_node_id": 1, "to_node_id": 2})
    authoring.delete_node(1, 2)
    assert authoring.add_node(1, {"name": "x", "node_type": "API_CALL"})["id"] == 3
    assert authoring.get(1).document["connections"] == []
    with pytest.raises(RecordConflictError, match="alias"):
        authoring.update_node(1, 3, {"alias": "读取"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({}, "name"),
        ({"name": "w", "tags": "x"}, "tags"),
        ({"name": "w", "config": []}, "config"),
        ({"name": "w", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], message: str) -> None:
    """Nothing is stored then."""
    there = place()
    authoring, _ = services(there)
    with pytest.raises(UsageError, match=message):
        authoring.create(fields)
    assert there.store.workflows().workflows == []


def test_publishing_names_every_fault() -> None:
    """An empty draft has several."""
    authoring, _ = services(place())
    authoring.create({"name": "w"})
    with pytest.raises(InvalidWorkflowError, match="START") as raised:
        authoring.publish(1, "ann")
    assert any("END" in fault for fault in raised.value.faults)


def test_an_export_comes_back_the_same() -> None:
    """Under a free name, with its API; a second import registers that API once."""
    there = place()
    authoring, _ = services(there)
    first = authoring.import_form(FORM)
    second = authoring.import_form(authoring.export(first.id))
    assert second.document["name"] == "客户同步(副本)"
    assert len(there.store.apis()) == 1
    exported = authoring.export(second.id)
    assert exported["nodes"] == authoring.export(first.id)["nodes"]
    assert exported["connections"] == FORM["connections"]
    checked = authoring.check_import(FORM)
    assert (checked["name"], checked["new_apis"]) == ("客户同步(副本)(副本)", [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format"),
        ({"nodes": 7}, "nodes must be a list"),
        ({"nodes": [7]}, "objects"),
        ({"connections": [{"from": "start", "to": "nowhere"}]}, "nowhere"),
        ({"nodes": [*FORM["nodes"], FORM["nodes"][0]]}, "twice"),
        ({"nodes": [{**FORM["nodes"][0], "colour": 1}]}, "colour"),
        ({"apis": {"id": 1}}, "apis must be a list"),
        ({"apis": [{"name": "no id"}]}, "apis, entry 1"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(change: dict[str, Any], message: str) -> None:
    """Nothing is stored."""
    there = place()
    authoring, _ = services(there)
    with pytest.raises(UsageError, match=message):
        authoring.import_form({**FORM, **change})
    assert there.store.workflows().workflows == []


def test_a_file_brings_no_secret_in_plain_words() -> None:
    """An API of a file is registered as any other: its secrets are names."""
    there = place()
    authoring, _ = services(there)
    api = {**FORM["apis"][0], "headers": {"Authorization": "Bearer plain-words"}}
    with pytest.raises(UsageError, match="secret"):
        authoring.import_form({**FORM, "apis": [api]})
    assert there.store.apis() == []


def test_a_file_is_applied_once() -> None:
    """The same again changes nothing; a changed one makes a new version."""
    there = place()
    authoring, _ = services(there)
    stored, changed = authoring.apply(FORM, "ann")
    assert (stored.status, changed, stored.published) == (WorkflowStatus.ACTIVE, True, 1)
    assert authoring.apply(FORM, "ann")[1] is False
    stored, changed = authoring.apply({**FORM, "version": "1.1"}, "ann")
    assert (changed, stored.published) == (True, 2)


def test_nodes_keep_their_numbers_when_a_file_is_applied_again() -> None:
    """In whatever order they stand, and a new one gets a number that none has had."""
    there = place()
    authoring, _ = services(there)
    stored, _ = authoring.apply(FORM, "ann")
    start, get, end = FORM["nodes"]
    changed = {
        **FORM,
        "nodes": [{"alias": "new", "node_type": "TRANSFORM", "config": {"template": 1}}, end, start],
        "connections": [{"from": "start", "to": "new"}, {"from": "new", "to": "end"}],
        "groups": [],
    }
    stored, _ = authoring.apply(changed, "ann", publish=False)
    numbers = {node["alias"]: node["id"] for node in stored.document["nodes"]}
    assert numbers == {"start": 1, "end": 3, "new": 4}
    ways = [(each["from_node_id"], each["to_node_id"]) for each in stored.document["connections"]]
    assert ways == [(1, 4), (4, 3)]
    stored, is_changed = authoring.apply(
        {**changed, "nodes": [*changed["nodes"][1:], get, changed["nodes"][0]]}, "a", publish=False
    )
    assert is_changed
    assert {node["alias"]: node["id"] for node in stored.document["nodes"]}["get"] == 5
    assert authoring.apply(FORM, "ann")[1] is True


def test_an_execution_keeps_its_version() -> None:
    """A definition that is changed while it runs changes nothing of it."""
    there = place()
    authoring, ordering = services(there)
    stored, _ = authoring.apply(FORM, "ann")
    execution = ordering.execute(stored.id, by="ann")
    authoring.apply(
        {
            **FORM,
            "version": "2",
            "nodes": [*FORM["nodes"][:2], {**FORM["nodes"][2], "config": {"output": 2}}],
        },
        "ann",
    )
    assert there.run(execution).output == "get"


def test_a_digest_does_not_depend_on_numbers_or_order_of_keys() -> None:
    """Only on what the workflow says."""
    document = exchange.imported(FORM)
    renumbered = {**document, "nodes": [dict(reversed(node.items())) for node in document["nodes"]]}
    assert exchange.digest_of(renumbered) == exchange.digest_of(document)


def test_what_cannot_be_asked_of_an_execution() -> None:
    """Each with the reason."""
    there = place(get=failing("HTTP 503: "))
    authoring, ordering = services(there)
    stored, _ = authoring.apply(FORM, "ann")
    execution = ordering.execute(stored.id, by="ann")
    with pytest.raises(RecordConflictError, match="pending"):
        ordering.resume(execution.id, "ann")
    there.run(execution)
    with pytest.raises(RecordConflictError, match="ended as failed"):
        ordering.cancel(execution.execution_id, "ann")
    with pytest.raises(RecordConflictError, match="step by step"):
        ordering.step(execution.id, "ann")
    there.api.answers["get"] = "ok"
    assert ordering.resume(str(execution.id), "ann").status is RunStatus.PENDING
    assert there.run(execution).status is RunStatus.SUCCESS
    with pytest.raises(RecordConflictError, match="success"):
        ordering.resume(execution.id, "ann")
    with pytest.raises(RecordNotFoundError):
        ordering.get("nothing")
    authoring.deactivate(stored.id)
    with pytest.raises(RecordConflictError, match="inactive"):
        ordering.execute(stored.id, by="ann")


def test_an_input_is_checked_against_its_schema() -> None:
    """The short form too."""
    there = place()
    authoring, ordering = services(there)
    start = {**FORM["nodes"][0], "config": {"input_schema": {"id": "integer"}}}
    stored, _ = authoring.apply({**FORM, "nodes": [start, *FORM["nodes"][1:]]}, "ann")
    with pytest.raises(UsageError, match=r"input_data\.id"):
        ordering.execute(stored.id, input_data={"id": "seven"}, by="ann")
    assert ordering.execute(stored.id, input_data={"id": 7}, by="ann").input == {"id": 7}
