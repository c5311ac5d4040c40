"""Exports of older programs, brought into the form ``workflow/1``.  Pure.

An old export is the rows of its tables: a workflow with its nodes and connections, beside it or within it,
which name nodes by number, alias or name.  Columns of JSON may still be texts.  What is not of a workflow
(numbers of rows, times, status) is left out; any other field that is not understood stays, and is refused.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowledger.domain.workflows.definition import NODE_OPTIONS, ConnectionType, NodeType, alias_from
from flowledger.errors import UsageError

FORMAT = "workflow/1"
_OF_ROWS = frozenset(
    (
        "workflow_id",
        "created_at",
        "updated_at",
        "created_by",
        "updated_by",
        "is_active",
        "status",
        "is_deleted",
    )
)
HEAD = ("name", "description", "version", "config", "tags")
NODE_FIELDS = ("alias", "name", "node_type", "config", "description", "position_x", "position_y")
CONNECTION_FIELDS = ("from", "to", "connection_type", "condition", "config")
GROUP_FIELDS = ("name", "description", "sync_policy", "timeout_seconds", "steps")
_BESIDE = ("format", "apis", "$schema")
_NESTED = ("workflow", "definition", "workflow_definition")
_NODES = ("nodes", "workflow_nodes")
_CONNECTIONS = ("connections", "workflow_connections", "edges")
_FROM = ("from", "from_node_id", "from_node", "from_alias", "source_node_id", "source")
_TO = ("to", "to_node_id", "to_node", "to_alias", "target_node_id", "target")
_JSON_COLUMNS = ("config", "tags", "retry_policy", "conditions", "notification_config", "approval_config")
Fields = Mapping[str, Any]


def forms_in(value: Any) -> Sequence[Any]:
    """Return the workflows that a file holds: one, a list of them, or an object with such a list."""
    if isinstance(value, Mapping) and not _has(value, _NODES) and isinstance(value.get("workflows"), list):
        value = value["workflows"]
    return value if isinstance(value, list) else [value]


def current_form(form: Any) -> dict[str, Any]:
    """Return the form ``workflow/1`` of an export; nodes that had no alias have one.

    :raises UsageError: when it is no export of a workflow, or a connection names no node.
    """
    if not isinstance(form, Mapping) or form.get("format", FORMAT) != FORMAT:
        raise UsageError(f'an exported workflow is an object with "format": "{FORMAT}"')
    form = _flat(form)
    if not _has(form, _NODES) and "format" not in form:
        raise UsageError(f'an exported workflow is an object with "format": "{FORMAT}", or with nodes')
    parts = (*_NODES, *_CONNECTIONS, "groups", "id", *_OF_ROWS)
    nodes = _with_aliases([_node(each) for each in _objects(form, _NODES)])
    names = _Names(nodes)
    head = {name: _parsed(name, value) for name, value in form.items() if name not in parts}
    if "format" in form:
        _refuse_unknown(head, (*HEAD, *_BESIDE), "the workflow")
    else:  # what an old program says of itself is no part of a workflow
        head = {name: value for name, value in head.items() if name in (*HEAD, *_BESIDE)}
    return {
        **head,
        "format": FORMAT,
        "nodes": [{name: value for name, value in node.items() if name != "id"} for node in nodes],
        "connections": [
            _connection(each, number, names) for number, each in enumerate(_objects(form, _CONNECTIONS), 1)
        ],
        "groups": [_group(each, number, names) for number, each in enumerate(_objects(form, ("groups",)), 1)],
    }


class _Names:
    """The aliases of nodes by what connections may name them by."""

    def __init__(self, nodes: Sequence[Fields]) -> None:
        self._aliases = {str(node["alias"]): str(node["alias"]) for node in nodes}
        numbered = {
            str(node.get("id", position)): str(node["alias"]) for position, node in enumerate(nodes, 1)
        }
        times = Counter(str(node.get("name")) for node in nodes)
        named = {
            str(node.get("name")): str(node["alias"]) for node in nodes if times[str(node.get("name"))] == 1
        }
        self._others = {**named, **numbered}
        self._numbered = numbered

    def alias_of(self, word: Any, place: str) -> str:
        """Return the alias of a node; a number is first taken for a node's number."""
        if isinstance(word, int) and str(word) in self._numbered:
            return self._numbered[str(word)]
        alias = self._aliases.get(str(word)) or self._others.get(str(word))
        if alias is None:
            raise UsageError(f"{place}: there is no node with the alias {str(word)!r:.80}")
        return alias


