"""JSON text as ``json.dumps(value, ensure_ascii=False, indent=2)`` writes it, at the speed of orjson."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from flowledger.domain.texts import mend

DEEPEST = 200
"""Levels shown; below, a note stands for the value (orjson refuses more than 254)."""

_TOO_DEEP = "[nested too deeply to show]"
_LITERALS = frozenset({"true", "false", "null", "NaN", "Infinity", "-Infinity"})
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|-Infinity"
_STRUCTURED = re.compile(rf'[ \t\r\n]*(?:[\[{{"]|(?:{_NUMBER})[ \t\r\n]*\Z)')
"""What may be JSON; an id that begins with a digit is told apart here, since a parser's refusal is dear."""
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
            return value if _INT64 <= value < _UINT64 else orjson.Fragment(str(value))
        return value

    def _nested_in(self, depth: int, value: Any) -> str | None:
        return _TOO_DEEP if depth >= DEEPEST and value else None

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


def parse(text: bytes | str) -> Any:
    """Parse JSON fast; integers beyond 64 bits come as floats where the text is strict JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def compact(value: Any) -> str:
    """Write a value on one line, as text for a reader; lone surrogates become U+FFFD."""
    return mend(json.dumps(value, ensure_ascii=False, default=str))


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
