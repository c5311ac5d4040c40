"""The shape of a workflow: which nodes are a loop's body or a branch, and where branches join.

Every node is in exactly one region: the workflow itself, a branch of a PARALLEL, or the body of a LOOP.  What
is wrong with the shape goes to ``report`` as (node, field, message); the rest is still worked out, so that
all faults come at once.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowledger.domain.workflows.definition import (
    Connection,
    ConnectionType,
    Definition,
    Node,
    NodeType,
    alias_from,
)

Report = Callable[[str | None, str, str], None]


@dataclass(frozen=True, slots=True)
class Link:
    """A connection between nodes by their places in ``Shape.nodes``.

    ``member`` is the node of a group that the connection led to before the group's PARALLEL took its place.
    """

    source: int
    target: int
    connection: Connection
    member: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """Nodes that settle together: one branch, one body, or (``owner`` None) the workflow itself."""

    owner: int | None
    first: int | None
    nodes: tuple[int, ...]


@dataclass(slots=True)
class Shape:
    """Nodes, those of groups last; links without the ways back of loops; regions, the workflow's first.

    ``order`` holds the nodes in an order in which each comes after all that lead to it.
    """

    nodes: list[Node]
    links: list[Link] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    region_of: list[int] = field(default_factory=list)
    groups: dict[int, tuple[int, ...]] = field(default_factory=dict)
    returning: set[int] = field(default_factory=set)
    has_cycle: bool = False

    def outgoing(self) -> list[list[Link]]:
        """Return the links that leave each node."""
        ways: list[list[Link]] = [[] for _ in self.nodes]
        for link in self.links:
            ways[link.source].append(link)
        return ways


def shape_of(definition: Definition, report: Report) -> Shape:
    """Return the shape of a workflow."""
    shape = Shape(list(definition.nodes))
    _link(shape, definition, report)
    _add_paths(shape, report)
    bodies = _take_bodies(shape, report)
    grouped = _add_groups(shape, definition, report)
    bodies = [_with_groups(body, grouped) for body in bodies]
    _sort(shape, report)
    branches = [] if shape.has_cycle else _branches(shape, report)
    _assign(shape, [*bodies, *branches], report)
    return shape


def _link(shape: Shape, definition: Definition, report: Report) -> None:
    places = {node.id: index for index, node in reversed(list(enumerate(shape.nodes)))}
    for connection in definition.connections:
        ends = (places.get(connection.from_id), places.get(connection.to_id))
        if ends[0] is None or ends[1] is None:
            missing = connection.from_id if ends[0] is None else connection.to_id
            report(None, f"connections[{connection.id}]", f"there is no node {missing}")
            continue
        shape.links.append(Link(ends[0], ends[1], connection))


def _add_groups(shape: Shape, definition: Definition, report: Report) -> dict[int, int]:
    """Put a PARALLEL around the steps of each group; what led to a step leads to it.

    Return the place of the group of each step.
    """
    places = {node.id: index for index, node in enumerate(shape.nodes)}
    grouped: dict[int, int] = {}
    for group in definition.groups:
        members = tuple(dict.fromkeys(places[each] for each in group.node_ids if each in places))
        for unknown in (each for each in group.node_ids if each not in places):
            report(None, f"groups[{group.name}]", f"there is no node {unknown}")
        for member in members:
            if member in grouped:
                report(shape.nodes[member].alias, f"groups[{group.name}]", "is in two groups")
        members = tuple(each for each in members if each not in grouped)
        if len(members) < 2:
            report(None, f"groups[{group.name}]", "a parallel group needs two steps or more")
            continue
        alias = alias_from(group.name, {node.alias for node in shape.nodes})
        config = {"sync_policy": group.sync_policy, "timeout_seconds": group.timeout_seconds}
        shape.nodes.append(
            Node(-group.id, alias, group.name, NodeType.PARALLEL, {**config, "max_concurrent": 0})
        )
        shape.groups[len(shape.nodes) - 1] = members
        grouped |= dict.fromkeys(members, len(shape.nodes) - 1)
    _check_independence(shape, grouped, report)
    shape.links = [
        replace(link, target=grouped[link.target], member=link.target) if link.target in grouped else link
        for link in shape.links
    ]
    for index, members in shape.groups.items():
        shape.links += [Link(index, each, _implied(ConnectionType.PARALLEL)) for each in members]
    return grouped


def _with_groups(body: Region, grouped: Mapping[int, int]) -> Region:
    """Return a body with the groups of its steps."""
    groups = {grouped[each] for each in body.nodes if each in grouped}
    first = grouped.get(body.first, body.first) if body.first is not None else None
    return replace(body, first=first, nodes=(*body.nodes, *sorted(groups)))


def _check_independence(shape: Shape, grouped: Mapping[int, int], report: Report) -> None:
    if not grouped:
        return
    ways = shape.outgoing()
    for member, group in grouped.items():
        reached = reachable((link.target for link in ways[member]), ways)
        for other in sorted(each for each in reached if grouped.get(each) == group):
            report(
                shape.nodes[other].alias,
                f"groups[{shape.nodes[group].name}]",
                f"depends on {shape.nodes[member].alias}, which is in the same parallel group",
            )
            shape.has_cycle = True


def _add_paths(shape: Shape, report: Report) -> None:
    """Let ``true_path`` and ``false_path`` of a CONDITION be connections."""
    sides = (
        ("true_path", ConnectionType.CONDITIONAL_TRUE),
        ("false_path", ConnectionType.CONDITIONAL_FALSE),
    )
    names = {node.name: index for index, node in reversed(list(enumerate(shape.nodes)))}
    names |= {node.alias: index for index, node in enumerate(shape.nodes)}
    for index, node in enumerate(shape.nodes):
        if node.node_type != NodeType.CONDITION:
            continue
        for name, kind in sides:
            value = node.config.get(name)
            if value in (None, ""):
                continue
            if not isinstance(value, str) or value not in names:
                report(node.alias, name, f"there is no node {value!r:.80}")
                continue
            if not _add_path(shape, index, names[value], kind):
                report(node.alias, name, f"its {kind} connection leads to another node than {value!r:.80}")


def _add_path(shape: Shape, source: int, target: int, kind: ConnectionType) -> bool:
    """Add a connection where there is none of this kind; return whether those that are agree with it."""
    leaving = [link for link in shape.links if link.source == source]
    targets = {link.target for link in leaving if link.connection.connection_type == kind}
    if targets:
        return target in targets
    for place, link in enumerate(shape.links):
        plain = link.connection.connection_type == ConnectionType.SEQUENCE
        if link.source == source and link.target == target and plain:
            shape.links[place] = replace(link, connection=replace(link.connection, connection_type=kind))
            return True
    shape.links.append(Link(source, target, _implied(kind)))
    return True


def _implied(kind: ConnectionType) -> Connection:
    return Connection(0, 0, 0, kind)


def _take_bodies(shape: Shape, report: Report) -> list[Region]:
    """Return the bodies of loops, and drop their ways back.

    What follows a loop is in no body, so that a way there from inside is a fault.
    """
    ways = shape.outgoing()
    regions = []
    for index, node in enumerate(shape.nodes):
        first = [
            each.target for each in ways[index] if each.connection.connection_type == ConnectionType.LOOP
        ]
        exits = [
            each.target for each in ways[index] if each.connection.connection_type != ConnectionType.LOOP
        ]
        if node.node_type != NodeType.LOOP or not first:
            continue
        body = reachable(first, ways, stop=index) - reachable(exits, ways, stop=index)
        if first[0] not in body:
            report(node.alias, "connections", "its LOOP connection leads to itself or to what follows it")
            continue
        regions.append(Region(index, first[0], tuple(sorted(body))))
        shape.returning |= {
            link.source for link in shape.links if link.target == index and link.source in body
        }
        shape.links = [link for link in shape.links if link.target != index or link.source not in body]
    return regions


def reachable(first: Iterable[int], ways: Sequence[Sequence[Link]], stop: int | None = None) -> set[int]:
    """Return some nodes and all that they lead to, without going through ``stop``."""
    reached = {each for each in first if each != stop}
    waiting = list(reached)
    while waiting:
        for link in ways[waiting.pop()]:
            if link.target not in reached and link.target != stop:
                reached.add(link.target)
                waiting.append(link.target)
    return reached


def _sort(shape: Shape, report: Report) -> None:
    remaining = [0] * len(shape.nodes)
    ways = shape.outgoing()
    for link in shape.links:
        remaining[link.target] += 1
    ready = deque(index for index, number in enumerate(remaining) if not number)
    while ready:
        index = ready.popleft()
        shape.order.append(index)
        for link in ways[index]:
            remaining[link.target] -= 1
            if not remaining[link.target]:
                ready.append(link.target)
    rest = set(range(len(shape.nodes))) - set(shape.order)
    if not rest:
        return
    shape.has_cycle = True
    for index in sorted(rest):
        if index in reachable((link.target for link in ways[index]), ways):
            report(shape.nodes[index].alias, "connections", "is part of a cycle that is no body of a LOOP")


def _branches(shape: Shape, report: Report) -> list[Region]:
    ways = shape.outgoing()
    position = {index: place for place, index in enumerate(shape.order)}
    regions: list[Region] = []
    for index, node in enumerate(shape.nodes):
        if index in shape.groups:
            regions += [Region(index, member, (member,)) for member in shape.groups[index]]
            continue
        if node.node_type != NodeType.PARALLEL:
            continue
        first = list(
            dict.fromkeys(
                link.target
                for link in ways[index]
                if link.connection.connection_type == ConnectionType.PARALLEL
            )
        )
        join = _join(shape, first, ways, position)
        owner: dict[int, int] = {}
        for each in first:
            if each == join:
                report(
                    node.alias,
                    "connections",
                    f"the branch to {shape.nodes[each].alias} has no node of its own",
                )
                continue
            branch = reachable([each], ways, stop=join)
            regions.append(Region(index, each, tuple(sorted(branch))))
            for shared in sorted(owner.keys() & branch):
                report(
                    shape.nodes[shared].alias,
                    "connections",
                    f"is in two branches of {node.alias}: a branch leaves its region around the join",
                )
            owner |= dict.fromkeys(branch, each)
    return regions


def _join(
    shape: Shape, first: Collection[int], ways: Sequence[Sequence[Link]], position: Mapping[int, int]
) -> int | None:
    """Return the nearest node that all ways from ``first`` to an end go through, or None.

    Ways that end at a node without connections, or at an END that fails the execution, do not count where
    others go on: they are side ways of their branch.
    """
    inner = [
        [link for link in links if link.connection.connection_type != ConnectionType.LOOP] for links in ways
    ]
    reached = reachable(first, inner)
    ends = {each for each in reached if each in shape.returning or _is_end(shape.nodes[each])}
    ends = ends or {each for each in reached if not inner[each]}
    along: set[int] = set()
    for index in sorted(reached, key=position.__getitem__, reverse=True):
        if index in ends or any(link.target in along for link in inner[index]):
            along.add(index)
    # Each comes after all that lead to it, so that a node which no way passes over is on all ways.
    starts = [position[each] for each in first if each in along]
    if len(starts) < 2:
        return None
    furthest = max(starts)
    for index in sorted(along, key=position.__getitem__):
        if furthest <= position[index]:
            return index
        targets = [position[link.target] for link in inner[index] if link.target in along]
        furthest = max([furthest, *targets, *([len(shape.nodes)] if index in ends else [])])
    return None


def _is_end(node: Node) -> bool:
    return node.node_type == NodeType.END and not node.config.get("error_message")


def _assign(shape: Shape, inner: Sequence[Region], report: Report) -> None:
    """Assign each node its smallest region, so that an inner container's nodes leave the outer one."""
    place = {index: number for number, index in enumerate(shape.order)}
    regions = sorted(
        (_whole(region, inner, shape) for region in inner), key=lambda region: -len(region.nodes)
    )
    shape.region_of = [0] * len(shape.nodes)
    for number, region in enumerate(regions, 1):
        for index in region.nodes:
            shape.region_of[index] = number
    members: list[list[int]] = [[] for _ in range(len(regions) + 1)]
    for index in sorted(range(len(shape.nodes)), key=lambda each: place.get(each, len(place))):
        members[shape.region_of[index]].append(index)
    starts = [each for each in members[0] if shape.nodes[each].node_type == NodeType.START]
    whole = Region(None, starts[0] if starts else None, tuple(members[0]))
    shape.regions = [whole]
    shape.regions += [
        replace(region, nodes=tuple(members[number])) for number, region in enumerate(regions, 1)
    ]
    if not shape.has_cycle:
        _check_borders(shape, regions, report)