def _flat(form: Fields) -> dict[str, Any]:
    """Return a form whose workflow stands within it as one object."""
    for name in _NESTED:
        inner = form.get(name)
        if isinstance(inner, Mapping):
            return {**inner, **{other: value for other, value in form.items() if other != name}}
    return dict(form)


def _node(fields: Fields) -> dict[str, Any]:
    node = {name: _parsed(name, value) for name, value in fields.items() if name not in _OF_ROWS}
    if "node_type" not in node and "type" in node:
        node["node_type"] = node.pop("type")
    node["node_type"] = _in_capitals(node.get("node_type"), NodeType.__members__)
    position = node.pop("position", None)
    if isinstance(position, Mapping):
        node |= {f"position_{axis}": position[axis] for axis in "xy" if axis in position}
    place = f"node {node.get('alias') or node.get('name')}"
    _refuse_unknown(node, ("id", *NODE_FIELDS, *NODE_OPTIONS), place)
    return node


def _with_aliases(nodes: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    taken = {str(node["alias"]) for node in nodes if node.get("alias")}
    for node in nodes:
        if not node.get("alias"):
            node["alias"] = alias_from(str(node.get("name") or node.get("node_type")), taken)
            taken.add(node["alias"])
    return nodes


def _connection(fields: Fields, number: int, names: _Names) -> dict[str, Any]:
    connection = {
        name: _parsed(name, value)
        for name, value in fields.items()
        if name not in _OF_ROWS and name not in ("id", *_FROM, *_TO)
    }
    if "connection_type" not in connection and "type" in connection:
        connection["connection_type"] = connection.pop("type")
    _refuse_unknown(connection, CONNECTION_FIELDS, f"connection {number}")
    word = _in_capitals(connection.get("connection_type"), ConnectionType.__members__)
    ends = {
        "from": names.alias_of(_first(fields, _FROM), f"connection {number}: from"),
        "to": names.alias_of(_first(fields, _TO), f"connection {number}: to"),
    }
    return {**connection, **ends, **({} if word is None else {"connection_type": word})}


def _group(fields: Fields, number: int, names: _Names) -> dict[str, Any]:
    steps = fields.get("steps")
    if steps is not None and not isinstance(steps, list | tuple):
        raise UsageError(f"group {number}: steps must be a list")
    group = {name: value for name, value in fields.items() if name not in ("id", *_OF_ROWS)}
    _refuse_unknown(group, GROUP_FIELDS, f"group {number}")
    return {**group, "steps": [names.alias_of(each, f"group {number}") for each in steps or ()]}


def _refuse_unknown(fields: Fields, names: Sequence[str], place: str) -> None:
    if unknown := [name for name in fields if name not in names]:
        raise UsageError(f"{place}: unknown field {str(unknown[0])!r:.80}; there are {', '.join(names)}")


def _in_capitals(word: Any, known: Mapping[str, Any]) -> Any:
    return word.upper() if isinstance(word, str) and word.upper() in known else word


def _parsed(name: str, value: Any) -> Any:
    """Return the value of a column; one of JSON may be a text still."""
    if name not in _JSON_COLUMNS or not isinstance(value, str) or not value.strip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _objects(form: Fields, names: Sequence[str]) -> Iterator[Fields]:
    values = _first(form, names)
    if values is not None and not isinstance(values, list | tuple):
        raise UsageError(f"{names[0]} must be a list")
    for value in values or ():
        if not isinstance(value, Mapping):
            raise UsageError(f"{names[0]} must hold objects")
        yield value


def _first(fields: Fields, names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _has(fields: Fields, names: Sequence[str]) -> bool:
    return any(name in fields for name in names)
