"""Nodes that no handler runs: what START, END, CONDITION, MERGE and TRANSFORM give, what a wait waits for."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from flowledger.domain.runs import Json
from flowledger.domain.workflows import delays
from flowledger.domain.workflows.conditions import Condition
from flowledger.domain.workflows.definition import NodeType
from flowledger.domain.workflows.frames import OpenStep, gate_key
from flowledger.domain.workflows.graph import CompiledNode
from flowledger.domain.workflows.scope import StepScope
from flowledger.domain.workflows.steps import ErrorType, Outcome, StepStatus, WaitKind, WaitStep
from flowledger.errors import ExpressionError, UsageError

DECIDED = frozenset((NodeType.START, NodeType.END, NodeType.CONDITION, NodeType.MERGE, NodeType.TRANSFORM))
CONTAINERS = frozenset((NodeType.PARALLEL, NodeType.LOOP))
ENDED_BY_WORKFLOW = "WorkflowFailed"
"""The error type of an END with ``error_message``."""


def failure(error: UsageError) -> Outcome:
    """Return the outcome of a step whose expressions or config have no result."""
    error_type = ErrorType.EXPRESSION if isinstance(error, ExpressionError) else ErrorType.VALIDATION
    return Outcome(StepStatus.FAILED, error=str(error), error_type=error_type)


def decide(step: OpenStep, scope: StepScope) -> Outcome:
    """Return how a node ends that no handler runs."""
    try:
        return _DECISIONS[NodeType(step.node.node.node_type)](step, scope)
    except UsageError as error:
        return failure(error)


def applies(step: OpenStep, scope: StepScope) -> bool:
    """Return whether a node's own conditions let it run.

    :raises ExpressionError: when one has no result.
    """
    return _holds(step.node.condition, step.node, scope)


def holds(node: CompiledNode, scope: StepScope) -> bool:
    """Return whether the condition in a CONDITION's or LOOP's config is true.

    :raises ExpressionError: when it has no result.
    """
    return _holds(node.test, node, scope)


def _holds(condition: Condition | None, node: CompiledNode, scope: StepScope) -> bool:
    if condition is None:
        return True
    if condition.depends_on:
        return condition.evaluate(scope, scope.statuses)
    nodes = scope.facts.workflow.nodes
    sources = {edge.source: scope.outcome(edge.source) for edge in node.incoming}
    statuses = {nodes[index].alias: each.status for index, each in sources.items() if each is not None}
    return condition.evaluate(scope, statuses)


def wait_of(step: OpenStep, scope: StepScope) -> WaitStep | None:
    """Return what a node waits for, None where a handler runs it.

    :raises UsageError: when its config has no result.
    """
    node = step.node
    kind = _WAITS.get(node.node.node_type)
    if kind is None:
        return None
    config = _object(node.templates["config"].render(scope))
    if kind is not WaitKind.DELAY:
        return WaitStep(step.key, node.alias, kind, config)
    delay = delays.delay_of(config)
    if isinstance(delay, datetime):
        return WaitStep(step.key, node.alias, kind, {"until": delay.isoformat()})
    if delay <= delays.LONGEST_IN_PROCESS_S:
        return None
    return WaitStep(step.key, node.alias, kind, {"seconds": delay})


def gate_of(step: OpenStep, scope: StepScope) -> WaitStep:
    """Return the approval that stands before a node.

    :raises UsageError: when its config has no result.
    """
    facts = _object(step.node.templates["approval_config"].render(scope))
    return WaitStep(gate_key(step.key), step.node.alias, WaitKind.APPROVAL, facts, gate=True)


def output_of(ends: Mapping[tuple[int, ...], Mapping[str, Json]]) -> Json:
    """Return the output of the END that was reached, by alias where there are several.

    ``ends`` are their outputs by the position of their frame.  Those inside branches and passes count where
    none outside was reached; later passes hide earlier ones.
    """
    outputs = dict(ends.get((), {}))
    if not outputs:
        for position in sorted(ends):
            outputs |= ends[position]
    return next(iter(outputs.values())) if len(outputs) == 1 else (outputs or None)


def _object(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise UsageError("the config is no object")
    return value


def _start(_step: OpenStep, scope: StepScope) -> Outcome:
    return Outcome(StepStatus.SUCCESS, scope.facts.input)


def _end(step: OpenStep, scope: StepScope) -> Outcome:
    templates = step.node.templates
    if "error_message" in templates:
        message = templates["error_message"].render(scope)
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        return Outcome(StepStatus.FAILED, error=text, error_type=ENDED_BY_WORKFLOW)
    if "output" in templates:
        return Outcome(StepStatus.SUCCESS, templates["output"].render(scope))
    return Outcome(StepStatus.SUCCESS, _taken(step, scope))


def _condition(step: OpenStep, scope: StepScope) -> Outcome:
    return Outcome(StepStatus.SUCCESS, holds(step.node, scope))


def _transform(step: OpenStep, scope: StepScope) -> Outcome:
    return Outcome(StepStatus.SUCCESS, step.node.templates["value"].render(scope))


def _merge(step: OpenStep, scope: StepScope) -> Outcome:
    taken = _taken(step, scope)
    strategy = str(step.node.node.config.get("strategy") or "ALL").upper()
    if strategy == "FIRST":
        return Outcome(StepStatus.SUCCESS, next(iter(taken.values()), None))
    if strategy == "MAJORITY":
        return _majority(taken)
    nodes = scope.facts.workflow.nodes
    aliases = (nodes[edge.source].alias for edge in step.node.incoming)
    return Outcome(StepStatus.SUCCESS, {alias: taken.get(alias) for alias in aliases})


def _majority(taken: Mapping[str, Json]) -> Outcome:
    values = {alias: json.dumps(value, sort_keys=True, default=str) for alias, value in taken.items()}
    (text, number), *_ = Counter(values.values()).most_common(1) or [("", 0)]
    if number * 2 <= len(values):
        return failure(
            UsageError(f"no value has a majority: {len(set(values.values()))} of {len(values)} differ")
        )
    return Outcome(StepStatus.SUCCESS, next(taken[alias] for alias, value in values.items() if value == text))


def _taken(step: OpenStep, scope: StepScope) -> dict[str, Json]:
    """Return the outputs of the nodes whose connections were taken, in the order in which they were."""
    nodes = scope.facts.workflow.nodes
    sources = (edge.source for edge in step.frame.taken.get(step.node.index, ()))
    outcomes = ((nodes[index].alias, scope.outcome(index)) for index in sources)
    return {alias: outcome.output for alias, outcome in outcomes if outcome is not None}


_DECISIONS = {
    NodeType.START: _start,
    NodeType.END: _end,
    NodeType.CONDITION: _condition,
    NodeType.TRANSFORM: _transform,
    NodeType.MERGE: _merge,
}
_WAITS = {
    NodeType.DELAY.value: WaitKind.DELAY,
    NodeType.APPROVAL.value: WaitKind.APPROVAL,
    NodeType.SUBWORKFLOW.value: WaitKind.CHILD,
}
