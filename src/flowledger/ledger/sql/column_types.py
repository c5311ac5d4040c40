"""Column types that mean the same in every database."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson
from sqlalchemy import BigInteger, DateTime, Dialect, Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeDecorator, TypeEngine

from flowledger.domain.numbers import decimal_of
from flowledger.ledger.texts import clean, fitting

WHOLE = len("2026-11-01T00:00:00+00:00")
"""How long orjson writes an instant that has no microseconds."""


class SqliteDateTime(sqlite.DATETIME):
    """SQLAlchemy's own text form of a time, written and read by C instead of Python: a third of the cost."""

    def bind_processor(self, _dialect: Dialect) -> Callable[[datetime | None], str | None]:
        return lambda value: None if value is None else value.isoformat(" ", "microseconds")

    def result_processor(
        self, _dialect: Dialect, _coltype: object
    ) -> Callable[[str | None], datetime | None]:
        return lambda text: None if text is None else datetime.fromisoformat(text)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in the program, naive UTC with microseconds in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return SqliteDateTime()  # type: ignore[no-untyped-call]  # SQLAlchemy's own has no types
        return DateTime()

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else _utc(value).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)

    @staticmethod
    def column(values: Iterable[datetime | None]) -> list[Any]:
        """As text, which every database reads; orjson takes half the time of ``isoformat`` (measured)."""
        times = list(values)
        present = orjson.dumps([_utc(value) for value in times if value is not None])[2:-2].decode()
        texts = iter([_database_text(text) for text in present.split('","')])
        return [None if value is None else next(texts) for value in times]


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal kept digit for digit, as text: 0.10 comes back as 0.10."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, _dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)

    @staticmethod
    def column(values: Iterable[Decimal | None]) -> list[Any]:
        return [None if value is None else str(value) for value in values]


class CleanText(TypeDecorator[str]):
    """Text without what databases refuse (``texts.clean``), in the order of its code points."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # SQLite and Python compare so; PostgreSQL as the language of its database does.
        return Text(collation="C" if dialect.name == "postgresql" else None)

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else clean(value)

    @staticmethod
    def column(values: Iterable[str | None]) -> list[Any]:
        texts = list(values)
        together = "".join(filter(None, texts))
        if clean(together) is together:
            return texts
        return [text and clean(text) for text in texts]


class FittingInteger(TypeDecorator[int]):
    """A number a source gave; what does not fit in 64 bits becomes NULL (``texts.fitting``)."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, _dialect: Dialect) -> int | None:
        return None if value is None else fitting(value)

    @staticmethod
    def column(values: Iterable[int | None]) -> list[Any]:
        numbers = list(values)
        present = [number for number in numbers if number is not None]
        if not present or None not in (fitting(min(present)), fitting(max(present))):
            return numbers
        return [None if number is None else fitting(number) for number in numbers]


class JsonText(TypeDecorator[Any]):
    """JSON as ASCII text, so that any string in it comes back exactly."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str:
        return json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Any:
        return json.loads(value or "null")

    @staticmethod
    def column(values: Iterable[Any]) -> list[Any]:
        return [json.dumps(value, separators=(",", ":")) for value in values]


class MoneyByCurrency(TypeDecorator[Mapping[str, Decimal]]):
    """Amounts by currency as JSON text, digit for digit; NULL where there are none."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, Decimal] | None, _dialect: Dialect) -> str | None:
        return money_text(value) if value else None

    @staticmethod
    def column(values: Iterable[Mapping[str, Decimal] | None]) -> list[Any]:
        return [money_text(value) if value else None for value in values]

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Mapping[str, Decimal]:
        return money_from(value)


def _database_text(text: str) -> str:
    return f"{text[:10]} {text[11:19] + '.000000' if len(text) == WHOLE else text[11:26]}"


def _utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value.astimezone(UTC)


def money_text(amounts: Mapping[str, Decimal]) -> str:
    """Write amounts by currency."""
    texts = {clean(currency): str(amount) for currency, amount in amounts.items()}
    return orjson.dumps(texts).decode()


@lru_cache(maxsize=4096)
def money_from(text: str | None) -> Mapping[str, Decimal]:
    """Read amounts by currency; most runs of an app cost one of few sums.

    What an older release stored beyond all bounds is no amount: it is left out rather than taken for nothing.
    """
    amounts: Mapping[str, str] = orjson.loads(text or "{}")
    numbers = {currency: decimal_of(amount) for currency, amount in amounts.items()}
    return MappingProxyType({currency: number for currency, number in numbers.items() if number is not None})
