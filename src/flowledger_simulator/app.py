"""The simulated server as an ASGI application, and which handler answers a request."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from flowledger_simulator import console_api, login, service_api
from flowledger_simulator.exchange import (
    AnsweredError,
    Request,
    Response,
    answer,
    no_such_method,
    no_such_page,
    parse_query,
)
from flowledger_simulator.faults import Faults, give_instead, twist_answer, twist_request
from flowledger_simulator.releases import Release
from flowledger_simulator.site import Site
from flowledger_simulator.wire import TRANSPORT, WIRE_FAULTS

Handler = Callable[[Site, Request], Response]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RUN = "/v1/workflows/run/"
_LOGOUT = "/console/api/logout"
_LATER: dict[str, Callable[[Release], bool]] = {
    "/console/api/apps/?/workflow-archived-logs": lambda release: release.has_archive,
    "/console/api/apps/?/workflow-runs/count": lambda release: release.filters_workflow_runs,
    "/console/api/apps/?/advanced-chat/workflow-runs/count": lambda release: release.filters_workflow_runs,
}


def show_health(site: Site, request: Request) -> Response:  # noqa: ARG001  # asked without any login
    """GET /health."""
    return answer({"pid": 1, "status": "ok", "version": str(site.release)})


_GET: dict[str, Handler] = {
    **service_api.HANDLERS,
    **console_api.OPEN,
    **console_api.LOGGED_IN,
    "/health": show_health,
}
_POST: dict[str, Handler] = login.HANDLERS


def respond(site: Site, request: Request) -> Response:
    """Answer a request as the site's release does."""
    template = _generalise(request.path)
    known_later = _LATER.get(template)
    if known_later is not None and not known_later(site.release):
        return no_such_page()
    handler = _find(site.release, request.method, template)
    if handler is None:
        return no_such_method() if template in _GET or template in _POST else no_such_page()
    try:
        response = handler(site, request)
    except AnsweredError as error:
        response = error.response
    if template in console_api.LOGGED_IN or site.release.varies_by_cookie:
        response = response.with_headers(("vary", "Cookie"))
    return response


def _find(release: Release, method: str, template: str) -> Handler | None:
    if template == _LOGOUT:
        return login.log_out if method == ("POST" if release.logs_in_by_cookie else "GET") else None
    return {"GET": _GET, "POST": _POST}.get(method, {}).get(template)


def _generalise(path: str) -> str:
    """Put ``?`` in the place of each UUID, ``*`` in that of the service API's run id."""
    if path.startswith(_RUN) and "/" not in path[len(_RUN) :]:
        return f"{_RUN}*"
    return "/".join("?" if _UUID.fullmatch(part) else part for part in path.split("/"))


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
