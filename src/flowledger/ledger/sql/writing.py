"""Writes runs and their details; every function belongs into a transaction that holds the write lock."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, Select

from flowledger.domain.merging import merge
from flowledger.domain.record_kinds import KINDS
from flowledger.domain.runs import (
    AppKey,
    Detail,
    Detailed,
    Level,
    Missing,
    NodeExecution,
    Run,
    level_of,
)
from flowledger.ledger.rules import RunMerger, latest
from flowledger.ledger.sql.bulk import execute_columns, execute_many
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.row_mapping import (
    NEVER_READ,
    detail_row,
    fingerprint,
    large_raw_row,
    node_columns,
    payload_row,
    run_from,
    run_row,
)
from flowledger.ledger.sql.schema import GONE, OWN_ID, large_raws, node_executions, payloads, runs
from flowledger.ledger.texts import clean

Rows = list[dict[str, Any]]

STORED_RAW = b"\0stored"
"""Stands for the raw row of a stored run, which stays where it is unread; no JSON begins so."""

_this = runs.c.id == sa.bindparam("id_")
_insert = sa.insert(runs)
_insert_raws = sa.insert(large_raws)
_rename = sa.update(runs).where(_this)
_touch = sa.update(runs).where(_this)
_amend = sa.update(runs).where(_this)
_replace = (
    sa.update(runs)
    .where(_this)
    .values(
        log_id=sa.func.coalesce(sa.bindparam("log_id_"), runs.c.log_id),
        raw=sa.func.coalesce(sa.bindparam("raw_"), runs.c.raw),
    )
)
_forget_nodes = sa.delete(node_executions).where(node_executions.c.run == sa.bindparam("id_"))
_forget_payloads = sa.delete(payloads).where(payloads.c.run == sa.bindparam("id_"))
_forget_raws = sa.delete(large_raws).where(large_raws.c.run == sa.bindparam("id_"))


class Changes:
    """The changes of one batch; ``at`` is the collection that saw its runs, None where it was none."""

    def __init__(self, at: datetime | None) -> None:
        self.at = at
        self.inserted: dict[int, dict[str, Any]] = {}
        self.renamed: Rows = []
        self.replaced: Rows = []
        self.amended: Rows = []
        self.touched: Rows = []
        self.raws: Rows = []
        self.raws_forgotten: Rows = []
        self.shared_ids: Collection[str] = ()
        """Ids of new executions that another workflow has already: a copy leaves none of the two out."""
        self.levels: dict[int, int | None] = {}
        """How deep the held details of the batch are, None where none was read."""

    def insert(self, key: int, run: Run) -> None:
        """Take in a run that is not held."""
        self.inserted[key] = {
            **{"id": key, **run_row(run), "collected_at": self.at, **NEVER_READ},
            "id_is_shared": True if run.run_id in self.shared_ids else None,
        }
        self._store_raw(key, run)

    def meet(self, run: Run, stored: Row[Any], before: Run | None) -> None:
        """Decide what becomes of a held run that was seen again.

        ``before`` is the held run with ``STORED_RAW``, None where the sighting is that very row.
        """
        self.levels[stored.id] = stored.detail_level
        collected_at = latest(stored.collected_at, self.at)
        after = run if before is None else merge(before, run)
        if stored.run_id != after.run_id:
            self.renamed.append({"id_": stored.id, "run_id": after.run_id, **NEVER_READ})
            self.levels[stored.id] = None
        if before is not None and _differs(after, before, stored):
            self.replaced.append(_replacement(after, stored.id) | {"collected_at": collected_at})
            if after.raw not in (STORED_RAW, b""):
                self.raws_forgotten.append({"id_": stored.id})
                self._store_raw(stored.id, after)
        elif collected_at != stored.collected_at:
            self.touched.append({"id_": stored.id, "collected_at": collected_at})

    def amend(self, run: Run, stored: Row[Any], detail: Mapping[str, Any]) -> None:
        """Put a run and its detail in the place of the held ones, whatever those are."""
        self.levels[stored.id] = stored.detail_level
        self.amended.append({"id_": stored.id, **run_row(run), **detail})
        self.raws_forgotten.append({"id_": stored.id})
        self._store_raw(stored.id, run)

    def apply(self, connection: Connection) -> None:
        """Carry everything out; a gone row whose run turned up loses its detail."""
        execute_many(connection, _insert, list(self.inserted.values()))
        execute_many(connection, _rename, self.renamed)
        execute_many(connection, _replace, self.replaced)
        execute_many(connection, _amend, self.amended)
        execute_many(connection, _touch, self.touched)
        forget_parts(connection, [row["id_"] for row in self.renamed])
        execute_many(connection, _forget_raws, self.raws_forgotten)
        execute_many(connection, _insert_raws, self.raws)

    def _store_raw(self, key: int, run: Run) -> None:
        row = large_raw_row(key, run)
        if row is not None:
            self.raws.append(row)


def forget_parts(connection: Connection, keys: list[int]) -> None:
    """Delete the node executions and bodies of runs."""
    these: Rows = [{"id_": key} for key in keys]
    execute_many(connection, _forget_nodes, these)
    execute_many(connection, _forget_payloads, these)


def _differs(after: Run, before: Run, stored: Row[Any]) -> bool:
    """Return whether a merged run has to be written; the stored raw row is known by the fingerprint alone."""
    return fingerprint(after) != stored.fingerprint and (after.raw != STORED_RAW or after != before)


def _replacement(run: Run, key: int) -> dict[str, Any]:
    row = run_row(run)
    if run.raw == STORED_RAW:
        # Of a row that is not read here no fingerprint can be taken: the next sighting compares the fields.
        row["raw"] = row["fingerprint"] = None
    for identity in ("source", "app_id", "run_id"):
        del row[identity]
    row["log_id_"], row["raw_"] = row.pop("log_id") or None, row.pop("raw")
    return {"id_": key, **row}


BATCH = 500
"""Runs looked up by one statement: far below every database's limit of parameters."""

