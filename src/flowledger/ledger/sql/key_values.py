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


def put_value(connection: Connection, key: str, value: Mapping[str, Json], at: datetime) -> bool:
    """Insert a value unless its key has one, and return whether; the lock on the key has to be held."""
    if read_value(connection, key) is not None:
        return False
    connection.execute(_insert, {"key": key, "value": dict(value), "stored_at": at})
    return True


def read_value(connection: Connection, key: str) -> StoredValue | None:
    """Read the value of a key."""
    row = connection.execute(_this, {"key_": key}).first()
    return None if row is None else StoredValue(row.key, row.value, row.stored_at)
