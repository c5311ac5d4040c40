"""Drives one attempt of one execution: what the planner asks for is done, what comes of it is stored.

One task owns the planner and everything that is written.  Handlers run as tasks of their own and put what
came of them into its queue, as do timers, decisions of people, and the worker when the lease is lost.
What a step leads to is on record before the next one begins.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from loguru import logger

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows import steps as asked
from flowledger.domain.workflows import waiting
from flowledger.domain.workflows.planner import Planner
from flowledger.domain.workflows.steps import (
    Action,
    Done,
    ErrorType,
    EventType,
    ExecutionFacts,
    Outcome,
    StepStatus,
    WaitKind,
)
from flowledger.errors import LeaseLostError
from flowledger.services.workflows import replay
from flowledger.services.workflows.engine import Engine
from flowledger.services.workflows.stepping import Events, Finished, StepRunner
from flowledger.workflow_ports import Claim, Ended, Execution, News, Order, Progressed, Step, Wait

_ENDS = {
    StepStatus.SUCCESS: EventType.STEP_SUCCEEDED,
    StepStatus.FAILED: EventType.STEP_FAILED,
    StepStatus.SKIPPED: EventType.STEP_SKIPPED,
    StepStatus.CANCELLED: EventType.STEP_CANCELLED,
}
_OUTCOMES = {
    RunStatus.SUCCESS: EventType.EXECUTION_COMPLETED,
    RunStatus.PARTIAL: EventType.EXECUTION_COMPLETED,
    RunStatus.FAILED: EventType.EXECUTION_FAILED,
    RunStatus.CANCELLED: EventType.EXECUTION_CANCELLED,
}
YIELD = "yield"
"""Asked by a worker that stops: what runs may end, and another worker goes on from there."""
NOTED_ONCE = (EventType.LOOP_ITERATION, EventType.PARALLEL_JOINED)
GRACE_S = 5.0
"""How long a handler that nobody wants any more has to end."""


class Driver:
    """One attempt of one execution, from its claim until it has ended or is parked."""

    def __init__(self, engine: Engine, claim: Claim) -> None:
        execution = claim.execution
        self._engine = engine
        self._claim = claim
        self._past = replay.past_of(claim)
        self._workflow = engine.compiled(claim.version)
        self._config = {**self._workflow.definition.config, **execution.config}
        self._timeout_s = _seconds(self._config.get("timeout"))
        self._facts = ExecutionFacts(
            id=execution.id,
            execution_id=execution.execution_id,
            attempt=execution.attempt,
            workflow_id=execution.workflow_id,
            version=execution.version_text,
            started_at=execution.started_at or engine.clock(),
        )
        self._planner = Planner(self._workflow, self._facts, execution.input, execution.variables)
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, tuple[datetime, asyncio.TimerHandle]] = {}
        self._waits: dict[str, Wait] = {}
        self._to_start: list[asked.RunStep] = []
        self._steps: list[Step] = []
        self._events: list[tuple[EventType, str, Any]] = []
        self._new_waits: list[Wait] = []
        self._tries: dict[str, int] = {}
        self._noted: set[tuple[EventType, str]] = set()
        self._progress = execution.progress
        self._done: Done | None = None
        self._is_draining = False
        self._is_yielding = False
        self._is_lost = False

    async def drive(self) -> Execution | None:
        """Carry the attempt out; return the execution as it is then, None where another worker has it."""
        for observer in self._engine.observers:
            await self._tell(observer.began(self._claim))
        try:
            execution = await self._drive()
        except LeaseLostError:
            return None
        finally:
            await self._abandon()
        if execution is not None:
            for observer in self._engine.observers:
                await self._tell(observer.ended(execution))
        return execution

    def hear(self, news: News) -> None:
        """Take in what others want of the execution, and what they decided."""
        self._queue.put_nowait(news)

    def lose(self) -> None:
        """Stop without a word: another worker has the execution."""
        self._is_lost = True
        self._queue.put_nowait(None)

    # ---------------------------------------------------------------- the loop

    async def _drive(self) -> Execution | None:
        deadline = self._deadline()
        if self._facts.attempt > 1:
            self._noted = await asyncio.to_thread(self._noted_before)
        if self._config.get("step_by_step"):
            self._planner.allow_one()
        actions = self._planner.begin(self._past.held)
        while True:
            self._take_in(actions)
            if self._done is not None:
                return await self._end(self._done)
            is_idle = not (self._tasks or self._to_start) and self._queue.empty()
            # A timer that fires while nothing may start would only end a container that people look at.
            if is_idle and (not self._timers or self._planner.is_draining):
                return await self._park()
            await self._flush()
            self._start_tasks()
            actions = await self._next(deadline)
            if self._is_lost:
                return None

    def _noted_before(self) -> set[tuple[EventType, str]]:
        noted: set[tuple[EventType, str]] = set()
        cursor = 0
        while events := self._engine.store.events(self._claim.execution.id, after=cursor):
            for each in events:
                if each.event is EventType.EXECUTION_RESUMED and each.facts.get("restarted"):
                    noted.clear()  # what is done anew is noted anew
                elif each.event in NOTED_ONCE:
                    noted.add((each.event, each.key))
            cursor = events[-1].cursor
        return noted

    async def _next(self, deadline: float | None) -> list[Action]:
        """Wait until something happens, and return what follows from all that has happened by then."""
        happened = [await self._first(deadline)]
        while not self._queue.empty():
            happened.append(self._queue.get_nowait())
        return [action for each in happened for action in self._follow(each)]

    async def _first(self, deadline: float | None) -> Any:
        due = min((wait.due_at for wait in self._waits.values() if wait.due_at), default=None)
        seconds = None if due is None else (due - self._engine.clock()).total_seconds()
        if deadline is not None:
            left = deadline - asyncio.get_running_loop().time()
            seconds = left if seconds is None else min(seconds, left)
        try:
            async with asyncio.timeout(None if seconds is None else max(seconds, 0)):
                return await self._queue.get()
        except TimeoutError:
            is_over = deadline is not None and asyncio.get_running_loop().time() >= deadline
            return "deadline" if is_over else "due"

    def _follow(self, happened: Any) -> list[Action]:
        match happened:
            case Finished(outcome, step):
                self._tasks.pop(step.key, None)
                return self._settled(step, outcome)
            case News(wanted, resolved):
                return self._heard(wanted, resolved)
            case ("timer", str(key)):
                self._timers.pop(key, None)
                return self._planner.timer_fired(key)
            case Exception():
                raise happened
            case "due":
                now = self._engine.clock()
                due = [wait for wait in self._waits.values() if wait.due_at and wait.due_at <= now]
                return [action for wait in due for action in self._expire(wait, now)]
            case "deadline":
                text = f"no end within {self._timeout_s:g} s"
                return self._planner.stop(RunStatus.FAILED, text, ErrorType.TIMEOUT)
        return []

    # ---------------------------------------------------------------- what has settled

    def _settled(self, step: Step, outcome: Outcome) -> list[Action]:
        if step.key not in self._planner.running:
            return []  # it was cancelled meanwhile, and is recorded as that
        self._record([step], [(_ENDS[outcome.status], step.key, _end_facts(outcome))])
        return self._planner.settle(step.key, outcome)

    def _heard(self, wanted: str | None, resolved: Sequence[Wait]) -> list[Action]:
        actions: list[Action] = []
        for wait in resolved:
            if wait.key in self._waits:
                actions += self._resolve(wait)
        if wanted == "cancel":
            actions += self._planner.stop(RunStatus.CANCELLED, "cancelled", ErrorType.CANCELLED)
        elif wanted in ("pause", YIELD) and not self._is_draining:
            self._is_draining = True
            self._is_yielding = wanted == YIELD
            self._planner.drain()
            self._to_start.clear()
        return actions

    def _expire(self, wait: Wait, now: datetime) -> list[Action]:
        resolution = waiting.expired(wait.kind, wait.facts)
        return self._resolve(replace(wait, resolution=resolution, resolved_at=now))

    def _resolve(self, wait: Wait) -> list[Action]:
        """Settle the step of a wait that is resolved."""
        self._waits.pop(wait.key, None)
        self._new_waits.append(wait)
        outcome = waiting.outcome_of(wait.kind, wait.resolution or {})
        now = self._engine.clock()
        row = self._row(wait.key, wait.alias, outcome, wait.since, now)
        events: list[tuple[EventType, str, Any]] = [(_ENDS[outcome.status], wait.key, _end_facts(outcome))]
        if wait.kind is WaitKind.DELAY:
            events.insert(0, (EventType.TIMER_FIRED, wait.key, {}))
        elif wait.kind is WaitKind.APPROVAL:
            is_late = bool((wait.resolution or {}).get("timed_out"))
            word = EventType.APPROVAL_TIMED_OUT if is_late else EventType.APPROVAL_RESOLVED
            events.insert(0, (word, wait.key, dict(wait.resolution or {})))
        self._record([row], events)
        return self._planner.settle(wait.key, outcome)

    # ---------------------------------------------------------------- what is to be done

    def _take_in(self, actions: Sequence[Action]) -> None:
        waiting_actions = list(actions)
        while waiting_actions:
            waiting_actions += self._carry_out(waiting_actions.pop(0))
        if self._planner.progress > self._progress:
            self._progress = self._planner.progress
            self._record((), [(EventType.PROGRESS, "", {"progress": self._progress})])

    def _carry_out(self, action: Action) -> Sequence[Action]:
        """Note what an action needs; return what follows at once."""
        match action:
            case asked.RunStep():
                self._to_start.append(action)
            case asked.WaitStep():
                return self._wait(action)
            case asked.SetTimer(key, seconds):
                self._set_timer(key, seconds)
            case asked.CancelStep(key, reason):
                self._cancel(key, reason)
            case asked.StepSettled(key, alias, outcome):
                now = self._engine.clock()
                row = self._row(key, alias, outcome, now, now)
                self._record([row], [(_ENDS[outcome.status], key, _end_facts(outcome))])
            case asked.Note(event, key, facts):
                if (event, key) not in self._noted:  # replay notes the passes of a loop again
                    self._record((), [(event, key, facts)])
            case Done():
                self._done = action
        return ()

    def _wait(self, action: asked.WaitStep) -> Sequence[Action]:
        now = self._engine.clock()
        held = self._past.waits.get(action.key)
        if held is not None:
            wait = held
            if wait.kind is WaitKind.CHILD:
                self._new_waits.append(wait)  # its execution may not have been started
        else:
            due = waiting.due_at(action.kind, action.facts, now)
            generation = self._past.generation(action.key)
            wait = Wait(action.key, action.alias, generation, action.kind, now, due, action.facts)
            self._announce_wait(wait)
        self._waits[wait.key] = wait
        if wait.resolved_at is not None:
            return self._resolve(wait)
        if wait.due_at is not None and wait.due_at <= now:
            return self._expire(wait, now)
        return ()

    def _announce_wait(self, wait: Wait) -> None:
        self._new_waits.append(wait)
        outcome = Outcome(StepStatus.WAITING)
        events: list[tuple[EventType, str, Any]] = [(EventType.STEP_WAITING, wait.key, {"kind": wait.kind})]
        if wait.kind is WaitKind.APPROVAL:
            events.append((EventType.APPROVAL_REQUESTED, wait.key, dict(wait.facts)))
        elif wait.due_at is not None:
            events.append((EventType.TIMER_SET, wait.key, {"due_at": wait.due_at.isoformat()}))
        self._record([self._row(wait.key, wait.alias, outcome, wait.since, None)], events)

    def _set_timer(self, key: str, seconds: float) -> None:
        """Start a timer; one that an earlier attempt has started goes on from there."""
        if self._config.get("step_by_step") and self._planner.is_container(key):
            return  # people take longer than its time
        now = self._engine.clock()
        place = f"{key}#timer"
        held = self._past.waits.get(place)
        due = (held.due_at if held else None) or now + timedelta(seconds=seconds)
        if held is None and seconds > GRACE_S:
            generation = self._past.generation(key)
            self._new_waits.append(
                Wait(place, key, generation, WaitKind.DELAY, now, due, {}, {}, resolved_at=now)
            )
        left = max((due - now).total_seconds(), 0.0)
        loop = asyncio.get_running_loop()
        self._timers[key] = due, loop.call_later(left, self._queue.put_nowait, ("timer", key))

    def _cancel(self, key: str, reason: str) -> None:
        """End a step that is not wanted any more."""
        self._to_start = [step for step in self._to_start if step.key != key]
        now = self._engine.clock()
        outcome = Outcome(StepStatus.CANCELLED, error=reason, error_type=ErrorType.CANCELLED)
        wait = self._waits.pop(key, None) or self._past.waits.get(key)
        if wait is not None and wait.resolved_at is None:
            self._new_waits.append(replace(wait, resolution={"cancelled": True}, resolved_at=now))
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
        alias = self._planner.node(key).alias
        row = self._row(key, alias, outcome, wait.since if wait else None, now)
        row = replace(row, try_no=max(row.try_no, self._tries.get(key, 1)))
        self._record([row], [(EventType.STEP_CANCELLED, key, {"reason": reason})])

    def _start_tasks(self) -> None:
        for step in self._to_start:
            execution = self._claim.execution
            runner = StepRunner(
                engine=self._engine,
                step=step,
                node=self._planner.node(step.key),
                scope=self._planner.scope(step.key),
                generation=self._past.generation(step.key),
                tries=self._past.tries.get(step.key, 0),
                execution=self._facts,
                workflow_config=self._config,
                input=execution.input,
                record=self._record_now,
            )
            self._tasks[step.key] = asyncio.create_task(self._run(runner))
        self._to_start.clear()

    async def _run(self, runner: StepRunner) -> None:
        try:
            self._queue.put_nowait(await runner.run())
        except Exception as error:  # noqa: BLE001  a fault of ours: the driver must not wait for ever
            self._queue.put_nowait(error)

    # ---------------------------------------------------------------- what is stored

    def _row(
        self, key: str, alias: str, outcome: Outcome, started: datetime | None, ended: datetime | None
    ) -> Step:
        node = self._planner.node(key)
        return Step(
            key=key,
            alias=alias,
            name=node.name,
            node_id=node.id,
            node_type=node.node_type,
            generation=self._past.generation(key),
            try_no=self._past.tries.get(key, 0) + 1,
            status=outcome.status,
            output=outcome.output,
            error=outcome.error,
            error_type=outcome.error_type,
            started_at=started,
            completed_at=ended,
            seconds=(ended - started).total_seconds() if started and ended else None,
            manual=outcome.manual,
        )

    def _record(self, steps: Sequence[Step], events: Events) -> None:
        self._steps += steps
        self._events += events

    def _record_now(self, steps: Sequence[Step], events: Events) -> None:
        """Record what happens between two things that the planner has to know of."""
        self._tries |= {step.key: step.try_no for step in steps}
        self._record(steps, events)
        self._queue.put_nowait("recorded")

    def _take_progress(self) -> Progressed:
        progressed = Progressed(
            self._steps, self._events, self._new_waits, self._progress, self._planner.current
        )
        self._steps, self._events, self._new_waits = [], [], []
        return progressed

    async def _flush(self) -> None:
        if not (self._steps or self._events or self._new_waits):
            return
        progressed = self._take_progress()
        store, lease = self._engine.store, self._claim.lease
        await asyncio.to_thread(store.write, lease, progressed, self._engine.clock())
        for observer in self._engine.observers:
            await self._tell(observer.progressed(self._claim.execution, progressed))
        for wait in progressed.waits:
            if wait.kind is WaitKind.CHILD:
                await asyncio.to_thread(self._follow_child, wait)

    async def _end(self, done: Done) -> Execution:
        facts = {"status": done.status.value, **({"error": done.error} if done.error else {})}
        self._record((), [(_OUTCOMES[done.status], "", facts)])
        ended = Ended(done.status, done.output, done.error, done.error_type)
        return await self._give_back(ended)

    async def _park(self) -> Execution:
        waits = [wait.due_at for wait in self._waits.values() if wait.due_at is not None]
        if not self._waits and not self._is_draining and not self._planner.is_draining:
            error = "nothing is left that could start, and the workflow has not ended"
            return await self._end(Done(RunStatus.FAILED, error=error, error_type="PlannerError"))
        self._record((), [(EventType.EXECUTION_PAUSED, "", {"waiting": sorted(self._waits)})])
        stays = not self._is_yielding and (self._is_draining or self._planner.is_draining)
        wake_at = self._engine.clock() if self._is_yielding else min(waits, default=None)
        return await self._give_back(Ended(RunStatus.PAUSED, wake_at=wake_at, stays=stays))

    async def _give_back(self, ended: Ended) -> Execution:
        progressed = self._take_progress()
        store, lease = self._engine.store, self._claim.lease
        execution = await asyncio.to_thread(store.end, lease, ended, progressed, self._engine.clock())
        for observer in self._engine.observers:
            await self._tell(observer.progressed(execution, progressed))
        for wait in progressed.waits:
            if wait.kind is WaitKind.CHILD:
                await asyncio.to_thread(self._follow_child, wait)
        return execution

    def _follow_child(self, wait: Wait) -> None:
        """Start the execution of a sub-workflow once its wait is stored, or cancel one nobody waits for."""
        store, parent = self._engine.store, self._claim.execution
        child_id = f"{parent.execution_id}.{wait.key}.{wait.generation}"
        if wait.resolution is not None:
            child = store.execution(child_id)
            if child is not None and wait.resolution.get("cancelled"):
                store.ask(child.id, "cancel", self._engine.clock(), by=f"execution {parent.execution_id}")
            return
        order = child_order(self._engine, parent, wait, child_id)
        if order is None:
            error = {"status": "failed", "error": "the sub-workflow has no such version"}
            store.resolve(parent.id, wait.key, error, self._engine.clock(), by="system")
        else:
            store.accept(order)

    # ---------------------------------------------------------------- the rest

    def _deadline(self) -> float | None:
        """Return when the time of the execution is over; only the time in which a worker has it counts."""
        return asyncio.get_running_loop().time() + self._timeout_s if self._timeout_s else None

    async def _abandon(self) -> None:
        """Cancel what still runs, and wait a little for it to end."""
        for _, timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_S)

    async def _tell(self, telling: Any) -> None:
        try:
            await telling
        except Exception as error:  # noqa: BLE001  what watches an execution never decides how it ends
            logger.warning("an observer of execution {}: {!r}", self._claim.execution.execution_id, error)


def child_order(engine: Engine, parent: Execution, wait: Wait, child_id: str) -> Order | None:
    """Return the order of a sub-workflow's execution; None where there is no such workflow or version."""
    workflow_id, number = wait.facts.get("workflow_id"), wait.facts.get("version")
    if not isinstance(workflow_id, int):
        return None
    version = engine.store.version(workflow_id, number if isinstance(number, int) else None)
    if version is None:
        return None
    return Order(
        execution_id=child_id,
        workflow_id=workflow_id,
        workflow_name=str(version.document.get("name", "")),
        version=version.number,
        version_text=version.version,
        name=f"{parent.name} / {wait.key}",
        input=wait.facts.get("input"),
        variables={},
        config={},
        trigger="subworkflow",
        requested_by=parent.requested_by,
        at=engine.clock(),
        parent=f"{parent.execution_id}:{wait.key}",
    )


def _seconds(value: object) -> float:
    """Return a time limit; 0 for none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(float(value), 0.0) if is_number else 0.0  # type: ignore[arg-type]


def _end_facts(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is None:
        return {}
    return {"error": outcome.error, "error_type": outcome.error_type}
