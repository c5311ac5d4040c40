"""The record of a streamed run: when it is kept, what it says, and what happens where it cannot be."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowledger.domain.coze_runs import CLIENT_GONE, CozeEvent, Ending, Transcript, WorkflowOrder
from flowledger.errors import FlowledgerError, LedgerError, RecordConflictError, UsageError
from flowledger.services.stream_records import LEASE, RecordPace, StreamRecord

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@dataclass
class FakeRecords:
    """Keeps what it is told, and fails as it is told."""

    created: list[Mapping[str, Any]] = field(default_factory=list)
    updated: list[Mapping[str, Any]] = field(default_factory=list)
    failures: list[FlowledgerError] = field(default_factory=list)

    async def create_execution_record(
        self,
        workflow_id: str,
        parameters: Mapping[str, Any] | None,
        bot_id: str | None = None,
        conversation_id: str | None = None,
        execute_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Keep it."""
        self.created.append({"execute_id": execute_id, "metadata": metadata, **more})

    async def update_execution_record(self, workflow_id: str, execute_id: str, **changes: Any) -> None:
        """Keep it, or fail."""
        if self.failures:
            raise self.failures.pop(0)
        self.updated.append(changes)


@dataclass
class Setting:
    """A record over a fake, with a clock of its own."""

    records: FakeRecords = field(default_factory=FakeRecords)
    now: datetime = START
    transcript: Transcript = field(default_factory=lambda: Transcript(10**6))

    def record(self) -> StreamRecord:
        """Make the record."""
        order = WorkflowOrder("w", {}, user_id="ann")
        pace = RecordPace(save_bytes=100, save_s=5)
        return StreamRecord(
            self.records, order, "e", "host:1:x", self.transcript, lambda: self.now, pace, lambda: "log"
        )

    def say(self, text: str) -> None:
        """Let the run say something."""
        self.transcript.take(CozeEvent("Message", {"content": text}))


def test_the_start_says_who_vouches_and_until_when() -> None:
    """A record that is running has a lease."""
    setting = Setting()
    asyncio.run(setting.record().begin())
    metadata = {"owner": "host:1:x", "coze_log_id": "log", LEASE: (int(START.timestamp()) + 60) * 1000}
    assert setting.records.created == [
        {"execute_id": "e", "metadata": metadata, "run_mode": 1, "connector_uid": "ann"}
    ]


def test_output_is_kept_after_so_many_bytes_or_seconds() -> None:
    """Little is lost by a kill, and little is written."""
    setting = Setting()

    async def play() -> list[int]:
        record, counts = setting.record(), []
        await record.begin()
        for text, seconds in (("a", 0), ("b" * 200, 0), ("c", 4), ("", 1), ("", 60), ("d", 0)):
            setting.say(text)
            setting.now += timedelta(seconds=seconds)
            await record.save_if_due()
            counts.append(len(setting.records.updated))
        return counts

    assert asyncio.run(play()) == [0, 1, 1, 2, 2, 3]


def test_the_end_says_what_was_told_and_gives_the_lease_up() -> None:
    """Status, reason and output are there, and nobody vouches any more."""
    setting = Setting()
    setting.say("half")
    asyncio.run(setting.record().end(CLIENT_GONE))
    (end,) = setting.records.updated
    assert (end["execute_status"], end["error_code"]) == ("interrupted", "client_gone")
    assert end["output"] == {"End": "half"}
    assert end["metadata"] == {"owner": "host:1:x", "coze_log_id": "log"}


def test_nothing_is_kept_after_the_end() -> None:
    """A renewal that comes late does not open it again."""
    setting = Setting()

    async def play() -> None:
        record = setting.record()
        await record.end(Ending("success"))
        setting.say("x" * 500)
        await record.save_if_due()

    asyncio.run(play())
    assert len(setting.records.updated) == 1


@pytest.mark.parametrize("error", [LedgerError("the disk is full"), RecordConflictError("ended otherwise")])
def test_an_end_that_cannot_be_kept_raises_nothing(error: FlowledgerError) -> None:
    """The client gets its events; the lease runs out, and the record is ended then."""
    setting = Setting(FakeRecords(failures=[error]))
    asyncio.run(setting.record().end(Ending("success")))
    assert setting.records.updated == []


def test_a_saving_that_fails_does_not_end_the_run() -> None:
    """The next one keeps all of it."""
    setting = Setting(FakeRecords(failures=[LedgerError("locked")]))

    async def play() -> None:
        record = setting.record()
        setting.say("a" * 200)
        await record.save_if_due()
        setting.say("b" * 200)
        await record.save_if_due()

    asyncio.run(play())
    assert setting.records.updated[0]["output"] == {"End": "a" * 200 + "b" * 200}


def test_an_output_that_is_refused_does_not_cost_the_status() -> None:
    """The end is kept without it, with the reason."""
    setting = Setting(FakeRecords(failures=[UsageError("larger than 1 MB")]))
    setting.say("x")
    asyncio.run(setting.record().end(Ending("success")))
    (end,) = setting.records.updated
    assert (end["execute_status"], end["is_output_trimmed"]) == ("success", True)
    assert end["metadata"] == {
        "owner": "host:1:x",
        "coze_log_id": "log",
        "output_refused": "larger than 1 MB",
    }


def test_the_lease_is_renewed_while_nothing_comes() -> None:
    """A silent run is alive."""
    setting = Setting()

    async def play() -> None:
        record = setting.record()
        record.pace = RecordPace(renew_s=0)
        renewing = asyncio.create_task(record.renew())
        while len(setting.records.updated) < 2:
            await asyncio.sleep(0)
        renewing.cancel()

    asyncio.run(play())
    assert all(LEASE in each["metadata"] for each in setting.records.updated)
