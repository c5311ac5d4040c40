"""Appends to the audit trail, and asks it."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row

from flowledger.domain.history import OperationQuery, Place
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.ledger.sql.schema import operations

_stored = sa.select(operations).where(operations.c.operation_id == sa.bindparam("operation_id_"))
_newest = sa.select(operations).order_by(operations.c.at.desc(), operations.c.operation_id.desc())


def append(connection: Connection, operation: Operation) -> bool:
    """Append an operation unless its id is known, and tell; the lock on operations has to be held."""
    is_new = connection.execute(_stored, {"operation_id_": operation.operation_id}).first() is None
    if is_new:
        connection.execute(sa.insert(operations), _row(operation))
    return is_new


def read_operation(connection: Connection, operation_id: str) -> Operation | None:
    """Read one operation."""
    row = connection.execute(_stored, {"operation_id_": operation_id}).first()
    return None if row is None else _operation_from(row)


def read_operations(
    connection: Connection, query: OperationQuery, after: Place | None, limit: int
) -> Sequence[Operation]:
    """Read operations, newest first, those of one instant by falling id."""
    statement = _newest.where(*_admitted(query)).limit(limit)
    if after is not None:
        at, tie = operations.c.at, operations.c.operation_id
        statement = statement.where(at <= after.at, sa.or_(at < after.at, tie < after.tie))
    return [_operation_from(row) for row in connection.execute(statement)]


def _admitted(query: OperationQuery) -> Sequence[ColumnElement[bool]]:
    """Return the conditions in SQL that ``OperationQuery.admits`` checks."""
    columns = operations.c
    conditions: list[ColumnElement[bool]] = []
    if query.apps is not None:
        about = (
            sa.and_(columns.source == app.source, columns.app_id == app.app_id)
            for app in dict.fromkeys(query.apps)
        )
        conditions.append(sa.or_(sa.false(), *about))
    if query.types:
        conditions.append(columns.operation_type.in_(query.types))
    if query.subject:
        conditions.append(columns.subject == query.subject)
    if query.user:
        conditions.append(columns.user == query.user)
    if query.since is not None:
        conditions.append(columns.at >= query.since)
    if query.before is not None:
        conditions.append(columns.at < query.before)
    return conditions


def _row(operation: Operation) -> Mapping[str, Any]:
    return {
        "operation_id": operation.operation_id,
        "operation_type": operation.operation_type,
        "at": operation.at,
        "user": operation.user,
        "source": operation.app and operation.app.source,
        "app_id": operation.app and operation.app.app_id,
        "subject": operation.subject,
        "data": dict(operation.data),
    }


def _operation_from(row: Row[Any]) -> Operation:
    return Operation(
        operation_id=row.operation_id,
        operation_type=row.operation_type,
        at=row.at,
        user=row.user,
        app=None if row.source is None else AppKey(row.source, row.app_id),
        subject=row.subject,
        data=row.data,
    )
