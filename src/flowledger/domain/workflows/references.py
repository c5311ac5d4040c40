"""Expressions of a workflow: whether they can be read, what they refer to, and whether that will be there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from flowledger.domain.workflows import conditions, expressions, graph, regions, templates
from flowledger.domain.workflows.definition import ConnectionType, Definition, Node, NodeType
from flowledger.errors import ExpressionError

ROOTS = frozenset(
    ("input", "response", "loop", "execution", "variables", "previous_step", "nodes", "secrets")
)
_NO_TEMPLATES = frozenset(
    ("output_mapping", "condition", "conditions", "retry_policy", "true_path", "false_path")
)
_SECRET_PLACES = ("config.headers", "config.body")
Part = expressions.Expression | templates.Template | conditions.Condition
Report = Callable[[str | None, str, str], None]
Read = tuple[int, str, Part]
"""The place of a node in the shape, the field, what was read."""


def check(definition: Definition, shape: regions.Shape, error: Report, warn: Report) -> None:
    """Report what cannot be read, unknown names, and names of nodes that may be skipped."""
    parts = list(_parts(definition, shape, error))
    names = _names(shape)
    loops = _inside_loops(shape)
    certain = None if shape.has_cycle else _Certainty(shape)
    for index, place, part in parts:
        alias = shape.nodes[index].alias
        for warning in part.warnings:
            warn(alias, place, warning)
        for path in part.references:
            problem = _unknown(path, place, names)
            if problem:
                error(alias, place, problem)
            elif path[0] == "loop" and index not in loops:
                error(alias, place, "loop is known only inside a LOOP")
            target = _target(path, names)
            if target is not None and certain is not None and path[1:2] not in _FACTS:
                doubt = certain.doubt(target, index, place)
                if doubt:
                    warn(alias, place, f"{shape.nodes[target].alias} {doubt}")


_FACTS = (("status",), ("error",), ("error_type",))
"""What is asked of a step that may have failed or been skipped."""


def _names(shape: regions.Shape) -> Mapping[str, int]:
    names = {node.name: index for index, node in reversed(list(enumerate(shape.nodes)))}
    return names | {node.alias: index for index, node in enumerate(shape.nodes)}


def _unknown(path: tuple[str, ...], place: str, names: Mapping[str, int]) -> str | None:
    if path[0] == "secrets" and not place.startswith(_SECRET_PLACES):
        return "secrets are given only to headers and bodies of calls"
    if path[0] not in ROOTS and path[0] not in names:
        return f"unknown name {path[0]!r:.80}"
    if path[0] == "nodes" and len(path) > 1 and path[1] not in names:
        return f"there is no node {path[1]!r:.80}"
    return None


def _target(path: tuple[str, ...], names: Mapping[str, int]) -> int | None:
    if path[0] == "nodes":
        return names.get(path[1]) if len(path) > 1 else None
    return None if path[0] in ROOTS else names.get(path[0])


def _parts(definition: Definition, shape: regions.Shape, error: Report) -> Iterator[Read]:
    for index, node in enumerate(shape.nodes):
        for place, read in _texts(node):
            try:
                yield index, place, read()
            except ExpressionError as problem:
                error(node.alias, place, str(problem))
    places = {node.id: index for index, node in enumerate(shape.nodes)}
    for connection in definition.connections:
        if connection.connection_type is not ConnectionType.CONDITIONAL or connection.from_id not in places:
            continue
        index, place = places[connection.from_id], f"connections[{connection.id}].condition"
        try:
            yield index, place, conditions.condition_of(connection.condition)
        except ExpressionError as problem:
            error(shape.nodes[index].alias, place, str(problem))


def _texts(node: Node) -> Iterator[tuple[str, Callable[[], Part]]]:
    """Yield each field that holds expressions, and how it is read."""
    for name, value in node.config.items():
        if name == "items" and node.node_type == NodeType.LOOP:
            value = graph.bracketed(value)  # noqa: PLW2901 - a bare path is one in brackets
        if name not in _NO_TEMPLATES:
            yield f"config.{name}", partial(templates.compile_template, value)
    mapping = node.config.get("output_mapping")
    if isinstance(mapping, Mapping):
        for name, text in mapping.items():
            yield f"config.output_mapping.{name}", partial(expressions.parse, text)
    if node.node_type in (NodeType.CONDITION, NodeType.LOOP):
        name = "condition" if "condition" in node.config else "conditions"
        yield f"config.{name}", partial(conditions.condition_of, node.config.get(name))
    yield "conditions", partial(conditions.condition_of, node.options.get("conditions"))
    for name in ("approval_config", "notification_config"):
        if node.options.get(name):
            yield name, partial(templates.compile_template, node.options[name])


def _inside_loops(shape: regions.Shape) -> set[int]:
    """Return the nodes that have a ``loop``: those in bodies, and LOOPs for their condition."""
    inside = {index for index, node in enumerate(shape.nodes) if node.node_type == NodeType.LOOP}
    for index in range(len(shape.nodes)):
        region = shape.regions[shape.region_of[index]]
        while region.owner is not None:
            if shape.nodes[region.owner].node_type == NodeType.LOOP:
                inside.add(index)
                break
            region = shape.regions[shape.region_of[region.owner]]
    return inside


class _Certainty:
    """Which nodes surely run, and which have run before another does; sets of nodes are bits of integers."""

    def __init__(self, shape: regions.Shape) -> None:
        size = len(shape.nodes)
        incoming: list[list[regions.Link]] = [[] for _ in range(size)]
        for link in shape.links:
            incoming[link.target].append(link)
        self.inner = _inner(shape)
        self.surely = [False] * size
        self.before = [0] * size
        self.always = [0] * size
        for index in shape.order:
            links = incoming[index]
            self.surely[index] = not shape.nodes[index].options.get("conditions") and (
                not links or any(self.surely[each.source] and _is_certain(each, shape) for each in links)
            )
            self.always[index] = _intersection(
                [self.always[each.source] | 1 << each.source for each in links]
            )
            for each in links:
                inside = 0 if each.connection.connection_type in _ENTRIES else self.inner[each.source]
                self.before[index] |= self.before[each.source] | 1 << each.source | inside

    def doubt(self, target: int, index: int, place: str) -> str | None:
        """Return why a node may have no output when another one uses it."""
        is_own = target == index and place.startswith(("connections", "config.output_mapping"))
        if is_own or self.inner[index] >> target & 1:
            return None
        if not self.before[index] >> target & 1:
            return "does not run before this"
        if self.surely[target] or self.always[index] >> target & 1:
            return None
        return "may be skipped"


def _intersection(sets: Sequence[int]) -> int:
    if not sets:
        return 0
    common = sets[0]
    for each in sets[1:]:
        common &= each
    return common


_ENTRIES = (ConnectionType.PARALLEL, ConnectionType.LOOP)


def _is_certain(link: regions.Link, shape: regions.Shape) -> bool:
    """Return whether a connection is taken whenever its source succeeds: a loop may have no pass."""
    kind, source = link.connection.connection_type, shape.nodes[link.source]
    if kind is ConnectionType.PARALLEL:
        return (
            source.config.get("sync_policy") != "wait_any" and source.config.get("wait_for_all") is not False
        )
    return kind is ConnectionType.SEQUENCE and link.connection.config.get("on", "success") != "failure"


def _inner(shape: regions.Shape) -> list[int]:
    """Return the nodes inside each container."""
    inner = [0] * len(shape.nodes)
    for region in reversed(shape.regions[1:]):
        if region.owner is not None:
            for index in region.nodes:
                inner[region.owner] |= 1 << index | inner[index]
    return inner
