"""What a relational database has to offer the ledger, and the one that a URL names."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Engine
from sqlalchemy.exc import DBAPIError

from flowledger.ledger.sql.postgresql import PostgresqlDatabase
from flowledger.ledger.sql.sqlite import SqliteFile


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
        """Give the space of deleted rows back, as far as others that read and write allow."""


def database_at(url: str, busy_timeout_s: float) -> Database:
    """Read a ledger's URL.

    :raises UsageError: when it names no database.
    """
    if url.startswith("postgresql"):
        return PostgresqlDatabase.at(url, busy_timeout_s)
    return SqliteFile.at(url, busy_timeout_s)
