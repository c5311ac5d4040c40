"""Writes runs and their details; every function belongs into a transaction that holds the write lock."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, Select

from flowledger.domain.runs import AppKey, Detail, Detailed, Level, Missing, NodeExecution, Run, level_of
from flowledger.ledger.merging import Roll
from flowledger.ledger.sql.bulk import execute_columns, execute_many
from flowledger.ledger.sql.changes import Changes, Rows, forget_parts
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.rows import detail_row, node_columns, payload_row
from flowledger.ledger.sql.schema import GONE, node_executions, payloads, runs
from flowledger.ledger.texts import clean

BATCH = 500
"""Runs looked up by one statement: far below every database's limit of parameters."""

_app = (runs.c.source == sa.bindparam("source_"), runs.c.app_id == sa.bindparam("app_id_"))
_held: Select[Any] = sa.select(
    *(runs.c.id, runs.c.run_id, runs.c.log_id, runs.c.status, runs.c.gone),
    *(runs.c.collected_at, runs.c.fingerprint, runs.c.detail_level),
)
_by_run_id = _held.where(*_app, runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
_gone_by_log_id = _held.where(*_app, runs.c.log_id.in_(sa.bindparam("log_ids", expanding=True)), GONE)
_has_gone = sa.select(sa.literal(1)).where(*_app, GONE).limit(1)
_by_place = _held.where(
    *_app, runs.c.listed_at == sa.bindparam("listed_at_"), runs.c.log_id == sa.bindparam("log_id_")
)
_keep_detail = sa.update(runs).where(runs.c.id == sa.bindparam("id_"))
_insert_nodes = sa.insert(node_executions)
_insert_payloads = sa.insert(payloads)

Saved = tuple[Run, Detail]


def write_runs(
    connection: Connection, database: Database, seen: Sequence[Run], at: datetime | None
) -> list[int]:
    """Insert or update runs, and give the surrogate key of each, in the order given.

    ``at`` is the instant of the collection that saw them.
    """
    keys: dict[int, int] = {}
    for app, places in _batches(seen):
        changes = Changes(at)
        found = _plan(connection, database, app, [seen[place] for place in places], changes)
        changes.apply(connection)
        keys.update(zip(places, found, strict=True))
    return [keys[place] for place in range(len(seen))]


def write_details(connection: Connection, database: Database, details: Sequence[Saved]) -> None:
    """Replace details whole: what is kept about them, their node executions and their bodies.

    One that is less deep takes no held detail's place (``ledger.details.replaces``).
    """
    for app, places in _batches([run for run, _ in details]):
        _write_batch(connection, database, app, [details[place] for place in places])


def _write_batch(connection: Connection, database: Database, app: AppKey, batch: Sequence[Saved]) -> None:
    changes = Changes(None)
    keys = _plan(connection, database, app, [run for run, _ in batch], changes)
    newest = _deepest(keys, batch, changes.levels)
    replaced: Rows = []
    for key, place in newest.items():
        if key in changes.inserted:
            changes.inserted[key].update(detail_row(*batch[place]))
        else:
            replaced.append({"id_": key, **detail_row(*batch[place])})
    changes.apply(connection)
    forget_parts(connection, [row["id_"] for row in replaced if changes.levels[row["id_"]]])
    execute_many(connection, _keep_detail, replaced)
    _insert_parts(connection, newest, batch)


def write_amended(
    connection: Connection, database: Database, run: Run, detail: Detail, held: Row[Any] | None
) -> None:
    """Put a run and its detail in the place of the held one, or of the gone row that was all of it."""
    run = _with_clean_ids(run)
    changes = Changes(None)
    if held is None and run.log_id:
        held = _find(connection, run.app, {run.run_id: run}).get(run.run_id)
    if held is None:
        (key,) = database.new_keys(connection, 1)
        changes.insert(key, run)
        changes.inserted[key].update(detail_row(run, detail))
    else:
        key = held.id
        changes.amend(run, held, detail_row(run, detail))
        if held.detail_level:
            forget_parts(connection, [key])
    changes.apply(connection)
    _insert_parts(connection, {key: 0}, [(run, detail)])


def _insert_parts(connection: Connection, newest: Mapping[int, int], batch: Sequence[Saved]) -> None:
    """Insert node executions and bodies of runs, by surrogate key and place in the batch."""
    runs_of: list[int] = []
    nodes: list[NodeExecution] = []
    for key, place in newest.items():
        detail = batch[place][1]
        if isinstance(detail, Detailed) and not isinstance(detail.nodes, Missing):
            nodes += detail.nodes
            runs_of += [key] * len(detail.nodes)
    if nodes:
        execute_columns(connection, _insert_nodes, node_columns(runs_of, nodes))
    rows = [
        payload_row(key, name, body)
        for key, place in newest.items()
        for name, body in _bodies(batch[place]).items()
    ]
    execute_many(connection, _insert_payloads, rows)


def _bodies(saved: Saved) -> Mapping[str, bytes]:
    detail = saved[1]
    return detail.raw if isinstance(detail, Detailed) else {}


def _deepest(keys: Sequence[int], batch: Sequence[Saved], held: Mapping[int, int | None]) -> dict[int, int]:
    """Choose the last detail of each run, unless one before it, or the held one, is deeper."""
    levels = [level_of(detail) for _, detail in batch]
    chosen: dict[int, int] = {}
    for place, key in enumerate(keys):
        before = levels[chosen[key]] if key in chosen else held.get(key) or Level.NONE
        if levels[place] >= before:
            chosen[key] = place
    return chosen


def _plan(
    connection: Connection, database: Database, app: AppKey, seen: Sequence[Run], changes: Changes
) -> Sequence[int]:
    """Say what becomes of the runs of a batch, and give the surrogate key of each."""
    roll = Roll()
    sighted = [roll.see(_with_clean_ids(run))[0] for run in seen]
    once = {each.run.run_id: each.run for each in sighted}
    held = _find(connection, app, once)
    keys = {run_id: row.id for run_id, row in held.items()}
    for run_id, row in held.items():
        changes.meet(once[run_id], row)
    fresh = [run for run_id, run in once.items() if run_id not in held]
    for key, run in zip(database.new_keys(connection, len(fresh)) if fresh else (), fresh, strict=True):
        changes.insert(key, run)
        keys[run.run_id] = key
    return [keys[each.run.run_id] for each in sighted]


def _find(connection: Connection, app: AppKey, wanted: Mapping[str, Run]) -> dict[str, Row[Any]]:
    """Find the held rows of runs by run id; else by log id, as ``merging.Roll`` does."""
    rows = connection.execute(_by_run_id, _where(app, run_ids=list(wanted)))
    held: dict[str, Row[Any]] = {row.run_id: row for row in rows}
    fresh = [run for run in wanted.values() if run.run_id not in held and run.log_id]
    by_log = {run.log_id: run.run_id for run in fresh if not run.gone}
    if by_log and connection.scalar(_has_gone, _where(app)) is not None:
        for row in connection.execute(_gone_by_log_id, _where(app, log_ids=list(by_log))):
            held[by_log[row.log_id]] = row
    for run in fresh:
        if run.gone:
            place = _where(app, listed_at_=run.listed_at, log_id_=run.log_id)
            if (found := connection.execute(_by_place, place).first()) is not None:
                held[run.run_id] = found
    return held


def _where(app: AppKey, **values: Any) -> dict[str, Any]:
    return {"source_": app.source, "app_id_": app.app_id, **values}


def _with_clean_ids(run: Run) -> Run:
    run_id, log_id = clean(run.run_id), clean(run.log_id or "")
    if run_id is run.run_id and log_id == (run.log_id or ""):
        return run
    return replace(run, run_id=run_id, log_id=log_id or None)


def _batches(seen: Sequence[Run]) -> Iterator[tuple[AppKey, Sequence[int]]]:
    """Cut runs into batches of one app, each by places in what was seen."""
    by_app: dict[AppKey, list[int]] = {}
    for place, run in enumerate(seen):
        by_app.setdefault(run.app, []).append(place)
    for app, places in by_app.items():
        for start in range(0, len(places), BATCH):
            for part in _parts(seen, places[start : start + BATCH]):
                yield app, part


def _parts(seen: Sequence[Run], places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut a batch before each gone row whose run it has already: what that one told is written first."""
    alive: set[str | None] = set()
    start = 0
    for number, place in enumerate(places):
        run = seen[place]
        if not run.gone:
            alive |= {run.run_id, run.log_id} - {None}
        elif not alive.isdisjoint((run.run_id, run.log_id)):
            yield places[start:number]
            alive, start = set(), number
    yield places[start:]
