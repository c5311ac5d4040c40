"""The filters of ``get_logs``: checked, and turned into queries of the ledger."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any, TypeVar

from flowledger.domain.executions import Record, execution_of
from flowledger.domain.history import OperationQuery, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_checks import checked_id, checked_time, checked_word, kind_of, shortened
from flowledger.domain.record_kinds import COZE, LOG, status_from_word, status_of
from flowledger.domain.runs import AppKey, RunStatus
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.services.history.paging import operations_of, runs_of

SOURCES = (LOG, COZE, "dify")
NEWEST_FIRST = {"newest": True, "desc": True, "oldest": False, "asc": False}
_BOTH = ("workflow_id", "source", "user", "operation_type", "started_after", "started_before", "limit")
_EXECUTION_FILTERS = (*_BOTH, "offset", "order", "status")
_OPERATION_FILTERS = (*_BOTH, "offset", "order")

Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a result is requested."""

    limit: int
    offset: int
    newest_first: bool

    def of(self, newest_first: Iterator[Each]) -> list[Each]:
        """Return that part of a stream that is newest first; for the oldest the whole stream is read."""
        if self.newest_first:
            return list(islice(newest_first, self.offset, self.offset + self.limit))
        # The ledger pages newest first only; the bounded deque drops what is newer than the requested part.
        oldest = deque(newest_first, self.offset + self.limit)
        return list(islice(reversed(oldest), self.offset, None))


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one call; each is checked when it is read."""

    params: Mapping[str, Any]
    zone: tzinfo
    default_limit: int

    def slice(self) -> Slice:
        """Return the part that ``limit``, ``offset`` and ``order`` request."""
        order = self.params.get("order") or "newest"
        if order not in NEWEST_FIRST:
            raise UsageError(f"unknown order {shortened(order)}: one of {', '.join(NEWEST_FIRST)}")
        return Slice(
            self._number("limit", 1, self.default_limit), self._number("offset", 0, 0), NEWEST_FIRST[order]
        )

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words of a filter that takes one or a list; empty where it is not set."""
        value = self.params.get(name)
        if value is None:
            return ()
        listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return tuple(checked_word(name, word) for word in listed)

    def word(self, name: str) -> str:
        """Return the word of a filter; empty where it is not set."""
        value = self.params.get(name)
        return "" if value is None else checked_word(name, value)

    def time(self, name: str) -> datetime | None:
        """Return an aware time, or None where the filter is not set."""
        text = checked_time(name, self.params.get(name), self.zone)
        return None if text is None else datetime.fromisoformat(text)

    def workflow_id(self) -> str | None:
        """Return the workflow's id, or None for all workflows."""
        value = self.params.get("workflow_id")
        return None if value is None else checked_id("workflow_id", value)

    def _number(self, name: str, least: int, default: int) -> int:
        value = self.params.get(name)
        if value is None:
            return default
        if type(value) is not int or value < least:
            raise UsageError(f"{name} must be a whole number from {least} on, not {value!r:.40}")
        return value


def find_executions(ledger: Ledger, filters: Filters) -> list[Record]:
    """Return the executions that match the filters, of every source that ``source`` names.

    :raises UsageError: for an unknown or invalid filter.
    """
    _refuse_unknown(filters.params, _EXECUTION_FILTERS)
    workflow_id, statuses, sources = filters.workflow_id(), filters.words("status"), filters.words("source")
    operation_types = filters.words("operation_type")
    query = RunQuery(
        sources=tuple(dict.fromkeys((LOG, *(word for word in sources if word in SOURCES)))),
        workflows=() if workflow_id is None else (workflow_id,),
        statuses=tuple({status for word in statuses for status in _ledger_statuses(word)}),
        listed_from=filters.time("started_after"),
        listed_before=filters.time("started_before"),
        user=filters.word("user"),
    )

    # The query narrows the ledger's rows; the caller's own words are only in the records themselves.
    def matches(record: Record, source: str, status: RunStatus) -> bool:
        return (
            (not statuses or any(_has_status(word, record["status"], status) for word in statuses))
            and (not sources or source in sources or record.get("source") in sources)
            and (not operation_types or record.get("operation_type") in operation_types)
        )

    rows = ((execution_of(each), each.run) for each in runs_of(ledger, query, with_details=True))
    return filters.slice().of(record for record, run in rows if matches(record, run.app.source, run.status))


def find_operations(ledger: Ledger, filters: Filters) -> list[Operation]:
    """Return the operations that match the filters; those of a workflow id are of every source.

    :raises UsageError: for an unknown or invalid filter.
    """
    _refuse_unknown(filters.params, _OPERATION_FILTERS)
    workflow_id, sources = filters.workflow_id(), filters.words("source")
    apps = None if workflow_id is None else tuple(AppKey(source, workflow_id) for source in SOURCES)
    query = OperationQuery(
        apps=apps,
        types=filters.words("operation_type"),
        user=filters.word("user"),
        since=filters.time("started_after"),
        before=filters.time("started_before"),
    )
    return filters.slice().of(
        each
        for each in operations_of(ledger, query)
        if not sources or (each.app is not None and each.app.source in sources)
    )


def _ledger_statuses(word: str) -> set[RunStatus]:
    # The ledger's status of an unknown word depends on whether the execution has ended.
    return {status_of(word, ended=ended) for ended in (True, False)}


def _has_status(word: str, own_word: object, status: RunStatus) -> bool:
    """Whether an execution has a status: one of the ledger's by its meaning, any other word literally."""
    if word in list(RunStatus):
        return status_from_word(word) == status
    return str(own_word).strip().lower() == word.strip().lower()


def _refuse_unknown(params: Mapping[str, Any], allowed: Sequence[str]) -> None:
    if not isinstance(params, Mapping):
        raise UsageError(f"filters must be an object, not {kind_of(params)}")
    unknown = [str(name) for name in params if name not in allowed]
    if unknown:
        raise UsageError(f"unknown filter {', '.join(unknown):.80}: one of {', '.join(allowed)}")
