"""Everything that is PostgreSQL's own: connection, transactions, locks, bulk writes and errors."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

CONFLICTS = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock: the server took the whole transaction back."""
UNIQUE_VIOLATION = "23505"
EXECUTION_IDS = "uq_runs_execution"

AWAY = "check that the server runs and can be reached from here, and the host and port of LEDGER_URL"
CREDENTIALS = "check the user and the password of LEDGER_URL, and the server's pg_hba.conf"
FULL = "its disk is full; what was held is intact: make room there and run again"
CROWDED = "it takes no more connections: use fewer workers, or raise its max_connections"
STARTING = "it is starting or stopping: run again in a moment"
LOST = "the connection was lost; nothing half-written remains: run again"
DAMAGED = "its files are damaged: restore a backup, or collect again into a new database"
OTHERWISE = "this should not happen: keep the database and report the message"

WAYS_OUT: Mapping[str, str] = {
    "08": LOST,
    "22021": "a text holds what the database cannot: report the message",
    "25006": "it may only be read (a standby, or set read-only): let LEDGER_URL name the primary server",
    "25P03": LOST,
    "28": CREDENTIALS,
    "3D000": "create the database: createdb --encoding UTF8 --template template0 --owner USER DATABASE",
    "3F000": "create the schema that LEDGER_URL's search_path names",
    "40": "other processes were in the way: run again",
    "42501": "the user may not do that: make it the owner of the database, or of a schema of its own",
    "53100": FULL,
    "53200": "the server has no memory left: give it more, or run again later",
    "53300": CROWDED,
    "54": "an id is longer than an index can take (2,700 bytes): look at what the source sends",
    "55P03": "another process keeps it locked: wait until that one has ended, or stop it",
    "57014": "it took too long or was cancelled: look at what keeps the server busy, and run again",
    "57P": STARTING,
    "58": "its disk gave an error: check the server's health and free space, then run again",
    "XX001": DAMAGED,
    "XX002": DAMAGED,
}
"""By the beginning of the SQLSTATE; the longest that fits counts."""

# libpq gives no SQLSTATE for a connection that was never made.
_SAID = (
    (re.compile(r"password|authentication|role .* does not exist|no pg_hba", re.IGNORECASE), CREDENTIALS),
    (re.compile(r"database .* does not exist"), WAYS_OUT["3D000"]),
    (re.compile(r"too many|connection slots"), CROWDED),
    (re.compile(r"starting up|shutting down|recovery"), STARTING),
    (re.compile(r"SSL|certificate"), "check sslmode and sslrootcert in LEDGER_URL, and the server's TLS"),
    (
        re.compile(r"invalid (connection|URI)|(bad|invalid) .*value|unrecognized"),
        "check the options in LEDGER_URL",
    ),
    (re.compile(r"server closed|lost|terminat|consuming input failed"), LOST),
    (re.compile(r"refused|resolve|translate|timeout|timed out|unreachable|No such file"), AWAY),
)


def way_out(state: str | None, message: str) -> str:
    """Return what a person can do about an error."""
    if state is None:
        return next((way for words, way in _SAID if words.search(message)), f"{AWAY}; {CREDENTIALS}")
    return next((WAYS_OUT[state[:end]] for end in (5, 3, 2) if state[:end] in WAYS_OUT), OTHERWISE)


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
    "key_values",
    "letters",
    "workflow_executions",
    "execution_values",
    "execution_steps",
    "execution_events",
    "execution_waits",
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
        """Whether the server broke a transaction off for the sake of another one.

        So it is where another transaction has recorded an execution of that id first: the next try sees it.
        """
        state = getattr(error.orig, "sqlstate", None)
        diagnosis = getattr(error.orig, "diag", None)
        is_taken = state == UNIQUE_VIOLATION and getattr(diagnosis, "constraint_name", "") == EXECUTION_IDS
        return is_taken or state in CONFLICTS

    def new_keys(self, connection: Connection, count: int) -> Sequence[int]:
        """Take keys from the sequence, with one question; at times the table is counted anew before."""
        statement = "SELECT nextval(pg_get_serial_sequence('runs', 'id')) FROM generate_series(1, %s)"
        keys = list(connection.exec_driver_sql(statement, (count,)).scalars())
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

    def close(self, engine: Engine) -> None:
        """Close all connections."""
        engine.dispose()

    def __str__(self) -> str:
        host = self.url.host or self.url.query.get("host") or "localhost"
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{host}{port}/{self.url.database}"

    def _connect_args(self) -> dict[str, Any]:
        query = self.url.query
        theirs = query.get("options", "")
        options = [
            f"-c lock_timeout={round(self.lock_timeout_s * 1000)}",
            f"-c statement_timeout={STATEMENT_TIMEOUT_S * 1000}",
            f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_S * 1000}",
            *([theirs] if isinstance(theirs, str) else theirs),  # later ones win
        ]
        defaults = {name: value for name, value in DEFAULTS.items() if name not in query}
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
        message = " ".join(str(error.orig).split())
        password = str(self.url.password or "")
        masked = message.replace(password, "***") if password else message
        return LedgerError(f"the ledger {self}: {masked}; {way_out(state, message)}")


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
