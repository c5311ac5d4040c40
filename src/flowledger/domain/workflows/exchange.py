"""Workflows as files: the exported form ``workflow/1``, its import, its digest, a graph as Mermaid.  Pure.

An exported workflow names nodes by alias instead of by number, so that it is the same wherever it lives.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowledger.domain.workflows import old_exports
from flowledger.domain.workflows.definition import NODE_OPTIONS, Document, read
from flowledger.domain.workflows.old_exports import FORMAT, HEAD, NODE_FIELDS
from flowledger.errors import UsageError

_API = (
    *(
        "name",
        "system",
        "base_url",
        "method",
        "path",
        "url",
        "version",
        "enabled",
        "request_schema",
        "response_schema",
    ),
    *("headers", "parameters", "timeout", "auth", "description"),
)


def exported(document: Document, apis: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the exported form of a workflow, with the entries of the API registry that it uses."""
    aliases = {node["id"]: node["alias"] for node in document.get("nodes") or ()}
    groups = [_exported_group(group, aliases) for group in document.get("groups") or ()]
    return {
        "format": FORMAT,
        **{name: document.get(name) for name in HEAD if document.get(name) is not None},
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

    Exports of older programs are read too (``old_exports``).

    :raises UsageError: with the place, when it is none.
    """
    form = old_exports.current_form(exported_form)
    nodes = form["nodes"]
    numbers: dict[str, int] = {}
    for number, node in enumerate(nodes, 1):
        alias = str(node["alias"])
        if alias in numbers:
            raise UsageError(f"nodes: the alias {alias!r:.80} is there twice")
        numbers[alias] = number
    document = {
        **{name: form[name] for name in HEAD if form.get(name) is not None},
        "nodes": [_imported_node(node, number) for number, node in enumerate(nodes, 1)],
        "connections": [
            _imported_connection(each, number, numbers) for number, each in enumerate(form["connections"], 1)
        ],
        "groups": [
            {**group, "id": number, "steps": [numbers[alias] for alias in group["steps"]]}
            for number, group in enumerate(form["groups"], 1)
        ],
    }
    read(document)
    return document


def with_numbers_of(stored: Document, document: Document) -> dict[str, Any]:
    """Return a document whose nodes have the numbers that those of the same alias have in another one.

    A node that is new there gets a number that none has had.
    """
    numbers = {node["alias"]: node["id"] for node in stored.get("nodes") or ()}
    last = max([(stored.get("numbers") or {}).get("nodes", 0), *numbers.values()], default=0)
    for node in document["nodes"]:
        if node["alias"] not in numbers:
            last += 1
            numbers[node["alias"]] = last
    new = {node["id"]: numbers[node["alias"]] for node in document["nodes"]}
    ends = ("from_node_id", "to_node_id")
    return {
        **document,
        "nodes": [{**node, "id": new[node["id"]]} for node in document["nodes"]],
        "connections": [
            {**each, **{end: new[each[end]] for end in ends}} for each in document["connections"]
        ],
        "groups": [
            {**group, "steps": [new[step] for step in group["steps"]]} for group in document["groups"]
        ],
        "numbers": {**(stored.get("numbers") or {}), "nodes": last},
    }


def apis_of(exported_form: Any) -> Sequence[Mapping[str, Any]]:
    """Return the entries of the API registry that an exported workflow brings, each with its ``id``.

    :raises UsageError: when one is no object, or has no id.
    """
    apis = exported_form.get("apis") if isinstance(exported_form, Mapping) else None
    if apis is not None and not isinstance(apis, list | tuple):
        raise UsageError("apis must be a list")
    for number, api in enumerate(apis or (), 1):
        if not isinstance(api, Mapping) or not isinstance(api.get("id"), int):
            raise UsageError(f"apis, entry {number}: must be an object with the id that nodes have as api_id")
    return apis or ()


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
    return {name: node[name] for name in (*NODE_FIELDS, *NODE_OPTIONS) if node.get(name) not in (None, "")}


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


def _imported_node(node: Mapping[str, Any], number: int) -> dict[str, Any]:
    known = {name: value for name, value in node.items() if value is not None}
    alias = str(node["alias"])
    return {"id": number, "config": {}, **known, "alias": alias, "name": node.get("name") or alias}


def _imported_connection(
    connection: Mapping[str, Any], number: int, numbers: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "id": number,
        "from_node_id": numbers[connection["from"]],
        "to_node_id": numbers[connection["to"]],
        "connection_type": connection.get("connection_type") or "SEQUENCE",
        "condition": connection.get("condition"),
        "config": connection.get("config") or {},
    }
