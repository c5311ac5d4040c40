"""The queue that makes reports in the server's own process, and a ledger that does not take how one ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

from flowledger.api.report_queue import DirectReportQueue
from flowledger.domain.runs import Json
from flowledger.errors import LedgerError, UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.services.report_requests import RunOrder

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@dataclass(frozen=True)
class ForgetfulLedger(SqlLedger):
    """Refuses to store for each of its reasons once, and tells of every key that it came."""

    reasons: list[str] = field(default_factory=list)
    heard: SimpleQueue[str] = field(default_factory=SimpleQueue)

    def put_value(self, key: str, value: Mapping[str, Json], at: datetime) -> bool:
        """Refuse, or store."""
        try:
            if self.reasons:
                raise LedgerError(self.reasons.pop())
            return super().put_value(key, value, at)
        finally:
            self.heard.put(key)


def run(order: RunOrder, order_id: str) -> dict[str, Any]:
    """Make a report of nothing; refuse one that is called bad."""
    if order_id == "bad":
        raise UsageError("there is no app 'bad'")
    return {"order": order_id}


def test_orders_that_wait_are_made_although_the_ledger_does_not_take_how_the_first_ended() -> None:
    ledger = ForgetfulLedger.open("memory://", {})
    ledger.reasons.append("the disk is full")
    queue = DirectReportQueue(ledger, lambda: NOW, run)
    queue.enqueue(RunOrder(), "first")
    queue.enqueue(RunOrder(), "second")
    assert [ledger.heard.get(timeout=10) for _ in range(2)] == ["order-first-end", "order-second-end"]
    assert queue.state("first") == {"state": "done", "result": {"order": "first"}}
    kept = ledger.value("order-second-end")
    assert kept is not None
    assert kept.value == {"state": "done", "result": {"order": "second"}}


def test_what_the_ledger_did_not_take_is_said_to_it_once_more_at_the_end() -> None:
    ledger = ForgetfulLedger.open("memory://", {})
    ledger.reasons.append("the disk is full")
    queue = DirectReportQueue(ledger, lambda: NOW, run)
    queue.enqueue(RunOrder(), "bad")
    queue.enqueue(RunOrder(), "good")
    assert [ledger.heard.get(timeout=10) for _ in range(2)] == ["order-bad-end", "order-good-end"]
    queue.close()
    kept = ledger.value("order-bad-end")
    assert kept is not None
    assert kept.value == {"state": "failed", "reason": "there is no app 'bad'"}
    assert queue.state("bad") is None


def test_an_end_that_cannot_be_recorded_does_not_keep_the_others_from_it() -> None:
    ledger = ForgetfulLedger.open("memory://", {})
    ledger.reasons.extend(["the disk is full"] * 3)
    queue = DirectReportQueue(ledger, lambda: NOW, run)
    for order_id in ("first", "second"):
        queue.enqueue(RunOrder(), order_id)
    assert [ledger.heard.get(timeout=10) for _ in range(2)] == ["order-first-end", "order-second-end"]
    queue.close()
    assert ledger.value("order-first-end") is None
    assert ledger.value("order-second-end") is not None
