"""Tells Prefect how executions are, and executions what people want of them in Prefect's UI.

It has a thread and an event loop of its own, and a share of one processor: however slow Prefect is, or away,
executions go on, and what it was not told the ledger knows.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from httpx import HTTPError
from loguru import logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Failed

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.errors import FlowledgerError, LedgerError, RecordConflictError
from flowledger.flows import flow_runs
from flowledger.flows.flow_runs import FlowRuns
from flowledger.flows.registration import Infrastructure
from flowledger.services.workflows.ordering import RESUMABLE, Ordering
from flowledger.services.workflows.reporting import ReportQueue
from flowledger.services.workflows.scheduling import workflow_of
from flowledger.workflow_ports import Execution, ExecutionQuery, Step, WorkflowStore

AT_ONCE = 4
SHARE = 0.15
"""So much of one processor at most: what the executions lose to it."""
BURST_S = 1.0
TASK_RUNS_A_MINUTE = 1_000
IDLE_S = 0.1
LOOK_S = 1.5
LOOK_AT_PARKED_S = 15.0
SWEEP_S = 10.0
AWAY_S = 5.0
KEPT = 1_000
Kept = TypeVar("Kept")
TOO_OLD = timedelta(days=1)
"""What ended longer ago than this while Prefect was away is not told any more."""
BY = "Prefect"
Away = (HTTPError, PrefectException, RuntimeError, OSError)
"""What Prefect's client raises when the server is away; RuntimeError says that nobody answers."""


@dataclass
class Allowance:
    """So much a second, and what was not used for some seconds; time comes in."""

    a_second: float
    most: float
    clock: Callable[[], float] = time.monotonic
    left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self._at = self.most, self.clock()

    def use(self, amount: float) -> float:
        """Use some of it, and return how many seconds to wait until nothing is owed."""
        now = self.clock()
        self.left = min(self.most, self.left + (now - self._at) * self.a_second) - amount
        self._at = now
        return max(-self.left / self.a_second, 0.0)

    def take(self, most: int) -> int:
        """Return how many of some can be had now, and use them."""
        self.use(0)
        granted = max(min(most, int(self.left)), 0)
        self.left -= granted
        return granted


