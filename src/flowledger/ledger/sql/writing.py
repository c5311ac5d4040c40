"""Writes runs and their details; every function belongs into a transaction that holds the write lock."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, Select

from flowledger.domain.enrichment import Level, level_of
from flowledger.domain.runs import AppKey, Detail, Detailed, Run, RunStatus
from flowledger.ledger.details import summarise
from flowledger.ledger.merging import Change, Roll, change, latest
from flowledger.ledger.sql.bodies import pack
from flowledger.ledger.sql.bulk import execute_many
from flowledger.ledger.sql.rows import detail_row, fingerprint, node_row, run_row
from flowledger.ledger.sql.schema import GONE, node_executions, payloads, runs
from flowledger.ledger.texts import clean

BATCH = 500
"""Runs looked up by one statement: far below every database's limit of parameters."""

_app = (runs.c.source == sa.bindparam("source_"), runs.c.app_id == sa.bindparam("app_id_"))
_held: Select[Any] = sa.select(
    *(runs.c.id, runs.c.run_id, runs.c.log_id, runs.c.status, runs.c.gone),
    *(runs.c.collected_at, runs.c.fingerprint),
)
_by_run_id = _held.where(*_app, runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
_gone_by_log_id = _held.where(*_app, runs.c.log_id.in_(sa.bindparam("log_ids", expanding=True)), GONE)
_by_place = _held.where(
    *_app, runs.c.listed_at == sa.bindparam("listed_at_"), runs.c.log_id == sa.bindparam("log_id_")
)
_this = runs.c.id == sa.bindparam("id_")
_insert = sa.insert(runs)
_insert_nodes = sa.insert(node_executions)
_insert_payloads = sa.insert(payloads)
_rename = sa.update(runs).where(_this)
_mark = sa.update(runs).where(_this)
_touch = sa.update(runs).where(_this)
_keep_detail = sa.update(runs).where(_this)
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
_read_before = sa.select(runs.c.id, runs.c.detail_level).where(
    runs.c.id.in_(sa.bindparam("ids", expanding=True)), runs.c.detail_level > Level.NONE.value
)
_NEVER_READ = detail_row(None)

Rows = list[dict[str, Any]]


def write_runs(connection: Connection, seen: Sequence[Run], at: datetime | None) -> list[int]:
    """Insert or update runs, and give the surrogate key of each, in the order given.

    ``at`` is the instant of the collection that saw them; None where it was no collection.
    """
    keys: dict[int, int] = {}
    for app, places in _by_app(seen).items():
        for batch in _batches(places):
            rows = [_with_clean_ids(seen[place]) for place in batch]
            found = [key for part in _parts(rows) for key in _write_batch(connection, app, part, at)]
            keys.update(zip(batch, found, strict=True))
    return [keys[place] for place in range(len(seen))]


def write_details(connection: Connection, details: Sequence[tuple[Run, Detail]]) -> None:
    """Replace details whole: what is kept about them, their node executions and their bodies.

    One that is less deep takes no held detail's place (``ledger.details.replaces``).
    """
    keys = write_runs(connection, [run for run, _ in details], None)
    newest = dict(zip(keys, details, strict=True))
    shallow = [key for key, (_, detail) in newest.items() if level_of(detail) < Level.NODES]
    for batch in _batches(shallow):
        for key, level in connection.execute(_read_before, {"ids": batch}):
            if level > level_of(newest[key][1]):
                del newest[key]
    these: Rows = [{"id_": key} for key in newest]
    kept: Rows = [{"id_": key, **detail_row(summarise(*each))} for key, each in newest.items()]
    execute_many(connection, _forget_nodes, these)
    execute_many(connection, _forget_payloads, these)
    execute_many(connection, _keep_detail, kept)
    execute_many(connection, _insert_nodes, list(_node_rows(newest)))
    execute_many(connection, _insert_payloads, list(_payload_rows(newest)))


def _node_rows(details: Mapping[int, tuple[Run, Detail]]) -> Iterator[dict[str, Any]]:
    for key, (_, detail) in details.items():
        if isinstance(detail, Detailed) and isinstance(detail.nodes, Sequence):
            yield from (node_row(key, node) for node in detail.nodes)


def _payload_rows(details: Mapping[int, tuple[Run, Detail]]) -> Iterator[dict[str, Any]]:
    for key, (_, detail) in details.items():
        if isinstance(detail, Detailed):
            yield from ({"run": key, "name": name, "body": pack(raw)} for name, raw in detail.raw.items())


def _parts(rows: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """Cut a batch before each gone row whose run it has already: what that one told is written first."""
    alive: set[str | None] = set()
    start = 0
    for place, run in enumerate(rows):
        if not run.gone:
            alive |= {run.run_id, run.log_id} - {None}
        elif not alive.isdisjoint((run.run_id, run.log_id)):
            yield rows[start:place]
            alive, start = set(), place
    yield rows[start:]


def _write_batch(connection: Connection, app: AppKey, seen: Sequence[Run], at: datetime | None) -> list[int]:
    roll = Roll()
    sighted = [roll.see(run)[0] for run in seen]
    once = {each.run.run_id: each.run for each in sighted}
    held = _find(connection, app, once)
    changes = _Changes(at)
    for run in once.values():
        changes.plan(run, held.get(run.run_id))
    changes.apply(connection)
    keys = {run_id: row.id for run_id, row in held.items()}
    if changes.inserted:
        ids = [row["run_id"] for row in changes.inserted]
        keys.update((row.run_id, row.id) for row in connection.execute(_by_run_id, _where(app, run_ids=ids)))
    return [keys[each.run.run_id] for each in sighted]


def _find(connection: Connection, app: AppKey, wanted: Mapping[str, Run]) -> dict[str, Row[Any]]:
    """Find the held rows of runs by run id; else by log id, as ``merging.Roll`` does."""
    rows = connection.execute(_by_run_id, _where(app, run_ids=list(wanted)))
    held: dict[str, Row[Any]] = {row.run_id: row for row in rows}
    fresh = [run for run in wanted.values() if run.run_id not in held and run.log_id]
    by_log = {run.log_id: run.run_id for run in fresh if not run.gone}
    if by_log:
        for row in connection.execute(_gone_by_log_id, _where(app, log_ids=list(by_log))):
            held[by_log[row.log_id]] = row
    for run in fresh:
        if run.gone:
            place = _where(app, listed_at_=run.listed_at, log_id_=run.log_id)
            if (found := connection.execute(_by_place, place).first()) is not None:
                held[run.run_id] = found
    return held


class _Changes:
    """What a batch does to the table, gathered so that each kind is one statement."""

    def __init__(self, at: datetime | None) -> None:
        self.at = at
        self.inserted: Rows = []
        self.renamed: Rows = []
        self.replaced: Rows = []
        self.marked: Rows = []
        self.touched: Rows = []

    def plan(self, run: Run, held: Row[Any] | None) -> None:
        """Decide what becomes of one run."""
        if held is None:
            self.inserted.append({**run_row(run), "collected_at": self.at, **_NEVER_READ})
            return
        what = change(RunStatus(held.status), held_gone=held.gone, seen=run)
        if held.run_id != run.run_id and not run.gone:
            self.renamed.append({"id_": held.id, "run_id": run.run_id, **_NEVER_READ})
            what = Change.REPLACE
        collected_at = latest(held.collected_at, self.at)
        if what is Change.REPLACE and held.fingerprint != fingerprint(run):
            self.replaced.append(_replacement(run, held.id) | {"collected_at": collected_at})
            return
        if what is Change.MARK_GONE:
            self.marked.append({"id_": held.id, "gone": True, "fingerprint": None})
        if collected_at != held.collected_at:
            self.touched.append({"id_": held.id, "collected_at": collected_at})

    def apply(self, connection: Connection) -> None:
        """Carry everything out; a gone row whose run turned up loses its detail."""
        execute_many(connection, _insert, self.inserted)
        execute_many(connection, _rename, self.renamed)
        execute_many(connection, _replace, self.replaced)
        execute_many(connection, _mark, self.marked)
        execute_many(connection, _touch, self.touched)
        strays: Rows = [{"id_": row["id_"]} for row in self.renamed]
        execute_many(connection, _forget_nodes, strays)
        execute_many(connection, _forget_payloads, strays)


def _replacement(run: Run, key: int) -> dict[str, Any]:
    row = run_row(run)
    for identity in ("source", "app_id", "run_id"):
        del row[identity]
    row["log_id_"], row["raw_"] = row.pop("log_id") or None, row.pop("raw")
    return {"id_": key, **row}


def _where(app: AppKey, **values: Any) -> dict[str, Any]:
    return {"source_": app.source, "app_id_": app.app_id, **values}


def _with_clean_ids(run: Run) -> Run:
    run_id, log_id = clean(run.run_id), clean(run.log_id or "")
    if run_id is run.run_id and log_id == (run.log_id or ""):
        return run
    return replace(run, run_id=run_id, log_id=log_id or None)


def _by_app(seen: Iterable[Run]) -> dict[AppKey, list[int]]:
    places: dict[AppKey, list[int]] = {}
    for place, run in enumerate(seen):
        places.setdefault(run.app, []).append(place)
    return places


def _batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), BATCH):
        yield places[start : start + BATCH]
