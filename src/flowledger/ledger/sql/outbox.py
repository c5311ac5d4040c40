"""The outbox: messages to be sent, in a queue that many processes may empty at once."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from flowledger.domain.messages import OutboxMessage
from flowledger.ledger.rules import completed, never_enqueued
from flowledger.ledger.sql.bulk import execute_many
from flowledger.ledger.sql.row_mapping import message_row, outbox_message_from
from flowledger.ledger.sql.schema import WAITING, letters
from flowledger.ledger.texts import clean

BATCH = 500
_existing_ids = sa.select(letters.c.letter_id).where(
    letters.c.letter_id.in_(sa.bindparam("ids", expanding=True))
)
_insert = sa.insert(letters)
_this = letters.c.id == sa.bindparam("id_")
# Rows another transaction is taking are passed over.  SQLite has no such clause and needs none: one writer.
_due = (
    sa.select(letters)
    .where(WAITING, letters.c.not_before <= sa.bindparam("at"))
    .order_by(letters.c.posted_at, letters.c.id)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_old = sa.delete(letters).where(sa.not_(WAITING), letters.c.posted_at < sa.bindparam("before"))
_stored = sa.select(letters).where(letters.c.letter_id == sa.bindparam("letter_id_")).with_for_update()


def insert(connection: Connection, messages: Sequence[OutboxMessage]) -> int:
    """Insert the messages whose id is not there, and return how many; the lock on letters has to be held."""
    rows: dict[str, dict[str, Any]] = {}
    for message in messages:
        rows.setdefault(clean(message.letter_id), message_row(message))
    ids = list(rows)
    for start in range(0, len(ids), BATCH):
        for existing in connection.scalars(_existing_ids, {"ids": ids[start : start + BATCH]}):
            del rows[existing]
    execute_many(connection, _insert, list(rows.values()))
    return len(rows)


def claim(connection: Connection, at: datetime, lease: timedelta, limit: int) -> Sequence[OutboxMessage]:
    """Take what is due, oldest first, and let nobody have it until the lease ends."""
    until = at + lease
    rows = connection.execute(_due, {"at": at, "limit": limit}).all()
    taken: list[dict[str, Any]] = [{"id_": row.id, "not_before": until} for row in rows]
    execute_many(connection, sa.update(letters).where(_this), taken)
    return [outbox_message_from(row, not_before=until) for row in rows]


def complete(connection: Connection, message: OutboxMessage) -> None:
    """Store what came of a message (``rules.completed``).

    :raises LedgerError: when it was never enqueued.
    """
    row = connection.execute(_stored, {"letter_id_": message.letter_id}).first()
    if row is None:
        raise never_enqueued(message)
    updated = message_row(completed(outbox_message_from(row), message))
    changed = ("tries", "problem", "not_before", "sent_at", "given_up")
    connection.execute(
        sa.update(letters).where(_this), {"id_": row.id, **{name: updated[name] for name in changed}}
    )


def read(connection: Connection, waiting: bool | None, limit: int) -> Sequence[OutboxMessage]:
    """Read the newest messages, newest first."""
    statement = sa.select(letters).order_by(letters.c.posted_at.desc(), letters.c.id.desc()).limit(limit)
    if waiting is not None:
        statement = statement.where(WAITING if waiting else sa.not_(WAITING))
    return [outbox_message_from(row) for row in connection.execute(statement)]


def delete(connection: Connection, posted_before: datetime) -> int:
    """Delete the messages posted before an instant that wait no more, and return how many."""
    return connection.execute(_old, {"before": posted_before}).rowcount
