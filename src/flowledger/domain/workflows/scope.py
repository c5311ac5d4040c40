"""What expressions of a step find: ``input``, ``response``, ``loop``, the nodes before it, and so on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flowledger.domain.runs import Json
from flowledger.domain.workflows import operators
from flowledger.domain.workflows.frames import DEAD, Frame, locate
from flowledger.domain.workflows.graph import CompiledWorkflow
from flowledger.domain.workflows.steps import ExecutionFacts, Outcome, StepStatus


class ResponseValue(dict[str, Any]):
    """An answer ``{status, headers, body}``; also ``data``, and the fields of its body."""

    __slots__ = ()

    def get(self, name: str, default: Any = None) -> Any:
        """Return status, headers or body; ``data`` of the body, or the body; else a field of the body."""
        if name in self:
            return self[name]
        body = self["body"]
        if isinstance(body, Mapping) and name in body:
            return body[name]
        return body if name == "data" else default


def response_value(response: Mapping[str, Json] | None) -> Json:
    """Return a response as expressions find it; null without one."""
    if response is None:
        return None
    return ResponseValue({name: response.get(name) for name in ("status", "headers", "body")})


@dataclass(frozen=True, slots=True)
class Facts:
    """What is the same for all steps of an execution."""

    workflow: CompiledWorkflow
    execution: ExecutionFacts
    input: Json
    variables: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class StepScope:
    """The roots that a step of a frame sees.

    ``response`` is the nearest one before it, ``loop`` the pass that it is in.
    """

    facts: Facts
    frame: Frame
    response: Mapping[str, Json] | None = None
    previous: Json = None
    loop: Mapping[str, Json] | None = None

    def with_response(self, response: Mapping[str, Json] | None) -> "StepScope":
        """Return the scope for what follows an answer: its ``output_mapping`` and its connections."""
        return replace(self, response=response)

    def for_pass(self, loop: Mapping[str, Json], response: Mapping[str, Json] | None) -> "StepScope":
        """Return the scope in which a LOOP's condition is tested before a pass."""
        return replace(self, loop=loop, response=response, previous=loop["previous"])

    def root(self, name: str) -> Json:
        """Return a root's value.

        :raises KeyError: when there is none of that name.
        """
        roots = _ROOTS.get(name)
        return self.value_of(name) if roots is None else roots(self)

    def value_of(self, name: str) -> Json:
        """Return a node's value by its alias, else by its name.

        :raises KeyError: when there is no such node.
        """
        workflow = self.facts.workflow
        index = workflow.by_alias.get(name)
        index = workflow.by_name[name] if index is None else index
        outcome = self.outcome(index)
        return None if outcome is None else node_value(outcome)

    def outcome(self, index: int) -> Outcome | None:
        """Return how a node ended, as far as this step can know."""
        frame = locate(self.facts.workflow, self.frame, index)
        return None if frame is None else frame.outcomes.get(index)

    @property
    def statuses(self) -> "Statuses":
        """Return the statuses of all nodes that have settled."""
        return Statuses(self)


def scope_of(facts: Facts, frame: Frame, index: int) -> StepScope:
    """Return the scope of a node that has been reached in a frame."""
    before = frame.before.get(index, DEAD)
    loop = next((each.loop for each in frame.upwards() if each.loop is not None), None)
    return StepScope(facts, frame, before.response, before.previous, loop)


def node_value(outcome: Outcome) -> operators.Described:
    """Return what expressions find under a node's alias: its output, and how it ended."""
    facts = {
        "response": response_value(outcome.response),
        "status": outcome.status.value,
        "error": outcome.error,
        "error_type": outcome.error_type,
    }
    return operators.Described(outcome.output, facts)


class Statuses(Mapping[str, StepStatus]):
    """Statuses of settled nodes by their alias, name or id."""

    def __init__(self, scope: StepScope) -> None:
        self._scope = scope

    def __getitem__(self, name: str) -> StepStatus:
        outcome = self._scope.outcome(self._scope.facts.workflow.place(name))
        if outcome is None:
            raise KeyError(name)
        return outcome.status

    def __iter__(self) -> Iterator[str]:
        return (
            node.alias
            for node in self._scope.facts.workflow.nodes
            if self._scope.outcome(node.index) is not None
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Nodes(dict[str, Any]):
    """All nodes by name, for names that are no identifier."""

    __slots__ = ("scope",)

    def __init__(self, scope: StepScope) -> None:
        super().__init__()
        self.scope = scope

    def get(self, name: str, default: Any = None) -> Any:
        """Return a node's value by its name or alias."""
        try:
            return self.scope.value_of(name)
        except KeyError:
            return default


def _execution(scope: StepScope) -> Json:
    facts = scope.facts.execution
    return {
        "id": facts.id,
        "execution_id": facts.execution_id,
        "attempt": facts.attempt,
        "started_at": facts.started_at.isoformat(),
        "workflow_id": facts.workflow_id,
        "version": facts.version,
    }


_ROOTS: Mapping[str, Any] = {
    "input": lambda scope: scope.facts.input,
    "variables": lambda scope: scope.facts.variables,
    "response": lambda scope: response_value(scope.response),
    "previous_step": lambda scope: scope.previous,
    "loop": lambda scope: scope.loop,
    "execution": _execution,
    "nodes": _Nodes,
}
