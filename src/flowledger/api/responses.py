"""Answers as bytes: exact JSON, with an ETag that lets a caller keep what has not changed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from flowledger.domain.texts import mend

JSON = "application/json"
KEPT = {"Cache-Control": "private, no-cache", "Vary": "Authorization, X-API-Key, Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation says: the status, plain values, further headers."""

    value: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def dumps(value: Any) -> bytes:
    """Write plain values as JSON; decimals exactly, lone surrogates as U+FFFD."""
    try:
        return orjson.dumps(value, default=_exact)
    except orjson.JSONEncodeError:
        # Numbers beyond 64 bits, lone surrogates, 255 levels: rare, and slow is better than not at all.
        return mend(json.dumps(_strict(value), ensure_ascii=False)).encode()


def _exact(value: object) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}") if value.is_finite() else None
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _strict(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    if isinstance(value, Decimal | float):
        number = float(value)
        return number if number - number == 0 else None
    return value.isoformat() if hasattr(value, "isoformat") else value


def tagged(request: Request, value: Any) -> Response:
    """Answer a reading: 304 without a body where the caller has it already."""
    return tagged_bytes(request, dumps(value), JSON)


def tagged_bytes(
    request: Request, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer a reading with finished bytes."""
    # Weak: the same content may go compressed or not.
    tag = f'W/"{blake2b(body, digest_size=16).hexdigest()}"'
    said = {**KEPT, "ETag": tag, **(headers or {})}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=said)
    return Response(body, headers=said, media_type=media_type)


def _has(known: str, tag: str) -> bool:
    plain = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") in ("*", plain) for each in known.split(","))
