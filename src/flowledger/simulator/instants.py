"""Reads the date texts that the log list's bounds accept (contract.md §1)."""

import re
from datetime import UTC, datetime, timedelta

_YEAR = re.compile(r"\d{4}")
_MONTH = re.compile(r"\d{4}-\d{2}")
_MIDNIGHT = re.compile(r"(?P<date>.+[T ])24(?P<rest>(:?00){1,2}(\.0+)?)(?P<zone>Z|[+-].+)?")
_DIGITS = re.compile(r"\d+")
_DATED = re.compile(r"\d{4}-?\d{2}-?\d{2}.+")


def parse_instant(text: str) -> float:
    """Give the seconds since 1970 of an ISO 8601 text; without an offset it is UTC.

    :raises ValueError: with the text the server gives for it.
    """
    try:
        moment = _parse(text)
    except ValueError as error:
        raise ValueError(_explain(text)) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _parse(text: str) -> datetime:
    if _YEAR.fullmatch(text):
        return datetime.fromisoformat(f"{text}-01-01")
    if _MONTH.fullmatch(text):
        return datetime.fromisoformat(f"{text}-01")
    if midnight := _MIDNIGHT.fullmatch(text):
        same_day = f"{midnight['date']}00{midnight['rest']}{midnight['zone'] or ''}"
        return datetime.fromisoformat(same_day) + timedelta(days=1)
    return datetime.fromisoformat(text)


def _explain(text: str) -> str:
    if _DIGITS.fullmatch(text):
        return "ISO time too short"
    if _DATED.fullmatch(text):
        return "Unused components in ISO string"
    return f"invalid literal for int() with base 10: {text[:4].encode()!r}"
