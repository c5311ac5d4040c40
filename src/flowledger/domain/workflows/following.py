"""What follows a step: all that has to be done anew when an execution restarts from it.  Pure."""

from collections.abc import Mapping
from typing import Any

from flowledger.domain.workflows import regions, retrying
from flowledger.domain.workflows.definition import Definition, Document, Node
from flowledger.errors import UsageError


def followers(workflow: Definition, alias: str) -> frozenset[str]:
    """Return the aliases of a node, of the containers it is in, and of all that comes after any of them."""
    shape = regions.shape_of(workflow, lambda *_: None)
    places = {node.alias: place for place, node in enumerate(shape.nodes)}
    outgoing = shape.outgoing()
    waiting = [places[alias], *_containers(shape, places[alias])]
    reached = set(waiting)
    while waiting:
        for link in outgoing[waiting.pop()]:
            if link.target not in reached:
                reached.add(link.target)
                waiting.append(link.target)
    return frozenset(shape.nodes[place].alias for place in reached)


def _containers(shape: regions.Shape, place: int) -> list[int]:
    """Return the places of the containers that a node is in, the innermost first."""
    owners: list[int] = []
    owner = shape.regions[shape.region_of[place]].owner
    while owner is not None and owner not in owners:
        owners.append(owner)
        owner = shape.regions[shape.region_of[owner]].owner
    return owners


def max_retries(node: Mapping[str, Any], document: Document) -> int:
    """Return how often a node is tried again; 0 where its policy is none."""
    made = Node(
        id=int(node.get("id") or 0),
        alias=str(node.get("alias", "")),
        name=str(node.get("name", "")),
        node_type=str(node.get("node_type", "")),
        config=node.get("config") or {},
        options={"retry_policy": node["retry_policy"]} if node.get("retry_policy") else {},
    )
    try:
        return retrying.policy_of(made, document.get("config") or {}).max_retries
    except UsageError:
        return 0
