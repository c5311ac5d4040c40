"""``flowledger serve``: the HTTP API, until it is stopped."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from ipaddress import ip_address
from multiprocessing import parent_process
from typing import TYPE_CHECKING

import click
from loguru import logger

from flowledger import bootstrap
from flowledger.cli.main import warnings_on_stderr
from flowledger.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from flowledger.settings import Settings

BACKLOG = 2048
SHUTDOWN_S = 25
"""Time for requests that are being answered when the server is stopped; containers are killed after 30 s."""


@click.command(short_help="Serve the HTTP API until stopped.")
@click.option("--host", metavar="ADDRESS", help="Where to listen; default: API_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: API_PORT; 0 takes a free one.")
@click.option("--no-auth", is_flag=True, help="Without keys; only at an address of loopback.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="So many processes."
)
@click.option(
    "--worker", is_flag=True, help="Also execute workflows here, as flowledger worker does elsewhere."
)
def serve(host: str | None, port: int | None, no_auth: bool, workers: int, worker: bool) -> None:
    """Serve runs, statistics, reports, records and workflows over HTTP; /openapi.json describes all."""
    settings = bootstrap.load_settings(need_app=False)
    address = host or settings.api_host
    if no_auth and not is_loopback(address):
        raise UsageError(
            f"--no-auth is for this machine alone, and {address} is not: leave it out and make a key"
            " (flowledger keys create), or listen at 127.0.0.1"
        )
    # Created or migrated here, once, before several processes open it at the same moment.
    with bootstrap.opened_ledger(settings) as ledger:
        has_keys = any(key.is_valid(bootstrap.clock.utc_now()) for key in ledger.access_keys())
    with listening(address, settings.api_port if port is None else port) as listener:
        name, number = listener.getsockname()[:2]
        click.echo(f"listening at http://{f'[{name}]' if ':' in name else name}:{number}", err=True)
        if not (no_auth or has_keys):
            click.echo("there is no valid key yet: flowledger keys create NAME makes one", err=True)
        # An interrupt is the normal way to stop it; uvicorn finishes the requests in hand first.
        with suppress(KeyboardInterrupt):
            run_servers(partial(make_app, require_keys=not no_auth, executes=worker), listener, workers)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen at an address.

    :raises UsageError: when the address or port cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{host!r} is no address of this machine ({error}): correct --host") from error
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it on, answers take 40 ms.
    with socket.socket(family, kind, protocol or socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise UsageError(
                f"port {port} of {host} cannot be used ({error.strerror}): choose another (--port, API_PORT)"
            ) from error
        listener.listen(BACKLOG)
        listener.set_inheritable(True)  # several workers accept from this one socket
        yield listener


def run_servers(factory: "Callable[[], FastAPI]", listener: socket.socket, workers: int) -> None:
    """Run one server here, or several in processes of their own, until stopped."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from flowledger.api.http_protocol import BoundedProtocol

    config = uvicorn.Config(
        factory,
        factory=True,
        http=BoundedProtocol,
        workers=workers,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    if workers == 1:
        uvicorn.Server(config).run([listener])
    else:
        Multiprocess(config, sockets=[listener]).run()


def make_app(*, require_keys: bool, executes: bool = False) -> "FastAPI":
    """Make the application of one process from the settings; it closes what it opened when it ends.

    With ``executes`` it has a worker.  So has each of several processes: leases let them share the work.
    """
    from flowledger.api.app import create_app
    from flowledger.api.backend import open_backend, options_of
    from flowledger.bootstrap.worker_thread import worker_thread

    settings = bootstrap.load_settings(need_app=False)
    opened = ExitStack()
    backend = opened.enter_context(open_backend(settings))
    if executes:
        opened.enter_context(worker_thread(settings, backend.ledger))
    options = options_of(settings, require_keys=require_keys)
    return create_app(backend, options, around=_server_lifetime(settings, opened))


@contextmanager
def _server_lifetime(settings: "Settings", opened: ExitStack) -> Iterator[None]:
    """Write the log while a server lives, and close at its end what was opened for it."""
    # A worker process does not start at the command line, which arranges this otherwise.
    warnings = warnings_on_stderr() if parent_process() else nullcontext()
    with warnings, bootstrap.kept_logs(settings), forward_logging("uvicorn.error"), opened:
        yield


@contextmanager
def forward_logging(name: str) -> Iterator[None]:
    """Write what a library logs through Python's logging to Flowledger's log, which removes secrets."""
    library, handler = logging.getLogger(name), _LoguruHandler()
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    propagate, library.propagate = library.propagate, False
    try:
        yield
    finally:
        library.propagate = propagate
        library.removeHandler(handler)


class _LoguruHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Log the same record through loguru."""
        error = record.exc_info if record.exc_info and record.exc_info[0] else None
        logger.opt(exception=error).log(record.levelname, "{}", record.getMessage())
