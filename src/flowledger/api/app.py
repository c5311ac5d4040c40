"""The application: all resources behind the gate, every error a problem, one document about all of it."""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from flowledger import __version__
from flowledger.api import apps, coze, health, logs, reports, runs, stats, stream_run
from flowledger.api.auth import Gate, keep
from flowledger.api.backend import ApiOptions, Backend
from flowledger.api.body_limit import Bodies
from flowledger.api.health import Readiness
from flowledger.api.metrics import LedgerFigures, Observed, latency_in
from flowledger.api.openapi import describe
from flowledger.api.problems import handle_problems
from flowledger.services.api_keys import RefusalLog

ROUTERS: tuple[APIRouter, ...] = (
    runs.router,
    apps.router,
    stats.router,
    reports.router,
    logs.router,
    coze.router,
    stream_run.router,
    health.router,
)
UNDER_API: tuple[APIRouter, ...] = (coze.router, stream_run.router)
"""What is also under ``/api``, as older programs ask for it."""
SMALLEST_ZIPPED, EFFORT = 1024, 4


def create_app(
    backend: Backend,
    options: ApiOptions | None = None,
    *,
    around: AbstractContextManager[object] | None = None,
) -> FastAPI:
    """Make the application; it lives within ``around``, which closes at its end what the backend has open."""
    chosen = options or ApiOptions()
    registry = CollectorRegistry()
    registry.register(LedgerFigures(backend))
    book = RefusalLog(str(os.getpid()))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with around or nullcontext():
            yield
            await keep(backend.ledger, list(book.closed(backend.clock())))

    app = FastAPI(
        title="Flowledger",
        version=__version__,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(Observed, latency=latency_in(registry)),
            *_cors(chosen),
            Middleware(Gate, backend=backend, options=chosen, book=book),
            Middleware(GZipMiddleware, minimum_size=SMALLEST_ZIPPED, compresslevel=EFFORT),
            Middleware(Bodies, most_bytes=chosen.max_body_bytes),
        ],
    )
    app.state.backend = backend
    app.state.registry = registry
    app.state.readiness = Readiness({"ledger": backend.ledger.access_keys, **backend.checks})
    handle_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    for router in UNDER_API:
        app.include_router(router, prefix="/api")
    describe(app)
    return app


def _cors(options: ApiOptions) -> list[Any]:
    if not options.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "If-None-Match"],
            expose_headers=["ETag", "Retry-After", "Location", "Idempotent-Replayed"],
            max_age=600,
        )
    ]
