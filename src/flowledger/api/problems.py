"""Errors as ``application/problem+json`` (RFC 9457), the only form in which this API says no."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from loguru import logger
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flowledger.domain.texts import clip, mend
from flowledger.errors import (
    FlowledgerError,
    LedgerError,
    RecordConflictError,
    RecordNotFoundError,
    SchedulerError,
    StorageError,
    UsageError,
)
from flowledger.services.secret_masking import redacted

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 20
LONGEST = 300
TOLD: Sequence[tuple[type[FlowledgerError], int]] = (
    (RecordConflictError, 409),
    (RecordNotFoundError, 404),
    (UsageError, 422),
)
AWAY: Sequence[tuple[type[FlowledgerError], str]] = (
    (LedgerError, "the ledger"),
    (SchedulerError, "Prefect"),
    (StorageError, "the storage"),
)
"""Their sentences name folders and servers: they are for the log, not for callers."""


class Fault(BaseModel):
    """One thing wrong with a request."""

    place: str = Field(examples=["query.limit"])
    reason: str = Field(examples=["Input should be less than or equal to 100"])


class Problem(BaseModel):
    """Why a request was refused or failed."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["the request cannot be understood: see errors"])
    instance: str = Field(examples=["/runs"])
    errors: list[Fault] = Field(default=[], description="What is wrong, one by one, where that is known.")


WHY: Mapping[int, str] = {
    400: "The cursor, or the body, is none.",
    401: "No key, or one that opens nothing.",
    403: "The key's role or apps do not allow it.",
    404: "There is no such thing, or not within the key's reach.",
    405: "The path does not know this method.",
    409: "Something else is in the way; the detail says what.",
    413: "The body is larger than API_MAX_BODY_KB.",
    422: "Something in the request is wrong; the detail or errors say what.",
    429: "Too many requests, or too many wrong keys; Retry-After says in how many seconds to come again.",
    500: "A defect of the program; its log says more.",
    503: "The ledger, the storage or Prefect is away for now.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the answers of an operation that are problems, for the OpenAPI document; some all have."""
    known = sorted({*statuses, 401, 403, 405, 422, 429, 500, 503})
    return {
        status: {
            "description": WHY[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in known
    }


def problem(
    request_path: str,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Fault] = (),
) -> Response:
    """Make an answer that says why not."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": mend(clip(redacted(detail), 2000)),
        "instance": mend(clip(request_path, LONGEST)),
    }
    if errors:
        body["errors"] = [each.model_dump() for each in errors]
    return Response(orjson.dumps(body), status, {**(headers or {}), "Cache-Control": "no-store"}, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Let every error of the app leave it as a problem."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(FlowledgerError, _of_ours)
    app.add_exception_handler(Exception, _of_defect)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404 and detail == HTTPStatus(404).phrase:
        detail = "there is no such path: see /openapi.json"
    return problem(request.url.path, error.status_code, detail, headers=error.headers)


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [_fault(each) for each in error.errors()[:MOST_FAULTS]]
    detail = "the request cannot be understood: see errors"
    return problem(request.url.path, 422, detail, errors=found)


def _fault(error: Mapping[str, Any]) -> Fault:
    """Name the place and the reason, never the value: it may be a secret, or megabytes."""
    place = ".".join(str(part) for part in error["loc"])
    return Fault(place=mend(clip(place, LONGEST)), reason=mend(clip(str(error["msg"]), LONGEST)))


async def _of_ours(request: Request, error: Exception) -> Response:
    told = next((status for kind, status in TOLD if isinstance(error, kind)), None)
    if told:
        return problem(request.url.path, told, str(error))
    logger.error("{} {}: {}", request.method, request.url.path, error)
    what = next((name for kind, name in AWAY if isinstance(error, kind)), "a part of this program")
    detail = f"{what} cannot be used for now: the program's log says why"
    return problem(request.url.path, 503, detail, headers={"Retry-After": "5"})


async def _of_defect(request: Request, error: Exception) -> Response:
    logger.opt(exception=error).error("{} {}: a defect", request.method, request.url.path)
    return problem(request.url.path, 500, "a defect of the program: its log says more")