class Reporter:
    """Both directions between one ledger and one Prefect server."""

    def __init__(
        self, store: WorkflowStore, ordering: Ordering, queue: ReportQueue, infrastructure: Infrastructure
    ) -> None:
        self._store = store
        self._ordering = ordering
        self._queue = queue
        self._infrastructure = infrastructure
        self._told: OrderedDict[int, dict[UUID, str]] = OrderedDict()
        self._shown: OrderedDict[int, tuple[int, RunStatus]] = OrderedDict()
        self._task_runs = Allowance(TASK_RUNS_A_MINUTE / 60, TASK_RUNS_A_MINUTE)
        self._processor = Allowance(SHARE, BURST_S)
        self._processor_at = time.thread_time()
        self._is_away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Report and look until ``stop`` is set, and then what is queued, for a few seconds at most."""
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            async with get_client() as client:
                runs = FlowRuns(client, self._infrastructure)
                looks = [
                    asyncio.create_task(self._repeat(lambda: self.look(runs), LOOK_S)),
                    asyncio.create_task(self._repeat(lambda: self.look_at_parked(runs), LOOK_AT_PARKED_S)),
                    asyncio.create_task(self._repeat(self.sweep, SWEEP_S)),
                ]
                reports = [asyncio.create_task(self._report(runs, stop)) for _ in range(AT_ONCE)]
                await stop.wait()
                for look in looks:
                    look.cancel()
                _, late = await asyncio.wait(reports, timeout=AWAY_S)
                for report in late:
                    report.cancel()

    async def run_once(self, number: int) -> None:
        """Report one execution to Prefect as it is now."""
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 2}):
            async with get_client() as client:
                await self.tell(FlowRuns(client, self._infrastructure), number, anew=True)

    # ---------------------------------------------------------------- to Prefect

    async def _report(self, runs: FlowRuns, stop: asyncio.Event) -> None:
        while not (stop.is_set() and (self._queue.is_empty or self._is_away)):
            with self._queue.taken() as number:
                if number is not None:
                    await self._told_or_away(lambda number=number: self.tell(runs, number))  # type: ignore[misc]
            await asyncio.sleep(AWAY_S if self._is_away else IDLE_S if number is None else self._rest())

    def _rest(self) -> float:
        """Return how long to leave the processor to the executions."""
        used = time.thread_time() - self._processor_at
        self._processor_at += used
        return self._processor.use(used)

    async def tell(self, runs: FlowRuns, number: int, *, anew: bool = False) -> None:
        """Let Prefect show an execution as the ledger has it."""
        execution = await asyncio.to_thread(self._store.execution, number)
        if execution is None:
            return
        run_id = await runs.register(execution)
        if execution.flow_run_id is None:
            await asyncio.to_thread(self._store.reported, number, flow_run_id=str(run_id), state=None)
        self._queue.registered(number)
        await runs.record(run_id, await asyncio.to_thread(self._untold, number, run_id))
        now = execution.attempt, execution.status
        is_told = execution.status == execution.reported_state and self._shown.get(number, now) == now
        if execution.status is RunStatus.PENDING or (is_told and not anew):
            return
        waits = await asyncio.to_thread(lambda: self._store.waits(number, open_only=True))
        await runs.show(run_id, flow_runs.state_of(execution, waits))
        keep(self._shown, number, now)
        await asyncio.to_thread(
            self._store.reported, number, flow_run_id=str(run_id), state=execution.status.value
        )

    def _untold(self, number: int, run_id: UUID) -> list[Step]:
        """Return the tries that Prefect has not been told, within the bounds of what it can bear."""
        told = self._told.pop(number, {})
        keep(self._told, number, told)
        chosen: list[Step] = []
        for step in self._store.steps(number):
            key = flow_runs.task_id(run_id, step)
            is_new = key not in told
            if step.status is not StepStatus.PENDING and told.get(key) != step.status:
                if is_new and len(told) >= flow_runs.MOST_TASK_RUNS:
                    continue
                told[key] = step.status
                chosen.append(step)
        granted = self._task_runs.take(len(chosen))
        for step in chosen[granted:]:
            del told[flow_runs.task_id(run_id, step)]
        return chosen[:granted]

    async def sweep(self) -> None:
        """Queue what has not been told, because Prefect, the queue or this process was away."""
        for execution in await asyncio.to_thread(lambda: self._store.unreported(limit=100)):
            if execution.status is RunStatus.PENDING:
                continue
            ended = execution.completed_at
            if ended is not None and ended < self._ordering.clock() - TOO_OLD:
                await asyncio.to_thread(
                    self._store.reported, execution.id, flow_run_id=None, state=execution.status.value
                )
                continue
            self._queue.add(execution.id)

    # ---------------------------------------------------------------- from Prefect

    async def look(self, runs: FlowRuns) -> None:
        """Do what somebody wants in Prefect: cancel, suspend, resume, try again, start by a schedule."""
        running = await asyncio.to_thread(self._flow_run_ids, RunStatus.RUNNING)
        wanted = [
            *await runs.acted(),
            *await runs.among(running, StateType.PAUSED, StateType.CANCELLED),
        ]
        for run in wanted:
            await self._act(runs, run)

    async def look_at_parked(self, runs: FlowRuns) -> None:
        """See whether a suspended run was cancelled or let go on: there may be thousands, so less often."""
        parked = await asyncio.to_thread(self._flow_run_ids, RunStatus.PAUSED)
        for run in await runs.among(parked, StateType.CANCELLED, StateType.RUNNING):
            await self._act(runs, run)

    def _flow_run_ids(self, status: RunStatus) -> list[str]:
        ids: list[str] = []
        after: int | None = None
        while True:
            page = self._store.executions(ExecutionQuery(statuses=(status,)), after=after, limit=200)
            ids += [each.flow_run_id for each in page.executions if each.flow_run_id]
            after = page.following
            if after is None:
                return ids

    async def _act(self, runs: FlowRuns, run: FlowRun) -> None:
        if flow_runs.is_ours(run.state):
            return
        try:
            execution = await asyncio.to_thread(self.carry_over, run)
        except LedgerError:
            raise
        except FlowledgerError as error:
            await runs.show(run.id, Failed(message=f"{flow_runs.OURS}{error}"))
            return
        if execution is not None:
            # What was wanted shows once it is done, and what could not be is put right.
            await self.tell(runs, execution.id, anew=execution.status is not RunStatus.PENDING)

    def carry_over(self, run: FlowRun) -> Execution | None:
        """Do what the state of a flow run says that somebody wants; return its execution.

        :raises FlowledgerError: where it should start an execution that cannot be had.
        """
        execution = self._store.execution(flow_runs.key_of(run))
        if execution is None:
            return ordered(self._store, self._ordering, run.id, run.parameters, run.name)
        kind = run.state_type
        try:
            if kind in (StateType.CANCELLING, StateType.CANCELLED) and execution.status.is_open:
                asked = self._ordering.cancel(execution.id, BY)
                return None if asked.status.is_open else asked
            if kind is StateType.PAUSED and execution.status is RunStatus.RUNNING:
                self._ordering.pause(execution.id, BY)
                return None
            if kind in (StateType.SCHEDULED, StateType.RUNNING) and execution.status in RESUMABLE:
                self._ordering.resume(execution.id, BY)
                return None
        except RecordConflictError as error:
            logger.info("Prefect wanted {} of {}: {}", run.state_name, execution.execution_id, error)
        return self._store.execution(execution.id)

    # ---------------------------------------------------------------- away and back

    async def _told_or_away(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except Away as error:
            if not self._is_away:
                logger.warning("Prefect is away, executions go on without it: {!r:.300}", error)
            self._is_away = True
        except FlowledgerError as error:
            logger.warning("Prefect cannot be told: {}", error)
        except Exception as error:  # noqa: BLE001  named boundary: the executions do not depend on it
            logger.opt(exception=error).error("Prefect cannot be told: a defect")
        else:
            if self._is_away:
                logger.info("Prefect is back, and is told what it has missed")
            self._is_away = False

    async def _repeat(self, work: Callable[[], Any], seconds: float) -> None:
        while True:
            await self._told_or_away(work)
            await asyncio.sleep(seconds)


def keep(kept: OrderedDict[int, Kept], number: int, value: Kept) -> None:
    """Remember something of an execution; of the oldest ones nothing."""
    kept[number] = value
    kept.move_to_end(number)
    while len(kept) > KEPT:
        kept.popitem(last=False)


def ordered(
    store: WorkflowStore, ordering: Ordering, run_id: UUID, parameters: dict[str, Any], name: str
) -> Execution:
    """Start the execution of a flow run that a schedule or a person started, once.

    :raises FlowledgerError: where there is no such workflow, or its input is wrong.
    """
    stored = workflow_of(store, parameters.get("workflow"))
    return ordering.execute(
        stored.id,
        name=name,
        input_data=parameters.get("input"),
        by=BY,
        trigger=flow_runs.PREFECT,
        execution_id=run_id.hex,
    )
