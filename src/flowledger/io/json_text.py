"""JSON read and written beyond the strict rules: NaN, lone surrogates, integers of any size, exact decimals.

orjson is ten times as fast as ``json`` and refuses all of these, so each function tries it first and falls
back to ``json`` for the rare rest.  The writers differ in what becomes of that rest:

* ``dumps_lossless`` keeps it as Python writes it, so that ``loads`` reads the same value again;
* ``dumps_escaped`` and ``dumps_readable`` write lone surrogates as ASCII escapes, on one line or indented;
* ``dumps_strict`` writes what every strict parser reads: U+FFFD for a lone surrogate, null for NaN;
* ``JsonStyle.render`` writes indented text for people.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from flowledger.domain.json_values import BEYOND_FLOATS, DEEPEST, TOO_DEEP, bounded
from flowledger.domain.texts import mend

LONGEST_INTEGER = sys.int_info.default_max_str_digits


def loads(text: bytes | str) -> Any:
    """Parse JSON; tokens that strict JSON forbids (NaN, Infinity, lone surrogates) are read as Python does
    (`docs/dify-api.md`, "Run detail").

    Integers beyond 64 bits come as floats where the text is strict JSON otherwise, and as texts where Python
    reads none of so many digits.

    :raises ValueError: when it is not JSON at all.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text, parse_int=_whole)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_INTEGER else digits


def dumps_lossless(value: Any) -> bytes:
    """Write a parsed value back as JSON text in UTF-8, with all that strict JSON forbids."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        return _dumps(value)
    # orjson writes NaN as null, which would change what the source sent.
    if b"null" in text and _has_nonfinite(value):
        return json.dumps(value).encode()
    return text


def _dumps(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return "".join(_pieces(value)).encode()


class _Ready(str):
    """Text that is JSON already."""


def _pieces(value: Any) -> Iterator[str]:
    """Yield the JSON text of a value of any depth, which a writer that calls itself cannot."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Ready):
            yield item
        elif isinstance(item, dict):
            waiting.append(_Ready("}"))
            for at, (name, each) in reversed(list(enumerate(item.items()))):
                waiting += [each, _Ready(f"{', ' if at else ''}{json.dumps(str(name))}: ")]
            waiting.append(_Ready("{"))
        elif isinstance(item, list):
            waiting.append(_Ready("]"))
            for at, each in reversed(list(enumerate(item))):
                waiting += [each, _Ready(", " if at else "")]
            waiting.append(_Ready("["))
        else:
            yield json.dumps(item)


def dumps_escaped(value: Any) -> bytes:
    """Write a parsed value on one line; lone surrogates and integers beyond 64 bits in ASCII, NaN as null.

    :raises TypeError: for a value of a type that JSON does not have.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return _dumps(value)


def dumps_readable(value: Any) -> bytes:
    """Write any value indented by two; keys and values of types that JSON does not have become their text."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        # Lone surrogates and integers beyond 64 bits; ASCII escapes carry them.
        return json.dumps(value, default=str, indent=2).encode()


def dumps_strict(value: Any, *, indented: bool = False) -> bytes:
    """Write plain values as strict JSON; decimals exactly, lone surrogates as U+FFFD, NaN as null.

    :raises TypeError: for a value of a type that JSON does not have.
    """
    try:
        return orjson.dumps(value, default=_exact, option=orjson.OPT_INDENT_2 if indented else None)
    except orjson.JSONEncodeError:
        # Numbers beyond 64 bits, lone surrogates, 255 levels: rare, and slow is better than not at all.
        return json.dumps(bounded(value), ensure_ascii=False, indent=2 if indented else None).encode()


def _has_nonfinite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_nonfinite, value.values()))
    return isinstance(value, list) and any(map(_has_nonfinite, value))


def _exact(value: object) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}") if value.is_finite() else None
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_LITERALS = frozenset({"true", "false", "null", "NaN", "Infinity", "-Infinity"})
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|-Infinity"
_STRUCTURED = re.compile(rf'[ \t\r\n]*(?:[\[{{"]|(?:{_NUMBER})[ \t\r\n]*\Z)')
"""What may be JSON; excludes ids that begin with a digit, because a parser's exception is slow."""
_SAME_FLOATS = (1e-4, 1e16)  # between them orjson and json write a float alike
_INT64, _UINT64 = -(2**63), 2**64
_AS_IS = frozenset({bool, type(None)})
_TEXTS_AS_IS = _AS_IS | {str}


class InexactNumberError(ValueError):
    """A float may stand for an integer that a fast parser could not hold."""


@dataclass(frozen=True, slots=True)
class JsonStyle:
    """How values become text.

    ``nested`` parses texts that are JSON themselves, at every level.  ``bare`` writes NaN and infinities as
    Python does, which strict parsers refuse; else they become texts.  ``exact`` refuses floats of 2**63 and
    more with ``InexactNumberError``, so that the caller can parse again with a slower parser.
    """

    nested: bool = False
    bare: bool = False
    exact: bool = False

    def render(self, value: Any) -> bytes:
        """Write a parsed JSON value, indented by two, in UTF-8; lone surrogates become U+FFFD.

        :raises InexactNumberError: see ``exact``.
        """
        prepared = self._prepared(value, 0)
        try:
            return orjson.dumps(prepared, default=_other, option=orjson.OPT_INDENT_2)
        except orjson.JSONEncodeError:
            return orjson.dumps(_mended(prepared), default=_other, option=orjson.OPT_INDENT_2)

    def _prepared(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._unfolded(value, depth) if self.nested else value
        as_is = _AS_IS if self.nested else _TEXTS_AS_IS  # most are, and a call for each is what takes time
        if kind is dict:
            return self._nested_in(depth, value) or {
                key: item if type(item) in as_is else self._prepared(item, depth + 1)
                for key, item in value.items()
            }
        if kind is list:
            return self._nested_in(depth, value) or [
                item if type(item) in as_is else self._prepared(item, depth + 1) for item in value
            ]
        if kind is float:
            return self._float(value)
        if kind is int:
            return value if _INT64 <= value < _UINT64 else _large(value)
        return value

    def _nested_in(self, depth: int, value: Any) -> str | None:
        return TOO_DEEP if depth >= DEEPEST and value else None

    def _unfolded(self, text: str, depth: int) -> Any:
        if text not in _LITERALS and not _STRUCTURED.match(text):
            return text
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if type(parsed) is float and not math.isfinite(parsed) and not self.bare:
            return text
        return self._prepared(parsed, depth + 1) if depth < DEEPEST else text

    def _float(self, value: float) -> Any:
        smallest, largest = _SAME_FLOATS
        if value == 0 or smallest <= abs(value) < largest:
            return value
        if not math.isfinite(value):
            return orjson.Fragment(json.dumps(value)) if self.bare else json.dumps(value)
        if self.exact and abs(value) >= -_INT64:
            raise InexactNumberError(value)
        return orjson.Fragment(repr(value))


def _large(value: int) -> Any:
    return orjson.Fragment(str(value)) if abs(value) < BEYOND_FLOATS else str(value)


def compact(value: Any) -> str:
    """Write a value on one line, as text for a reader; lone surrogates become U+FFFD."""
    try:
        return mend(json.dumps(value, ensure_ascii=False, default=str))
    except RecursionError:
        return json.dumps(bounded(value), ensure_ascii=False, default=str)


def _other(value: object) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend(str(key)): _mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mended(item) for item in value]
    return value
