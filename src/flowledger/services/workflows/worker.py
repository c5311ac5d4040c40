"""A worker: takes executions from the ledger and drives many of them at once in one process.

One heartbeat extends the leases of all it has, so that a slow handler, or a slow Prefect, costs none.  What
others want of them is asked for four times a second; every ten seconds it looks after what died.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from loguru import logger

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.planner import PLANNER_FORMAT
from flowledger.domain.workflows.steps import EventType, WaitKind
from flowledger.errors import FlowledgerError, LedgerError
from flowledger.services.workflows.driving import YIELD, Driver
from flowledger.services.workflows.engine import Engine
from flowledger.workflow_ports import LEASE, Claim, Ended, Execution, News, Progressed


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How many executions at once, and how often, in seconds, it looks for what.

    ``grace_s`` is how long steps that run may go on when it is stopped.
    """

    at_once: int = 32
    poll_s: float = 0.025
    news_s: float = 0.25
    heartbeat_s: float = 5.0
    sweep_s: float = 10.0
    grace_s: float = 20.0
    after_error_s: float = 1.0
    lease: timedelta = LEASE


@dataclass(eq=False)
class Worker:
    """Executes what is due until it is stopped; ``owner`` is its name in leases, another one each start."""

    engine: Engine
    owner: str
    options: WorkerOptions = field(default_factory=WorkerOptions)
    _drivers: dict[int, Driver] = field(default_factory=dict, repr=False)
    _tasks: set[asyncio.Task[Execution | None]] = field(default_factory=set, repr=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Take and drive executions until ``stop`` is set; then let what runs end, or give it back."""
        beats = [
            asyncio.create_task(self._repeat(self._heartbeat, self.options.heartbeat_s)),
            asyncio.create_task(self._repeat(self._hear, self.options.news_s)),
            asyncio.create_task(self._repeat(self.sweep, self.options.sweep_s)),
        ]
        try:
            polling = asyncio.create_task(self._repeat(self._take, self.options.poll_s))
            await stop.wait()
            polling.cancel()
            await self._yield()
        finally:
            for beat in beats:
                beat.cancel()

    async def run_one(self, execution: int) -> Execution | None:
        """Drive one execution that is due until it has ended or is parked; None where another one has it."""
        store, now = self.engine.store, self.engine.clock()
        claim = await asyncio.to_thread(store.take_one, execution, self.owner, now, self.options.lease)
        if claim is None:
            return None
        beats = [
            asyncio.create_task(self._repeat(self._heartbeat, self.options.heartbeat_s)),
            asyncio.create_task(self._repeat(self._hear, self.options.news_s)),
        ]
        try:
            return await self._drive(claim)
        finally:
            for beat in beats:
                beat.cancel()

    @property
    def busy(self) -> int:
        """Return how many executions it drives now."""
        return len(self._drivers)

    async def sweep(self) -> None:
        """Look after what died: executions without a worker, children whose parent was not told."""
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        store, now = self.engine.store, self.engine.clock()
        for lost in store.interrupt_lost(now):
            logger.warning("execution {} is interrupted: its worker has died", lost.execution_id)
            self._tell_parent(lost)
        for wait in store.waits(open_only=True, kind=WaitKind.CHILD):
            child = store.execution(f"{wait.execution_id}.{wait.key}.{wait.generation}")
            if child is not None:
                self._tell_parent(child)

    async def _take(self) -> None:
        room = self.options.at_once - len(self._drivers)
        store, now = self.engine.store, self.engine.clock()
        if room <= 0 or not await asyncio.to_thread(store.is_due, now):
            return
        claims = await asyncio.to_thread(
            lambda: store.take(self.owner, now, self.options.lease, limit=room, formats=(PLANNER_FORMAT,))
        )
        for claim in claims:
            task = asyncio.create_task(self._drive(claim))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _drive(self, claim: Claim) -> Execution | None:
        number = claim.execution.id
        try:
            driver = Driver(self.engine, claim)
            self._drivers[number] = driver
            execution = await driver.drive()
        except LedgerError as error:
            # Nothing can be stored now: the lease runs out, and the execution is looked after then.
            logger.error("execution {}: {}", claim.execution.execution_id, error)
            return None
        except Exception as error:  # noqa: BLE001  one execution never ends the worker of all others
            logger.opt(exception=error).error(
                "execution {} could not be driven", claim.execution.execution_id
            )
            execution = await asyncio.to_thread(self._fail, claim, error)
        finally:
            self._drivers.pop(number, None)
        if execution is not None:
            await asyncio.to_thread(self._tell_parent, execution)
        return execution

    def _fail(self, claim: Claim, error: Exception) -> Execution | None:
        """End an execution that our own fault keeps from being driven; a person can resume it."""
        text = str(error) if isinstance(error, FlowledgerError) else f"{type(error).__name__}: {error}"
        ended = Ended(RunStatus.FAILED, error=text, error_type=type(error).__name__)
        progressed = Progressed(events=[(EventType.EXECUTION_FAILED, "", {"error": text})])
        try:
            return self.engine.store.end(claim.lease, ended, progressed, self.engine.clock())
        except FlowledgerError as again:
            logger.error("execution {}: {}", claim.execution.execution_id, again)
            return None

    def _tell_parent(self, child: Execution) -> None:
        """Resolve the wait of the execution that a sub-workflow belongs to."""
        if child.parent is None or child.status.is_open:
            return
        parent_id, _, key = child.parent.partition(":")
        parent = self.engine.store.execution(parent_id)
        if parent is None:
            return
        resolution = {
            "status": child.status.value,
            "output": child.output,
            "error": child.error,
            "error_type": child.error_type,
            "execution_id": child.execution_id,
        }
        self.engine.store.resolve(parent.id, key, resolution, self.engine.clock(), by="system")

    async def _heartbeat(self) -> None:
        if not self._drivers:
            return
        store, now = self.engine.store, self.engine.clock()
        before = set(self._drivers)
        kept = await asyncio.to_thread(store.renew, self.owner, now, self.options.lease)
        for number in before - kept:
            if driver := self._drivers.get(number):
                driver.lose()

    async def _hear(self) -> None:
        if not self._drivers:
            return
        news = await asyncio.to_thread(self.engine.store.news, self.owner)
        for number, each in news.items():
            if driver := self._drivers.get(number):
                driver.hear(each)

    async def _yield(self) -> None:
        """Return what it has: steps that run may end, what waits is another worker's."""
        for driver in list(self._drivers.values()):
            driver.hear(News(YIELD, ()))
        tasks = set(self._tasks)
        if tasks:
            _, running = await asyncio.wait(tasks, timeout=self.options.grace_s)
            for driver in list(self._drivers.values()):
                driver.lose()
            if running:
                await asyncio.wait(running, timeout=self.options.grace_s)

    async def _repeat(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await work()
            except FlowledgerError as error:
                logger.warning("the worker {}: {}", self.owner, error)
                await asyncio.sleep(self.options.after_error_s)
            except Exception as error:  # noqa: BLE001  without its heartbeat or polling a worker is dead unseen
                logger.opt(exception=error).error("the worker {}: a defect", self.owner)
                await asyncio.sleep(self.options.after_error_s)
            await asyncio.sleep(seconds)
