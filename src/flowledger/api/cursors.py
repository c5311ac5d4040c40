"""Cursors: where a page ended, in a form that means nothing to others and fits only its own question."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson
from fastapi import HTTPException

from flowledger.domain.history import Place

LONGEST = 2000
_SIZE = 16
_PURPOSE = b"flowledger-1"


def write_cursor(place: Place | None, question: Mapping[str, Any]) -> str | None:
    """Write where a page of an answer to a question ended; None where nothing follows."""
    if place is None:
        return None
    text = orjson.dumps([place.at.isoformat(), place.tie])
    return urlsafe_b64encode(_seal(text, question) + text).decode().rstrip("=")


def read_cursor(cursor: str | None, question: Mapping[str, Any]) -> Place | None:
    """Read a cursor back; None asks for the first page.

    :raises HTTPException: 400, for one that this API did not write for the same question.
    """
    if cursor is None:
        return None
    try:
        whole = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        seal, text = whole[:_SIZE], whole[_SIZE:]
        if seal == _seal(text, question) and write_back(whole) == cursor:
            at, tie = orjson.loads(text)
            return Place(datetime.fromisoformat(at).astimezone(UTC), tie)
    except (Error, ValueError):
        pass
    raise HTTPException(
        400, "this cursor was not given for these filters and this key: begin without one, and change nothing"
    )


def write_back(whole: bytes) -> str:
    """Give the one spelling of a cursor."""
    return urlsafe_b64encode(whole).decode().rstrip("=")


def _seal(text: bytes, question: Mapping[str, Any]) -> bytes:
    asked = orjson.dumps(question, default=str, option=orjson.OPT_SORT_KEYS)
    return blake2b(asked + b"\0" + text, digest_size=_SIZE, person=_PURPOSE).digest()
