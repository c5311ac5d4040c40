"""The simulated server: which handler answers a request, and the server in a thread or until interrupted."""

import asyncio
import re
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from threading import Thread
from typing import Any

import uvicorn

from flowledger.errors import UsageError
from flowledger_simulator import console_api, console_login, service_api
from flowledger_simulator.faults import (
    TRANSPORT,
    WIRE_FAULTS,
    Faults,
    OpenProtocol,
    alter_request,
    alter_response,
    replacement_of,
)
from flowledger_simulator.http_messages import (
    RefusedError,
    Request,
    Response,
    json_response,
    method_not_allowed,
    page_not_found,
    parse_query,
)
from flowledger_simulator.releases import Release
from flowledger_simulator.site import Options, Site
from flowledger_simulator.world import World

Handler = Callable[[Site, Request], Response]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RUN = "/v1/workflows/run/"
_LOGOUT = "/console/api/logout"
_SINCE: dict[str, Callable[[Release], bool]] = {
    "/console/api/apps/?/workflow-archived-logs": lambda release: release.has_archive,
    "/console/api/apps/?/workflow-runs/count": lambda release: release.filters_workflow_runs,
    "/console/api/apps/?/advanced-chat/workflow-runs/count": lambda release: release.filters_workflow_runs,
}


def show_health(site: Site, request: Request) -> Response:  # noqa: ARG001  # needs no log-in
    """GET /health."""
    return json_response({"pid": 1, "status": "ok", "version": str(site.release)})


_GET: dict[str, Handler] = {
    **service_api.HANDLERS,
    **console_api.OPEN,
    **console_api.LOGGED_IN,
    "/health": show_health,
}
_POST: dict[str, Handler] = {**console_login.HANDLERS, **service_api.STARTS}


def respond(site: Site, request: Request) -> Response:
    """Answer a request as the site's release does."""
    template = _path_template(request.path)
    exists_in = _SINCE.get(template)
    if exists_in is not None and not exists_in(site.release):
        return page_not_found()
    handler = _find(site.release, request.method, template)
    if handler is None:
        return method_not_allowed() if template in _GET or template in _POST else page_not_found()
    try:
        response = handler(site, request)
    except RefusedError as error:
        response = error.response
    if template in console_api.LOGGED_IN or site.release.varies_by_cookie:
        response = response.with_headers(("vary", "Cookie"))
    return response


def _find(release: Release, method: str, template: str) -> Handler | None:
    if template == _LOGOUT:
        return console_login.log_out if method == ("POST" if release.logs_in_by_cookie else "GET") else None
    return {"GET": _GET, "POST": _POST}.get(method, {}).get(template)


def _path_template(path: str) -> str:
    """Return the path with ``?`` for each UUID and ``*`` for the service API's run id.

    The service API accepts anything as a run id (and breaks), the console's router only UUIDs."""
    if path.startswith(_RUN) and "/" not in path[len(_RUN) :]:
        return f"{_RUN}*"
    return "/".join("?" if _UUID.fullmatch(part) else part for part in path.split("/"))


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_KEPT_REQUESTS = 100_000


@dataclass(slots=True)
class RequestLog:
    """The requests, oldest first: the newest 100,000, and the number of all."""

    recent: deque[Request] = field(default_factory=lambda: deque(maxlen=_KEPT_REQUESTS))
    total: int = 0

    def record(self, request: Request) -> None:
        """Add a request."""
        self.recent.append(request)
        self.total += 1

    def count(self, path: str = "", *, method: str = "", ending: str = "") -> int:
        """Count the recent requests by the beginning and ending of their path and by method."""
        return sum(
            request.path.startswith(path) and request.path.endswith(ending) and method in ("", request.method)
            for request in list(self.recent)
        )

    def clear(self) -> None:
        """Start again."""
        self.recent.clear()
        self.total = 0


