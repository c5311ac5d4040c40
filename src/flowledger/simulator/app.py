"""The simulated server as an ASGI application."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from flowledger.simulator.exchange import Request, Response, parse_query
from flowledger.simulator.false_answers import give_instead, twist_answer, twist_request
from flowledger.simulator.faults import Faults
from flowledger.simulator.routes import respond
from flowledger.simulator.site import Site
from flowledger.simulator.wire import TRANSPORT, WIRE_FAULTS

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_KEPT_REQUESTS = 100_000


@dataclass(slots=True)
class RequestLog:
    """What was asked, oldest first; the newest 100,000 are kept, all are counted."""

    kept: deque[Request] = field(default_factory=lambda: deque(maxlen=_KEPT_REQUESTS))
    total: int = 0

    def note(self, request: Request) -> None:
        """Remember a request."""
        self.kept.append(request)
        self.total += 1

    def count(self, path: str = "", *, method: str = "", ending: str = "") -> int:
        """Count the kept requests by the beginning and ending of their path and by method."""
        return sum(
            request.path.startswith(path) and request.path.endswith(ending) and method in ("", request.method)
            for request in list(self.kept)
        )

    def clear(self) -> None:
        """Forget everything."""
        self.kept.clear()
        self.total = 0


@dataclass(slots=True)
class SimulatorApp:
    """Answers as the site does, late by ``latency_ms``, wrongly where a fault strikes."""

    site: Site
    faults: Faults
    latency_ms: float = 0.0
    requests: RequestLog = field(default_factory=RequestLog)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = await _read(scope, receive)
        self.requests.note(request)
        if self.latency_ms:
            await asyncio.sleep(self.latency_ms / 1000)
        fault = self.faults.choose(request)
        response = self._answer(fault, request)
        if fault in WIRE_FAULTS:
            await WIRE_FAULTS[fault](scope["state"][TRANSPORT], response)
            await _wait_for_end(receive)
            return
        await _send(send, response)

    def _answer(self, fault: str, request: Request) -> Response:
        response = give_instead(fault, self.site.options.clock())
        if response is None:
            response = twist_answer(fault, respond(self.site, twist_request(fault, request)))
        return response.with_headers(
            ("x-version", str(self.site.release)),
            ("x-env", "PRODUCTION"),
            ("date", formatdate(self.site.options.clock(), usegmt=True)),
        )


async def _read(scope: Scope, receive: Receive) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    body = b""
    more = scope["method"] != "GET"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return Request(scope["method"], scope["path"], parse_query(scope["query_string"]), headers, body)


async def _send(send: Send, response: Response) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", str(len(response.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _wait_for_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
