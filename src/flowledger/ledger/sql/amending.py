"""Changes single runs as a program wants them, with nobody between its reading and its writing."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from flowledger.domain.history import RunKey
from flowledger.domain.runs import Detailed, Entry
from flowledger.ledger.details import rebuild, summarise
from flowledger.ledger.merging import check_amended
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.history import read_run
from flowledger.ledger.sql.rebuilding import entry_of, read_parts
from flowledger.ledger.sql.writing import write_amended
from flowledger.ledger.storable import storable
from flowledger.ports import Change, Decoder


def amend_run(
    connection: Connection,
    database: Database,
    key: RunKey,
    change: Change,
    decoders: Mapping[str, Decoder],
) -> Entry | None:
    """Keep what becomes of a run, and give it as it is then; the lock on the run has to be held."""
    row = read_run(connection, key)
    held = _entry(connection, row, decoders)
    kept = change(held)
    if kept is None:
        return held
    run, detail = kept
    check_amended(key, run)
    write_amended(connection, database, run, detail, row)
    # As it would be read again, without asking the database for it.
    as_kept = storable(run)
    raws = detail.raw if isinstance(detail, Detailed) else {}
    return Entry(as_kept, rebuild(as_kept, summarise(run, detail), raws, decoders))


def read_entry(connection: Connection, key: RunKey, decoders: Mapping[str, Decoder]) -> Entry | None:
    """Read one run with its detail."""
    return _entry(connection, read_run(connection, key), decoders)


def _entry(connection: Connection, row: Row[Any] | None, decoders: Mapping[str, Decoder]) -> Entry | None:
    if row is None:
        return None
    return entry_of(row, read_parts(connection, [row], with_bodies=True), decoders)
