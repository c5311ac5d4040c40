"""Idempotency-Key: a writing request that is sent twice is done once, and answered alike both times.

Each attempt is an operation in the audit log, and its answer another one; so all processes agree.
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
from flowledger.domain.operations import Operation
from flowledger.io.json_text import dumps_strict
from flowledger.ports import Clock, Ledger

REQUEST, ANSWER = "REQUEST", "ANSWER"
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
    ledger, clock = backend_of(request).ledger, backend_of(request).clock
    fingerprint: str = request.scope["fingerprint"]
    name = "request-" + sha256(f"{caller.key_id}\n{key}".encode()).hexdigest()[:32]
    for number in count(1):
        attempt = f"{name}-{number}"
        now = clock()
        data = {"fingerprint": fingerprint, "key_id": caller.key_id}
        path = f"{request.method} {request.url.path}"[:200]
        if ledger.record(Operation(attempt, REQUEST, now, caller.name, subject=path, data=data)):
            return _response(_answer(ledger, clock, attempt, caller, work))
        begun = ledger.operation(attempt)
        if begun is None or begun.data.get("fingerprint") != fingerprint:
            raise HTTPException(422, "this Idempotency-Key was used for another request: take a new one")
        answered = ledger.operation(_answer_of(attempt))
        if answered is not None and answered.data.get("status") is not None:
            return _replayed(answered)
        if answered is None and now - begun.at < ABANDONED:
            raise HTTPException(
                409, "the request of this Idempotency-Key is in progress: wait", {"Retry-After": "1"}
            )
    raise AssertionError("numbers do not end")


def _answer(ledger: Ledger, clock: Clock, attempt: str, caller: Caller, work: Callable[[], Answer]) -> Answer:
    try:
        answer = work()
    except BaseException:
        # Nothing was done, so that the same request may be tried again at once.
        _record_answer(ledger, clock, attempt, caller, None)
        raise
    _record_answer(ledger, clock, attempt, caller, answer)
    return answer


def _record_answer(ledger: Ledger, clock: Clock, attempt: str, caller: Caller, answer: Answer | None) -> None:
    data: dict[str, Any] = {"status": None}
    if answer is not None:
        text = dumps_strict(answer.value).decode()
        data = {"status": answer.status, "headers": dict(answer.headers), "body": text}
    ledger.record(Operation(_answer_of(attempt), ANSWER, clock(), caller.name, subject=attempt, data=data))


def _answer_of(attempt: str) -> str:
    return f"{attempt}-answer"


def _response(answer: Answer) -> Response:
    return Response(
        dumps_strict(answer.value), answer.status, {**answer.headers, "Cache-Control": "no-store"}, JSON
    )


def _replayed(answered: Operation) -> Response:
    data: Any = answered.data
    headers = {**data["headers"], "Cache-Control": "no-store", "Idempotent-Replayed": "true"}
    return Response(data["body"], data["status"], headers, JSON)
