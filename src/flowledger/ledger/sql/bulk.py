"""Executes one statement for many rows at close to the driver's own speed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Dialect, Executable, Insert
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

from flowledger.ledger.sql.postgresql import copy_rows

ConvertColumn = Callable[[Iterable[Any]], list[Any]]
_NATIVE = (sa.Boolean, sa.LargeBinary)
"""What the drivers take as it is, whatever SQLAlchemy would do to it."""


class _Prepared(NamedTuple):
    """A statement's text, and for each of its places the parameter's name and the column's conversion."""

    text: str
    places: Sequence[tuple[str, ConvertColumn]]


def execute_many(connection: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a statement for rows that all have the same keys; for no rows, do nothing.

    Converting column by column costs a fraction of what SQLAlchemy takes to convert row by row (measured).
    """
    if rows:
        columns = {name: list(map(itemgetter(name), rows)) for name in rows[0]}
        execute_columns(connection, statement, columns)


def execute_columns(
    connection: Connection, statement: Executable, columns: Mapping[str, Sequence[Any]]
) -> None:
    """Execute a statement for rows, of which there are some, that are given as columns by name."""
    prepared = _prepare(statement, tuple(columns), connection.dialect)
    if prepared is None:
        names, rows = list(columns), zip(*columns.values(), strict=True)
        connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
        return
    values = list(zip(*(convert(columns[name]) for name, convert in prepared.places), strict=True))
    if len(values) == 1:
        connection.exec_driver_sql(prepared.text, values[0])
    elif isinstance(statement, Insert) and connection.dialect.name == "postgresql":
        copy_rows(connection, statement.table.name, [name for name, _ in prepared.places], values)
    else:
        connection.exec_driver_sql(prepared.text, values)


@lru_cache(maxsize=128)
def _prepare(statement: ClauseElement, keys: tuple[str, ...], dialect: Dialect) -> _Prepared | None:
    compiled = statement.compile(dialect=dialect, column_keys=list(keys))
    if not isinstance(compiled, SQLCompiler) or not set(keys).issuperset(compiled.positiontup or [""]):
        return None  # a driver with named parameters, or constants: SQLAlchemy's own way serves them
    places = [(name, _conversion(compiled.binds[name].type, dialect)) for name in compiled.positiontup or []]
    return _Prepared(str(compiled), places)


def _conversion(kind: TypeEngine[Any], dialect: Dialect) -> ConvertColumn:
    whole: ConvertColumn | None = getattr(kind, "column", None)
    if whole is not None:
        return whole
    convert = None if isinstance(kind, _NATIVE) else kind.dialect_impl(dialect).bind_processor(dialect)
    if convert is None:
        return list
    return lambda values: [None if value is None else convert(value) for value in values]
