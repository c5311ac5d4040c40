"""Which connections a settled node takes, and whether its failure is handled by one of them."""

from enum import Enum, auto
from typing import NamedTuple

from flowledger.domain.workflows.definition import ConnectionType, NodeType
from flowledger.domain.workflows.frames import Arrived, Container, Frame
from flowledger.domain.workflows.graph import CompiledNode, CompiledWorkflow, Edge
from flowledger.domain.workflows.scope import StepScope
from flowledger.domain.workflows.steps import Outcome, StepStatus
from flowledger.errors import ExpressionError


class Result(Enum):
    """What a node's end means for its connections."""

    SUCCEEDED = auto()
    SKIPPED = auto()
    HANDLED = auto()
    CONTINUED = auto()
    UNHANDLED = auto()


class Connected(NamedTuple):
    """The places of the edges that are taken; the others are dead."""

    result: Result
    taken: frozenset[int] = frozenset()


def connect(
    workflow: CompiledWorkflow, frame: Frame, node: CompiledNode, outcome: Outcome, scope: StepScope
) -> Connected:
    """Return which connections are taken; those of a container's branches among ``exits`` too.

    :raises ExpressionError: when the condition of a connection has no value.
    """
    if outcome.status in (StepStatus.FAILED, StepStatus.CANCELLED):
        handlers = _taken(workflow, node, outcome, scope, ("failure", "always"))
        if handlers:
            return Connected(Result.HANDLED, handlers)
        if node.node.options.get("continue_on_failure") is not True and not continues(workflow, frame):
            return Connected(Result.UNHANDLED)
        result, container = Result.CONTINUED, None
    elif outcome.status is StepStatus.SKIPPED and not outcome.manual:
        if node.index in frame.dead or node.node.options.get("skip_as") != "success":
            return Connected(Result.SKIPPED)
        result, container = Result.SKIPPED, None
    else:
        result = Result.SUCCEEDED
        container = None if outcome.manual else frame.containers.get(node.index)
    taken = _taken(workflow, node, outcome, scope, ("success", "always"))
    if container is None:  # nothing inside has decided which of its ways out are taken
        return Connected(result, taken | {edge.index for edge in node.exits})
    return Connected(result, taken | left_with(container).keys())


def continues(workflow: CompiledWorkflow, frame: Frame) -> bool:
    """Return whether the execution goes on after any failure; in a branch or pass its container decides."""
    return frame.owner is None and workflow.error_handling == "continue"


def left_with(container: Container | None) -> dict[int, Arrived]:
    """Return the connections that were taken out of a container's branches, and what they bring along."""
    inside = container.frames.values() if container else ()
    return {index: each for frame in inside for index, each in frame.exits.items() if each.taken}


def _taken(
    workflow: CompiledWorkflow, node: CompiledNode, outcome: Outcome, scope: StepScope, on: tuple[str, str]
) -> frozenset[int]:
    edges = [edge for edge in node.outgoing if edge.on in on]
    taken = {
        edge.index for edge in edges if not edge.is_default and _holds(workflow, edge, node, outcome, scope)
    }
    conditional = {edge.index for edge in edges if edge.kind is ConnectionType.CONDITIONAL}
    if not taken & conditional:
        taken |= {edge.index for edge in edges if edge.is_default}
    return frozenset(taken)


def _holds(
    workflow: CompiledWorkflow, edge: Edge, node: CompiledNode, outcome: Outcome, scope: StepScope
) -> bool:
    match edge.kind:
        case ConnectionType.CONDITIONAL_TRUE:
            return node.node.node_type == NodeType.CONDITION and outcome.output is True
        case ConnectionType.CONDITIONAL_FALSE:
            return node.node.node_type == NodeType.CONDITION and outcome.output is False
        case ConnectionType.CONDITIONAL if edge.condition is not None:
            try:
                statuses = scope.statuses if edge.condition.depends_on else {node.alias: outcome.status}
                return edge.condition.evaluate(scope, statuses)
            except ExpressionError as error:
                target = workflow.nodes[edge.target].alias
                raise ExpressionError(f"connection {node.alias} to {target}: {error}") from None
        case _:
            return True
