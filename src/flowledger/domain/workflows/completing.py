"""Makes a draft executable as people mean it: a START before what nothing leads to, an END after the last.

Old clients define no START and no END, and connect nodes before they make them.  A draft is executed with
both added and without connections that lead nowhere; publishing asks for the whole.  Pure.
"""

from collections.abc import Sequence
from typing import Any

from flowledger.domain.workflows.definition import ConnectionType, Document, NodeType, alias_from

_INTO_BODIES = (ConnectionType.PARALLEL, ConnectionType.LOOP)


def completed(document: Document) -> tuple[dict[str, Any], Sequence[str]]:
    """Return a draft with what it needs to be executed, and a sentence for each thing that was done."""
    nodes = [dict(node) for node in document.get("nodes") or ()]
    known = {node["id"] for node in nodes}
    connections = []
    notes: list[str] = []
    for connection in document.get("connections") or ():
        ends = (connection["from_node_id"], connection["to_node_id"])
        if missing := [str(end) for end in ends if end not in known]:
            notes.append(f"connection {connection['id']} was left out: there is no node {', '.join(missing)}")
        else:
            connections.append(dict(connection))
    if nodes:
        _add_start(nodes, connections, notes)
        _add_end(nodes, connections, notes)
    return {**document, "nodes": nodes, "connections": connections}, notes


def _add_start(nodes: list[dict[str, Any]], connections: list[dict[str, Any]], notes: list[str]) -> None:
    if any(node["node_type"] == NodeType.START for node in nodes):
        return
    reached = {connection["to_node_id"] for connection in connections}
    first = [node["id"] for node in nodes if node["id"] not in reached]
    if first:
        start = _add_node(nodes, NodeType.START)
        _connect(connections, [(start, node) for node in first])
        notes.append("a START was put before what nothing leads to")


def _add_end(nodes: list[dict[str, Any]], connections: list[dict[str, Any]], notes: list[str]) -> None:
    if any(node["node_type"] == NodeType.END for node in nodes):
        return
    onward: dict[int, list[int]] = {}
    for connection in connections:
        if connection.get("connection_type") not in _INTO_BODIES:
            onward.setdefault(connection["from_node_id"], []).append(connection["to_node_id"])
    starts = [node["id"] for node in nodes if node["node_type"] == NodeType.START]
    # What is reached through PARALLEL and LOOP connections only ends with its branch.
    reached, waiting = set(starts), list(starts)
    while waiting:
        for target in onward.get(waiting.pop(), ()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    last = [node["id"] for node in nodes if node["id"] in reached and not onward.get(node["id"])]
    if last:
        end = _add_node(nodes, NodeType.END)
        _connect(connections, [(node, end) for node in last])
        notes.append("an END was put after what leads nowhere")


def _add_node(nodes: list[dict[str, Any]], node_type: NodeType) -> int:
    number = 1 + max(int(node["id"]) for node in nodes)
    alias = alias_from(node_type.lower(), [node["alias"] for node in nodes])
    names = {node["name"] for node in nodes}
    name = node_type.value if node_type.value not in names else alias
    nodes.append({"id": number, "name": name, "alias": alias, "node_type": node_type.value, "config": {}})
    return number


def _connect(connections: list[dict[str, Any]], ways: Sequence[tuple[int, int]]) -> None:
    for source, target in ways:
        number = max((connection["id"] for connection in connections), default=0) + 1
        connections.append(
            {"id": number, "from_node_id": source, "to_node_id": target, "connection_type": "SEQUENCE"}
        )
