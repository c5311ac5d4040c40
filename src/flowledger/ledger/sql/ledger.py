"""The ``Ledger`` port over a relational database."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, Select
from sqlalchemy.exc import IntegrityError

from flowledger.domain.access_keys import AccessKey
from flowledger.domain.certificates import Certificate, RunSet, Scope, digest_of
from flowledger.domain.executions import refuse_other_workflow
from flowledger.domain.history import (
    EVERY_OPERATION,
    AppSummary,
    HistoryPage,
    OperationQuery,
    Place,
    RunFacts,
    RunKey,
    RunQuery,
    RunSize,
)
from flowledger.domain.messages import OutboxMessage
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import KINDS
from flowledger.domain.runs import AppKey, Detail, Entry, Json, Level, Run
from flowledger.domain.windows import Window
from flowledger.errors import LedgerError
from flowledger.ledger.rules import LEFT_OUT
from flowledger.ledger.sql import access_keys, amendments, audit_log, history, key_values, outbox, scopes
from flowledger.ledger.sql.amendments import amend_run, read_entry
from flowledger.ledger.sql.database import Database, Transactions, database_at
from flowledger.ledger.sql.migration import migrate
from flowledger.ledger.sql.row_mapping import Parts, entry_of, read_parts, run_of
from flowledger.ledger.sql.scopes import (
    ScopePlace,
    all_runs,
    counted,
    pending_runs,
    read_page,
    runs_still_open,
    scope_values,
)
from flowledger.ledger.sql.sqlite import BUSY_TIMEOUT_S
from flowledger.ledger.sql.writing import write_details, write_runs
from flowledger.ledger.texts import clean
from flowledger.ports import Change, Decoder, StoredValue

PAGE = 500
PAGE_WITH_DETAILS = 32
"""A detail may be megabytes; a page of them is in memory at once, compressed."""
OPERATIONS = ("operations",)
OUTBOX = ("letters",)
KEYS = ("access keys",)


@dataclass(frozen=True, slots=True)
class SqlLedger:
    """The durable record; threads may share it, and processes may share its database.

    Every method raises ``LedgerError``, with the database's name and a way out, when the database fails.
    """

    place: Database
    decoders: Mapping[str, Decoder]
    engine: Engine = field(repr=False)

    @classmethod
    def open(
        cls, url: str, decoders: Mapping[str, Decoder], *, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> Self:
        """Open the ledger in a database, making or upgrading it where needed (``ledger.open_ledger``)."""
        return cls.at(database_at(url, busy_timeout_s), decoders)

    @classmethod
    def at(cls, place: Database, decoders: Mapping[str, Decoder]) -> Self:
        """Open the ledger at a place."""
        engine = place.engine()
        try:
            with place.explaining():
                migrate(engine, f"the ledger {place}")
        except BaseException:
            engine.dispose()
            raise
        return cls(place, decoders, engine)

    def save_runs(
        self, runs: Sequence[Run], *, scope: Scope, at: datetime, certificate: Certificate | None = None
    ) -> None:
        """Insert or update runs, and the scope's certificate, in one transaction."""

        def save(connection: Connection) -> None:
            written = write_runs(connection, self.place, runs, at)
            if scope.query:
                scopes.write_members(connection, scope, written)
            if certificate is not None:
                scopes.write_certificate(connection, certificate)

        apps = {scope.app, *(run.app for run in runs), *([certificate.scope.app] if certificate else [])}
        self.transactions.write(_names(apps), save)

    def save_details(self, details: Sequence[tuple[Run, Detail]]) -> None:
        """Keep details, and the runs as they are now, in one transaction."""
        apps = {run.app for run, _ in details}
        self.transactions.write(
            _names(apps), lambda connection: write_details(connection, self.place, details)
        )

    def save_all_details(self, batches: Iterable[Sequence[tuple[Run, Detail]]]) -> None:
        """Save details, of one source, batch by batch in one transaction: all or nothing, in flat memory."""

        def save(connection: Connection) -> None:
            for batch in batches:
                write_details(connection, self.place, batch)

        self.transactions.write(("schema",), save)

    def certificate(self, scope: Scope) -> Certificate | None:
        """Return the newest certificate of exactly this scope."""
        with self.transactions.reading() as connection:
            return scopes.read_certificate(connection, scope)

    def certificates(self, app: AppKey, within: Window, query: str | None = "") -> Sequence[Certificate]:
        """Return the newest certificate of each scope inside a window, oldest window first."""
        with self.transactions.reading() as connection:
            return scopes.read_certificates(connection, app, within, query)

    def count(
        self, scope: Scope, *, collected_since: datetime | None = None, source_status: str | None = None
    ) -> int:
        """Count the runs of a scope (only those a collection has seen since an instant, or of a status)."""
        statement = counted(
            filtered=bool(scope.query),
            since=collected_since is not None,
            by_status=source_status is not None,
        )
        chosen = {"since": collected_since, "source_status": source_status}
        with self.transactions.reading() as connection:
            rows = connection.scalar(statement, {**scope_values(scope), **chosen})
        return int(rows or 0)

    def run_set(
        self, scope: Scope, *, within: Window | None = None, collected_since: datetime | None = None
    ) -> RunSet:
        """Return the number of a scope's runs and a digest of their ids, in flat memory."""
        with self.transactions.reading() as connection:
            return digest_of(scopes.stream_identities(connection, scope, within, collected_since))

    def pending(
        self, scope: Scope, level: Level, *, open_since: datetime, tried: bool | None = None
    ) -> Iterator[Run]:
        """Stream the runs that need enrichment, newest first, a page at a time."""
        values = {"level": level.value, "open_since": open_since}
        statement = pending_runs(filtered=bool(scope.query), tried=tried)
        return self._runs(statement, scope, values)

    def open_runs(self, scope: Scope) -> Iterator[Run]:
        """Stream the runs that had not ended when they were last seen, newest first."""
        return self._runs(runs_still_open(filtered=bool(scope.query)), scope, {})

    def _runs(self, statement: Select[Any], scope: Scope, values: Mapping[str, Any]) -> Iterator[Run]:
        for rows, parts in self._pages(statement, {**scope_values(scope), **values}, with_details=False):
            yield from (run_of(row, parts) for row in rows)

    def entries(self, scope: Scope, *, with_details: bool = True) -> Iterator[Entry]:
        """Stream runs with their details, newest first, a page at a time."""
        statement = all_runs(filtered=bool(scope.query))
        for rows, parts in self._pages(statement, scope_values(scope), with_details=with_details):
            for row in rows:
                if with_details:
                    yield entry_of(row, parts, self.decoders)
                else:
                    yield Entry(run_of(row, parts), LEFT_OUT)

    def apps(self) -> Sequence[AppSummary]:
        """Return a summary of every app that has runs, by source and id."""
        with self.transactions.reading() as connection:
            return history.read_summaries(connection)

    def history(
        self, query: RunQuery, *, after: Place | None = None, limit: int = 50, with_details: bool = False
    ) -> HistoryPage:
        """Read a page of runs, newest first, those of one instant by falling key."""
        arguments = (self.place, query, after, limit)
        with self.transactions.reading() as connection:
            if not with_details:
                runs, following = history.read_page(connection, *arguments)
                return HistoryPage([Entry(run, LEFT_OUT) for run in runs], following)
            rows, following = history.read_whole_page(connection, *arguments)
            parts = read_parts(connection, rows, with_bodies=True)
        return HistoryPage([entry_of(row, parts, self.decoders) for row in rows], following)

    def entry(self, key: RunKey) -> Entry | None:
        """Return one run with its detail; None where there is none."""
        with self.transactions.reading() as connection:
            return read_entry(connection, key, self.decoders)

    def locate(self, source: str, run_id: str) -> AppKey | None:
        """Return the app of a run by the run's source and id alone; the newest, should there be two."""
        with self.transactions.reading() as connection:
            return history.find_app(connection, source, run_id)

    def facts(self, query: RunQuery) -> Iterator[RunFacts]:
        """Stream what statistics count, a page at a time."""
        return history.stream_facts(self.transactions, query)

    def sizes(self, app: AppKey) -> Iterator[RunSize]:
        """Stream what each run of an app takes, newest first, a page at a time."""
        return history.stream_sizes(self.transactions, app)

    def amend(self, key: RunKey, change: Change) -> Entry | None:
        """Read one run and keep what becomes of it, with nobody between; it is on the disk then."""
        try:
            return self.transactions.write(
                [clean(f"run {key}")],
                lambda connection: amend_run(connection, self.place, key, change, self.decoders),
                among=_names([key.app]),
                durable=True,
            )
        except LedgerError as error:
            # The database's own key, so that it counts between processes as well.
            if isinstance(error.__cause__, IntegrityError) and key.app.source in KINDS:
                owner = self.locate(key.app.source, key.run_id)
                refuse_other_workflow(key.run_id, (owner or key.app).app_id, key.app.app_id)
            raise

    def delete_runs(self, keys: Sequence[RunKey], *, only_if: Callable[[Entry], bool] | None = None) -> int:
        """Delete runs, where ``only_if`` is true of what is stored, in one transaction; return how many."""

        def delete(connection: Connection) -> int:
            if only_if is None:
                return amendments.delete_runs(connection, keys)
            return amendments.delete_runs_if(connection, keys, only_if, self.decoders)

        # Alone in writing of these apps: what the condition has read is what is deleted.
        return self.transactions.write(_names({key.app for key in keys}), delete, durable=True)

    def record(self, operation: Operation) -> bool:
        """Append to the audit trail; the same operation id twice is once, and False the second time."""
        return self.transactions.write(
            OPERATIONS, lambda connection: audit_log.append(connection, operation), durable=True
        )

    def record_all(self, operations: Iterable[Operation]) -> int:
        """Append to the audit log in one transaction, and return how many were not there."""

        def append(connection: Connection) -> int:
            return sum(audit_log.append(connection, operation) for operation in operations)

        return self.transactions.write(OPERATIONS, append, durable=True)

    def operation(self, operation_id: str) -> Operation | None:
        """Return one operation; None where there is none."""
        with self.transactions.reading() as connection:
            return audit_log.read_operation(connection, operation_id)

    def operations(
        self, query: OperationQuery = EVERY_OPERATION, *, after: Place | None = None, limit: int = 1000
    ) -> Sequence[Operation]:
        """Return operations, newest first, those of one instant by falling id."""
        with self.transactions.reading() as connection:
            return audit_log.read_operations(connection, query, after, limit)

    def put_value(self, key: str, value: Mapping[str, Json], at: datetime) -> bool:
        """Store a value under a key unless there is one, and return whether it was stored."""
        return self.transactions.write(
            [clean(f"value {key}")],
            lambda connection: key_values.put_value(connection, key, value, at),
            durable=True,
        )

    def swap_value(
        self, key: str, old: Mapping[str, Json] | None, new: Mapping[str, Json] | None, at: datetime
    ) -> bool:
        """Put a value in the place of another, None standing for none; return whether ``old`` was there."""
        return self.transactions.write(
            [clean(f"value {key}")],
            lambda connection: key_values.swap_value(connection, key, old, new, at),
            durable=True,
        )

    def value(self, key: str) -> StoredValue | None:
        """Return the value of a key; None where there is none."""
        with self.transactions.reading() as connection:
            return key_values.read_value(connection, key)

    def keep_key(self, key: AccessKey) -> None:
        """Keep a key; one of the same id is replaced."""
        self.transactions.write(KEYS, lambda connection: access_keys.write_key(connection, key), durable=True)

    def access_keys(self) -> Sequence[AccessKey]:
        """Return all keys, oldest first."""
        with self.transactions.reading() as connection:
            return access_keys.read_keys(connection)

    def enqueue(self, messages: Sequence[OutboxMessage]) -> int:
        """Store messages to be sent, in one transaction, and return how many are new."""
        return self.transactions.write(OUTBOX, lambda connection: outbox.insert(connection, messages))

    def claim(self, at: datetime, lease: timedelta, *, limit: int = 100) -> Sequence[OutboxMessage]:
        """Take messages that may be tried at ``at``, oldest first, for as long as the lease lasts."""
        return self.transactions.write((), lambda connection: outbox.claim(connection, at, lease, limit))

    def complete(self, message: OutboxMessage) -> None:
        """Store what came of a message; one that was sent stays sent.

        :raises LedgerError: when it was never enqueued.
        """
        self.transactions.write((), lambda connection: outbox.complete(connection, message))

    def outbox_messages(self, *, waiting: bool | None = None, limit: int = 100) -> Sequence[OutboxMessage]:
        """Return the newest messages, newest first: all, only those still waiting, or only the others."""
        with self.transactions.reading() as connection:
            return outbox.read(connection, waiting, limit)

    def forget_messages(self, posted_before: datetime) -> int:
        """Delete messages posted before an instant that wait no more, and return how many."""
        return self.transactions.write((), lambda connection: outbox.delete(connection, posted_before))

    def compact(self) -> None:
        """Return the space of what was deleted back; others may read and write meanwhile."""
        self.place.compact(self.engine)

    def close(self) -> None:
        """Return files and connections back."""
        self.place.close(self.engine)

    @property
    def transactions(self) -> Transactions:
        """Transactions of its database."""
        return Transactions(self.place, self.engine)

    def _pages(
        self, statement: Select[Any], values: Mapping[str, Any], *, with_details: bool
    ) -> Iterator[tuple[Sequence[Row[Any]], Parts]]:
        """Read pages, each in a transaction of its own, so that a slow reader holds nothing up."""
        limit = PAGE_WITH_DETAILS if with_details else PAGE
        place: ScopePlace | None = None
        while True:
            with self.transactions.reading() as connection:
                rows = read_page(connection, statement, values, place, limit)
                parts = read_parts(connection, rows, with_bodies=with_details)
            yield rows, parts
            if len(rows) < limit:
                return
            place = ScopePlace(rows[-1].listed_at, rows[-1].log_id, rows[-1].run_id)


def _names(apps: Collection[AppKey]) -> Collection[str]:
    """What writing about apps has to be alone in."""
    return [clean(f"app {app}") for app in apps]
