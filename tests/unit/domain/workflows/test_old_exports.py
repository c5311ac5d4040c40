"""What older programs exported is read whole: rows of tables, nodes by number, alias or name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.workflows import exchange, old_exports
from flowledger.errors import UsageError

ROWS: dict[str, Any] = {
    "id": 7,
    "name": "客户同步",
    "description": None,
    "version": "1.0",
    "config": {"timeout": 300, "retry_count": 3},
    "tags": ["demo"],
    "is_active": True,
    "created_at": "2024-01-01T10:00:00Z",
    "updated_at": "2024-01-01T10:00:00Z",
    "nodes": [
        {"id": 11, "workflow_id": 7, "name": "开始", "node_type": "START", "config": {}, "created_at": "x"},
        {
            **{"id": 12, "workflow_id": 7, "name": "API调用节点", "node_type": "API_CALL"},
            "config": {"api_id": 1, "parameters": {"param1": "{{input.value}}"}, "timeout": 30},
            **{"position_x": 100, "position_y": 200.0, "description": "调用用户API"},
        },
        {"id": 13, "workflow_id": 7, "name": "结束", "node_type": "END", "config": None},
    ],
    "connections": [
        {
            **{"id": 1, "workflow_id": 7, "from_node_id": 11, "to_node_id": 12},
            **{"connection_type": "SEQUENCE", "condition": None, "config": {"delay": 0}},
        },
        {"id": 2, "workflow_id": 7, "from_node_id": 12, "to_node_id": 13, "connection_type": "SEQUENCE"},
    ],
}
TWINS = [{"alias": "a", "name": "x"}, {"alias": "b", "name": "x"}]
WHOLE = exchange.imported(ROWS)


def test_rows_of_the_old_tables_come_in_whole() -> None:
    """Every column that means something is there; numbers are new, names are aliases."""
    assert {name: WHOLE[name] for name in ("name", "version", "config", "tags")} == {
        **{"name": "客户同步", "version": "1.0", "tags": ["demo"]},
        "config": {"timeout": 300, "retry_count": 3},
    }
    call = WHOLE["nodes"][1]
    assert (call["id"], call["alias"], call["description"]) == (2, "API调用节点", "调用用户API")
    assert (call["position_x"], call["position_y"]) == (100, 200.0)
    assert call["config"] == ROWS["nodes"][1]["config"]
    ways = [(each["from_node_id"], each["to_node_id"], each["config"]) for each in WHOLE["connections"]]
    assert ways == [(1, 2, {"delay": 0}), (2, 3, {})]


def _nested(rows: dict[str, Any]) -> dict[str, Any]:
    parts = ("nodes", "connections")
    head = {name: value for name, value in rows.items() if name not in parts}
    return {"workflow": head, **{part: rows[part] for part in parts}, "export_time": "2024-01-01"}


def _tables(rows: dict[str, Any]) -> dict[str, Any]:
    nested = _nested(rows)
    return {
        "workflow_definition": nested["workflow"],
        "workflow_nodes": rows["nodes"],
        "workflow_connections": rows["connections"],
    }


def _texts(rows: dict[str, Any]) -> dict[str, Any]:
    def row(fields: dict[str, Any]) -> dict[str, Any]:
        written = {name: json.dumps(fields[name]) for name in ("config", "tags") if fields.get(name)}
        return {**fields, **written}

    return {
        **row(rows),
        "nodes": [row(each) for each in rows["nodes"]],
        "connections": [row(each) for each in rows["connections"]],
    }


def _by(rows: dict[str, Any], field: str, ends: tuple[str, str]) -> dict[str, Any]:
    words = {node["id"]: node[field] for node in rows["nodes"]}
    connections = [
        {
            **{name: value for name, value in each.items() if not name.endswith("node_id")},
            **{ends[0]: words[each["from_node_id"]], ends[1]: words[each["to_node_id"]]},
        }
        for each in rows["connections"]
    ]
    return {**rows, "connections": connections}


def _words(rows: dict[str, Any]) -> dict[str, Any]:
    nodes = [{**each, "type": each["node_type"].lower()} for each in rows["nodes"]]
    for node in nodes:
        del node["node_type"]
        if "position_x" in node:
            node["position"] = {"x": node.pop("position_x"), "y": node.pop("position_y")}
    edges = [{**each, "connection_type": each["connection_type"].lower()} for each in rows["connections"]]
    return {**{name: rows[name] for name in rows if name != "connections"}, "nodes": nodes, "edges": edges}


@pytest.mark.parametrize(
    "form",
    [
        _nested(ROWS),
        {"workflow": ROWS},
        _tables(ROWS),
        _texts(ROWS),
        _by(ROWS, "name", ("from", "to")),
        _by(ROWS, "id", ("source", "target")),
        _words(ROWS),
        {**_by(ROWS, "name", ("from_node", "to_node")), "format": "workflow/1"},
    ],
    ids=["nested", "inside", "tables", "texts", "names", "ids", "words", "current"],
)
def test_every_shape_is_the_same_workflow(form: dict[str, Any]) -> None:
    """However the rows were put together."""
    assert exchange.imported(form) == WHOLE


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ([], 'an object with "format": "workflow/1"'),
        ({"format": "workflow/2", "nodes": []}, 'an object with "format": "workflow/1"'),
        ({"name": "x"}, "or with nodes"),
        ({"name": "x", "nodes": {}}, "nodes must be a list"),
        ({"name": "x", "nodes": [1]}, "nodes must hold objects"),
        ({**ROWS, "connections": [{"from": 11, "to": 99}]}, "connection 1: to: there is no node with"),
        ({**ROWS, "connections": [{"to": 11}]}, "connection 1: from: there is no node with"),
        ({**ROWS, "connections": [{"from": 11, "to": 12, "colour": 1}]}, "unknown field 'colour'"),
        ({**ROWS, "nodes": [{"name": "a", "colour": 1}]}, "node a: unknown field 'colour'"),
        ({**ROWS, "groups": [{"name": "g", "steps": [11], "colour": 1}]}, "group 1: unknown field 'colour'"),
        ({**ROWS, "groups": [{"name": "g", "steps": [99]}]}, "group 1: there is no node with"),
        ({"format": "workflow/1", "desription": "x", "nodes": []}, "unknown field 'desription'"),
        ({"nodes": TWINS, "connections": [{"from": "x", "to": "x"}]}, "there is no node"),
    ],
)
def test_what_cannot_be_read_is_named(form: Any, said: str) -> None:
    """Nothing that might mean something is left out without a word."""
    with pytest.raises(UsageError) as caught:
        exchange.imported(form)
    assert said in str(caught.value)


def test_a_file_may_hold_several() -> None:
    """As a list, or as an object with one."""
    assert list(old_exports.forms_in([ROWS, ROWS])) == [ROWS, ROWS]
    assert list(old_exports.forms_in({"workflows": [ROWS]})) == [ROWS]
    assert list(old_exports.forms_in(ROWS)) == [ROWS]


_WORDS = st.sampled_from(
    [
        *(
            "format",
            "name",
            "workflow",
            "nodes",
            "connections",
            "groups",
            "apis",
            "config",
            "tags",
            "version",
        ),
        *(
            "alias",
            "id",
            "node_type",
            "type",
            "position",
            "x",
            "from",
            "to",
            "steps",
            "condition",
            "description",
        ),
    ]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.sampled_from(["", "a", "START", "workflow/1", "{", "[1]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_WORDS, _VALUES, max_size=6) | _VALUES)
def test_any_value_is_a_workflow_or_refused(form: Any) -> None:
    """Nothing but a UsageError leaves the reader, and what comes in can be exported."""
    try:
        document = exchange.imported(form)
    except UsageError:
        return
    again = exchange.imported(exchange.exported(document))
    assert exchange.digest_of(again) == exchange.digest_of(document)
