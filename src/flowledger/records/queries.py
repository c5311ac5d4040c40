"""Filters in the words of a caller, as questions to a ledger."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any, TypeVar

from flowledger.domain.executions import Record, execution_of
from flowledger.domain.history import OperationQuery, Place, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_checks import checked_id, checked_time, checked_word, kind_of, shortened
from flowledger.domain.record_kinds import COZE, LOG, known_status, status_of
from flowledger.domain.runs import AppKey, RunStatus
from flowledger.errors import UsageError
from flowledger.ports import Ledger

SOURCES = (LOG, COZE, "dify")
PAGE = 50
"""A record may be megabytes; a page of them is in memory at once."""
NEWEST_FIRST = {"newest": True, "desc": True, "oldest": False, "asc": False}
_BOTH = ("workflow_id", "source", "user", "operation_type", "started_after", "started_before", "limit")
_EXECUTION_FILTERS = (*_BOTH, "offset", "order", "status")
_OPERATION_FILTERS = (*_BOTH, "offset", "order")

Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which part of a list is wanted."""

    limit: int
    offset: int
    newest_first: bool

    def of(self, newest_first: Iterator[Each]) -> list[Each]:
        """Cut a list; the oldest are found by reading all, of which only those wanted are held."""
        if self.newest_first:
            return list(islice(newest_first, self.offset, self.offset + self.limit))
        oldest = deque(newest_first, self.offset + self.limit)
        return list(islice(reversed(oldest), self.offset, None))


@dataclass(frozen=True, slots=True)
class Filters:
    """What a caller said, each word checked."""

    said: Mapping[str, Any]
    zone: tzinfo
    default_limit: int

    def stretch(self) -> Stretch:
        """Read limit, offset and order."""
        order = self.said.get("order") or "newest"
        if order not in NEWEST_FIRST:
            raise UsageError(f"unknown order {shortened(order)}: one of {', '.join(NEWEST_FIRST)}")
        return Stretch(
            self._number("limit", 1, self.default_limit), self._number("offset", 0, 0), NEWEST_FIRST[order]
        )

    def words(self, name: str) -> tuple[str, ...]:
        """Read one word or a list of them; none where nothing is asked for."""
        value = self.said.get(name)
        if value is None:
            return ()
        listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return tuple(checked_word(name, word) for word in listed)

    def word(self, name: str) -> str:
        """Read a word; empty where nothing is asked for."""
        value = self.said.get(name)
        return "" if value is None else checked_word(name, value)

    def time(self, name: str) -> datetime | None:
        """Read a time."""
        text = checked_time(name, self.said.get(name), self.zone)
        return None if text is None else datetime.fromisoformat(text)

    def workflow_id(self) -> str | None:
        """Read the workflow; None for all."""
        value = self.said.get("workflow_id")
        return None if value is None else checked_id("workflow_id", value)

    def _number(self, name: str, least: int, default: int) -> int:
        value = self.said.get(name)
        if value is None:
            return default
        if type(value) is not int or value < least:
            raise UsageError(f"{name} must be a whole number from {least} on, not {value!r:.40}")
        return value


def find_executions(ledger: Ledger, filters: Filters) -> list[Record]:
    """Give the executions that filters ask for.

    :raises UsageError: for a filter that is unknown or wrong.
    """
    _refuse_unknown(filters.said, _EXECUTION_FILTERS)
    workflow_id, statuses, sources = filters.workflow_id(), filters.words("status"), filters.words("source")
    operation_types = filters.words("operation_type")
    query = RunQuery(
        sources=tuple(dict.fromkeys((LOG, *(word for word in sources if word in SOURCES)))),
        workflows=() if workflow_id is None else (workflow_id,),
        statuses=tuple({kept for word in statuses for kept in _kept_as(word)}),
        listed_from=filters.time("started_after"),
        listed_before=filters.time("started_before"),
        user=filters.word("user"),
    )

    def admits(record: Record, source: str, status: RunStatus) -> bool:
        return (
            (not statuses or any(_says(word, record["status"], status) for word in statuses))
            and (not sources or source in sources or record.get("source") in sources)
            and (not operation_types or record.get("operation_type") in operation_types)
        )

    found = ((execution_of(each), each.run) for each in _entries(ledger, query))
    return filters.stretch().of(record for record, run in found if admits(record, run.app.source, run.status))


def find_operations(ledger: Ledger, filters: Filters) -> list[Operation]:
    """Give the operations that filters ask for; of a workflow, those of every source.

    :raises UsageError: for a filter that is unknown or wrong.
    """
    _refuse_unknown(filters.said, _OPERATION_FILTERS)
    workflow_id, sources = filters.workflow_id(), filters.words("source")
    apps = None if workflow_id is None else tuple(AppKey(source, workflow_id) for source in SOURCES)
    query = OperationQuery(
        apps=apps,
        types=filters.words("operation_type"),
        user=filters.word("user"),
        since=filters.time("started_after"),
        before=filters.time("started_before"),
    )
    found = _operations(ledger, query)
    return filters.stretch().of(
        each for each in found if not sources or (each.app is not None and each.app.source in sources)
    )


def _entries(ledger: Ledger, query: RunQuery) -> Iterator[Any]:
    after: Place | None = None
    while True:
        page = ledger.history(query, after=after, limit=PAGE, with_details=True)
        yield from page.entries
        after = page.following
        if after is None:
            return


def _operations(ledger: Ledger, query: OperationQuery) -> Iterator[Operation]:
    after: Place | None = None
    while True:
        page = ledger.operations(query, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = Place(page[-1].at, page[-1].operation_id)


def _kept_as(word: str) -> set[RunStatus]:
    return {status_of(word, ended=ended) for ended in (True, False)}


def _says(word: str, given: object, status: RunStatus) -> bool:
    """Whether a status is asked for: one of the ledger's by its meaning, every other word as it is."""
    if word in list(RunStatus):
        return known_status(word) == status
    return str(given).strip().lower() == word.strip().lower()


def _refuse_unknown(said: Mapping[str, Any], known: Sequence[str]) -> None:
    if not isinstance(said, Mapping):
        raise UsageError(f"filters must be an object, not {kind_of(said)}")
    unknown = [str(name) for name in said if name not in known]
    if unknown:
        raise UsageError(f"unknown filter {', '.join(unknown):.80}: one of {', '.join(known)}")