_app = (runs.c.source == sa.bindparam("source_"), runs.c.app_id == sa.bindparam("app_id_"))
_stored: Select[Any] = sa.select(
    *(runs.c.id, runs.c.run_id, runs.c.log_id, runs.c.collected_at, runs.c.fingerprint, runs.c.detail_level),
)
_whole = sa.select(
    *(column for column in runs.c if column is not runs.c.raw), runs.c.raw.is_not(None).label("has_raw")
).where(runs.c.id.in_(sa.bindparam("ids", expanding=True)))
_by_run_id = _stored.where(*_app, runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
_gone_by_log_id = _stored.where(*_app, runs.c.log_id.in_(sa.bindparam("log_ids", expanding=True)), GONE)
_has_gone = sa.select(sa.literal(1)).where(*_app, GONE).limit(1)
_by_place = _stored.where(
    *_app, runs.c.listed_at == sa.bindparam("listed_at_"), runs.c.log_id == sa.bindparam("log_id_")
)
_elsewhere = sa.select(runs.c.run_id).where(
    runs.c.source == sa.bindparam("source_"),
    runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)),
    runs.c.app_id != sa.bindparam("app_id_"),
    OWN_ID,
)
_set_detail = sa.update(runs).where(runs.c.id == sa.bindparam("id_"))
_insert_nodes = sa.insert(node_executions)
_insert_payloads = sa.insert(payloads)

Saved = tuple[Run, Detail]


def write_runs(
    connection: Connection, database: Database, incoming: Sequence[Run], at: datetime | None
) -> list[int]:
    """Insert or update runs, and give the surrogate key of each, in the order given.

    ``at`` is the instant of the collection that saw them.
    """
    keys: dict[int, int] = {}
    for app, places in _batches(incoming):
        changes = Changes(at)
        row = _plan(connection, database, app, [incoming[place] for place in places], changes)
        changes.apply(connection)
        keys.update(zip(places, row, strict=True))
    return [keys[place] for place in range(len(incoming))]


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
    execute_many(connection, _set_detail, replaced)
    _insert_parts(connection, newest, batch)


def write_amended(
    connection: Connection, database: Database, run: Run, detail: Detail, stored: Row[Any] | None
) -> int:
    """Put a run and its detail in the place of the held one, or of the gone row; return its surrogate key."""
    run = _with_clean_ids(run)
    changes = Changes(None)
    if stored is None and run.log_id:
        stored = _find(connection, run.app, {run.run_id: run}).get(run.run_id)
    if stored is None:
        (key,) = database.new_keys(connection, 1)
        changes.insert(key, run)
        changes.inserted[key].update(detail_row(run, detail))
    else:
        key = stored.id
        changes.amend(run, stored, detail_row(run, detail))
        if stored.detail_level:
            forget_parts(connection, [key])
    changes.apply(connection)
    _insert_parts(connection, {key: 0}, [(run, detail)])
    return int(key)


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


