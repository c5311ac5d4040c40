"""Ends the records of streamed runs whose process is gone.

Only the lease counts: a process id says nothing about another machine or container.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from flowledger.domain.coze_executions import RUNNING, changed, milliseconds
from flowledger.domain.coze_streams import PROCESS_GONE
from flowledger.domain.history import Place, RunKey, RunQuery
from flowledger.domain.record_checks import RecordLimits
from flowledger.domain.recorded import COZE, KINDS, record_of
from flowledger.domain.runs import Detail, Entry, Run, RunStatus
from flowledger.ports import RunHistory
from flowledger.services.stream_records import LEASE

AT_ONCE = 100
ANY_SIZE = RecordLimits(size_bytes=2**62)
OPEN_STREAMS = RunQuery(sources=(COZE,), statuses=(RunStatus.RUNNING,))


def end_abandoned(history: RunHistory, now: datetime) -> list[RunKey]:
    """End every running record whose lease is over as interrupted, and give which; others stay as they are.

    :raises LedgerError: when the ledger cannot be used.
    """
    abandoned = [key for key, record in _running(history) if _is_abandoned(record, now)]
    return [key for key in abandoned if _ended(history.amend(key, partial(_end, now=now)))]


def _running(history: RunHistory) -> Iterator[tuple[RunKey, dict[str, Any]]]:
    place: Place | None = None
    while True:
        page = history.history(OPEN_STREAMS, after=place, limit=AT_ONCE, with_details=True)
        yield from ((RunKey(each.run.app, each.run.run_id), record_of(each.run)) for each in page.entries)
        place = page.following
        if place is None:
            return


def _is_abandoned(record: dict[str, Any], now: datetime) -> bool:
    metadata = record.get("metadata")
    lease = metadata.get(LEASE) if isinstance(metadata, dict) else None
    return record["execute_status"] == RUNNING and type(lease) is int and lease < milliseconds(now)


def _end(entry: Entry | None, *, now: datetime) -> tuple[Run, Detail] | None:
    """Look again: it may have been renewed, ended or deleted since it was listed."""
    if entry is None:
        return None
    record = record_of(entry.run)
    if not _is_abandoned(record, now):
        return None
    changes = {
        "execute_status": PROCESS_GONE.status,
        "error_code": PROCESS_GONE.error_code,
        "error_message": PROCESS_GONE.error_message,
        "metadata": {name: value for name, value in record["metadata"].items() if name != LEASE},
    }
    return KINDS[COZE].kept(changed(record, changes, now, ANY_SIZE))


def _ended(entry: Entry | None) -> bool:
    return entry is not None and record_of(entry.run)["error_code"] == PROCESS_GONE.error_code
