"""Answers as bytes: exact JSON, with an ETag that lets a caller keep what has not changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from fastapi import Request
from starlette.responses import Response

from flowledger.io.json_text import dumps_strict

JSON = "application/json"
KEPT = {"Cache-Control": "private, no-cache", "Vary": "Authorization, X-API-Key, Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation says: the status, plain values, further headers."""

    value: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def tagged(request: Request, value: Any) -> Response:
    """Answer a reading: 304 without a body where the caller has it already."""
    return tagged_bytes(request, dumps_strict(value), JSON)


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
