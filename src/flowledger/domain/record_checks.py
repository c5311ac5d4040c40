"""What a record of another program may hold: ids, words, times, JSON; all else is refused with the reason."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from flowledger.errors import UsageError

DEEPEST = 100
"""How many objects and lists may lie in one another."""
LONGEST_WORD = 200
LARGEST_INTEGER = 10**1000
"""Python writes no integer of more than 4,300 digits, and nobody counts so far."""
MEBIBYTE = 2**20

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "null"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "a text"),
    ((list, tuple), "a list"),
    (Mapping, "an object"),
)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """What is taken: a record's largest size as JSON in bytes, and the zone that times without one are in."""

    size_bytes: int = 16 * MEBIBYTE
    zone: tzinfo = UTC


class _Place(NamedTuple):
    """Where in a record; made for every value, written only where something is wrong."""

    above: "_Place | None"
    key: object

    def __str__(self) -> str:
        keys: list[str] = []
        place: _Place | None = self
        while place is not None:
            keys.append(f"[{place.key}]" if isinstance(place.key, int) else f".{str(place.key)[:40]}")
            place = place.above
        return "".join(reversed(keys)).removeprefix(".")


def checked_id(name: str, value: object) -> str:
    """Return an id that can also be a file's name.

    :raises UsageError: for anything else, such as a path.
    """
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise UsageError(
        f"{name} {shortened(value)} is no id:"
        " 1 to 128 of A-Z a-z 0-9 . _ : - that begin with a letter or digit"
    )


def checked_word(name: str, value: object) -> str:
    """Return a word that a person chose, such as a status: one line of text.

    :raises UsageError: for anything else.
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a text, not {kind_of(value)}")
    if not value.strip() or len(value) > LONGEST_WORD or _CONTROL.search(value):
        raise UsageError(
            f"{name} {shortened(value)} must have 1 to {LONGEST_WORD} characters and none that cannot be seen"
        )
    return value


def checked_time(name: str, value: object, zone: tzinfo) -> str | None:
    """Return a time as aware ISO 8601: text with a zone as it is, other text and datetimes as of ``zone``.

    :raises UsageError: for anything that is no time.
    """
    if value is None:
        return None
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(_text(value))
        aware = instant if instant.tzinfo else instant.replace(tzinfo=zone)
        aware.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{name} {shortened(value)} is no time: write ISO 8601, such as 2026-11-22T08:30:00+08:00"
        ) from None
    return value if aware is instant and isinstance(value, str) else aware.isoformat()


def check_json(name: str, value: object, limits: RecordLimits) -> None:
    """Look at every value of a JSON value; nothing is changed.

    :raises UsageError: for what is no JSON (NaN, bytes, keys that are no text), cannot be kept (NUL, half a
        surrogate pair), lies deeper than ``DEEPEST`` or is larger than the limits.
    """
    _Walk(name, limits.size_bytes).check(value, _Place(None, name), 0)


def check_size(name: str, raw: bytes, limits: RecordLimits) -> None:
    """Hold a record's bytes against the limits.

    :raises UsageError: when there are too many.
    """
    if len(raw) > limits.size_bytes:
        raise _too_large(name, limits.size_bytes)


def kind_of(value: object) -> str:
    """Name what a value is in the words of JSON, or of Python where JSON has none."""
    names = (words for kind, words in _KINDS if isinstance(value, kind))
    return next(names, type(value).__name__)


def shortened(value: object, length: int = 60) -> str:
    """Quote a value for an error's message."""
    if not isinstance(value, str):
        return f"({kind_of(value)})"
    return repr(value if len(value) <= length else value[:length] + "…")


@dataclass(slots=True)
class _Walk:
    name: str
    size_bytes: int
    size: int = 0

    def check(self, value: object, place: _Place, depth: int) -> None:
        """Look at a value and what is in it; each costs a byte at least, so shared parts end this as well."""
        self._count(1)
        match value:
            case str():
                self._check_text(value, place)
            case None | bool():
                pass
            case int():
                if abs(value) >= LARGEST_INTEGER:
                    raise UsageError(f"{place} is a number of more than 1,000 digits: write it as text")
            case float():
                if not math.isfinite(value):
                    raise UsageError(f"{place} is {value}, which JSON does not have: write null or a text")
            case Mapping() | list() | tuple():
                self._check_inside(value, place, depth + 1)
            case _:
                raise UsageError(f"{place} is {kind_of(value)}, which JSON does not have: write it as text")

    def _check_inside(
        self, value: Mapping[object, object] | list[object] | tuple[object, ...], place: _Place, depth: int
    ) -> None:
        if depth > DEEPEST:
            raise UsageError(f"{self.name} is deeper than {DEEPEST} objects and lists in one another")
        if not isinstance(value, Mapping):
            for index, inner in enumerate(value):
                self.check(inner, _Place(place, index), depth)
            return
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UsageError(f"{place} has the key {key!r:.40}: keys must be texts, not {kind_of(key)}")
            self._check_text(key, place)
            self.check(inner, _Place(place, key), depth)

    def _check_text(self, text: str, place: _Place) -> None:
        self._count(len(text))
        if not text.isascii() or "\0" in text:
            bad = _UNSTORABLE.search(text)
            if bad:
                raise UsageError(f"{place} holds U+{ord(bad[0]):04X}, which is no text: leave it out")

    def _count(self, size: int) -> None:
        self.size += size
        if self.size > self.size_bytes:
            raise _too_large(self.name, self.size_bytes)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


def _too_large(name: str, size_bytes: int) -> UsageError:
    return UsageError(
        f"{name} is larger than {size_bytes / MEBIBYTE:g} MB: record less, or raise RECORDS_MAX_MB"
    )
