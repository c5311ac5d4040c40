"""When a PARALLEL returns and when a LOOP goes on: its frames' results, its policy, its output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowledger.domain.runs import Json
from flowledger.domain.workflows.definition import NodeType
from flowledger.domain.workflows.frames import Container, Frame, OpenStep
from flowledger.domain.workflows.graph import MOST_PASSES
from flowledger.domain.workflows.scope import StepScope
from flowledger.domain.workflows.steps import ErrorType, Outcome, StepStatus
from flowledger.errors import UsageError

POLICIES = ("wait_all", "wait_any", "fail_fast")
DEFAULT_CONCURRENT = 3
DEFAULT_PASSES = 10
MAX_ITERATIONS = "MaxIterations"
"""The error type of a LOOP that may not reach ``max_iterations`` (``on_max: fail``)."""


@dataclass(slots=True)
class Fork(Container):
    """A PARALLEL: its branches' statuses and results by the alias of each one's first node.

    ``members`` are the steps of a group that something led to; the others are skipped.  None: it is no group.
    """

    policy: str = "wait_all"
    limit: int = 0
    statuses: dict[str, StepStatus] = field(default_factory=dict)
    results: dict[str, Json] = field(default_factory=dict)
    aliases: Sequence[str] = ()
    failure: tuple[str, str] | None = None
    winner: str | None = None
    members: frozenset[int] | None = None

    def number_of(self, name: str) -> int:
        """Return the number of the branch whose first node has this alias."""
        return self.aliases.index(name)

    @property
    def has_room(self) -> bool:
        """Return whether another branch may begin."""
        return len(self.frames) < len(self.aliases) and (not self.limit or self.running < self.limit)

    def end_frame(self, frame: Frame) -> None:
        """Add a branch's end."""
        alias, status = self.aliases[frame.index], frame.status()
        self.statuses[alias] = status
        if status is StepStatus.SUCCESS:
            self.results[alias] = frame.result()
            self.winner = self.winner or alias
        if frame.failure and self.failure is None:
            self.failure = (f"branch {alias}: {frame.failure[0]}", frame.failure[1])

    def conclusion(self) -> Outcome | None:
        """Return how the PARALLEL ends as soon as its policy says so."""
        if self.policy == "wait_any" and self.winner is not None:
            return Outcome(StepStatus.SUCCESS, self.output())
        is_complete = len(self.statuses) == len(self.aliases)
        if self.failure is not None and (is_complete or self.policy == "fail_fast"):
            return self.failed(*self.failure)
        return Outcome(StepStatus.SUCCESS, self.output()) if is_complete else None

    def output(self) -> Json:
        """Return results and statuses; a branch that did not end is cancelled."""
        results = {each: self.results.get(each) for each in self.aliases}
        output: dict[str, Json] = {"results": results, "statuses": self.all_statuses()}
        return {"winner": self.winner, **output} if self.policy == "wait_any" else output

    def all_statuses(self) -> dict[str, Json]:
        """Return the statuses of all branches."""
        return {each: self.statuses.get(each, StepStatus.CANCELLED).value for each in self.aliases}


@dataclass(slots=True)
class Loop(Container):
    """A LOOP: passes over ``items``, or (None) as long as its condition holds."""

    items: Sequence[Json] | None = None
    limit: int = 1
    most: int = DEFAULT_PASSES
    breaks: bool = True
    fails_at_max: bool = False
    begun: int = 0
    ended: int = 0
    outputs: dict[int, Json] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    failure: tuple[str, str] | None = None
    latest: int | None = None
    is_over: bool = False
    reached_max: bool = False

    def number_of(self, name: str) -> int:
        """Return the number of a pass."""
        return int(name)

    @property
    def has_room(self) -> bool:
        """Return whether another pass may begin, as far as its condition lets it."""
        return not self.is_over and (not self.limit or self.running < self.limit)

    def is_decided(self, held: Outcome | None) -> bool:
        """Return whether it is clear without the condition if another pass follows."""
        passes = held.output.get("iterations") if held and isinstance(held.output, Mapping) else None
        if isinstance(passes, int):
            self.is_over = self.begun >= passes
            return True
        self.is_over = self.items is not None and self.begun >= len(self.items)
        return self.is_over

    def decide(self, holds: bool) -> None:
        """Let the condition, and the most passes, say if there is another one."""
        self.reached_max = holds and self.begun >= self.most
        self.is_over = not holds or self.reached_max

    def facts(self, index: int) -> dict[str, Json]:
        """Return what expressions find as ``loop`` in a pass.

        Over items ``last`` says whether it is the last one; else it is the output of the pass before.
        """
        previous = self.outputs.get(index - 1)
        is_listed = self.items is not None and index < len(self.items)
        return {
            "index": index,
            "iteration": index + 1,
            "item": self.items[index] if self.items is not None and is_listed else None,
            "first": index == 0,
            "last": previous if self.items is None else index == len(self.items) - 1,
            "previous": previous,
        }

    def end_frame(self, frame: Frame) -> None:
        """Add a pass's end; only the frame of the latest pass stays."""
        index = frame.index
        self.ended += 1
        self.outputs[index] = None if frame.failure else frame.result()
        if frame.failure:
            self.errors[index] = frame.failure[0]
            self.is_over = self.is_over or self.breaks
            self.failure = self.failure or (f"pass {index}: {frame.failure[0]}", frame.failure[1])
        if self.latest is None or index > self.latest:
            previous, self.latest = self.latest, index
            last = frame.last()
            self.response = (frame.response_of(last) if last is not None else None) or self.response
        else:
            previous = index
        if previous is not None:
            self.frames.pop(previous, None)

    def conclusion(self) -> Outcome | None:
        """Return how the LOOP ends once no pass runs and none follows."""
        if self.running or not self.is_over:
            return None
        if self.failure is not None and self.breaks:
            return self.failed(*self.failure)
        if self.reached_max and self.fails_at_max:
            return self.failed(f"the loop has not ended after {self.most:,} passes", MAX_ITERATIONS)
        return Outcome(StepStatus.SUCCESS, self.output())

    def output(self) -> Json:
        """Return the passes' outputs in order."""
        return {
            "iterations": self.ended,
            "items": [self.outputs[each] for each in sorted(self.outputs)],
            "errors": [{"index": each, "error": self.errors[each]} for each in sorted(self.errors)],
            "reached_max": self.reached_max,
        }


