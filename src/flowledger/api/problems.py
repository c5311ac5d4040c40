"""Errors as ``application/problem+json`` (RFC 9457), the only form in which this API refuses."""

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
from starlette.routing import Match

from flowledger.domain.texts import clip, mend
from flowledger.errors import (
    FlowledgerError,
    ForbiddenError,
    InvalidWorkflowError,
    LedgerError,
    RecordConflictError,
    RecordNotFoundError,
    SchedulerError,
    StorageError,
    UsageError,
)
from flowledger.services.secret_masking import redacted

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 20
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
MAX_TEXT = 300
MAX_LINES = 1_000
STATUSES: Sequence[tuple[type[FlowledgerError], int]] = (
    (RecordConflictError, 409),
    (RecordNotFoundError, 404),
    (ForbiddenError, 403),
    (UsageError, 422),
)
UNAVAILABLE: Sequence[tuple[type[FlowledgerError], str]] = (
    (LedgerError, "the ledger"),
    (SchedulerError, "Prefect"),
    (StorageError, "the storage"),
)
"""Answered 503.  Their messages name folders and servers: they are for the log, not for callers."""


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
    errors: list[Fault] = Field(default=[], description="What is wrong, one by one, where that is clear.")
    faults: list[str] = Field(default=[], description="What keeps a workflow from being executed, all of it.")


DESCRIPTIONS: Mapping[int, str] = {
    400: "The cursor, or the body, is none.",
    401: "No key, or one that opens nothing.",
    403: "The key's role or apps do not allow it.",
    404: "There is no such thing, or not within the key's reach.",
    405: "The path does not know this method.",
    409: "Something else is in the way; the detail says what.",
    412: "Somebody has changed it since: read it again (If-Match).",
    413: "The body is larger than API_MAX_BODY_KB.",
    422: "Something in the request is wrong; the detail or errors say what.",
    429: "Too many requests, or too many wrong keys; Retry-After says in how many seconds to come again.",
    500: "A defect of the program; its log says more.",
    503: "The ledger, the storage or Prefect is away for now.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return an operation's problems for the OpenAPI document: those named, and those that all have."""
    return {
        status: {
            "description": DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, 401, 403, 405, 422, 429, 500, 503})
    }


def problem(
    request_path: str,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Fault] = (),
    faults: Sequence[str] = (),
) -> Response:
    """Return a problem as a response; secrets are removed from its detail."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": mend(clip(redacted(detail), 2000)),
        "instance": mend(clip(request_path, MAX_TEXT)),
    }
    if errors:
        body["errors"] = [each.model_dump() for each in errors]
    if faults:
        body["faults"] = [mend(clip(redacted(each), MAX_TEXT)) for each in faults[:MAX_LINES]]
    return Response(orjson.dumps(body), status, {**(headers or {}), "Cache-Control": "no-store"}, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Answer every error of the application with a problem."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(FlowledgerError, _on_flowledger_error)
    app.add_exception_handler(Exception, _on_defect)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404 and detail == HTTPStatus(404).phrase:
        detail = "there is no such path: see /openapi.json"
    headers = {**(error.headers or {})}
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return problem(request.url.path, error.status_code, detail, headers=headers)


def _methods_of(request: Request) -> Sequence[str]:
    """Return all methods that a path knows: Starlette names those of its first route only."""
    routes = request.app.router.routes
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [_fault(each) for each in error.errors()[:MAX_FAULTS]]
    return problem(request.url.path, 422, "the request cannot be understood: see errors", errors=faults)


def _fault(error: Mapping[str, Any]) -> Fault:
    """Return the place and the reason, never the value: it may be a secret, or megabytes."""
    place = ".".join(str(part) for part in error["loc"])
    return Fault(place=mend(clip(place, MAX_TEXT)), reason=mend(clip(str(error["msg"]), MAX_TEXT)))


async def _on_flowledger_error(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), None)
    if status:
        faults = error.faults if isinstance(error, InvalidWorkflowError) else ()
        return problem(request.url.path, status, str(error), faults=faults)
    logger.error("{} {}: {}", request.method, request.url.path, error)
    part = next((name for kind, name in UNAVAILABLE if isinstance(error, kind)), "a part of this program")
    detail = f"{part} cannot be used for now: the program's log says why"
    return problem(request.url.path, 503, detail, headers={"Retry-After": "5"})


async def _on_defect(request: Request, error: Exception) -> Response:
    logger.opt(exception=error).error("{} {}: a defect", request.method, request.url.path)
    return problem(request.url.path, 500, "a defect of the program: its log says more")
