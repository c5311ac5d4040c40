"""The OpenAPI document: what FastAPI finds out, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from flowledger.api.auth import OPEN_PATHS
from flowledger.api.problems import MEDIA_TYPE, Problem

ABOUT = """Runs of all sources, certificates, statistics, reports and records of other programs.

Lists are newest first and go on by `next_cursor`; a cursor belongs to its filters and its key.  Readings
carry an `ETag`; writings take an `Idempotency-Key`.  Times are ISO 8601 with an offset.  Every error is a
problem (RFC 9457).  A trailing slash does not matter.
"""
SCHEMES: dict[str, Any] = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "A key of `flowledger keys create`."},
    "Key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, for programs that cannot send the other header.",
    },
}
"""The gate asks for a key, not the operations, so that FastAPI does not know of it."""
_REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> None:
    """Let the app give its document, made once when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(
                get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI wants it


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    """Put in the schema of problems, in the place of FastAPI's own; say when an answer is empty."""
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= models_json_schema([(Problem, "serialization")], ref_template=_REF)[1]["$defs"]
    found["components"]["securitySchemes"] = SCHEMES
    for path, item in found["paths"].items():
        for method, operation in item.items():
            if path not in OPEN_PATHS:
                operation["security"] = [{name: []} for name in SCHEMES]
            answers = operation["responses"]
            if method == "get" and any(answer.get("content") for answer in answers.values()):
                answers["304"] = {"description": "The caller has it already (If-None-Match)."}
            _drop_empty(answers)
    return found


def _drop_empty(answers: dict[str, Any]) -> None:
    """Take FastAPI's JSON away from answers that are only problems."""
    for answer in answers.values():
        content = answer.get("content", {})
        if MEDIA_TYPE in content and content.get("application/json") == {}:
            del content["application/json"]
