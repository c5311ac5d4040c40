"""``flowledger serve``: the HTTP API, until it is stopped."""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

import click
from loguru import logger

from flowledger import bootstrap
from flowledger.cli.main import warnings_on_stderr
from flowledger.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from flowledger.api.backend import ApiOptions, Backend, ReportDesk
    from flowledger.bootstrap.api import ApiParts
    from flowledger.services.report_requests import ReportRequest, RunOrder
    from flowledger.settings import Settings

BACKLOG = 2048
PATIENCE_S = 25
"""For requests that are being answered when it is stopped; containers are killed after 30 s."""


@click.command(short_help="Serve the HTTP API until stopped.")
@click.option("--host", metavar="ADDRESS", help="Where to listen; default: API_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: API_PORT; 0 takes a free one.")
@click.option("--no-auth", is_flag=True, help="Without keys; only at an address of loopback.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="So many processes."
)
def serve(host: str | None, port: int | None, no_auth: bool, workers: int) -> None:
    """Serve runs, certificates, statistics, reports and records over HTTP; /openapi.json describes all."""
    settings = bootstrap.load_settings(need_app=False)
    place = host or settings.api_host
    if no_auth and not is_loopback(place):
        raise UsageError(
            f"--no-auth is for this machine alone, and {place} is not: leave it out and make a key"
            " (flowledger keys create), or listen at 127.0.0.1"
        )
    with bootstrap.opened_ledger(settings) as ledger:  # made or upgraded once, before processes want it
        has_keys = any(key.is_valid(bootstrap.clock.utc_now()) for key in ledger.access_keys())
    with listening(place, settings.api_port if port is None else port) as listener:
        name, number = listener.getsockname()[:2]
        shown = f"[{name}]" if ":" in name else name
        click.echo(f"listening at http://{shown}:{number}", err=True)
        if not (no_auth or has_keys):
            click.echo("there is no valid key yet: flowledger keys create NAME makes one", err=True)
        # An interrupt is how it is meant to end: requests in hand are answered before.
        with suppress(KeyboardInterrupt):
            run_servers(partial(make_app, keys_wanted=not no_auth), listener, workers)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen at an address.

    :raises UsageError: when it cannot be had.
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
        listener.set_inheritable(True)
        yield listener


def run_servers(factory: "Callable[[], FastAPI]", listener: socket.socket, workers: int) -> None:
    """Run one server here, or several in processes of their own, until stopped."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    config = uvicorn.Config(
        factory,
        factory=True,
        workers=workers,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=PATIENCE_S,
    )
    if workers == 1:
        uvicorn.Server(config).run([listener])
    else:
        Multiprocess(config, sockets=[listener]).run()


def make_app(*, keys_wanted: bool) -> "FastAPI":
    """Make the application of one process from the settings; it closes what it opened when it ends."""
    from flowledger.api.app import create_app

    settings = bootstrap.load_settings(need_app=False)
    opened = ExitStack()
    backend = opened.enter_context(opened_backend(settings))
    around = _living(settings, opened)
    return create_app(backend, options_of(settings, keys_wanted=keys_wanted), around=around)


@contextmanager
def _living(settings: "Settings", opened: ExitStack) -> Iterator[None]:
    """Keep the log while a server lives, and close at its end what was opened for it."""
    # A process of its own shows warnings as the command line does.
    shown = warnings_on_stderr() if parent_process() else nullcontext()
    with shown, bootstrap.kept_logs(settings), forwarded("uvicorn.error"), opened:
        yield


def options_of(settings: "Settings", *, keys_wanted: bool) -> "ApiOptions":
    """Give how the API is open, as the settings say."""
    from flowledger.api.backend import ApiOptions

    return ApiOptions(
        keys_wanted=keys_wanted,
        cors_origins=settings.api_cors_origins,
        max_body_bytes=settings.api_max_body_kb * 1024,
        per_minute=settings.api_requests_per_minute,
    )


@contextmanager
def opened_backend(settings: "Settings") -> "Iterator[Backend]":
    """Open all that the API stands on."""
    from flowledger.api.backend import Backend, Shelf
    from flowledger.bootstrap.api import open_api_parts, open_streams
    from flowledger.bootstrap.records import options_of_records
    from flowledger.records.execution_history import ExecutionHistoryService
    from flowledger.records.log_service import LogService
    from flowledger.records.storage import LedgerLogStorage

    with open_api_parts(settings) as parts, _desk(settings, parts) as desk:
        checks: dict[str, Callable[[], object]] = {"storage": parts.look_at_storage}
        if isinstance(desk, PrefectDesk):
            checks["prefect"] = desk.look
        coze = ExecutionHistoryService(ledger=parts.ledger)
        streams = open_streams(settings, coze, parts.ledger)
        yield Backend(
            ledger=parts.ledger,
            clock=bootstrap.clock.utc_now,
            tz=parts.tz,
            open_for=parts.open_for,
            names=parts.names,
            shelves=[Shelf(store, apps) for store, apps in parts.stores],
            desk=desk,
            logs=LogService(storage=LedgerLogStorage(parts.ledger, options_of_records())),
            coze=coze,
            checks=checks,
            parts={} if streams is None else {"streams": streams},
        )


@contextmanager
def _desk(settings: "Settings", parts: "ApiParts") -> "Iterator[ReportDesk | None]":
    if settings.prefect_api_url:
        from flowledger.flows import environment  # Prefect reads its settings when it is imported

        environment.point_at(os.environ, api_url=settings.prefect_api_url)
        yield PrefectDesk(settings)
        return
    if not settings.apps:
        yield None
        return
    from flowledger.api.report_queue import DirectDesk

    desk = DirectDesk(parts.ledger, bootstrap.clock.utc_now, bootstrap.user_name())
    try:
        yield desk
    finally:
        desk.close()


@dataclass(frozen=True, slots=True)
class PrefectDesk:
    """Has reports made by the deployments in Prefect."""

    settings: "Settings"

    def check(self, order: "RunOrder") -> "ReportRequest":
        """Read an order without doing anything."""
        return bootstrap.check(order, bootstrap.clock.utc_now())

    def place(self, order: "RunOrder", order_id: str) -> str:
        """Start the app's deployment, and give the id of the run."""
        from flowledger.flows.report_orders import place_order

        return place_order(self.settings.app(order.app).key, order, f"order-{order_id}")

    def state(self, reference: str) -> dict[str, Any]:
        """Ask Prefect what became of a run."""
        from flowledger.flows.report_orders import state_of_order

        return state_of_order(reference)

    def look(self) -> None:
        """See that Prefect answers."""
        from flowledger.flows.report_orders import check_scheduler

        check_scheduler()


@contextmanager
def forwarded(name: str) -> Iterator[None]:
    """Bring what a library says through Python's own logging into our log, without secrets."""
    theirs, handler = logging.getLogger(name), _ToOurs()
    theirs.addHandler(handler)
    theirs.setLevel(logging.INFO)
    propagated, theirs.propagate = theirs.propagate, False
    try:
        yield
    finally:
        theirs.propagate = propagated
        theirs.removeHandler(handler)


class _ToOurs(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Say the same through loguru."""
        error = record.exc_info if record.exc_info and record.exc_info[0] else None
        logger.opt(exception=error).log(record.levelname, "{}", record.getMessage())