@dataclass(slots=True)
class SimulatorApp:
    """The ASGI application: responses of the site, late by ``latency_ms``, wrong when a fault applies."""

    site: Site
    faults: Faults
    latency_ms: float = 0.0
    requests: RequestLog = field(default_factory=RequestLog)
    _served: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = await _read(scope, receive)
        self.requests.record(request)
        fault = self.faults.overload(request, self._served)
        if not fault:
            await self._take_time()
            fault = self.faults.choose(request)
        response = self._answer(fault, request)
        # These write to the connection themselves; uvicorn must not answer after them.
        if fault in WIRE_FAULTS:
            await WIRE_FAULTS[fault](scope["state"][TRANSPORT], response)
            await _wait_for_end(receive)
            return
        await _send(send, response)

    async def _take_time(self) -> None:
        if not self.latency_ms:
            return
        self._served += 1
        try:
            await asyncio.sleep(self.latency_ms / 1000)
        finally:
            self._served -= 1

    def _answer(self, fault: str, request: Request) -> Response:
        response = replacement_of(fault, self.site.options.clock())
        if response is None:
            response = alter_response(fault, respond(self.site, alter_request(fault, request)))
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
    # Always a length: chunked responses are left to the faults.
    headers.append((b"content-length", str(len(response.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _wait_for_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


HOST = "127.0.0.1"
_BACKLOG = 256
_START_S = 10


@dataclass(frozen=True, slots=True)
class SimulatedServer:
    """A running server: its address, its world, its requests and its faults."""

    base_url: str
    world: World
    requests: RequestLog
    faults: Faults
    site: Site


@contextmanager
def serve(
    world: World,
    *,
    version: str = "1.12.1",
    port: int = 0,
    latency_ms: float = 0.0,
    faults: Faults | None = None,
    options: Options | None = None,
) -> Iterator[SimulatedServer]:
    """Run a server in a thread on loopback; port 0 takes a free one.

    :raises UsageError: for a release that cannot be simulated, or a port that is taken.
    """
    app = _make_app(world, version, latency_ms, faults, options)
    with _listen(port) as listener:
        server = _ThreadedServer(_configure(app))
        thread = Thread(target=server.run, args=([listener],), name="simulator", daemon=True)
        thread.start()
        try:
            yield SimulatedServer(_address(listener), world, app.requests, app.faults, app.site)
        finally:
            server.stop()
            thread.join()


def run(
    world: World,
    *,
    announce: Callable[[str], None],
    version: str = "1.12.1",
    port: int = 0,
    latency_ms: float = 0.0,
    faults: Faults | None = None,
    options: Options | None = None,
) -> None:
    """Run a server until it is interrupted; ``announce`` gets its address once it accepts connections.

    :raises UsageError: for a release that cannot be simulated, or a port that is taken.
    """
    app = _make_app(world, version, latency_ms, faults, options)
    with _listen(port) as listener:
        announce(_address(listener))
        uvicorn.Server(_configure(app)).run([listener])


def _make_app(
    world: World, version: str, latency_ms: float, faults: Faults | None, options: Options | None
) -> SimulatorApp:
    site = Site(world, Release.parse(version), options or Options())
    return SimulatorApp(site, faults or Faults(), latency_ms)


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it on, answers take 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {port} of {HOST} cannot be used ({error.strerror}): choose another"
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _address(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


def _configure(app: SimulatorApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=OpenProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=app.site.options.keep_alive_s,  # type: ignore[arg-type]  # fractions work
        timeout_graceful_shutdown=1,
    )


class _ThreadedServer(uvicorn.Server):
    """A server that another thread stops at once, however many connections are open."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopper: Future[Callable[[], object]] = Future()

    def stop(self) -> None:
        """Stop; callable from another thread, once."""
        self._stopper.result(timeout=_START_S)()

    async def main_loop(self) -> None:
        """Wait for ``stop``; uvicorn itself looks every 0.1 s, which would slow each test down."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stopper.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Close everything without waiting for clients."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
