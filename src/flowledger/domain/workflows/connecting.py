"""Which connections a settled node takes, and whether its failure is handled by one of them."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from flowledger.domain.workflows.conditions import Condition
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

    :raises ExpressionError: when the condition of a connection has no value, unless all failures are gone on
        from: then the connection is dead.
    """
    goes_on = continues(workflow, frame)
    ways = _Ways(workflow, node, outcome, scope, goes_on)
    result, container = Result.SUCCEEDED, frame.containers.get(node.index)
    if outcome.status in (StepStatus.FAILED, StepStatus.CANCELLED):
        handlers = ways.taken("failure", "always")
        if handlers:
            return Connected(Result.HANDLED, handlers)
        if node.node.options.get("continue_on_failure") is not True and not goes_on:
            return Connected(Result.UNHANDLED)
        result, container = Result.CONTINUED, None
    elif outcome.manual:
        container = None
    elif outcome.status is StepStatus.SKIPPED:
        if node.index in frame.dead or node.node.options.get("skip_as") != "success":
            return Connected(Result.SKIPPED)
        result, container = Result.SKIPPED, None
    taken = ways.taken("success", "always")
    result = Result.CONTINUED if ways.has_error else result
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


@dataclass(slots=True)
class _Ways:
    """The connections of one node that has settled."""

    workflow: CompiledWorkflow
    node: CompiledNode
    outcome: Outcome
    scope: StepScope
    goes_on: bool
    has_error: bool = False

    def taken(self, *on: str) -> frozenset[int]:
        """Return those that are taken, of the ones for these outcomes."""
        edges = [edge for edge in self.node.outgoing if edge.on in on]
        taken = {edge.index for edge in edges if not edge.is_default and self._holds(edge)}
        if not any(edge.kind is ConnectionType.CONDITIONAL and edge.index in taken for edge in edges):
            taken |= {edge.index for edge in edges if edge.is_default}
        return frozenset(taken)

    def _holds(self, edge: Edge) -> bool:
        is_condition = self.node.node.node_type == NodeType.CONDITION
        match edge.kind:
            case ConnectionType.CONDITIONAL_TRUE:
                return is_condition and self.outcome.output is True
            case ConnectionType.CONDITIONAL_FALSE:
                return is_condition and self.outcome.output is False
            case ConnectionType.CONDITIONAL if edge.condition is not None:
                return self._is_true(edge, edge.condition)
            case _:
                return True

    def _is_true(self, edge: Edge, condition: Condition) -> bool:
        own = {self.node.alias: self.outcome.status}
        try:
            return condition.evaluate(self.scope, self.scope.statuses if condition.depends_on else own)
        except ExpressionError as error:
            if self.goes_on:
                self.has_error = True
                return False
            target = self.workflow.nodes[edge.target].alias
            raise ExpressionError(f"connection {self.node.alias} to {target}: {error}") from None
