"""Everything that is SQLite's own: the file or memory, its settings, its locks and its errors."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self
from weakref import finalize

import sqlalchemy as sa
from sqlalchemy import URL, ColumnElement, Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool
from sqlalchemy.util import LRUCache

from flowledger.errors import LedgerError, UsageError
from flowledger.ledger.sql.migration import create_tables

BUSY_TIMEOUT_S = 30.0
PRAGMAS = (
    "journal_mode = WAL",  # readers and the writer do not wait for each other
    "foreign_keys = ON",
    "cache_size = -16384",  # 16 MiB
    "journal_size_limit = 67108864",  # a large transaction does not leave a large file behind
)
WAYS_OUT: Mapping[int, str] = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked: wait until that one has ended, or stop it",
    sqlite3.SQLITE_LOCKED: "another thread keeps it locked: wait until that one has ended",
    sqlite3.SQLITE_FULL: "the disk is full; what was held is intact: make room and run again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup, or move it aside and collect again",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: check LEDGER_URL, or move the file aside",
    sqlite3.SQLITE_READONLY: "it may not be written: make the file and its directory writable for this user",
    sqlite3.SQLITE_PERM: "it may not be opened: make the file and its directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: make the file and its directory writable for this user",
    sqlite3.SQLITE_IOERR: "the disk gave an error: check its health and free space, then run again",
}
MEMORY = URL.create("sqlite")
LASTED = "flowledger_lasted"
INCREMENTAL = 2
PAGES_AT_ONCE = 1000
"""Given back in one transaction: 4 MB, while others wait for milliseconds."""
OTHERWISE = "this should not happen: keep the file and report the message"


class SqliteDatabase:
    """What a file and a database in memory have in common; as text it is the ledger's name for people."""

    __slots__ = ()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn the database's errors into ``LedgerError`` with the file's name and a way out."""
        try:
            yield
        except DBAPIError as error:
            raise self._explained(error.orig) from error
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def took_back(self, error: DBAPIError) -> bool:  # noqa: ARG002  writers wait for their turn instead
        """Never: a transaction that has begun is not taken back for another."""
        return False

    def new_keys(self, connection: Connection, count: int) -> Sequence[int]:
        """Count on from the last key: nobody else writes."""
        last: int = connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM runs").scalar_one()
        return range(last + 1, last + 1 + count)

    def lasted(
        self, seconds: ColumnElement[Any], least: Decimal | None, most: Decimal | None
    ) -> ColumnElement[bool]:
        """Compare exactly, which SQLite's own numbers could not."""
        bounds = (None if bound is None else str(bound) for bound in (least, most))
        return sa.Function(LASTED, seconds, *bounds, type_=sa.Boolean()).is_(sa.true())

    def holds(self, text: ColumnElement[str], part: str) -> ColumnElement[bool]:
        """Look for a part; ``LIKE`` takes no long ones."""
        return sa.func.instr(text, part) > 0

    def _explained(self, error: BaseException | None) -> LedgerError:
        code = getattr(error, "sqlite_errorcode", None) or 0
        return LedgerError(f"the ledger {self}: {error}; {WAYS_OUT.get(code & 0xFF, OTHERWISE)}")


@dataclass(frozen=True, slots=True)
class SqliteFile(SqliteDatabase):
    """A ledger's file; ``busy_timeout_s`` is how long to wait for another process, in seconds."""

    path: Path
    busy_timeout_s: float = BUSY_TIMEOUT_S

    @classmethod
    def at(cls, url: str, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Self:
        """Read ``sqlite:///path``.

        :raises UsageError: when the URL names no file.
        """
        try:
            database = make_url(url).database
        except ArgumentError:
            database = None
        if not database or database == ":memory:":
            raise UsageError(f"{url} names no file: write sqlite:///path/to/ledger.db (or memory://)")
        return cls(Path(database), busy_timeout_s)

    def engine(self) -> Engine:
        """Make the file (mode 0600) and its directory where they are missing, and connect.

        :raises LedgerError: when that is impossible.
        """
        self._touch()
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)),
            connect_args={"timeout": self.busy_timeout_s, "isolation_level": None},
        )
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
        return engine

    def compact(self, engine: Engine) -> None:
        """Return free pages back a few at a time, and empty the log; a file of old is made anew once."""
        with self.explaining(), engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            if raw.execute("PRAGMA auto_vacuum").fetchone() == (INCREMENTAL,):
                while raw.execute("PRAGMA freelist_count").fetchone() != (0,):
                    raw.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
            else:
                raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
                raw.execute("VACUUM")
            # Readers keep the log from being emptied: the next time will do then.
            raw.execute("PRAGMA busy_timeout = 100")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.invalidate()  # the next user waits as long as before

    def close(self, engine: Engine) -> None:
        """Close all connections."""
        engine.dispose()

    def __str__(self) -> str:
        return str(self.path)

    def _touch(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise LedgerError(
                f"the ledger {self.path} cannot be made or written ({error.strerror}): make its directory"
                " writable for this user, or set LEDGER_URL to another place"
            ) from error


@dataclass(frozen=True, slots=True)
class SqliteMemory(SqliteDatabase):
    """A database that lasts as long as its ledger: for trials, and for tests of what uses a ledger.

    It has one connection, for which threads wait in turn: two would each have a database of their own.
    """

    busy_timeout_s: float = BUSY_TIMEOUT_S

    def engine(self) -> Engine:
        """Connect to a copy of an empty ledger; dialect and compiled statements are shared with others."""
        empty = _empty_ledger()
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.deserialize(empty.content)
        _set_up(connection, None)
        pool = QueuePool(
            lambda: connection,  # type: ignore[arg-type]  # as every driver's
            pool_size=1,
            max_overflow=0,
            timeout=self.busy_timeout_s,
            dialect=empty.dialect,
        )
        engine = Engine(pool, empty.dialect, MEMORY)
        engine.update_execution_options(compiled_cache=empty.compiled)
        event.listen(engine, "begin", _begin)
        finalize(engine, connection.close)
        return engine

    def compact(self, engine: Engine) -> None:
        """Do nothing: there is no disk to return space to."""

    def close(self, engine: Engine) -> None:
        """Do nothing: what is stored stays readable for as long as the ledger is there."""

    def __str__(self) -> str:
        return "memory://"


class _EmptyLedger(NamedTuple):
    content: bytes
    dialect: Dialect
    compiled: LRUCache[Any, Any]


@cache
def _empty_ledger() -> _EmptyLedger:
    """Make the tables once per process: copying them takes a thousandth of the time."""
    engine = create_engine(MEMORY, poolclass=StaticPool)
    with engine.begin() as connection:
        create_tables(connection)
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        content: bytes = raw.serialize()
    engine.dispose()
    return _EmptyLedger(content, engine.dialect, LRUCache(500))


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        # So that space can be given back a little at a time.  A file that has it would wait here as a writer.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL").close()
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()
    connection.create_function(LASTED, 3, _lasted, deterministic=True)


def _lasted(seconds: str | None, least: str | None, most: str | None) -> bool:
    number = Decimal(seconds or "NaN")
    return (
        number.is_finite()
        and (least is None or number >= Decimal(least))
        and (most is None or number <= Decimal(most))
    )


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("writes") is None:
        connection.exec_driver_sql("BEGIN")
        return
    # In WAL mode a power cut may cost the last commits that were not waited for, never the file.
    level = "FULL" if options.get("durable") else "NORMAL"
    connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
    # A transaction that reads first and writes later can be refused at its first write; one that begins
    # as a writer waits for its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
