"""Idempotency-Key: a writing request that is sent twice is done once, and answered alike both times.

Each attempt is a value in the ledger, by key, and its answer another one; so all processes agree.
"""

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from itertools import count
from typing import Annotated, Any

from fastapi import Header, HTTPException, Request
from starlette.responses import Response

from flowledger.api.backend import backend_of
from flowledger.api.responses import JSON, Answer
from flowledger.domain.access_keys import Caller
from flowledger.io.json_text import dumps_strict
from flowledger.ports import Clock, KeyValueStore, StoredValue

ABANDONED = timedelta(minutes=10)
"""An attempt without an answer for so long died with its process: the next one may begin."""
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key and request again give the stored answer; nothing is done twice.",
        examples=["7f9c2c1e-nightly"],
    ),
]


def once(request: Request, key: str | None, caller: Caller, work: Callable[[], Answer]) -> Response:
    """Do the work of a request; with a key that was used before, return the stored answer instead.

    :raises HTTPException: 422, where the key came with another request; 409, while that is in progress.
    """
    if key is None:
        return _response(work())
    values, clock = backend_of(request).ledger, backend_of(request).clock
    fingerprint: str = request.scope["fingerprint"]
    name = "request-" + sha256(f"{caller.key_id}\n{key}".encode()).hexdigest()[:32]
    for number in count(1):
        attempt = f"{name}-{number}"
        now = clock()
        if values.put_value(attempt, {"fingerprint": fingerprint, "key_id": caller.key_id}, now):
            return _response(_answer(values, clock, attempt, work))
        begun = values.value(attempt)
        if begun is None or begun.value.get("fingerprint") != fingerprint:
            raise HTTPException(422, "this Idempotency-Key was used for another request: take a new one")
        answered = values.value(_answer_of(attempt))
        if answered is not None and answered.value.get("status") is not None:
            return _replayed(answered)
        if answered is None and now - begun.at < ABANDONED:
            raise HTTPException(
                409, "the request of this Idempotency-Key is in progress: wait", {"Retry-After": "1"}
            )
    raise AssertionError("numbers do not end")


def _answer(values: KeyValueStore, clock: Clock, attempt: str, work: Callable[[], Answer]) -> Answer:
    try:
        answer = work()
    except BaseException:
        # Nothing was done, so that the same request may be tried again at once.
        values.put_value(_answer_of(attempt), {"status": None}, clock())
        raise
    body = dumps_strict(answer.value).decode()
    stored: dict[str, Any] = {"status": answer.status, "headers": dict(answer.headers), "body": body}
    values.put_value(_answer_of(attempt), stored, clock())
    return answer


def _answer_of(attempt: str) -> str:
    return f"{attempt}-answer"


def _response(answer: Answer) -> Response:
    return Response(
        dumps_strict(answer.value), answer.status, {**answer.headers, "Cache-Control": "no-store"}, JSON
    )


def _replayed(answered: StoredValue) -> Response:
    data: Any = answered.value
    headers = {**data["headers"], "Cache-Control": "no-store", "Idempotent-Replayed": "true"}
    return Response(data["body"], data["status"], headers, JSON)
