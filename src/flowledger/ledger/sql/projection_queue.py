"""Which records' files are behind the ledger: filled by triggers, as part of each transaction."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from flowledger.domain.history import Place, RunKey, RunQuery
from flowledger.domain.record_kinds import COZE, KINDS, LOG
from flowledger.domain.runs import AppKey, Run
from flowledger.ledger.sql.database import Transactions
from flowledger.ledger.sql.history import find_app, read_app_keys, read_run, read_whole_page
from flowledger.ledger.sql.row_mapping import read_parts, run_of

OPERATION = "operation"
PAGE = 200
_QUEUE = """
CREATE TABLE IF NOT EXISTS projection_queue (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL, app_id TEXT NOT NULL, record_id TEXT NOT NULL,
  UNIQUE (kind, app_id, record_id)
)
"""
# A Coze workflow has one file for all its executions.  A change that comes while its row is being worked on
# replaces the row by one with a higher number, which outlives the work.
_ENQUEUE = (
    "INSERT OR REPLACE INTO projection_queue (kind, app_id, record_id)"
    " SELECT {row}.source, {row}.app_id, CASE {row}.source WHEN 'log' THEN {row}.run_id ELSE '' END"
    " WHERE {row}.source IN ('log', 'coze');"
)
_TRIGGERS = (
    ("run_inserted", "INSERT ON runs", _ENQUEUE.format(row="NEW")),
    ("run_deleted", "DELETE ON runs", _ENQUEUE.format(row="OLD")),
    (
        "run_updated",
        "UPDATE OF run_id, raw, listed_at ON runs",
        _ENQUEUE.format(row="OLD") + _ENQUEUE.format(row="NEW"),
    ),
    (
        "operation_inserted",
        "INSERT ON operations",
        "INSERT OR REPLACE INTO projection_queue (kind, app_id, record_id)"
        " VALUES ('operation', '', NEW.operation_id);",
    ),
)
_due = sa.text(
    "SELECT number, kind, app_id, record_id FROM projection_queue"
    " WHERE number > :after ORDER BY number LIMIT :limit"
)
_done = sa.text("DELETE FROM projection_queue WHERE number = :number")


class Due(NamedTuple):
    """A file that is behind: of a logged execution, an operation, or a Coze workflow (no record id)."""

    number: int
    kind: str
    app_id: str
    record_id: str


@dataclass(frozen=True, slots=True)
class ProjectionQueue:
    """The queue of one ledger, and what its files are written from."""

    transactions: Transactions

    def create(self) -> None:
        """Make the table and the triggers where they are missing."""
        with self.transactions.reading() as connection:
            rows = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            if {name for name, _, _ in _TRIGGERS} <= set(rows.scalars()):
                return
        self.transactions.write(("schema",), _create)

    def due(self, after: int, limit: int) -> Sequence[Due]:
        """Return what is behind, the longest waiting first, after a number."""
        with self.transactions.reading() as connection:
            return [Due(*row) for row in connection.execute(_due, {"after": after, "limit": limit})]

    def remove(self, done: Sequence[Due]) -> None:
        """Remove what was done, but for what has changed again meanwhile."""
        if done:
            numbers = [{"number": each.number} for each in done]
            self.transactions.write((), lambda connection: connection.execute(_done, numbers))

    def execution(self, app_id: str, execution_id: str) -> bytes | None:
        """Return the record of a logged execution; None where there is none."""
        with self.transactions.reading() as connection:
            row = read_run(connection, RunKey(AppKey(LOG, app_id), execution_id))
            if row is None and (app := find_app(connection, LOG, execution_id)) is not None:
                row = read_run(connection, RunKey(app, execution_id))
            return (
                None
                if row is None
                else _record_of(run_of(row, read_parts(connection, [row], with_bodies=False)))
            )

    def executions_of(self, workflow_id: str) -> Iterator[bytes]:
        """Stream the records of a Coze workflow, newest first, a page at a time."""
        query = RunQuery(apps=(AppKey(COZE, workflow_id),))
        after: Place | None = None
        while True:
            with self.transactions.reading() as connection:
                page = read_whole_page(connection, self.transactions.place, query, after, PAGE)
                rows, after = page
                parts = read_parts(connection, rows, with_bodies=False)
            yield from (record for row in rows if (record := _record_of(run_of(row, parts))) is not None)
            if after is None:
                return

    def workflows(self, source: str) -> Sequence[str]:
        """Return the ids of the apps of a source that have runs."""
        with self.transactions.reading() as connection:
            return [app.app_id for app in read_app_keys(connection) if app.source == source]


def _create(connection: Connection) -> None:
    connection.exec_driver_sql(_QUEUE)
    for name, event, body in _TRIGGERS:
        connection.exec_driver_sql(f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} BEGIN {body} END")


def _record_of(run: Run) -> bytes | None:
    """Return a run's raw row where it is the record of exactly this run."""
    try:
        record: Any = json.loads(run.raw.decode())
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and record.get(KINDS[run.app.source].run_field) == run.run_id
    return run.raw if is_record else None
