"""What a relational database has to offer the ledger, the one a URL names, and transactions in it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine
from sqlalchemy.exc import DBAPIError

from flowledger.ledger.sql.postgresql import PostgresqlDatabase
from flowledger.ledger.sql.sqlite import SqliteFile, SqliteMemory


class Database(Protocol):
    """A place for a ledger; as text it is its name for people, without user and password.

    Its engine begins a transaction that writes, and is alone in writing what it names, where the execution
    option ``writes`` holds names; without the option it reads one state of everything.  What ``writes_among``
    names is written by others of that kind at the same time.  With ``durable`` its end is on the disk.
    """

    def engine(self) -> Engine:
        """Connect, making the place where that is possible.

        :raises LedgerError: when it is not.
        """

    def explaining(self) -> AbstractContextManager[None]:
        """Turn the database's errors into ``LedgerError`` with its name and a way out."""

    def took_back(self, error: DBAPIError) -> bool:
        """Whether the database took a transaction back for the sake of another: it may be tried anew."""

    def new_keys(self, connection: Connection, count: int) -> Sequence[int]:
        """Reserve surrogate keys for new runs, in the transaction that inserts them."""

    def lasted(
        self, seconds: ColumnElement[Any], least: Decimal | None, most: Decimal | None
    ) -> ColumnElement[bool]:
        """Compare a decimal that is kept as text with bounds, both included; not a number is within none."""

    def holds(self, text: ColumnElement[str], part: str) -> ColumnElement[bool]:
        """Look for a part in a text, character by character."""

    def compact(self, engine: Engine) -> None:
        """Return the space of deleted rows, as far as others that read and write allow."""

    def close(self, engine: Engine) -> None:
        """Close all connections of an engine."""


def database_at(url: str, busy_timeout_s: float) -> Database:
    """Read a ledger's URL.

    :raises UsageError: when it names no database.
    """
    if url.startswith("postgresql"):
        return PostgresqlDatabase.at(url, busy_timeout_s)
    if url.startswith("memory"):
        return SqliteMemory(busy_timeout_s)
    return SqliteFile.at(url, busy_timeout_s)


TRIES = 3
"""For a transaction that the database takes back; none should be, since writers wait for their turn."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Transactions:
    """Every method raises ``LedgerError``, with the database's name and a way out, when that fails."""

    place: Database
    engine: Engine = field(repr=False)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read one state of everything."""
        with self.place.explaining(), self.engine.connect() as connection:
            yield connection

    def write(
        self,
        names: Collection[str],
        work: Callable[[Connection], Result],
        *,
        among: Collection[str] = (),
        durable: bool = False,
    ) -> Result:
        """Do work in one transaction, alone in writing what is named; again where it was taken back.

        What is named by ``among`` others may write as well, unless they want to be alone in that.  What is
        durable is on the disk when it returns; a power cut may take back what else was written last.
        """
        options = {"writes": tuple(names), "writes_among": tuple(among), "durable": durable}
        with self.place.explaining():
            for _ in range(TRIES - 1):
                try:
                    return self._write_once(options, work)
                except DBAPIError as error:
                    if not self.place.took_back(error):
                        raise
            return self._write_once(options, work)

    def _write_once(self, options: dict[str, object], work: Callable[[Connection], Result]) -> Result:
        with self.engine.execution_options(**options).begin() as connection:
            return work(connection)
