"""What a batch of runs does to the table, gathered so that each kind of change is one statement."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from flowledger.domain.runs import Run, RunStatus
from flowledger.ledger.merging import Change, change, latest
from flowledger.ledger.sql.bulk import execute_many
from flowledger.ledger.sql.rows import NEVER_READ, fingerprint, large_raw_row, run_row
from flowledger.ledger.sql.schema import large_raws, node_executions, payloads, runs

Rows = list[dict[str, Any]]

_this = runs.c.id == sa.bindparam("id_")
_insert = sa.insert(runs)
_insert_raws = sa.insert(large_raws)
_rename = sa.update(runs).where(_this)
_mark = sa.update(runs).where(_this)
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
        self.marked: Rows = []
        self.touched: Rows = []
        self.raws: Rows = []
        self.raws_forgotten: Rows = []
        self.levels: dict[int, int | None] = {}
        """How deep the held details of the batch are, None where none was read."""

    def insert(self, key: int, run: Run) -> None:
        """Take in a run that is not held."""
        self.inserted[key] = {"id": key, **run_row(run), "collected_at": self.at, **NEVER_READ}
        self._keep_raw(key, run)

    def meet(self, run: Run, held: Row[Any]) -> None:
        """Decide what becomes of a held run that was seen again."""
        self.levels[held.id] = held.detail_level
        what = change(RunStatus(held.status), held_gone=held.gone, seen=run)
        if held.run_id != run.run_id and not run.gone:
            self.renamed.append({"id_": held.id, "run_id": run.run_id, **NEVER_READ})
            self.levels[held.id] = None
            what = Change.REPLACE
        collected_at = latest(held.collected_at, self.at)
        if what is Change.REPLACE and held.fingerprint != fingerprint(run):
            self.replaced.append(_replacement(run, held.id) | {"collected_at": collected_at})
            if run.raw:
                self.raws_forgotten.append({"id_": held.id})
                self._keep_raw(held.id, run)
            return
        if what is Change.MARK_GONE:
            self.marked.append({"id_": held.id, "gone": True, "fingerprint": None})
        if collected_at != held.collected_at:
            self.touched.append({"id_": held.id, "collected_at": collected_at})

    def amend(self, run: Run, held: Row[Any], detail: Mapping[str, Any]) -> None:
        """Put a run and its detail in the place of the held ones, whatever those are."""
        self.levels[held.id] = held.detail_level
        self.amended.append({"id_": held.id, **run_row(run), **detail})
        self.raws_forgotten.append({"id_": held.id})
        self._keep_raw(held.id, run)

    def apply(self, connection: Connection) -> None:
        """Carry everything out; a gone row whose run turned up loses its detail."""
        execute_many(connection, _insert, list(self.inserted.values()))
        execute_many(connection, _rename, self.renamed)
        execute_many(connection, _replace, self.replaced)
        execute_many(connection, _amend, self.amended)
        execute_many(connection, _mark, self.marked)
        execute_many(connection, _touch, self.touched)
        forget_parts(connection, [row["id_"] for row in self.renamed])
        execute_many(connection, _forget_raws, self.raws_forgotten)
        execute_many(connection, _insert_raws, self.raws)

    def _keep_raw(self, key: int, run: Run) -> None:
        row = large_raw_row(key, run)
        if row is not None:
            self.raws.append(row)


def forget_parts(connection: Connection, keys: list[int]) -> None:
    """Delete the node executions and bodies of runs."""
    these: Rows = [{"id_": key} for key in keys]
    execute_many(connection, _forget_nodes, these)
    execute_many(connection, _forget_payloads, these)


def _replacement(run: Run, key: int) -> dict[str, Any]:
    row = run_row(run)
    for identity in ("source", "app_id", "run_id"):
        del row[identity]
    row["log_id_"], row["raw_"] = row.pop("log_id") or None, row.pop("raw")
    return {"id_": key, **row}
