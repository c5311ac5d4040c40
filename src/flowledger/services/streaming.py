"""One thread that waits in the place of an event loop."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import uuid4

from loguru import logger

from flowledger.domain.coze_runs import (
    CUT_SHORT,
    FAILED,
    PING,
    SERVER_STOPPED,
    CozeEvent,
    Ending,
    Transcript,
    WorkflowOrder,
)
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import COZE
from flowledger.domain.runs import AppKey
from flowledger.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FlowledgerError,
    LedgerError,
    SourceBusyError,
    SourceGarbledError,
    SourceRefusedError,
    SourceUnreachableError,
)
from flowledger.ports import Clock, Ledger
from flowledger.services.stream_records import (
    EVERYDAY,
    ExecutionRecords,
    RecordPace,
    StreamRecord,
    end_abandoned,
)

Result = TypeVar("Result")
_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class OwnThread:
    """A thread for calls that may wait long, one after the other; the process ends without waiting for it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, call: Callable[[], Result]) -> Result:
        """Call it there, and wait for what it gives; who is cancelled does not stop it."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.put((call, future))
        result: Result = await future
        return result

    def stop(self) -> None:
        """End the thread after the call that it is in."""
        self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            try:
                result = call()
            except Exception as error:  # noqa: BLE001  # whoever waits for it gets it
                self._hand_on(_fail, future, error)
            else:
                self._hand_on(_succeed, future, result)
        self._hand_on(_succeed, self.finished, None)

    def _hand_on(self, callback: Callable[..., None], future: "asyncio.Future[Any]", value: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, future, value)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _succeed(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


_CODES: Sequence[tuple[type[FlowledgerError], str]] = (
    (AuthenticationError, "authentication"),
    (SourceRefusedError, "refused"),
    (SourceBusyError, "busy"),
    (SourceUnreachableError, "unreachable"),
    (SourceGarbledError, "garbled"),
    (DeadlineExceededError, "deadline"),
)


class UpstreamRun(Protocol):
    """One run in Coze (``coze.client.CozeRun``); one thread opens and reads it, any may close it."""

    @property
    def log_id(self) -> str | None:
        """What Coze's support finds it by."""

    def open(self) -> None:
        """Begin it, and return when it was accepted."""

    def read(self) -> Sequence[CozeEvent]:
        """Wait for the next events; none at the end."""

    def close(self) -> None:
        """End the connection, also under a thread that reads."""


class TooManyStreamsError(FlowledgerError):
    """So many runs are streamed already that no other may begin."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many runs at once, how long one may take, and how much of it waits for a slow client or is kept."""

    most_streams: int = 64
    deadline_s: float = 1800.0
    waiting_events: int = 64
    output_bytes: int = 4 * 2**20
    pace: RecordPace = EVERYDAY


LIMITS = StreamLimits()


class StreamItem(NamedTuple):
    """What a client is told at an instant: an event of Coze, or how it ended."""

    at: datetime
    what: CozeEvent | Ending


