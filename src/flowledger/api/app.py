"""The application: its routes and middleware, every error as a problem, and the OpenAPI document."""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry
from pydantic.json_schema import models_json_schema
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from flowledger import __version__
from flowledger.api import (
    apis,
    approval_pages,
    coze,
    executions,
    health,
    logs,
    pipeline_groups,
    pipeline_runs,
    pipelines,
    reports,
    runs,
    workflow_parts,
    workflow_schedules,
    workflows,
)
from flowledger.api.auth import OPEN_PATHS, AuthMiddleware, record_refusals
from flowledger.api.backend import ApiOptions, Backend
from flowledger.api.body_limit import BodyLimitMiddleware
from flowledger.api.event_stream import StreamCount
from flowledger.api.health import Readiness
from flowledger.api.metrics import LedgerMetrics, MetricsMiddleware, request_histogram
from flowledger.api.problems import MEDIA_TYPE, Problem, handle_problems
from flowledger.services.api_keys import RefusalLog

OF_PIPELINES: tuple[APIRouter, ...] = (
    pipeline_groups.router,
    pipeline_runs.approvals,
    pipeline_runs.executions,
    pipeline_runs.history,
    pipelines.mappings,
)
"""What older programs look for at the top and under ``/pipelines``."""
ROUTERS: tuple[APIRouter, ...] = (
    runs.router,
    reports.router,
    logs.router,
    coze.history_router,
    coze.stream_router,
    workflows.router,
    workflow_schedules.router,
    workflow_parts.router,
    executions.router,
    apis.router,
    approval_pages.router,
    pipelines.router,
    pipeline_runs.steering,
    *OF_PIPELINES,
    health.router,
)
UNDER_API: tuple[APIRouter, ...] = (coze.history_router, coze.stream_router)
"""What is also under ``/api``, where older programs look for it."""
GZIP_MIN_BYTES, GZIP_LEVEL = 1024, 4


def create_app(
    backend: Backend,
    options: ApiOptions | None = None,
    *,
    around: AbstractContextManager[object] | None = None,
) -> FastAPI:
    """Create the application; it runs within ``around``, which closes what the backend has open."""
    options = options or ApiOptions()
    registry = CollectorRegistry()
    registry.register(LedgerMetrics(backend))
    book = RefusalLog(str(os.getpid()))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with around or nullcontext():
            yield
            await record_refusals(backend.ledger, list(book.closed(backend.clock())))

    app = FastAPI(
        title="Flowledger",
        version=__version__,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # The first is the outermost: all answers are counted, refusals too; CORS answers preflight requests,
        # which carry no key; and a body is read only for a caller with a key.
        middleware=[
            Middleware(MetricsMiddleware, latency=request_histogram(registry)),
            *_cors(options),
            Middleware(AuthMiddleware, backend=backend, options=options, book=book),
            Middleware(GZipMiddleware, minimum_size=GZIP_MIN_BYTES, compresslevel=GZIP_LEVEL),
            Middleware(BodyLimitMiddleware, max_bytes=options.max_body_bytes),
        ],
    )
    app.state.backend = backend
    app.state.registry = registry
    app.state.event_streams = StreamCount()
    app.state.readiness = Readiness({"ledger": backend.ledger.access_keys, **backend.checks})
    handle_problems(app)
    # Before the pipelines themselves, whose numbers their names would be read as.
    for router in OF_PIPELINES:
        app.include_router(router, prefix="/pipelines")
    for router in ROUTERS:
        app.include_router(router)
    for router in UNDER_API:
        app.include_router(router, prefix="/api")
    _set_openapi(app)
    return app


def _cors(options: ApiOptions) -> list[Any]:
    if not options.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                *("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "If-None-Match"),
                *("If-Match", "Last-Event-ID"),
            ],
            expose_headers=["ETag", "Retry-After", "Location", "Idempotent-Replayed"],
            max_age=600,
        )
    ]


ABOUT = """Runs of all sources, certificates, statistics, reports and records of other programs.

Lists are newest first and continue with `next_cursor`; a cursor is valid for its filters and its key only.
Answers to GET carry an `ETag`; writing requests take an `Idempotency-Key`.  Times are ISO 8601 with an
offset.  Every error is a problem (RFC 9457).  A trailing slash does not matter.
"""
# The middleware asks for a key, not the operations, so that FastAPI does not know of it.
SECURITY_SCHEMES: dict[str, Any] = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "A key of `flowledger keys create`."},
    "Key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key, for programs that cannot send the other header.",
    },
}
_REF = "#/components/schemas/{model}"


def _set_openapi(app: FastAPI) -> None:
    """Let the application answer with its own OpenAPI document, built when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(
                get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to replace it


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """Add what FastAPI cannot know: the schema of problems in place of its own, keys, and 304."""
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= models_json_schema([(Problem, "serialization")], ref_template=_REF)[1]["$defs"]
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path not in OPEN_PATHS:
                operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
            responses = operation["responses"]
            if method == "get" and any(response.get("content") for response in responses.values()):
                responses["304"] = {"description": "The caller has it already (If-None-Match)."}
            for response in responses.values():
                # FastAPI adds an empty JSON schema to responses that are problems and nothing else.
                content = response.get("content", {})
                if MEDIA_TYPE in content and content.get("application/json") == {}:
                    del content["application/json"]
    return document
