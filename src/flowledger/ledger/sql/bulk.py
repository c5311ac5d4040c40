"""Executes one statement for many rows at close to the driver's own speed."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Executable, Insert
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from flowledger.ledger.sql.postgresql import copy_rows

Convert = Callable[[Any], Any]


class _Prepared(NamedTuple):
    """A statement's text, and for each of its places the parameter's name and conversion."""

    text: str
    places: Sequence[tuple[str, Convert | None]]


def execute_many(connection: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a statement for rows that all have the same keys; for no rows, do nothing.

    Converting column by column costs a third of what SQLAlchemy takes to convert row by row (measured).
    """
    if not rows:
        return
    prepared = _prepare(statement, tuple(rows[0]), connection.dialect)
    if prepared is None:
        connection.execute(statement, rows)
        return
    columns = [_column(rows, name, convert) for name, convert in prepared.places]
    values = list(zip(*columns, strict=True))
    if isinstance(statement, Insert) and connection.dialect.name == "postgresql":
        copy_rows(connection, statement.table.name, [name for name, _ in prepared.places], values)
    else:
        connection.exec_driver_sql(prepared.text, values)


def _column(rows: Sequence[Mapping[str, Any]], name: str, convert: Convert | None) -> Sequence[Any]:
    values = map(itemgetter(name), rows)
    if convert is None:
        return list(values)
    return [None if value is None else convert(value) for value in values]


@lru_cache(maxsize=128)
def _prepare(statement: ClauseElement, keys: tuple[str, ...], dialect: Dialect) -> _Prepared | None:
    compiled = statement.compile(dialect=dialect, column_keys=list(keys))
    if not isinstance(compiled, SQLCompiler) or not set(keys).issuperset(compiled.positiontup or [""]):
        return None  # a driver with named parameters, or constants: SQLAlchemy's own way serves them
    names = compiled.positiontup or []
    types = (compiled.binds[name].type.dialect_impl(dialect) for name in names)
    converts = [each.bind_processor(dialect) for each in types]
    return _Prepared(str(compiled), list(zip(names, converts, strict=True)))
