"""The ``Ledger`` port over a relational database."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row, Select
from sqlalchemy.exc import DBAPIError

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.enrichment import Level
from flowledger.domain.messages import Letter
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Detail, Entry, Run
from flowledger.domain.windows import Window
from flowledger.ledger.details import LEFT_OUT, rebuild
from flowledger.ledger.sql import scopes
from flowledger.ledger.sql.bodies import unpack
from flowledger.ledger.sql.database import Database, database_at
from flowledger.ledger.sql.letters import (
    claim_letters,
    delete_letters,
    post_letters,
    read_letters,
    settle_letter,
)
from flowledger.ledger.sql.migration import migrate
from flowledger.ledger.sql.reading import (
    Place,
    all_runs,
    counted,
    pending_runs,
    read_bodies,
    read_page,
    runs_still_open,
    scope_values,
)
from flowledger.ledger.sql.rows import detail_from, operation_from, operation_row, run_from
from flowledger.ledger.sql.schema import operations
from flowledger.ledger.sql.sqlite import BUSY_TIMEOUT_S
from flowledger.ledger.sql.writing import write_details, write_runs
from flowledger.ports import Decoder

PAGE = 500
PAGE_WITH_DETAILS = 32
"""A detail may be megabytes; a page of them is in memory at once, compressed."""

TRIES = 3
"""For a transaction that the database takes back; none should be, since writers wait for their turn."""
OPERATIONS = ("operations",)
LETTERS = ("letters",)

Result = TypeVar("Result")
Bodies = Mapping[int, Mapping[str, bytes]]


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
        place = database_at(url, busy_timeout_s)
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
            keys = write_runs(connection, runs, at)
            if scope.query:
                scopes.write_members(connection, scope, keys)
            if certificate is not None:
                scopes.write_certificate(connection, certificate)

        apps = {scope.app, *(run.app for run in runs), *([certificate.scope.app] if certificate else [])}
        self._write(_names(apps), save)

    def save_details(self, details: Sequence[tuple[Run, Detail]]) -> None:
        """Keep details, and the runs as they are now, in one transaction."""
        apps = {run.app for run, _ in details}
        self._write(_names(apps), lambda connection: write_details(connection, details))

    def certificate(self, scope: Scope) -> Certificate | None:
        """Give the newest certificate of exactly this scope."""
        with self._reading() as connection:
            return scopes.read_certificate(connection, scope)

    def certificates(self, app: AppKey, within: Window, query: str = "") -> Sequence[Certificate]:
        """Give the newest certificate of each scope inside a window, oldest window first."""
        with self._reading() as connection:
            return scopes.read_certificates(connection, app, within, query)

    def count(self, scope: Scope, *, collected_since: datetime | None = None) -> int:
        """Count the runs of a scope (only those a collection has seen since an instant)."""
        statement = counted(filtered=bool(scope.query), since=collected_since is not None)
        with self._reading() as connection:
            found = connection.scalar(statement, {**scope_values(scope), "since": collected_since})
        return int(found or 0)

    def pending(
        self, scope: Scope, level: Level, *, open_since: datetime, tried: bool | None = None
    ) -> Iterator[Run]:
        """Stream the runs that need enrichment, newest first, a page at a time."""
        wanted = {"level": level.value, "open_since": open_since}
        statement = pending_runs(filtered=bool(scope.query), tried=tried)
        return self._runs(statement, scope, wanted)

    def open_runs(self, scope: Scope) -> Iterator[Run]:
        """Stream the runs that had not ended when they were last seen, newest first."""
        return self._runs(runs_still_open(filtered=bool(scope.query)), scope, {})

    def _runs(self, statement: Select[Any], scope: Scope, values: Mapping[str, Any]) -> Iterator[Run]:
        for rows, _ in self._pages(statement, {**scope_values(scope), **values}, with_details=False):
            yield from (run_from(row, scope.app) for row in rows)

    def entries(self, scope: Scope, *, with_details: bool = True) -> Iterator[Entry]:
        """Stream runs with their details, newest first, a page at a time."""
        statement = all_runs(filtered=bool(scope.query))
        for rows, bodies in self._pages(statement, scope_values(scope), with_details=with_details):
            for row in rows:
                run = run_from(row, scope.app)
                yield Entry(run, self._detail(run, row, bodies) if with_details else LEFT_OUT)

    def record(self, operation: Operation) -> bool:
        """Append to the audit trail; the same operation id twice is once, and False the second time."""
        row = operation_row(operation)
        held = sa.select(operations.c.id).where(operations.c.operation_id == row["operation_id"])

        def append(connection: Connection) -> bool:
            is_new = connection.scalar(held) is None
            if is_new:
                connection.execute(sa.insert(operations), row)
            return is_new

        return self._write(OPERATIONS, append)

    def operations(self, app: AppKey | None = None, *, limit: int = 1000) -> Sequence[Operation]:
        """Give the newest operations, newest first."""
        wanted = sa.select(operations).order_by(operations.c.at.desc(), operations.c.id.desc()).limit(limit)
        if app is not None:
            wanted = wanted.where(operations.c.source == app.source, operations.c.app_id == app.app_id)
        with self._reading() as connection:
            return [operation_from(row) for row in connection.execute(wanted)]

    def post(self, letters: Sequence[Letter]) -> int:
        """Keep letters to be sent, in one transaction, and give how many are new."""
        return self._write(LETTERS, lambda connection: post_letters(connection, letters))

    def claim(self, at: datetime, lease: timedelta, *, limit: int = 100) -> Sequence[Letter]:
        """Take letters that may be tried at ``at``, oldest first, for as long as the lease lasts."""
        return self._write((), lambda connection: claim_letters(connection, at, lease, limit))

    def settle(self, letter: Letter) -> None:
        """Keep what came of a letter; one that was sent stays sent.

        :raises LedgerError: when it was never posted.
        """
        self._write((), lambda connection: settle_letter(connection, letter))

    def letters(self, *, waiting: bool | None = None, limit: int = 100) -> Sequence[Letter]:
        """Give the newest letters, newest first: all, only those still waiting, or only the others."""
        with self._reading() as connection:
            return read_letters(connection, waiting, limit)

    def forget_letters(self, posted_before: datetime) -> int:
        """Forget letters posted before an instant that wait no more; give how many."""
        return self._write((), lambda connection: delete_letters(connection, posted_before))

    def close(self) -> None:
        """Give files and connections back."""
        self.engine.dispose()

    def _pages(
        self, statement: Select[Any], values: Mapping[str, Any], *, with_details: bool
    ) -> Iterator[tuple[Sequence[Row[Any]], Bodies]]:
        """Read pages, each in a transaction of its own, so that a slow reader holds nothing up."""
        limit = PAGE_WITH_DETAILS if with_details else PAGE
        place: Place | None = None
        while True:
            with self._reading() as connection:
                rows = read_page(connection, statement, values, place, limit)
                bodies = read_bodies(connection, [row.id for row in rows]) if with_details else {}
            yield rows, bodies
            if len(rows) < limit:
                return
            place = Place(rows[-1].listed_at, rows[-1].log_id, rows[-1].run_id)

    def _detail(self, run: Run, row: Row[Any], bodies: Bodies) -> Detail:
        packed = bodies.get(row.id, {})
        raws = {name: unpack(body, f"{name} of run {run.run_id}") for name, body in packed.items()}
        return rebuild(run, detail_from(row), raws, self.decoders)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self.place.explaining(), self.engine.connect() as connection:
            yield connection

    def _write(self, names: Collection[str], work: Callable[[Connection], Result]) -> Result:
        """Do work in one transaction, alone in writing what is named; again where it was taken back."""
        with self.place.explaining():
            for _ in range(TRIES - 1):
                try:
                    return self._write_once(names, work)
                except DBAPIError as error:
                    if not self.place.took_back(error):
                        raise
            return self._write_once(names, work)

    def _write_once(self, names: Collection[str], work: Callable[[Connection], Result]) -> Result:
        with self.engine.execution_options(writes=tuple(names)).begin() as connection:
            return work(connection)


def _names(apps: Collection[AppKey]) -> Collection[str]:
    """What writing about apps has to be alone in."""
    return [f"app {app}" for app in apps]
