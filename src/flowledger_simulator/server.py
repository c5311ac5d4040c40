"""Runs a simulated server: in a thread for tests, or until it is stopped for the command line."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

import uvicorn

from flowledger.errors import UsageError
from flowledger_simulator.app import RequestLog, SimulatorApp
from flowledger_simulator.faults import Faults
from flowledger_simulator.releases import Release
from flowledger_simulator.site import Options, Site
from flowledger_simulator.wire import OpenProtocol
from flowledger_simulator.world import World

HOST = "127.0.0.1"
_BACKLOG = 256
_START_S = 10


@dataclass(frozen=True, slots=True)
class SimulatedServer:
    """A running server: where it is, what it holds, what it was asked, what struck."""

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
    """Run a server until it is interrupted; ``announce`` is told its address once it accepts connections.

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
        """Wait for ``stop`` instead of looking every 0.1 s whether to exit."""
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
