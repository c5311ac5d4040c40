"""Parsed JSON made fit for every writer and reader: no NaN, no lone surrogate, no endless depth."""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from flowledger.domain.texts import mend

DEEPEST = 200
"""Levels shown; below, a note stands for the value (orjson refuses more than 254)."""
BEYOND_FLOATS = 10**308
"""From here on integers are written as texts: parsers that make floats of numbers refuse them."""
TOO_DEEP = "[nested too deeply to show]"


def bounded(value: Any, depth: int = 0) -> Any:
    """Return plain values: NaN as null, lone surrogates as U+FFFD, and below ``DEEPEST`` a note."""
    if isinstance(value, Mapping | list | tuple):
        return _bounded_inside(value, depth) if depth < DEEPEST or not value else TOO_DEEP
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, Decimal | float):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, int) and abs(value) >= BEYOND_FLOATS:
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _bounded_inside(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {mend(str(name)): bounded(each, depth + 1) for name, each in value.items()}
    return [bounded(each, depth + 1) for each in value]


def strict_text(value: Any) -> str:
    """Write a parsed value on one line as JSON that every strict parser reads."""
    try:
        return mend(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError):
        return json.dumps(bounded(value), ensure_ascii=False)
