"""A published workflow, ready to be planned: nodes in regions, with expressions and templates compiled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowledger.domain.runs import Json
from flowledger.domain.workflows import conditions, regions, templates
from flowledger.domain.workflows.definition import Connection, ConnectionType, Definition, Node, NodeType
from flowledger.errors import ExpressionError, InvalidWorkflowError

MOST_PASSES = 1_000
"""``max_iterations`` of a LOOP at most."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A way from one node to another.

    ``on`` is the outcome of its source that it takes: success, failure or always.  One that ``leaves``
    leads out of its source's region: it is decided there, and taken when the container has succeeded.
    """

    index: int
    source: int
    target: int
    kind: ConnectionType
    on: str
    condition: conditions.Condition | None
    is_default: bool
    delay_s: float
    leaves: bool
    member: int | None


@dataclass(frozen=True, slots=True)
class CompiledNode:
    """A node in its region, with what leads to it and from it.

    ``branches`` are the regions that a PARALLEL or LOOP owns, ``exits`` the edges that lead out of them.
    ``templates`` are those of its config that the planner renders.
    """

    index: int
    node: Node
    region: int
    incoming: tuple[Edge, ...]
    outgoing: tuple[Edge, ...]
    exits: tuple[Edge, ...]
    branches: tuple[int, ...]
    condition: conditions.Condition | None
    templates: Mapping[str, templates.Template]
    test: conditions.Condition | None

    @property
    def alias(self) -> str:
        """Return the identifier that keys and expressions use."""
        return self.node.alias

    @property
    def joins_any(self) -> bool:
        """Return whether the first connection taken starts it."""
        return self.node.options.get("join") == "any"


@dataclass(frozen=True, slots=True)
class CompiledRegion:
    """A region's nodes, each after all that lead to it, and how many edges have to settle before each.

    ``chain`` are the regions from the whole workflow down to this one; ``weights`` count a node with all
    that is inside it.
    """

    index: int
    owner: int | None
    first: int
    nodes: tuple[int, ...]
    waits: Mapping[int, int]
    chain: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CompiledWorkflow:
    """A definition and its graph; ``by_alias`` and ``by_name`` give places in ``nodes``."""

    definition: Definition
    nodes: tuple[CompiledNode, ...]
    regions: tuple[CompiledRegion, ...]
    weights: tuple[int, ...]
    by_alias: Mapping[str, int]
    by_name: Mapping[str, int]
    by_id: Mapping[str, int]

    def place(self, name: str) -> int:
        """Return the place of a node by its alias, name or id.

        :raises KeyError: when there is none.
        """
        for places in (self.by_alias, self.by_name):
            if name in places:
                return places[name]
        return self.by_id[name]

    @property
    def error_handling(self) -> str:
        """Return what follows a failure that nothing handles: stop, continue or cancel."""
        return str(self.definition.config.get("error_handling") or "stop")


def compile_workflow(definition: Definition) -> CompiledWorkflow:
    """Return a published workflow, ready to be planned.

    :raises InvalidWorkflowError: when it has no such shape, or an expression cannot be read; publishing
        (``validation``) finds more.
    """
    problems: list[str] = []

    def report(alias: str | None, field: str, message: str) -> None:
        if field in ("true_path", "false_path"):
            return  # a draft can be executed: its connections count, or that side leads nowhere
        problems.append(f"{alias or 'workflow'}: {field}: {message}")

    shape = regions.shape_of(definition, report)
    if shape.regions[0].first is None:
        report(None, "nodes", "there is no START")
    owners = {region.owner for region in shape.regions}
    for index, node in enumerate(shape.nodes):
        if node.node_type in (NodeType.PARALLEL, NodeType.LOOP) and index not in owners:
            report(node.alias, "connections", f"no {node.node_type} connection leads from it")
    if problems:
        raise InvalidWorkflowError(f"workflow {definition.name!r:.80} cannot be executed", problems)
    try:
        return _compiled(definition, shape)
    except ExpressionError as error:
        raise InvalidWorkflowError(f"workflow {definition.name!r:.80}: {error}", [str(error)]) from error


def _compiled(definition: Definition, shape: regions.Shape) -> CompiledWorkflow:
    chains = _chains(shape)
    edges = [_edge(number, link, shape) for number, link in enumerate(shape.links)]
    incoming: list[list[Edge]] = [[] for _ in shape.nodes]
    outgoing: list[list[Edge]] = [[] for _ in shape.nodes]
    exits: list[list[Edge]] = [[] for _ in shape.nodes]
    for edge in edges:
        if edge.kind in _ENTRIES:
            continue
        incoming[edge.target].append(edge)
        outgoing[edge.source].append(edge)
        inner, outer = chains[shape.region_of[edge.source]], chains[shape.region_of[edge.target]]
        for number in inner[len(outer) :]:
            exits[shape.regions[number].owner or 0].append(edge)
    branches: list[list[int]] = [[] for _ in shape.nodes]
    for number, region in enumerate(shape.regions[1:], 1):
        branches[region.owner or 0].append(number)
    order = {first: place for place, first in enumerate(edge.target for edge in edges)}
    nodes = tuple(
        CompiledNode(
            index=index,
            node=node,
            region=shape.region_of[index],
            incoming=tuple(incoming[index]),
            outgoing=tuple(outgoing[index]),
            exits=tuple(exits[index]),
            branches=tuple(sorted(branches[index], key=lambda each: order[shape.regions[each].first or 0])),
            condition=_node_condition(node),
            templates=_templates(node),
            test=_test(node),
        )
        for index, node in enumerate(shape.nodes)
    )
    compiled = tuple(
        CompiledRegion(
            index=number,
            owner=region.owner,
            first=region.first or 0,
            nodes=region.nodes,
            waits={each: len(incoming[each]) for each in region.nodes},
            chain=chains[number],
        )
        for number, region in enumerate(shape.regions)
    )
    return CompiledWorkflow(
        definition,
        nodes,
        compiled,
        _weights(shape),
        {node.alias: index for index, node in enumerate(shape.nodes)},
        {node.name: index for index, node in reversed(list(enumerate(shape.nodes)))},
        {str(node.id): index for index, node in enumerate(shape.nodes)},
    )


_ENTRIES = (ConnectionType.PARALLEL, ConnectionType.LOOP)


def _edge(number: int, link: regions.Link, shape: regions.Shape) -> Edge:
    connection, kind = link.connection, link.connection.connection_type
    condition = None
    if kind is ConnectionType.CONDITIONAL and connection.condition not in (None, ""):
        condition = conditions.condition_of(connection.condition)
    source, target = shape.region_of[link.source], shape.region_of[link.target]
    target_index = link.target if link.member is None else link.member
    return Edge(
        index=number,
        source=link.source,
        target=link.target,
        kind=kind,
        on=_on(connection, shape.nodes[link.source], shape.nodes[target_index]),
        condition=condition,
        is_default=kind is ConnectionType.CONDITIONAL and connection.config.get("default") is True,
        delay_s=_seconds(connection.config.get("delay")),
        leaves=source != target and kind not in _ENTRIES,
        member=link.member,
    )


def _on(connection: Connection, source: Node, target: Node) -> str:
    """Return the outcome that a connection takes: failure, where its target has ``on_failure``."""
    on = connection.config.get("on")
    if isinstance(on, str):
        return on
    condition = target.options.get("conditions")
    if not isinstance(condition, Mapping) or condition.get("type") != "on_failure":
        return "success"
    steps = condition.get("depends_on") or ()
    names = {str(each) for each in steps} if isinstance(steps, list | tuple) else set()
    return "failure" if not names or names & {source.alias, source.name, str(source.id)} else "success"


def _seconds(value: object) -> float:
    return max(0.0, float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _chains(shape: regions.Shape) -> list[tuple[int, ...]]:
    """Return the regions that lead down to each; a larger region stands before those inside it."""
    chains: list[tuple[int, ...]] = [(0,)]
    for number, region in enumerate(shape.regions[1:], 1):
        chains.append((*chains[shape.region_of[region.owner or 0]], number))
    return chains


def _weights(shape: regions.Shape) -> tuple[int, ...]:
    weights = [1] * len(shape.nodes)
    for number in range(len(shape.regions) - 1, 0, -1):
        region = shape.regions[number]
        weights[region.owner or 0] += sum(weights[each] for each in region.nodes)
    return tuple(weights)


def _node_condition(node: Node) -> conditions.Condition | None:
    value = node.options.get("conditions")
    logic = str(node.options.get("condition_logic") or "and")
    return conditions.condition_of(value, logic=logic) if value else None


def _test(node: Node) -> conditions.Condition | None:
    """Return the condition of a CONDITION or LOOP; empty means always."""
    if node.node_type not in (NodeType.CONDITION, NodeType.LOOP):
        return None
    value = node.config.get("condition", node.config.get("conditions"))
    return conditions.condition_of(value) if value else None


def planned_values(node: Node) -> dict[str, Any]:
    """Return the parts of a node's config that the planner renders itself."""
    config = node.config
    match node.node_type:
        case NodeType.END:
            values = {name: config.get(name) for name in ("output", "error_message") if config.get(name)}
            return {**values, **({"output": config["output"]} if config.get("output") is not None else {})}
        case NodeType.TRANSFORM:
            return {
                "value": next(
                    (config[name] for name in ("template", "output") if name in config), dict(config)
                )
            }
        case NodeType.LOOP:
            return {name: config[name] for name in ("items", *LOOP_OPTIONS) if config.get(name) is not None}
        case NodeType.PARALLEL:
            return {name: config[name] for name in PARALLEL_OPTIONS if config.get(name) is not None}
        case NodeType.DELAY | NodeType.APPROVAL | NodeType.SUBWORKFLOW:
            return {"config": dict(config)}
        case _:
            return {}


LOOP_OPTIONS = ("max_iterations", "break_on_error", "on_max", "max_concurrent", "timeout_seconds")
PARALLEL_OPTIONS = ("max_concurrent", "wait_for_all", "sync_policy", "timeout_seconds")


def _templates(node: Node) -> dict[str, templates.Template]:
    compiled = {name: _template(node, name, value) for name, value in planned_values(node).items()}
    gate = node.options.get("approval_config")
    if node.options.get("approval_required") is True:
        compiled["approval_config"] = templates.compile_template(gate or {})
    return compiled


def _template(node: Node, name: str, value: Json) -> templates.Template:
    if node.node_type == NodeType.LOOP and name == "items":
        value = bracketed(value)
    return templates.compile_template(value)


def bracketed(value: Json) -> Json:
    """Return ``items`` of a LOOP with brackets around a bare path (``input.rows``)."""
    return f"{{{{{value}}}}}" if isinstance(value, str) and "{" not in value else value
