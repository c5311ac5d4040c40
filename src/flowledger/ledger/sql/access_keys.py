"""Keeps the keys of the API."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from flowledger.domain.access_keys import AccessKey, Role
from flowledger.domain.runs import AppKey
from flowledger.ledger.sql.schema import access_keys
from flowledger.ledger.texts import clean

_forget = sa.delete(access_keys).where(access_keys.c.key_id == sa.bindparam("key_id_"))
_all = sa.select(access_keys).order_by(access_keys.c.created_at, access_keys.c.key_id)


def write_key(connection: Connection, key: AccessKey) -> None:
    """Keep a key instead of the one with its id."""
    connection.execute(_forget, {"key_id_": key.key_id})
    connection.execute(sa.insert(access_keys), _row(key))


def read_keys(connection: Connection) -> Sequence[AccessKey]:
    """Read all keys, oldest first."""
    return [_key_from(row) for row in connection.execute(_all)]


def _row(key: AccessKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "digest": key.digest,
        "role": int(key.role),
        "created_at": key.created_at,
        "apps": key.apps and [[clean(app.source), clean(app.app_id)] for app in key.apps],
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _key_from(row: Row[Any]) -> AccessKey:
    return AccessKey(
        key_id=row.key_id,
        name=row.name,
        digest=row.digest,
        role=Role(row.role),
        created_at=row.created_at,
        apps=None if row.apps is None else tuple(AppKey(*pair) for pair in row.apps),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