def opened(step: OpenStep, scope: StepScope) -> Fork | Loop:
    """Return what a PARALLEL or LOOP opens.

    :raises UsageError: when its config is of another kind, or an expression in it has no value.
    """
    node = step.node
    config = {name: template.render(scope) for name, template in node.templates.items()}
    return (_loop if node.node.node_type == NodeType.LOOP else _fork)(step, config, scope)


def _fork(step: OpenStep, config: Mapping[str, Json], scope: StepScope) -> Fork:
    workflow = scope.facts.workflow
    firsts = (workflow.regions[each].first for each in step.node.branches)
    return Fork(
        step.frame,
        step.node,
        step.key,
        timeout_s=timeout_s(config, step.node.node.options),
        policy=policy_of(config),
        limit=limit_of(config, DEFAULT_CONCURRENT),
        aliases=tuple(workflow.nodes[each].alias for each in firsts),
        members=_members(step),
    )


def _members(step: OpenStep) -> frozenset[int] | None:
    if all(edge.member is None for edge in step.node.incoming):
        return None
    taken = step.frame.taken.get(step.node.index, ())
    return frozenset(edge.member for edge in taken if edge.member is not None)


def _loop(step: OpenStep, config: Mapping[str, Json], scope: StepScope) -> Loop:
    """Return a loop; without ``max_iterations`` one over items takes them all, up to 1,000."""
    items = config.get("items")
    if "items" in config and not isinstance(items, list | tuple):
        raise UsageError(f"items must be a list, not {type(items).__name__ if items is not None else 'null'}")
    return Loop(
        step.frame,
        step.node,
        step.key,
        response=scope.response,
        timeout_s=timeout_s(config, step.node.node.options),
        items=items if isinstance(items, list | tuple) else None,
        limit=1 if items is None else limit_of(config, 1),
        most=passes_of(config),
        breaks=config.get("break_on_error") is not False,
        fails_at_max=on_max_of(config) == "fail",
    )


def policy_of(config: Mapping[str, Json]) -> str:
    """Return a PARALLEL's policy.

    :raises UsageError: when it is none.
    """
    policy = config.get("sync_policy") or ("wait_any" if config.get("wait_for_all") is False else "wait_all")
    if policy not in POLICIES:
        raise UsageError(f"sync_policy must be one of {', '.join(POLICIES)}, not {policy!r:.80}")
    return str(policy)


def limit_of(config: Mapping[str, Json], default: int) -> int:
    """Return how many branches or passes may run at once; 0 means all.

    :raises UsageError: when it is no such number.
    """
    return whole_number(config, "max_concurrent", default, most=1_000_000)


def passes_of(config: Mapping[str, Json]) -> int:
    """Return how many passes a LOOP has at most.

    :raises UsageError: when it is no such number.
    """
    default = DEFAULT_PASSES if config.get("items") is None else MOST_PASSES
    return whole_number(config, "max_iterations", default, least=1, most=MOST_PASSES)


def on_max_of(config: Mapping[str, Json]) -> str:
    """Return what a LOOP does when it has not ended after its passes.

    :raises UsageError: when it is neither warn nor fail.
    """
    on_max = config.get("on_max") or "warn"
    if on_max not in ("warn", "fail"):
        raise UsageError(f"on_max must be warn or fail, not {on_max!r:.80}")
    return str(on_max)


def timeout_s(config: Mapping[str, Json], options: Mapping[str, Json]) -> float | None:
    """Return after how many seconds a container is ended, None without a limit.

    :raises UsageError: when it is no number above 0.
    """
    value = (
        config.get("timeout_seconds") if config.get("timeout_seconds") is not None else options.get("timeout")
    )
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise UsageError(f"timeout_seconds must be a number above 0, not {value!r:.80}")
    return float(value)


def whole_number(config: Mapping[str, Json], name: str, default: int, *, least: int = 0, most: int) -> int:
    """Return a whole number of a config.

    :raises UsageError: when it is none, or out of bounds.
    """
    value = config.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most:,}, not {value!r:.80}")
    return value


def timed_out(container: Container) -> Outcome:
    """Return the outcome of a container whose time is over: what has ended is in its output."""
    return container.failed(f"not ended after {container.timeout_s:g} s", ErrorType.TIMEOUT)
