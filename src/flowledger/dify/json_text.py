"""JSON as Dify really sends it: usually strict, sometimes with NaN, Infinity or lone surrogates."""

import json
import math
from typing import Any

import orjson


def loads(body: bytes | str) -> Any:
    """Parse JSON; tokens like NaN (docs/dify-api.md "Run detail") are read as Python reads them.

    :raises ValueError: when it is not JSON at all.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def dumps(value: Any) -> bytes:
    """Write a parsed value back as JSON text in UTF-8, keeping what strict JSON forbids."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()
    # orjson writes NaN as null, which would change what the source said.
    if b"null" in text and _has_nonfinite(value):
        return json.dumps(value).encode()
    return text


def _has_nonfinite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_nonfinite, value.values()))
    return isinstance(value, list) and any(map(_has_nonfinite, value))
