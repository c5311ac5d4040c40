"""Responses: exact JSON, and ETags, by which a caller does not receive again what has not changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from fastapi import Request
from starlette.responses import Response

from flowledger.io.json_text import dumps_strict

JSON = "application/json"
CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization, X-API-Key, Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of a writing operation: plain values, the status, further headers."""

    value: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def tagged(request: Request, value: Any) -> Response:
    """Return a response to GET with an ETag: 304 without a body where the caller has it already."""
    return tagged_bytes(request, dumps_strict(value), JSON)


def tagged_bytes(
    request: Request, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response to GET of any media type with an ETag."""
    # Weak: the same content may be sent compressed or not.
    tag = f'W/"{blake2b(body, digest_size=16).hexdigest()}"'
    all_headers = {**CACHING, "ETag": tag, **(headers or {})}
    if _matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=all_headers)
    return Response(body, headers=all_headers, media_type=media_type)


def _matches(if_none_match: str, tag: str) -> bool:
    """Whether a header lists a tag; compared weakly, as RFC 9110 has it for If-None-Match."""
    plain = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") in ("*", plain) for each in if_none_match.split(","))
