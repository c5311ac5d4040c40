"""Steps that have been reached and not settled: what runs, what waits, and how much has settled."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from flowledger.domain.workflows.containers import Fork, Loop
from flowledger.domain.workflows.frames import Container, Frame, OpenStep, State, gate_key
from flowledger.domain.workflows.graph import CompiledNode, CompiledWorkflow
from flowledger.domain.workflows.steps import (
    Action,
    CancelStep,
    ErrorType,
    EventType,
    Note,
    Outcome,
    RunStep,
    SetTimer,
    StepSettled,
    StepStatus,
    WaitStep,
)


@dataclass(slots=True)
class OpenSteps:
    """The open steps of an execution by key, and the actions that follow from what happens to them.

    ``held`` are outcomes of earlier attempts, until their step has them; while they are replayed, a step that
    has none yet may have run.  ``complete`` are frames in which nothing runs any more after a failure.
    ``counted`` is the weight of what has settled.
    """

    workflow: CompiledWorkflow
    by_key: dict[str, OpenStep] = field(default_factory=dict)
    running: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    held: dict[str, Outcome] = field(default_factory=dict)
    complete: list[Frame] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    counted: float = 0.0
    is_replaying: bool = False

    def add(self, frame: Frame, node: CompiledNode) -> OpenStep:
        """Open a step."""
        step = OpenStep(frame, node, f"{frame.prefix}{node.alias}")
        frame.open[node.index] = self.by_key[step.key] = step
        return step

    def note_pass(self, key: str, index: int) -> None:
        """Note that a pass of a loop begins."""
        self.actions.append(Note(EventType.LOOP_ITERATION, key, {"index": index, "iteration": index + 1}))

    def take_actions(self) -> list[Action]:
        """Return the actions since the last time, without timers of what has settled meanwhile."""
        actions, self.actions = self.actions, []
        return [each for each in actions if not isinstance(each, SetTimer) or each.key in self.by_key]

    # ---------------------------------------------------------------- what happens to a step

    def run(self, step: OpenStep, delay_s: float) -> None:
        """Let a handler run a step."""
        step.state = State.RUNNING
        self.running[step.key] = None
        self._count_active(step.frame, 1)
        self.actions.append(RunStep(step.key, step.node.alias, delay_s))

    def wait(self, step: OpenStep, wait: WaitStep) -> None:
        """Park a step, or the approval before it."""
        step.state = State.WAITING
        self.waiting[wait.key] = None
        self._count_active(step.frame, 1)
        self.actions.append(wait)

    def delay(self, step: OpenStep, seconds: float) -> None:
        """Start a step later; until then it counts as running."""
        step.state = State.DELAYED
        self.running[step.key] = None
        self.actions.append(SetTimer(step.key, seconds))

    def enter(self, step: OpenStep, container: Container) -> None:
        """Open a container."""
        step.state, step.container = State.OPEN, container
        step.frame.containers[step.node.index] = container
        if container.timeout_s is not None:
            self.actions.append(SetTimer(step.key, container.timeout_s))

    def make_ready(self, step: OpenStep) -> None:
        """Take a step back to where it has not started."""
        if step.state in (State.RUNNING, State.WAITING):
            key = _key_now(step)
            self.running.pop(key, None)
            self.waiting.pop(key, None)
            self._count_active(step.frame, -1)
        elif step.state is State.DELAYED:
            del self.running[step.key]
        step.state = State.READY

    def drop_timers(self) -> None:
        """Take back all steps that wait for a timer to start."""
        for step in self.by_key.values():
            if step.state is State.DELAYED:
                self.make_ready(step)

    def settle(self, step: OpenStep, outcome: Outcome, *, is_recorded: bool) -> Outcome:
        """Settle a step and return its outcome: what was held of it counts more than what is new."""
        held = self.held.pop(step.key, None)
        outcome = held or outcome
        container = step.container
        if container is not None:
            for frame in container.frames.values():
                self.close(frame, f"{step.node.alias} has ended", is_recorded=held is not None)
        self._remove(step, outcome)
        if held is None and not is_recorded:
            self.actions.append(StepSettled(step.key, step.node.alias, outcome))
            if isinstance(container, Fork):
                self.actions.append(_joined(container, outcome))
        weight = self.workflow.weights[step.node.index]
        self.count(step.frame, weight - (container.counted if container else 0))
        return outcome

    def cancel(self, step: OpenStep, reason: str, *, is_recorded: bool = False) -> None:
        """Cancel a step; one that has not started leaves nothing."""
        held = self.held.pop(step.key, None)
        outcome = held or Outcome(StepStatus.CANCELLED, error=reason, error_type=ErrorType.CANCELLED)
        state, key = step.state, self._key_before(step)
        if step.container is not None:
            for frame in step.container.frames.values():
                frame.is_closed = True
        has_begun = self.is_replaying or state in (State.RUNNING, State.WAITING, State.OPEN)
        self._remove(step, outcome if held or has_begun else None)
        if held is not None or is_recorded or not has_begun:
            return
        if state is State.OPEN:
            self.actions.append(StepSettled(step.key, step.node.alias, outcome))
        else:
            self.actions.append(CancelStep(key, reason))

    def _key_before(self, step: OpenStep) -> str:
        """Return the key under which a step runs or waits, or did so before it is replayed."""
        gate = gate_key(step.key)
        has_gate = "approval_config" in step.node.templates and not step.is_approved
        return gate if has_gate and step.state is State.READY and gate not in self.held else _key_now(step)

    def _remove(self, step: OpenStep, outcome: Outcome | None) -> None:
        self.make_ready(step)
        del step.frame.open[step.node.index], self.by_key[step.key]
        if outcome is not None:
            step.frame.outcomes[step.node.index] = outcome

    # ---------------------------------------------------------------- what happens to a frame

    def stop(self, frame: Frame, reason: str) -> None:
        """Let nothing start in a frame any more: waits are cancelled, what runs may end."""
        frame.is_stopping = True
        for step in list(_open_below(frame)):
            if step.state is State.WAITING:
                self.cancel(step, reason)
            elif step.state is State.DELAYED:
                self.make_ready(step)
        if not frame.active:
            self.complete.append(frame)

    def close(self, frame: Frame, reason: str, *, is_recorded: bool = False) -> None:
        """Cancel all that is open in a frame and below it, inner steps first."""
        if frame.is_closed:
            return
        for step in reversed(list(_open_below(frame))):
            self.cancel(step, reason, is_recorded=is_recorded)
        frame.is_closed = True

    def _count_active(self, frame: Frame, number: int) -> None:
        for each in frame.upwards():
            each.active += number
            if each.is_stopping and not each.active:
                self.complete.append(each)

    def count(self, frame: Frame, weight: float) -> None:
        """Add to what has settled; a loop adds for whole passes."""
        while frame.owner is not None:
            if isinstance(frame.owner, Loop):
                return
            frame.owner.counted += weight
            frame = frame.owner.frame
        self.counted += weight

    def count_pass(self, loop: Loop) -> None:
        """Add a pass of a loop over items to what has settled."""
        if loop.items:
            part = (self.workflow.weights[loop.node.index] - 1) / len(loop.items)
            loop.counted += part
            self.count(loop.frame, part)


def is_waiting_for(step: OpenStep, key: str) -> bool:
    """Return whether a step runs or waits under this key."""
    return step.state in (State.RUNNING, State.WAITING) and key == _key_now(step)


def _key_now(step: OpenStep) -> str:
    is_gate = step.state is State.WAITING and not step.is_approved
    return gate_key(step.key) if is_gate else step.key


def _open_below(frame: Frame) -> Iterator[OpenStep]:
    """Yield the open steps of a frame and of the frames below it, outer ones first."""
    pending = [frame]
    while pending:
        for step in pending.pop().open.values():
            yield step
            if step.container is not None:
                pending.extend(each for each in step.container.frames.values() if not each.is_closed)


def _joined(fork: Fork, outcome: Outcome) -> Note:
    facts = {"status": outcome.status.value, "statuses": fork.all_statuses(), "winner": fork.winner}
    return Note(EventType.PARALLEL_JOINED, fork.key, facts)
