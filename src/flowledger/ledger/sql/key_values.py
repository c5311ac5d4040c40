"""Stores values by key: facts that are no acts, such as the answer to a request or the end of an order."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from flowledger.domain.runs import Json
from flowledger.ledger.sql.schema import key_values
from flowledger.ports import StoredValue

_this = sa.select(key_values).where(key_values.c.key == sa.bindparam("key_"))
_insert = sa.insert(key_values)
_delete = sa.delete(key_values).where(key_values.c.key == sa.bindparam("key_"))


def put_value(connection: Connection, key: str, value: Mapping[str, Json], at: datetime) -> bool:
    """Insert a value unless its key has one, and return whether; the lock on the key has to be held."""
    return swap_value(connection, key, None, value, at)


def swap_value(
    connection: Connection,
    key: str,
    old: Mapping[str, Json] | None,
    new: Mapping[str, Json] | None,
    at: datetime,
) -> bool:
    """Replace the value of a key where it is ``old``, and return whether; the lock on it has to be held."""
    stored = read_value(connection, key)
    if (stored and stored.value) != old:
        return False
    if stored is not None:
        connection.execute(_delete, {"key_": key})
    if new is not None:
        connection.execute(_insert, {"key": key, "value": dict(new), "stored_at": at})
    return True


def read_value(connection: Connection, key: str) -> StoredValue | None:
    """Read the value of a key."""
    row = connection.execute(_this, {"key_": key}).first()
    return None if row is None else StoredValue(row.key, row.value, row.stored_at)
