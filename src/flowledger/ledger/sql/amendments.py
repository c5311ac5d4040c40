"""Changes and deletes single runs, with nobody between reading and writing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from flowledger.domain.history import RunKey
from flowledger.domain.runs import AppKey, Detailed, Entry
from flowledger.ledger.rules import check_amended, rebuild, summarise
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.history import read_run
from flowledger.ledger.sql.row_mapping import entry_of, read_parts
from flowledger.ledger.sql.schema import large_raws, node_executions, payloads, runs, window_runs
from flowledger.ledger.sql.writing import write_amended
from flowledger.ledger.texts import clean, storable
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
    stored = _entry(connection, row, decoders)
    changed = change(stored)
    if changed is None:
        return stored
    run, detail = changed
    check_amended(key, run)
    write_amended(connection, database, run, detail, row)
    # As it would be read again, without asking the database for it.
    as_stored = storable(run)
    raws = detail.raw if isinstance(detail, Detailed) else {}
    return Entry(as_stored, rebuild(as_stored, summarise(run, detail), raws, decoders))


def read_entry(connection: Connection, key: RunKey, decoders: Mapping[str, Decoder]) -> Entry | None:
    """Read one run with its detail."""
    return _entry(connection, read_run(connection, key), decoders)


def _entry(connection: Connection, row: Row[Any] | None, decoders: Mapping[str, Decoder]) -> Entry | None:
    if row is None:
        return None
    return entry_of(row, read_parts(connection, [row], with_bodies=True), decoders)


BATCH = 500
_these = sa.select(runs.c.id).where(
    runs.c.source == sa.bindparam("source"),
    runs.c.app_id == sa.bindparam("app_id"),
    runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)),
)
_keys: sa.BindParameter[int] = sa.bindparam("keys", expanding=True)
# The parts first, all at once: the foreign keys would find them run by run.
_forget = [
    *(sa.delete(part).where(part.c.run.in_(_keys)) for part in (window_runs, payloads, node_executions)),
    sa.delete(large_raws).where(large_raws.c.run.in_(_keys)),
    sa.delete(runs).where(runs.c.id.in_(_keys)),
]


def delete_runs(connection: Connection, keys: Sequence[RunKey]) -> int:
    """Delete runs and tell how many there were; the locks on their apps have to be held."""
    by_app: dict[AppKey, dict[str, None]] = {}
    for key in keys:
        by_app.setdefault(key.app, {})[clean(key.run_id)] = None
    return sum(_delete(connection, app, list(run_ids)) for app, run_ids in by_app.items())


def delete_runs_if(
    connection: Connection,
    keys: Sequence[RunKey],
    only_if: Callable[[Entry], bool],
    decoders: Mapping[str, Decoder],
) -> int:
    """Delete the runs of which the condition holds, one in memory at a time, and return how many."""
    deleted = 0
    for key in dict.fromkeys(keys):
        stored = read_entry(connection, key, decoders)
        if stored is not None and only_if(stored):
            deleted += delete_runs(connection, [key])
    return deleted


def _delete(connection: Connection, app: AppKey, run_ids: Sequence[str]) -> int:
    deleted = 0
    for start in range(0, len(run_ids), BATCH):
        values = {"source": app.source, "app_id": app.app_id, "run_ids": run_ids[start : start + BATCH]}
        stored = connection.scalars(_these, values).all()
        if stored:
            for statement in _forget:
                connection.execute(statement, {"keys": stored})
        deleted += len(stored)
    return deleted
