"""Runs that are streamed: who is slow, who leaves, and what is left behind."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from flowledger.bootstrap.ledgers import decoders
from flowledger.domain.coze_runs import CLIENT_GONE, CozeEvent, Ending, WorkflowOrder
from flowledger.domain.record_kinds import COZE
from flowledger.errors import AuthenticationError, RecordConflictError, SourceRefusedError, UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.services.streaming import (
    LIMITS,
    StreamedRun,
    Streams,
    TooManyStreamsError,
    ending_of,
)

ORDER = WorkflowOrder("w", {})
TALK = CozeEvent("Message", {"content": "x"})


@dataclass
class FakeRun:
    """A run in Coze that talks for ever, or until it is closed."""

    answers: Callable[[], Sequence[CozeEvent]] = lambda: [TALK]
    reads: int = 0
    closed: Event = field(default_factory=Event)
    log_id: str | None = None

    def open(self) -> None:
        """Be accepted."""

    def read(self) -> Sequence[CozeEvent]:
        """Talk."""
        self.reads += 1
        return () if self.closed.is_set() else self.answers()

    def close(self) -> None:
        """End it."""
        self.closed.set()


def streams_of(upstream: FakeRun, **limits: Any) -> Streams:
    """Make streams over a ledger in memory."""
    ledger = SqlLedger.open("memory://", decoders())
    return Streams(
        lambda _order: upstream,
        ExecutionHistoryService(ledger=ledger),
        ledger,
        lambda: datetime.now(UTC),
        replace(LIMITS, **limits),
    )


async def record_of(streams: Streams, run: StreamedRun) -> dict[str, Any]:
    """Give what is recorded, once the run has ended."""
    await run.ended.wait()
    records = streams.records
    assert isinstance(records, ExecutionHistoryService)
    record = await records.get_execution_detail("w", run.execute_id)
    assert record is not None
    return record


async def all_told(run: StreamedRun) -> list[Any]:
    """Give all that a client is told, up to the end."""
    told: list[Any] = []
    while None not in told:
        told += await run.next()
    return [each.what for each in told[:-1]]


def test_a_client_that_does_not_read_stops_the_reading_of_coze() -> None:
    """Memory does not grow with what a slow client leaves."""
    upstream = FakeRun()

    async def play() -> dict[str, Any]:
        streams = streams_of(upstream, waiting_events=3)
        run = await streams.begin(ORDER, "ann")
        await run.opened
        before = -1
        while upstream.reads != before:
            before = upstream.reads
            await asyncio.sleep(0.05)
        run.stop(CLIENT_GONE)
        return await record_of(streams, run)

    record = asyncio.run(play())
    assert upstream.reads == 4
    assert record["error_code"] == "client_gone"
    assert upstream.closed.is_set()


def test_all_that_is_told_is_handed_on_in_order_and_then_the_end() -> None:
    """Also where much more comes than may wait."""
    numbers = iter(range(500))

    def answers() -> Sequence[CozeEvent]:
        number = next(numbers, None)
        if number is None:
            return [CozeEvent("Done", {})]
        return [CozeEvent("Message", {"content": str(number)}), CozeEvent("PING", {})]

    async def play() -> list[Any]:
        streams = streams_of(FakeRun(answers), waiting_events=2)
        run = await streams.begin(ORDER, "ann")
        return await all_told(run)

    told = asyncio.run(play())
    assert [each.data.get("content") for each in told] == [*map(str, range(500)), None]


def test_a_defect_below_ends_the_run_and_tells_the_client() -> None:
    """Nothing waits for ever, and the record says failed."""

    def answers() -> Sequence[CozeEvent]:
        raise ZeroDivisionError

    async def play() -> tuple[list[Any], dict[str, Any]]:
        streams = streams_of(FakeRun(answers))
        run = await streams.begin(ORDER, "ann")
        return await all_told(run), await record_of(streams, run)

    (last,), record = asyncio.run(play())
    assert isinstance(last, Ending)
    assert record["execute_status"] == "failed"


def test_closing_ends_all_runs_and_keeps_that() -> None:
    """They are interrupted by the stop, and the last user's close is what counts."""

    async def play() -> list[str]:
        streams = streams_of(FakeRun())
        await streams.start()
        await streams.start()
        runs = [await streams.begin(ORDER, "ann") for _ in range(3)]
        await streams.close()
        assert not any(run.ended.is_set() for run in runs)
        await streams.close()
        return [(await record_of(streams, run))["error_code"] for run in runs]

    assert asyncio.run(play()) == ["server_stopped"] * 3


def test_a_place_is_free_again_after_a_run_and_after_a_refusal() -> None:
    """What could not begin takes up none."""

    async def play() -> None:
        streams = streams_of(FakeRun(lambda: [CozeEvent("Done", {})]), most_streams=1)
        with pytest.raises(UsageError):
            await streams.begin(replace(ORDER, workflow_id="../w"), "ann")
        run = await streams.begin(ORDER, "ann", "same")
        with pytest.raises(TooManyStreamsError):
            await streams.begin(ORDER, "ann")
        while streams._tasks:
            await asyncio.sleep(0)
        with pytest.raises(RecordConflictError):
            await streams.begin(ORDER, "ann", "same")
        assert (await record_of(streams, run))["execute_status"] == "success"
        assert streams.ledger.locate(COZE, "same") is not None

    asyncio.run(play())


@pytest.mark.parametrize(
    ("body", "code"),
    [('{"code": 4200}', 4200), ("", "refused"), ("[1]", "refused"), ('{"code": "x"}', "refused")],
)
def test_the_code_of_a_refusal_is_cozes_own_where_there_is_one(body: str, code: int | str) -> None:
    """Else it is our word."""
    ending = ending_of(SourceRefusedError("no", status=200, body=body))
    assert ending == Ending("failed", code, "no")


def test_a_refused_token_has_its_word() -> None:
    """Without a body there is no code."""
    assert ending_of(AuthenticationError("no")).error_code == "authentication"
