"""What is noted of every request: its time by route, and a line in the log."""

import time
from collections.abc import Mapping

from loguru import logger
from prometheus_client import CollectorRegistry, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowledger.domain.texts import clip, one_line

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)
QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by machines: their lines would hide all others."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def latency_in(registry: CollectorRegistry) -> Histogram:
    """Make the histogram of answer times."""
    return Histogram(
        "flowledger_api_request_duration_seconds",
        "Time to answer a request in this process, by route.",
        ("method", "route", "status"),
        buckets=BUCKETS_S,
        registry=registry,
    )


class Observed:
    """ASGI middleware, the outermost: both forms of a path are one, and each answer is counted and logged."""

    def __init__(self, app: ASGIApp, *, latency: Histogram) -> None:
        self.app, self.latency = app, latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note what comes of a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["path"] = scope["path"].rstrip("/") or "/"
        begun, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self._note(scope, status, time.perf_counter() - begun)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.latency.labels(method, _route_of(scope), str(status)).observe(took_s)
        caller = scope.get("caller")
        logger.log(
            "DEBUG" if scope["path"] in QUIET else "INFO",
            "{} {} {} in {:.1f} ms, {} from {}",
            method,
            clip(one_line(scope["path"]), 300),
            status,
            took_s * 1000,
            caller.name if caller else "nobody known",
            scope["client"][0] if scope.get("client") else "here",
        )


def _route_of(scope: Mapping[str, object]) -> str:
    """Name the route as it is written, so that there are only so many names."""
    return str(getattr(scope.get("route"), "path", "none"))
