"""Forgets runs with all that is kept of them."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from flowledger.domain.history import RunKey
from flowledger.domain.runs import AppKey
from flowledger.ledger.sql.schema import large_raws, node_executions, payloads, runs, window_runs
from flowledger.ledger.texts import clean

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


def _delete(connection: Connection, app: AppKey, run_ids: Sequence[str]) -> int:
    deleted = 0
    for start in range(0, len(run_ids), BATCH):
        wanted = {"source": app.source, "app_id": app.app_id, "run_ids": run_ids[start : start + BATCH]}
        held = connection.scalars(_these, wanted).all()
        if held:
            for statement in _forget:
                connection.execute(statement, {"keys": held})
        deleted += len(held)
    return deleted