def _whole(region: Region, regions: Sequence[Region], shape: Shape) -> Region:
    """Return the branch of a group with what is inside its step."""
    if region.owner not in shape.groups:
        return region
    nodes = set(region.nodes)
    pending = list(nodes)
    while pending:
        owner = pending.pop()
        inside = {each for other in regions if other.owner == owner for each in other.nodes} - nodes
        nodes |= inside
        pending.extend(inside)
    return replace(region, nodes=tuple(sorted(nodes)))


def _check_borders(shape: Shape, regions: Sequence[Region], report: Report) -> None:
    """Report connections that enter a region elsewhere than at its first node, or leave a body."""
    inside = [set(range(len(shape.nodes))), *(set(region.nodes) for region in regions)]
    for link in shape.links:
        kind = link.connection.connection_type
        source, target = shape.nodes[link.source], shape.nodes[link.target]
        region = shape.regions[shape.region_of[link.target]]
        is_entry = link.source == region.owner and kind in (ConnectionType.PARALLEL, ConnectionType.LOOP)
        if link.source not in inside[shape.region_of[link.target]] and not is_entry:
            owner = shape.nodes[region.owner or 0].alias
            report(
                target.alias, "connections", f"{source.alias} leads into the middle of {owner} from outside"
            )
            continue
        number = shape.region_of[link.source]
        while number and link.target not in inside[number]:
            owner_index = shape.regions[number].owner or 0
            if shape.nodes[owner_index].node_type == NodeType.LOOP:
                message = f"leaves the body of {shape.nodes[owner_index].alias}; lead on from the LOOP itself"
                report(source.alias, "connections", message)
                break
            number = shape.region_of[owner_index]
