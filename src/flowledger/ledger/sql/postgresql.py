"""Everything that is PostgreSQL's own: the connection, its transactions, its locks, its bulk writes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from flowledger.errors import LedgerError, UsageError
from flowledger.ledger.sql.postgresql_faults import CONFLICTS, way_out

DRIVERS = ("postgresql", "postgresql+psycopg")
EXAMPLE = "postgresql://user:password@host:5432/database"
DRIVER_MISSING = "a ledger in PostgreSQL needs psycopg: scripts/setup --all installs it"
POOLED = 2
MOST_AT_ONCE = 10
STATEMENT_TIMEOUT_S = 600
IDLE_TIMEOUT_S = 60
"""A worker cut off in the middle of a transaction holds the others up no longer than this."""
NAMESPACE = 0x666C6F77
"""First half of every advisory lock's key: other programs in the same database use other ones."""
AMONG = NAMESPACE + 1
"""First half of the keys of what is written among others."""
COUNTED = 1024
"""Runs from which on it matters by which index one is found."""
PLAIN_NUMBER = r"^-?[0-9]{1,200}([.][0-9]{1,200})?(E[+-]?[0-9]{1,4})?$"
"""A decimal's text that surely fits a numeric; an absurd one lies within no bound."""
TABLES = (
    "runs",
    "node_executions",
    "payloads",
    "large_raws",
    "windows",
    "window_runs",
    "operations",
    "letters",
)
DEFAULTS = {"connect_timeout": 10, "application_name": "flowledger", "client_encoding": "utf8"}


@dataclass(frozen=True, slots=True)
class PostgresqlDatabase:
    """A ledger's database; ``lock_timeout_s`` is how long to wait for another process, in seconds."""

    url: URL = field(repr=False)
    lock_timeout_s: float

    @classmethod
    def at(cls, url: str, lock_timeout_s: float) -> Self:
        """Read ``postgresql://user:password@host:port/database``; what is left out is libpq's choice.

        :raises UsageError: when the URL names no database; it does not repeat it.
        """
        try:
            read = make_url(url)
        except (ArgumentError, ValueError):
            read = None
        if read is None or not read.database:
            raise UsageError(f"the ledger's URL names no database: write {EXAMPLE}")
        if read.drivername not in DRIVERS:
            raise UsageError(f"the ledger does not use the driver {read.drivername}: write {EXAMPLE}")
        return cls(read.set(drivername=DRIVERS[1]), lock_timeout_s)

    def engine(self) -> Engine:
        """Prepare the connections; the first one is made when it is needed.

        :raises LedgerError: when the driver is missing.
        """
        try:
            engine = create_engine(
                self.url,
                connect_args=self._connect_args(),
                paramstyle="format",  # places, not names: bulk.execute_many fills them column by column
                pool_size=POOLED,
                max_overflow=MOST_AT_ONCE - POOLED,
                pool_timeout=self.lock_timeout_s,
                pool_pre_ping=True,  # a server started anew costs no run
            )
        except ImportError as error:
            raise LedgerError(f"{DRIVER_MISSING} ({error})") from error
        event.listen(engine, "connect", self._check_encoding)
        event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn the database's errors into ``LedgerError`` with host, database and a way out."""
        try:
            yield
        except DBAPIError as error:
            raise self._explained(error) from error
        except NoConnectionFree as error:
            raise LedgerError(
                f"the ledger {self}: all {MOST_AT_ONCE} connections of this process are busy:"
                " use fewer threads"
            ) from error

    def took_back(self, error: DBAPIError) -> bool:
        """Whether the server broke a transaction off for the sake of another one."""
        return getattr(error.orig, "sqlstate", None) in CONFLICTS

    def new_keys(self, connection: Connection, count: int) -> Sequence[int]:
        """Take keys from the sequence, with one question; at times the table is counted anew before."""
        wanted = "SELECT nextval(pg_get_serial_sequence('runs', 'id')) FROM generate_series(1, %s)"
        keys = list(connection.exec_driver_sql(wanted, (count,)).scalars())
        if have_doubled(min(keys), max(keys)):
            connection.exec_driver_sql("ANALYZE (SKIP_LOCKED) runs")
        return keys

    def lasted(
        self, seconds: ColumnElement[Any], least: Decimal | None, most: Decimal | None
    ) -> ColumnElement[bool]:
        """Compare as numeric, which is exact."""
        text = sa.type_coerce(seconds, sa.Text())
        number = sa.case((text.regexp_match(PLAIN_NUMBER), sa.cast(text, sa.Numeric)), else_=sa.null())
        bounds = [] if least is None else [number >= least]
        return sa.and_(sa.true(), *bounds, *([] if most is None else [number <= most]))

    def holds(self, text: ColumnElement[str], part: str) -> ColumnElement[bool]:
        """Look for a part."""
        return sa.func.strpos(text, part) > 0

    def compact(self, engine: Engine) -> None:
        """Make the room of deleted rows usable again, and count anew what the planner goes by."""
        with self.explaining(), engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                alone.exec_driver_sql("SET statement_timeout = 0")
                for table in TABLES:
                    alone.exec_driver_sql(f"VACUUM (ANALYZE) {table}")
            finally:
                connection.invalidate()  # the next user has a time limit again

    def __str__(self) -> str:
        host = self.url.host or self.url.query.get("host") or "localhost"
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{host}{port}/{self.url.database}"

    def _connect_args(self) -> dict[str, Any]:
        given = self.url.query
        theirs = given.get("options", "")
        options = [
            f"-c lock_timeout={round(self.lock_timeout_s * 1000)}",
            f"-c statement_timeout={STATEMENT_TIMEOUT_S * 1000}",
            f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S * 1000}",
            *([theirs] if isinstance(theirs, str) else theirs),  # later ones win
        ]
        defaults = {name: value for name, value in DEFAULTS.items() if name not in given}
        return {**defaults, "options": " ".join(options)}

    def _check_encoding(self, connection: Any, _record: Any) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise LedgerError(
                f"the ledger {self} keeps texts as {encoding}, which has not every character:"
                f" create it anew: createdb --encoding UTF8 --template template0 {self.url.database}"
            )

    def _explained(self, error: DBAPIError) -> LedgerError:
        state = getattr(error.orig, "sqlstate", None)
        said = " ".join(str(error.orig).split())
        password = str(self.url.password or "")
        shown = said.replace(password, "***") if password else said
        return LedgerError(f"the ledger {self}: {shown}; {way_out(state, said)}")


