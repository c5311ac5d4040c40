"""Following the history: what is new or has changed is told once, whatever there is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.history import RunQuery
from flowledger.domain.record_kinds import KINDS, LOG
from flowledger.domain.runs import Detail, Run
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.services.history import paging
from flowledger.services.history.paging import Follower

AT = datetime(2026, 11, 20, tzinfo=UTC)


def run(number: int, status: str = "running") -> tuple[Run, Detail]:
    """Make an execution; three of them share each instant."""
    start = (AT + timedelta(seconds=number // 3)).isoformat()
    return KINDS[LOG].run_and_detail(
        {"execution_id": f"e{number:04}", "workflow_id": "w", "status": status, "start_time": start}
    )


@given(st.lists(st.integers(0, 6), max_size=8), st.integers(0, 9))
def test_tells_each_new_run_once(steps: list[int], count: int) -> None:
    """However many come between two looks, each is told once, oldest first."""
    ledger = SqlLedger.open("memory://", {LOG: KINDS[LOG].to_detail})
    ledger.save_details([run(number) for number in range(7)])
    follower = Follower(ledger, RunQuery())
    assert [entry.run.run_id for entry in follower.begin(count)] == [
        f"e{n:04}" for n in range(max(0, 7 - count), 7)
    ]
    held = 7
    for step in steps:
        ledger.save_details([run(number) for number in range(held, held + step)])
        told = [entry.run.run_id for entry in follower.again()]
        assert told == [f"e{number:04}" for number in range(held, held + step)]
        held += step


def test_tells_changes_and_forgets_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watched run that ends is told again; so many are watched and no more."""
    monkeypatch.setattr(paging, "WATCHED", 10)
    ledger = SqlLedger.open("memory://", {LOG: KINDS[LOG].to_detail})
    ledger.save_details([run(number) for number in range(60)])
    follower = Follower(ledger, replace(RunQuery(), sources=(LOG,)))
    follower.begin(3)
    ledger.save_details([run(58, "completed"), run(1, "completed")])
    assert [entry.run.run_id for entry in follower.again()] == ["e0058"]
    assert follower.again() == []
    assert len(follower.watched) <= 10
