"""Single values as three releases write them: numbers as text, NaN, times as epoch or as RFC 822 text."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

from flowledger.dify import json_text

LATEST_SECOND = 253_402_300_799  # 9999-12-31: beyond it an epoch is milliseconds
NUMBERS = frozenset({int, float, str, Decimal})
"""What may be read as a number; not bool, which is an int only to Python."""


def text(value: Any) -> str | None:
    """Give text as it is, None for nothing, anything else as its JSON text."""
    if value is None or type(value) is str:
        return value
    return json_text.dumps(value).decode()


def number(value: Any) -> Decimal | None:
    """Read a number or a number's text; None for nothing, NaN, Infinity and words."""
    if value is None or type(value) not in NUMBERS:
        return None
    try:
        parsed = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return parsed if parsed.is_finite() else None


def integer(value: Any) -> int | None:
    """Read a whole number or its text; None for what is not one."""
    if value is None or type(value) is int:
        return value
    parsed = number(value)
    return int(parsed) if parsed is not None and parsed.adjusted() < 19 and abs(parsed) < 2**63 else None


def instant(value: Any) -> datetime | None:
    """Read epoch seconds (or milliseconds), ISO 8601 or RFC 822 text (releases before 1.2.0) as aware UTC."""
    if type(value) is int and 0 <= value <= LATEST_SECOND:
        return datetime.fromtimestamp(value, UTC)
    seconds = number(value)
    if seconds is not None:
        return _epoch(seconds)
    return _written(value) if isinstance(value, str) else None


def _epoch(seconds: Decimal) -> datetime | None:
    if seconds > LATEST_SECOND:
        seconds /= 1000
    return datetime.fromtimestamp(float(seconds), UTC) if 0 <= seconds <= LATEST_SECOND else None


def _written(value: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(value)
        except (ValueError, OverflowError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return None


def mapping(value: Any) -> Mapping[str, Any] | None:
    """Read an object, or an object's JSON text (run details up to 1.12); None for nothing.

    Any other value is kept under the empty name, so that it is shown and not lost.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = json_text.loads(value)
        except (ValueError, RecursionError):
            return {"": value}
    if value is None or isinstance(value, dict):
        return value
    return {"": value}
