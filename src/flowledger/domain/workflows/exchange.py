"""Workflows as files: the exported form ``workflow/1``, its import, its digest, a graph as Mermaid.  Pure.

An exported workflow names nodes by alias instead of by number, so that it is the same wherever it lives.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowledger.domain.workflows.definition import NODE_OPTIONS, Document, alias_from, read
from flowledger.errors import UsageError

FORMAT = "workflow/1"
_HEAD = ("name", "description", "version", "config", "tags")
_NODE = ("alias", "name", "node_type", "config", "description", "position_x", "position_y")
_API = (
    *("name", "system", "method", "path", "url", "version", "enabled", "request_schema", "response_schema"),
    *("headers", "parameters", "timeout", "auth", "description"),
)


def exported(document: Document, apis: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the exported form of a workflow, with the entries of the API registry that it uses."""
    aliases = {node["id"]: node["alias"] for node in document.get("nodes") or ()}
    groups = [_exported_group(group, aliases) for group in document.get("groups") or ()]
    return {
        "format": FORMAT,
        **{name: document.get(name) for name in _HEAD if document.get(name) is not None},
        "nodes": [_exported_node(node) for node in document.get("nodes") or ()],
        "connections": [
            _exported_connection(connection, aliases)
            for connection in document.get("connections") or ()
            if connection["from_node_id"] in aliases and connection["to_node_id"] in aliases
        ],
        **({"groups": groups} if groups else {}),
        "apis": [{"id": api["id"], **{name: api[name] for name in _API if name in api}} for api in apis],
    }


def imported(exported_form: Any) -> dict[str, Any]:
    """Return the document of an exported workflow, with new numbers.

    :raises UsageError: with the place, when it is none.
    """
    if not isinstance(exported_form, Mapping) or exported_form.get("format") != FORMAT:
        raise UsageError(f'an exported workflow is an object with "format": "{FORMAT}"')
    nodes = [_as_object(node, "nodes") for node in _as_list(exported_form, "nodes")]
    aliases: list[str] = []
    for node in nodes:
        alias = node.get("alias") or alias_from(str(node.get("name") or node.get("node_type")), aliases)
        aliases.append(str(alias))
    if doubled := {alias for alias in aliases if aliases.count(alias) > 1}:
        raise UsageError(f"nodes: the alias {min(doubled)!r:.80} is there twice")
    numbers = {alias: number for number, alias in enumerate(aliases, 1)}
    document = {
        **{name: exported_form[name] for name in _HEAD if exported_form.get(name) is not None},
        "nodes": [
            _imported_node(node, alias, number)
            for number, (node, alias) in enumerate(zip(nodes, aliases, strict=True), 1)
        ],
        "connections": [
            _imported_connection(_as_object(each, "connections"), number, numbers)
            for number, each in enumerate(_as_list(exported_form, "connections"), 1)
        ],
        "groups": [
            _imported_group(_as_object(each, "groups"), number, numbers)
            for number, each in enumerate(_as_list(exported_form, "groups"), 1)
        ],
    }
    read(document)
    return document


def digest_of(document: Document) -> str:
    """Return the SHA-256 of a workflow's canonical JSON: keys sorted, without white space, in UTF-8."""
    text = json.dumps(exported(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def mermaid(document: Document) -> str:
    """Return a workflow as a Mermaid flowchart; nodes by their numbers, so that any name is safe."""
    lines = ["flowchart LR"]
    lines += [f'  n{node["id"]}["{_label(node)}"]' for node in document.get("nodes") or ()]
    known = {node["id"] for node in document.get("nodes") or ()}
    for connection in document.get("connections") or ():
        if {connection["from_node_id"], connection["to_node_id"]} <= known:
            word = connection.get("connection_type", "SEQUENCE")
            label = "" if word == "SEQUENCE" else f"|{word}|"
            lines.append(f"  n{connection['from_node_id']} -->{label} n{connection['to_node_id']}")
    return "\n".join(lines) + "\n"


def _label(node: Mapping[str, Any]) -> str:
    name = str(node["name"]).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f"{name.replace('>', '&gt;')}<br/>{node['node_type']}".replace("\n", " ")


def _exported_node(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node[name] for name in (*_NODE, *NODE_OPTIONS) if node.get(name) not in (None, "")}


def _exported_connection(connection: Mapping[str, Any], aliases: Mapping[int, str]) -> dict[str, Any]:
    more = {name: connection[name] for name in ("condition", "config") if connection.get(name)}
    return {
        "from": aliases[connection["from_node_id"]],
        "to": aliases[connection["to_node_id"]],
        "connection_type": connection.get("connection_type") or "SEQUENCE",
        **more,
    }


def _exported_group(group: Mapping[str, Any], aliases: Mapping[int, str]) -> dict[str, Any]:
    steps = [aliases[step] for step in group.get("steps") or () if step in aliases]
    return {**{name: value for name, value in group.items() if name != "id"}, "steps": steps}


def _imported_node(node: Mapping[str, Any], alias: str, number: int) -> dict[str, Any]:
    known = {name: node[name] for name in (*_NODE, *NODE_OPTIONS) if node.get(name) is not None}
    if unknown := set(node) - {*_NODE, *NODE_OPTIONS}:
        raise UsageError(f"node {alias}: unknown field {min(unknown)!r:.80}")
    return {"id": number, "config": {}, **known, "alias": alias, "name": node.get("name") or alias}


def _imported_connection(
    connection: Mapping[str, Any], number: int, numbers: Mapping[str, int]
) -> dict[str, Any]:
    ends = {}
    for name in ("from", "to"):
        alias = str(connection.get(name))
        if alias not in numbers:
            raise UsageError(f"connection {number}: {name}: there is no node with the alias {alias!r:.80}")
        ends[name] = numbers[alias]
    return {
        "id": number,
        "from_node_id": ends["from"],
        "to_node_id": ends["to"],
        "connection_type": connection.get("connection_type") or "SEQUENCE",
        "condition": connection.get("condition"),
        "config": connection.get("config") or {},
    }


def _imported_group(group: Mapping[str, Any], number: int, numbers: Mapping[str, int]) -> dict[str, Any]:
    steps = _as_list(group, "steps")
    if unknown := [alias for alias in steps if alias not in numbers]:
        raise UsageError(f"group {number}: there is no node with the alias {unknown[0]!r:.80}")
    return {**group, "id": number, "steps": [numbers[alias] for alias in steps]}


def _as_list(holder: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = holder.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise UsageError(f"{name} must be a list")
    return value


def _as_object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must hold objects")
    return value