def copy_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows as one stream, which costs a fraction of as many statements."""
    from psycopg import Error
    from psycopg.sql import SQL, Identifier

    names = SQL(", ").join(map(Identifier, columns))
    statement = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), names)
    raw: Any = connection.connection.dbapi_connection
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except Error as error:
        raise DBAPIError.instance(
            f"COPY {table}", None, error, Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def have_doubled(first: int, last: int) -> bool:
    """Whether keys, now given out, double the number of all, from ``COUNTED`` on.

    A planner that was never told how many runs an app has goes through all of them to find one, and the
    server's own counting comes a minute too late for an import and for what is recorded right after it.
    """
    return last >= COUNTED and (first - 1).bit_length() < last.bit_length()


def _begin(connection: Connection) -> None:
    # Writers of one thing wait for their turn before they read, as they do on SQLite: what they then read
    # stays true until they commit, rows are never inserted twice, and, taken in one order, the locks cannot
    # block each other.  Readers see one state, whatever they ask after it.
    from psycopg import IsolationLevel

    options = connection.get_execution_options()
    writes: Iterable[str] | None = options.get("writes")
    raw: Any = connection.connection.dbapi_connection
    raw.read_only = True if writes is None else None  # None: as the server, or LEDGER_URL, has it
    raw.isolation_level = IsolationLevel.REPEATABLE_READ if writes is None else IsolationLevel.READ_COMMITTED
    among = options.get("writes_among", ())
    shared = [("pg_advisory_xact_lock_shared", NAMESPACE, key) for key in _lock_keys(among)]
    alone = [
        ("pg_advisory_xact_lock", AMONG if among else NAMESPACE, key) for key in _lock_keys(writes or ())
    ]
    if locks := shared + alone:
        calls = ", ".join(f"{function}(%s, %s)" for function, _, _ in locks)
        places = tuple(number for _, *numbers in locks for number in numbers)
        connection.exec_driver_sql(f"SELECT {calls}", places)  # from left to right


def _lock_keys(names: Iterable[str]) -> Sequence[int]:
    return sorted({_lock_key(name) for name in names})


def _lock_key(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big", signed=True)
