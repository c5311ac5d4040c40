"""The audit trail and the API's keys, each in a journal of its own."""

import json
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flowledger.domain.access_keys import AccessKey
from flowledger.domain.history import OperationQuery, Place
from flowledger.domain.operations import Operation
from flowledger.ledger.files.journal import DamagedLineError, Journal, Moved, Span, line_of, parsed
from flowledger.ledger.files.projections import RecordFiles
from flowledger.ledger.files.tables import WRONG
from flowledger.ledger.files.values import (
    instant_from,
    key_from,
    key_values,
    operation_from,
    operation_values,
)

PAGE = 200
FOR_FILES = ("operation_id", "operation_type", "workflow_id", "timestamp", "user", "data")


@dataclass(slots=True)
class OperationTable:
    """Where each operation is, and their order."""

    spans: dict[str, Span] = field(default_factory=dict)
    order: list[tuple[datetime, str]] = field(default_factory=list)

    def clear(self) -> None:
        """Know nothing."""
        self.spans.clear()
        self.order.clear()

    def take(self, line: bytes, span: Span) -> None:
        """Take in a line; of an id only the first counts."""
        values = parsed(line)
        try:
            operation_id, at = values["operation_id"], instant_from(values["timestamp"])
        except WRONG as error:
            raise DamagedLineError(f"no operation: {error!r:.200}") from error
        if operation_id not in self.spans:
            self.spans[operation_id] = span
            insort(self.order, (at, operation_id))


@dataclass(slots=True)
class OperationShelf:
    """The audit trail."""

    journal: Journal
    table: OperationTable
    files: RecordFiles

    def record(self, operation: Operation) -> bool:
        """Append an operation unless its id is known, and tell."""
        values = operation_values(operation)
        with self.journal.writing() as descriptor:
            self.files.repair(lambda operation_id: self._record(descriptor, operation_id))
            if operation.operation_id in self.table.spans:
                return False
            self.files.prepare({operation.operation_id: content_of(values)})
            self.journal.append(descriptor, [line_of("operation", **values)])
            self.files.place([operation.operation_id])
        return True

    def operation(self, operation_id: str) -> Operation | None:
        """Give one operation; None where there is none."""
        with self.journal.reading() as descriptor:
            span = self.table.spans.get(operation_id)
            return None if span is None else self._read(descriptor, span)

    def operations(self, query: OperationQuery, after: Place | None, limit: int) -> Sequence[Operation]:
        """Give operations that a query admits, newest first, those of one instant by falling id."""
        found: list[Operation] = []
        with self.journal.reading() as descriptor:
            for operation_id in self._candidates(query, after):
                operation = self._read(descriptor, self.table.spans[operation_id])
                if query.admits(operation):
                    found.append(operation)
                    if len(found) >= limit:
                        break
        return found[:limit]

    def _candidates(self, query: OperationQuery, after: Place | None) -> Iterator[str]:
        ends = [tuple(after)] if after is not None else []
        if query.before is not None:
            ends.append((query.before, ""))
        end = min((bisect_left(self.table.order, each) for each in ends), default=len(self.table.order))
        for at, operation_id in reversed(self.table.order[:end]):
            if query.since is not None and at < query.since:
                return
            yield operation_id

    def _read(self, descriptor: int | None, span: Span) -> Operation:
        return operation_from(parsed(self.journal.read(descriptor, span)))

    def _record(self, descriptor: int, operation_id: str) -> bytes | None:
        span = self.table.spans.get(operation_id)
        return None if span is None else content_of(parsed(self.journal.read(descriptor, span)))


@dataclass(slots=True)
class KeyTable:
    """The keys of the API; there are few, so they are held whole."""

    keys: dict[str, AccessKey] = field(default_factory=dict)

    def clear(self) -> None:
        """Know nothing."""
        self.keys.clear()

    def take(self, line: bytes, span: Span) -> None:  # noqa: ARG002  as every table
        """Take in a line."""
        try:
            key = key_from(parsed(line))
        except WRONG as error:
            raise DamagedLineError(f"no key: {error!r:.200}") from error
        self.keys[key.key_id] = key


@dataclass(slots=True)
class KeyShelf:
    """The keys of the API."""

    journal: Journal
    table: KeyTable

    def keep(self, key: AccessKey) -> None:
        """Keep a key; one of the same id is replaced."""
        with self.journal.writing() as descriptor:
            self.journal.append(descriptor, [line_of("key", **key_values(key))])

    def keys(self) -> Sequence[AccessKey]:
        """Give all keys, oldest first."""
        with self.journal.reading():
            return sorted(self.table.keys.values(), key=lambda key: (key.created_at, key.key_id))

    def compact(self) -> None:
        """Write the journal anew without what was replaced."""
        if not self.journal.path.exists():
            return
        with self.journal.writing():
            self.journal.rewrite(self._lines())

    def _lines(self) -> Iterator[Moved]:
        for key in self.table.keys.values():
            yield line_of("key", **key_values(key)), None


def content_of(values: dict[str, object]) -> bytes:
    """Write an operation as its file has it."""
    return json.dumps({name: values[name] for name in FOR_FILES}).encode()