def _deepest(keys: Sequence[int], batch: Sequence[Saved], stored: Mapping[int, int | None]) -> dict[int, int]:
    """Choose the last detail of each run, unless one before it, or the held one, is deeper."""
    levels = [level_of(detail) for _, detail in batch]
    chosen: dict[int, int] = {}
    for place, key in enumerate(keys):
        before = levels[chosen[key]] if key in chosen else stored.get(key) or Level.NONE
        if levels[place] >= before:
            chosen[key] = place
    return chosen


def _plan(
    connection: Connection, database: Database, app: AppKey, incoming: Sequence[Run], changes: Changes
) -> Sequence[int]:
    """Plan what becomes of the runs of a batch, and return the surrogate key of each."""
    merger = RunMerger()
    merged = [merger.see(_with_clean_ids(run))[0] for run in incoming]
    once = {each.run.run_id: each.run for each in merged}
    stored = _find(connection, app, once)
    keys = {run_id: row.id for run_id, row in stored.items()}
    before = _whole_runs(connection, app, once, stored)
    for run_id, row in stored.items():
        changes.meet(once[run_id], row, before.get(row.id))
    fresh = [run for run_id, run in once.items() if run_id not in stored]
    changes.shared_ids = _shared_ids(connection, app, [run.run_id for run in fresh])
    for key, run in zip(database.new_keys(connection, len(fresh)) if fresh else (), fresh, strict=True):
        changes.insert(key, run)
        keys[run.run_id] = key
    return [keys[each.run.run_id] for each in merged]


def _whole_runs(
    connection: Connection, app: AppKey, seen: Mapping[str, Run], stored: Mapping[str, Row[Any]]
) -> dict[int, Run]:
    """Read the stored runs that a sighting differs from, by surrogate key; ``STORED_RAW`` is their row."""
    ids = [row.id for run_id, row in stored.items() if fingerprint(seen[run_id]) != row.fingerprint]
    if not ids:
        return {}
    rows = connection.execute(_whole, {"ids": ids})
    return {row.id: run_from(row, app, STORED_RAW if row.has_raw else b"") for row in rows}


def _shared_ids(connection: Connection, app: AppKey, run_ids: Sequence[str]) -> Collection[str]:
    """Return which ids of new executions another workflow has; ids of other sources are their app's own."""
    if app.source not in KINDS or not run_ids:
        return ()
    return set(connection.scalars(_elsewhere, _where(app, run_ids=list(run_ids))))


def _find(connection: Connection, app: AppKey, by_run_id: Mapping[str, Run]) -> dict[str, Row[Any]]:
    """Find the stored rows of runs by run id; else by log id, as ``rules.RunMerger`` does."""
    rows = connection.execute(_by_run_id, _where(app, run_ids=list(by_run_id)))
    stored: dict[str, Row[Any]] = {row.run_id: row for row in rows}
    fresh = [run for run in by_run_id.values() if run.run_id not in stored and run.log_id]
    by_log = {run.log_id: run.run_id for run in fresh if not run.gone}
    if by_log and connection.scalar(_has_gone, _where(app)) is not None:
        for row in connection.execute(_gone_by_log_id, _where(app, log_ids=list(by_log))):
            stored[by_log[row.log_id]] = row
    for run in fresh:
        if run.gone:
            place = _where(app, listed_at_=run.listed_at, log_id_=run.log_id)
            if (same := connection.execute(_by_place, place).first()) is not None:
                stored[run.run_id] = same
    return stored


def _where(app: AppKey, **values: Any) -> dict[str, Any]:
    return {"source_": app.source, "app_id_": app.app_id, **values}


def _with_clean_ids(run: Run) -> Run:
    run_id, log_id = clean(run.run_id), clean(run.log_id or "")
    if run_id is run.run_id and log_id == (run.log_id or ""):
        return run
    return replace(run, run_id=run_id, log_id=log_id or None)


def _batches(incoming: Sequence[Run]) -> Iterator[tuple[AppKey, Sequence[int]]]:
    """Cut runs into batches of one app, each by places in what was seen."""
    by_app: dict[AppKey, list[int]] = {}
    for place, run in enumerate(incoming):
        by_app.setdefault(run.app, []).append(place)
    for app, places in by_app.items():
        for start in range(0, len(places), BATCH):
            for part in _parts(incoming, places[start : start + BATCH]):
                yield app, part


def _parts(incoming: Sequence[Run], places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Cut a batch before each gone row whose run it has already: what that one told is written first."""
    alive: set[str | None] = set()
    start = 0
    for number, place in enumerate(places):
        run = incoming[place]
        if not run.gone:
            alive |= {run.run_id, run.log_id} - {None}
        elif not alive.isdisjoint((run.run_id, run.log_id)):
            yield places[start:number]
            alive, start = set(), number
    yield places[start:]
