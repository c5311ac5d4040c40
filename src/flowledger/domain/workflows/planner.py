"""What may start next in an execution, given what has settled.  Pure: a driver does what it asks for.

Every node that is reached becomes an open step of its frame.  ``_advance`` works off what has happened, one
thing at a time and without recursion: outcomes go along connections, nodes become ready, complete frames let
their container decide.  Steps that only need thinking settle at once; the others are asked for by actions.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from flowledger.domain.runs import Json, RunStatus
from flowledger.domain.workflows import connecting, containers, deciding, frames
from flowledger.domain.workflows.connecting import Result
from flowledger.domain.workflows.containers import Fork, Loop
from flowledger.domain.workflows.definition import Node, NodeType
from flowledger.domain.workflows.frames import Arrived, Container, Frame, OpenStep, State
from flowledger.domain.workflows.graph import CompiledNode, CompiledWorkflow, Edge
from flowledger.domain.workflows.open_steps import OpenSteps, is_waiting_for
from flowledger.domain.workflows.scope import Facts, StepScope, scope_of
from flowledger.domain.workflows.steps import Action, Done, ErrorType, ExecutionFacts, Outcome, StepStatus
from flowledger.errors import ExpressionError, UsageError

PLANNER_FORMAT = 1
"""Grows when records of older planners can no longer be replayed."""


class Planner:
    """Plans one execution of one version."""

    def __init__(
        self,
        workflow: CompiledWorkflow,
        execution: ExecutionFacts,
        input: Json,
        variables: Mapping[str, Json],
    ) -> None:
        self._workflow = workflow
        self._facts = Facts(workflow, execution, input, variables)
        self._root = Frame(workflow.regions[0])
        self._steps = OpenSteps(workflow)
        self._settled: deque[tuple[Frame, CompiledNode, Outcome]] = deque()
        self._ready: deque[OpenStep] = deque()
        self._starting: deque[OpenStep] = deque()
        self._entered: set[str] = set()
        self._ends: dict[tuple[int, ...], dict[str, Json]] = {}
        self._is_draining = False
        self._permits: int | None = None
        self._is_partial = False
        self._done: Done | None = None
        self._total = sum(workflow.weights[each] for each in self._root.region.nodes)

    # ---------------------------------------------------------------- what a driver calls

    def begin(self, held: Iterable[tuple[str, Outcome]] = ()) -> list[Action]:
        """Return what may start, after all that has settled in earlier attempts.

        ``held`` are the last outcomes of steps by key, in the order in which they settled.  Nothing starts
        before all of them are in their places.
        """
        self._steps.held = dict(held)
        self._entered = frames.prefixes(map(frames.gated_key, self._steps.held))
        self._steps.is_replaying = True
        self._become_ready(self._root, self._root.region.first)
        self._advance()
        for key in list(self._steps.held):
            self._replay(key)
        while early := [key for key in self._steps.by_key if key in self._steps.held]:
            for key in early:
                self._replay(key)
        self._steps.is_replaying = False
        self._advance()
        return self._steps.take_actions()

    def settle(self, key: str, outcome: Outcome) -> list[Action]:
        """Return what follows the end of a step; nothing follows one that is not wanted any more."""
        step = self._steps.by_key.get(frames.gated_key(key))
        if step is None or not is_waiting_for(step, key):
            return []
        if key != step.key and outcome.status is StepStatus.SUCCESS:
            self._steps.make_ready(step)
            step.is_approved = True
            self._enqueue(step)
        else:
            self._conclude(step, outcome, is_recorded=key == step.key)
        self._advance()
        return self._steps.take_actions()

    def timer_fired(self, key: str) -> list[Action]:
        """Return what follows when a timer that was asked for is over."""
        step = self._steps.by_key.get(key)
        if step is not None and step.state is State.DELAYED:
            self._steps.make_ready(step)
            step.is_due = True
            self._enqueue(step)
        elif step is not None and step.container is not None:
            self._conclude(step, containers.timed_out(step.container))
        self._advance()
        return self._steps.take_actions()

    def is_container(self, key: str) -> bool:
        """Return whether an open step is a container: branches, a loop or a group."""
        step = self._steps.by_key.get(key)
        return step is not None and step.container is not None

    def drain(self) -> None:
        """Let nothing start any more; what follows only has to be recorded."""
        self._is_draining = True
        self._steps.drop_timers()

    def allow_one(self) -> None:
        """Let one node start and no other: step by step."""
        self._permits = 1

    @property
    def is_draining(self) -> bool:
        """Return whether nothing starts any more in this attempt."""
        return self._is_draining or self._permits == 0

    def stop(self, status: RunStatus, error: str, error_type: str) -> list[Action]:
        """Return what ends the execution now: all that runs is cancelled."""
        if self._done is None:
            self._finish(status, error, error_type)
        return self._steps.take_actions()

    def scope(self, key: str) -> StepScope:
        """Return what expressions of a step find.

        :raises KeyError: when the step has not been reached.
        """
        key = frames.gated_key(key)
        step = self._steps.by_key.get(key)
        frame = frames.frame_at(self._workflow, self._root, key) if step is None else step.frame
        return self._scope(frame, self._workflow.by_alias[_alias(key)])

    def node(self, key: str) -> Node:
        """Return the node of a step."""
        return self._workflow.nodes[self._workflow.by_alias[_alias(key)]].node

    @property
    def running(self) -> tuple[str, ...]:
        """Return the keys of steps that run, or wait for a timer to start."""
        return tuple(self._steps.running)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Return the keys of waits."""
        return tuple(self._steps.waiting)

    @property
    def current(self) -> str | None:
        """Return the key that was started last, of those that run, else of those that wait."""
        return next(reversed(self._steps.running), next(reversed(self._steps.waiting), None))

    @property
    def progress(self) -> int:
        """Return how much has settled in percent; 100 only when the execution has succeeded."""
        if self._done is not None and self._done.status in (RunStatus.SUCCESS, RunStatus.PARTIAL):
            return 100
        return min(99, int(100 * self._steps.counted / self._total))

    # ---------------------------------------------------------------- working off

    def _advance(self) -> None:
        while self._done is None:
            if self._settled:
                self._propagate(*self._settled.popleft())
            elif self._steps.complete:
                frame = max(
                    self._steps.complete, key=lambda each: len(each.position)
                )  # inner results come first
                self._steps.complete.remove(frame)
                self._end_frame(frame)
            elif self._steps.is_replaying:
                return
            elif self._ready:
                self._start(self._ready.popleft())
            elif self._starting:
                self._start(self._starting.popleft())
            else:
                return

    def _replay(self, key: str) -> None:
        """Settle a step as before, if it has been reached."""
        step = self._steps.by_key.get(key)
        if step is not None and key in self._steps.held:
            self._conclude(step, self._steps.held[key], is_recorded=True)
            self._advance()

    def _become_ready(self, frame: Frame, index: int) -> None:
        node = self._workflow.nodes[index]
        step = self._steps.add(frame, node)
        if self._steps.is_replaying and step.key in self._entered and node.branches:
            step.is_approved = step.is_due = True
            self._open_container(step)
        elif not self._steps.is_replaying and step.key in self._steps.held and not node.branches:
            self._conclude(step, self._steps.held[step.key], is_recorded=True)
        else:
            self._enqueue(step)

    def _enqueue(self, step: OpenStep) -> None:
        decided = step.node.node.node_type in deciding.DECIDED or step.node.branches
        (self._ready if decided else self._starting).append(step)

    # ---------------------------------------------------------------- starting

    def _start(self, step: OpenStep) -> None:
        frame = step.frame
        if step.state is not State.READY or frame.open.get(step.node.index) is not step:
            return
        if self.is_draining or any(each.is_stopping for each in frame.upwards()):
            return
        # A container is opened again in every attempt; its nodes are what is let run one by one.
        if self._permits is not None and not step.node.branches:
            self._permits -= 1
        scope = self._scope(frame, step.node.index)
        try:
            self._launch(step, scope)
        except UsageError as error:
            self._conclude(step, deciding.failure(error))

    def _launch(self, step: OpenStep, scope: StepScope) -> None:
        node, kind = step.node, step.node.node.node_type
        if not step.is_approved and not deciding.applies(step, scope):
            self._conclude(step, Outcome(StepStatus.SKIPPED))
            return
        if not step.is_approved and "approval_config" in node.templates:
            gate = deciding.gate_of(step, scope)
            outcome = self._steps.held.get(gate.key)
            if outcome is None:
                self._steps.wait(step, gate)
                return
            if outcome.status is not StepStatus.SUCCESS:
                self._conclude(step, outcome)
                return
        step.is_approved = True
        delay = max((edge.delay_s for edge in step.frame.taken.get(node.index, ())), default=0.0)
        wait = deciding.wait_of(step, scope)
        is_run = wait is None and not node.branches and kind not in deciding.DECIDED
        if delay and not step.is_due and not is_run:
            self._steps.delay(step, delay)
        elif node.branches:
            self._open_container(step)
        elif wait is not None:
            self._steps.wait(step, wait)
        elif is_run:
            self._steps.run(step, delay)
        else:
            self._conclude(step, deciding.decide(step, scope))

    # ---------------------------------------------------------------- settling

    def _conclude(self, step: OpenStep, outcome: Outcome, *, is_recorded: bool = False) -> None:
        """Settle an open step, and let its connections follow."""
        frame, node = step.frame, step.node
        outcome = self._steps.settle(step, outcome, is_recorded=is_recorded)
        if node.node.node_type == NodeType.END and outcome.status is StepStatus.SUCCESS:
            self._ends.setdefault(frame.position, {})[node.alias] = outcome.output
        self._settled.append((frame, node, outcome))

    def _propagate(self, frame: Frame, node: CompiledNode, outcome: Outcome) -> None:
        frame.remaining -= 1
        if frame.is_closed:
            return
        if outcome.error_type == deciding.ENDED_BY_WORKFLOW and node.node.node_type == NodeType.END:
            self._finish(RunStatus.FAILED, outcome.error or "", outcome.error_type)
            return
        scope = self._scope(frame, node.index).with_response(frame.response_of(node.index))
        try:
            result, taken = connecting.connect(self._workflow, frame, node, outcome, scope)
        except ExpressionError as error:
            self._fail(frame, str(error), ErrorType.EXPRESSION)
            return
        if result is Result.UNHANDLED:
            self._fail(frame, outcome.error or f"{node.alias} {outcome.status}", outcome.error_type or "")
            return
        self._is_partial = self._is_partial or result is Result.CONTINUED
        arrived = Arrived(True, outcome.output, scope.response)
        for edge in node.outgoing:
            self._pass_on(frame, edge, arrived if edge.index in taken else frames.DEAD)
        left = connecting.left_with(frame.containers.get(node.index))
        for edge in node.exits:
            self._pass_on(frame, edge, left.get(edge.index, arrived) if edge.index in taken else frames.DEAD)
        if not frame.remaining:
            self._steps.complete.append(frame)

    def _pass_on(self, frame: Frame, edge: Edge, arrived: Arrived) -> None:
        is_reached = frame.arrive(edge, self._workflow.nodes[edge.target], arrived)
        if is_reached:
            self._become_ready(frame, edge.target)
        elif is_reached is False:
            self._skip(frame, edge.target)

    def _skip(self, frame: Frame, index: int) -> None:
        frame.dead.add(index)
        step = self._steps.add(frame, self._workflow.nodes[index])
        self._conclude(step, Outcome(StepStatus.SKIPPED))

    # ---------------------------------------------------------------- failing and ending

    def _fail(self, frame: Frame, error: str, error_type: str) -> None:
        """Let nothing more start in a frame; it is complete when what runs in it has ended."""
        frame.failure = frame.failure or (error, error_type)
        if frame is self._root and self._workflow.error_handling == "cancel":
            self._finish(RunStatus.FAILED, error, error_type)
        elif not frame.is_stopping:
            self._steps.stop(frame, f"{error_type or 'a failure'} stops what has not started")

    def _end_frame(self, frame: Frame) -> None:
        if frame.is_closed:
            return
        if frame.owner is None:
            self._end()
            return
        container = frame.owner
        step = self._steps.by_key[container.key]
        self._steps.close(frame, "its branch has failed")
        container.running -= 1
        container.end_frame(frame)
        if isinstance(container, Loop):
            self._steps.count_pass(container)
        self._go_on(step, container)

    def _end(self) -> None:
        if self._root.failure is not None:
            self._finish(RunStatus.FAILED, *self._root.failure)
            return
        self._root.is_closed = True
        self._done = Done(
            RunStatus.PARTIAL if self._is_partial else RunStatus.SUCCESS, deciding.output_of(self._ends)
        )
        self._steps.actions.append(self._done)

    def _finish(self, status: RunStatus, error: str, error_type: str) -> None:
        self._steps.close(self._root, error)
        self._done = Done(status, deciding.output_of(self._ends), error, error_type or None)
        self._steps.actions.append(self._done)

    # ---------------------------------------------------------------- containers

    def _open_container(self, step: OpenStep) -> None:
        try:
            container = containers.opened(step, self._scope(step.frame, step.node.index))
        except UsageError as error:
            self._conclude(step, deciding.failure(error))
            return
        self._steps.enter(step, container)
        self._go_on(step, container)

    def _go_on(self, step: OpenStep, container: Container) -> None:
        """Open the frames that there is room for, or settle the container."""
        try:
            if isinstance(container, Loop):
                while container.has_room and self._may_pass(container):
                    self._open_pass(container)
            while isinstance(container, Fork) and container.has_room and container.conclusion() is None:
                self._open_branch(container)
        except ExpressionError as error:
            self._conclude(step, deciding.failure(error))
            return
        outcome = container.conclusion()
        if outcome is not None:
            self._conclude(step, outcome)

    def _may_pass(self, loop: Loop) -> bool:
        """Return whether another pass begins now; if none will, the loop is over."""
        if loop.is_decided(self._steps.held.get(loop.key)):
            return not loop.is_over
        if self._is_draining or any(each.is_stopping for each in loop.frame.upwards()):
            return False
        scope = self._scope(loop.frame, loop.node.index).for_pass(loop.facts(loop.begun), loop.response)
        loop.decide(deciding.holds(loop.node, scope))
        return not loop.is_over

    def _open_pass(self, loop: Loop) -> None:
        index = loop.begun
        loop.begun += 1
        key = f"{loop.key}/{index}"
        frame = loop.enter(self._workflow.regions[loop.node.branches[0]], index, str(index))
        frame.loop = loop.facts(index)
        if key not in self._entered:
            self._steps.note_pass(key, index)
        previous = loop.outputs.get(index - 1, self._scope(loop.frame, loop.node.index).previous)
        frame.before[frame.region.first] = Arrived(True, previous, loop.response)
        self._become_ready(frame, frame.region.first)

    def _open_branch(self, fork: Fork) -> None:
        index = len(fork.frames)
        frame = fork.enter(self._workflow.regions[fork.node.branches[index]], index, fork.aliases[index])
        first = frame.region.first
        before = fork.frame.before.get(fork.node.index, frames.DEAD)
        frame.before[first] = before._replace(taken=True)
        if fork.members is None or first in fork.members:
            self._become_ready(frame, first)
        else:
            self._skip(frame, first)

    def _scope(self, frame: Frame, index: int) -> StepScope:
        return scope_of(self._facts, frame, index)


def _alias(key: str) -> str:
    return frames.gated_key(key).rpartition("/")[2]
