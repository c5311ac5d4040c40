"""Records that a process left running are ended once nobody vouches for them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from flowledger.bootstrap.ledgers import decoders
from flowledger.domain.coze_runs import milliseconds
from flowledger.domain.history import RunKey
from flowledger.domain.record_kinds import COZE
from flowledger.domain.runs import AppKey
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.services.stream_records import LEASE, end_abandoned

NOW = datetime.now(UTC)


@pytest.fixture
def history() -> ExecutionHistoryService:
    """Keep executions in memory."""
    return ExecutionHistoryService(ledger=SqlLedger.open("memory://", decoders()))


def begin(history: ExecutionHistoryService, execute_id: str, lease: datetime | None) -> None:
    """Begin an execution that is vouched for until then."""
    metadata = {"owner": "x"} | ({} if lease is None else {LEASE: milliseconds(lease)})
    asyncio.run(history.create_execution_record("w", {"a": 1}, execute_id=execute_id, metadata=metadata))


def status(history: ExecutionHistoryService, execute_id: str) -> str:
    """Tell what a record says."""
    record = asyncio.run(history.get_execution_detail("w", execute_id))
    assert record is not None
    return str(record["execute_status"])


def test_only_those_whose_lease_is_over_are_ended(history: ExecutionHistoryService) -> None:
    """Another living process, and a program that vouches for nothing, keep theirs."""
    begin(history, "dead", NOW - timedelta(seconds=1))
    begin(history, "alive", NOW + timedelta(seconds=60))
    begin(history, "foreign", None)
    assert end_abandoned(history.ledger, NOW) == [RunKey(AppKey(COZE, "w"), "dead")]
    assert [status(history, each) for each in ("dead", "alive", "foreign")] == [
        "interrupted",
        "running",
        "running",
    ]


def test_an_ended_record_says_why_and_keeps_the_rest(history: ExecutionHistoryService) -> None:
    """The output so far, the parameters and the owner stay."""
    begin(history, "dead", NOW - timedelta(seconds=1))
    asyncio.run(history.update_execution_record("w", "dead", output={"End": "half"}))
    end_abandoned(history.ledger, NOW)
    record = asyncio.run(history.get_execution_detail("w", "dead"))
    assert record is not None
    assert record["output"] == {"End": "half"}
    assert record["metadata"] == {"owner": "x"}
    assert record["error_code"] == "process_gone"
    assert "process" in record["error_message"]


def test_more_than_a_page_of_them_is_ended(history: ExecutionHistoryService) -> None:
    """All are found, and a second look finds none."""
    for number in range(120):
        begin(history, f"e{number}", NOW - timedelta(seconds=1))
    assert len(end_abandoned(history.ledger, NOW)) == 120
    assert end_abandoned(history.ledger, NOW) == []


def test_what_has_ended_is_left_alone(history: ExecutionHistoryService) -> None:
    """A success with an old lease stays one."""
    begin(history, "done", NOW - timedelta(seconds=1))
    asyncio.run(history.update_execution_record("w", "done", execute_status="success"))
    assert end_abandoned(history.ledger, NOW) == []
    assert status(history, "done") == "success"
