"""Transactions of one database: reading one state, and writing alone."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from flowledger.ledger.sql.database import Database

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