@dataclass(slots=True)
class StreamedRun:
    """A run that is being streamed; made by ``Streams.begin``."""

    record: StreamRecord
    upstream: UpstreamRun
    limits: StreamLimits
    opened: "asyncio.Future[FlowledgerError | None]"
    ended: asyncio.Event
    _stop: "asyncio.Future[Ending]"
    _items: "asyncio.Queue[StreamItem | None]"

    @property
    def execute_id(self) -> str:
        """The id of its record."""
        return self.record.execute_id

    async def next(self) -> list[StreamItem | None]:
        """Wait for the next items for the client, and return all that wait; None is the end."""
        batch = [await self._items.get()]
        while not self._items.empty():
            batch.append(self._items.get_nowait())
        return batch

    def stop(self, why: Ending) -> None:
        """End it, for the first reason that is given; what has ended stays as it is."""
        if not self._stop.done():
            self._stop.set_result(why)

    def release(self) -> None:
        """Let the client go, whatever it has not been told yet."""
        if not self.opened.done():
            self.opened.set_result(FlowledgerError("a defect of Flowledger: its log says more"))
        while self._items.full():
            self._items.get_nowait()
        self._items.put_nowait(None)

    async def live(self) -> None:
        """Follow the run to its end and keep that; then tell the client."""
        thread = OwnThread("coze-run")
        renewing = asyncio.create_task(self.record.renew())
        try:
            ending, error = await self._followed(thread)
            renewing.cancel()
            await self.record.end(ending)
        finally:
            renewing.cancel()
            thread.stop()
            self.ended.set()
        if not self.opened.done():
            self.opened.set_result(error)
        if ending.error_code is not None and self.record.transcript.ending is None:
            await self._hand_on(StreamItem(self.record.clock(), ending))
        await self._hand_on(None)
        # As long as its thread waits for a connection that nobody can end, the run takes up its place.
        await thread.finished

    async def _followed(self, thread: OwnThread) -> tuple[Ending, FlowledgerError | None]:
        following = asyncio.create_task(self._follow(thread))
        either: set[asyncio.Future[Any]] = {following, self._stop}
        try:
            await asyncio.wait(either, timeout=self.limits.deadline_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.upstream.close()
            following.cancel()
        if self.record.transcript.ending is not None:
            return self.record.transcript.ending, None
        error: FlowledgerError | None = None
        try:
            return await following, None
        except asyncio.CancelledError:
            if self._stop.done():
                return self._stop.result(), None
            error = DeadlineExceededError(
                f"the workflow {self.record.order.workflow_id} ran for more than {self.limits.deadline_s:g} s"
            )
        except FlowledgerError as batch:
            error = batch
        except Exception as defect:  # noqa: BLE001  whatever broke, the end has to be kept
            logger.opt(exception=defect).error("{}: a defect", self.record)
            error = FlowledgerError("a defect of Flowledger: its log says more")
        return ending_of(error), error

    async def _follow(self, thread: OwnThread) -> Ending:
        await thread.run(self.upstream.open)
        self.opened.set_result(None)
        while True:
            events = await thread.run(self.upstream.read)
            if not events:
                return CUT_SHORT
            for event in events:
                ending = self.record.transcript.take(event)
                if event.event != PING:
                    await self._hand_on(StreamItem(self.record.clock(), event))
                if ending is not None:
                    return ending
            await self.record.save_if_due()

    async def _hand_on(self, item: StreamItem | None) -> None:
        """Hand on, waiting for a slow client, but not for one that has gone."""
        with suppress(asyncio.QueueFull):
            self._items.put_nowait(item)
            return
        putting = asyncio.create_task(self._items.put(item))
        either: set[asyncio.Future[Any]] = {putting, self._stop}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()


@dataclass(slots=True)
class Streams:
    """All runs that this process streams; it lives in one event loop.

    ``prepare`` gives a run in Coze; nothing is sent before it is opened.
    """

    prepare: Callable[[WorkflowOrder], UpstreamRun]
    records: ExecutionRecords
    ledger: Ledger
    clock: Clock
    limits: StreamLimits = LIMITS
    _owner: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{uuid4()}")
    _tasks: "dict[asyncio.Task[None], StreamedRun]" = field(default_factory=dict)
    _beginning: int = 0
    _reconciling: "asyncio.Task[None] | None" = None
    _starts: int = 0

    async def start(self) -> None:
        """End what a process that is gone has left open, and look for such runs from now on."""
        self._starts += 1
        if self._starts == 1:
            await self.reconcile()
            self._reconciling = asyncio.create_task(self._reconcile_for_ever())

    async def close(self) -> None:
        """End all runs as interrupted and wait until that is kept; the last of several users does it."""
        self._starts -= 1
        if self._starts > 0:
            return
        if self._reconciling is not None:
            self._reconciling.cancel()
        runs = list(self._tasks.values())
        for run in runs:
            run.stop(SERVER_STOPPED)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.pace.lease_s):
                await asyncio.gather(*(run.ended.wait() for run in runs))

    async def reconcile(self) -> None:
        """End the records whose lease is over; where the ledger is away, the next round does it."""
        try:
            ended = await asyncio.to_thread(end_abandoned, self.ledger, self.clock())
        except LedgerError as error:
            logger.error("abandoned runs of Coze cannot be ended for now: {}", error)
            return
        for key in ended:
            logger.warning("{} was left running by a process that is gone: ended as interrupted", key)

    async def begin(self, order: WorkflowOrder, user: str, execute_id: str | None = None) -> StreamedRun:
        """Keep the start of a run and its operation, and begin it; it goes on by itself from there.

        :raises TooManyStreamsError: when there are too many; RecordConflictError: when there is a run of
            this id already; UsageError: for what cannot be recorded; LedgerError: when nothing can be.
        """
        busy = len(self._tasks) + self._beginning
        if busy >= self.limits.most_streams:
            raise TooManyStreamsError(f"{busy} runs are being streamed: wait until one ends")
        run = self._run(order, str(uuid4()) if execute_id is None else execute_id)
        self._beginning += 1
        try:
            await run.record.begin()
            await asyncio.to_thread(self.ledger.record, self._operation(run, user))
        finally:
            self._beginning -= 1
        task = asyncio.create_task(run.live())
        self._tasks[task] = run
        task.add_done_callback(self._over)
        return run

    def _run(self, order: WorkflowOrder, execute_id: str) -> StreamedRun:
        upstream = self.prepare(order)
        record = StreamRecord(
            records=self.records,
            order=order,
            execute_id=execute_id,
            owner=f"{self._owner}:{uuid4()}",
            transcript=Transcript(self.limits.output_bytes),
            clock=self.clock,
            pace=self.limits.pace,
            log_id=lambda: upstream.log_id,
        )
        loop = asyncio.get_running_loop()
        item: asyncio.Queue[StreamItem | None] = asyncio.Queue(self.limits.waiting_events)
        opened, stop = loop.create_future(), loop.create_future()
        return StreamedRun(record, upstream, self.limits, opened, asyncio.Event(), stop, item)

    def _operation(self, run: StreamedRun, user: str) -> Operation:
        app = AppKey(COZE, run.record.order.workflow_id)
        return Operation(str(uuid4()), "EXECUTE", self.clock(), user, app, run.execute_id)

    def _over(self, task: "asyncio.Task[None]") -> None:
        run = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.opt(exception=error).error("{}: its end could not be kept", run.record)
        if error is not None or task.cancelled():
            run.release()

    async def _reconcile_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.limits.pace.lease_s / 2)
            await self.reconcile()


def ending_of(error: FlowledgerError) -> Ending:
    """Return the end that an error is; its code is Coze's own, where it gave one."""
    word = next((word for kind, word in _CODES if isinstance(error, kind)), "failed")
    return Ending(FAILED, _code_in(getattr(error, "body", "")) or word, str(error))


def _code_in(body: str) -> int | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    code = answer.get("code") if isinstance(answer, dict) else None
    return code if type(code) is int and abs(code) < 2**63 else None
