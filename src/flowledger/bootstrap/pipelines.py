"""The source of an app, opened, and the pipeline that makes a report of it."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial

from pydantic import SecretStr

from flowledger.bootstrap.configuration import clock, kept_logs, load_settings, user_name
from flowledger.bootstrap.ledgers import opened_ledger
from flowledger.bootstrap.schedules import settled_schedule, storage_of
from flowledger.bootstrap.stores import check_machine, open_store, open_store_again, report_formats
from flowledger.dify.credentials import AdminKey, ConsoleToken, Credentials, EmailPassword
from flowledger.dify.endpoints import Console, ServiceApi
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.dify.login import OWN_ATTEMPTS, LoginAttempts, Servers
from flowledger.dify.session import SessionOptions
from flowledger.domain.runs import AppKey
from flowledger.http.session import HttpOptions
from flowledger.ports import Progress, ReportFormat, ReportStore, SilentProgress
from flowledger.services.console_logins import StoredLogins
from flowledger.services.pipeline import Pipeline
from flowledger.services.report_requests import ReportContent, ReportRequest, RunOrder, request_of
from flowledger.services.run_result import RunResult
from flowledger.services.written_reports import ReportAgain
from flowledger.settings import AppSettings, Settings


def open_source(
    app: AppSettings,
    options: SessionOptions | None = None,
    *,
    settings: Settings | None = None,
    log_in_again: bool = False,
) -> AbstractContextManager[WorkflowLogFetcher]:
    """Open an app as the settings describe it; nothing is sent until it is used.

    With ``settings`` a refused console password is stored in their ledger, and is tried again only if
    ``log_in_again``.
    """
    attempts = OWN_ATTEMPTS if settings is None else stored_logins(settings, app, again=log_in_again)
    return open_dify(
        app.key,
        name=app.name,
        base_url=app.base_url,
        api_token=app.api_token,
        credentials=console_credentials(app),
        options=options or SessionOptions(http=http_options(app, app.request_deadline_s), now=clock.utc_now),
        most_at_once=app.max_concurrency,
        attempts=attempts,
    )


LEASE_FOR_WAITING_S = 30
"""What a log-in may take beyond its deadline: it waits for its turn among other requests."""


def stored_logins(settings: Settings, app: AppSettings, *, again: bool = False) -> StoredLogins:
    """Return what is known of console passwords in the ledger of the settings."""
    lease_s = app.request_deadline_s + LEASE_FOR_WAITING_S
    return StoredLogins(lambda: opened_ledger(settings), clock.utc_now, lease_s, again)


def http_options(app: AppSettings, deadline_s: float) -> HttpOptions:
    """Return the limits of one exchange with an app's server."""
    return HttpOptions(
        deadline_s=deadline_s,
        max_bytes=app.max_answer_mb * 2**20,
        ca_bundle=str(app.ca_bundle) if app.ca_bundle else None,
    )


@contextmanager
def open_dify(  # noqa: PLR0913  # each is one fact about the app or the way to it
    app: AppKey,
    *,
    name: str,
    base_url: str,
    api_token: SecretStr,
    credentials: Credentials | None,
    options: SessionOptions | None = None,
    most_at_once: int = 32,
    always_state: bool = False,
    attempts: LoginAttempts = OWN_ATTEMPTS,
) -> Iterator[WorkflowLogFetcher]:
    """Open one app of a Dify server by its address and keys."""
    with ExitStack() as stack:
        servers = _servers.get() or stack.enter_context(Servers())
        session = servers.session(base_url, options or SessionOptions(), most_at_once)
        console = Console(servers.login(session, credentials, attempts)) if credentials else None
        yield WorkflowLogFetcher(app, ServiceApi(session, api_token, name), console, always_state)


_servers: ContextVar[Servers | None] = ContextVar("servers", default=None)


@contextmanager
def shared_servers() -> Iterator[Servers]:
    """Share each server's session, limiter and login between all apps opened inside; nesting shares too."""
    if (outer := _servers.get()) is not None:
        yield outer
        return
    with Servers() as servers:
        token = _servers.set(servers)
        try:
            yield servers
        finally:
            _servers.reset(token)


def console_credentials(app: AppSettings) -> Credentials | None:
    """Return an app's way into the console; the settings allow at most one."""
    if app.console_email and app.console_password:
        switch_to = app.workspace_id if app.switch_workspace else None
        return EmailPassword(app.console_email, app.console_password, switch_to or "")
    if app.console_token:
        return ConsoleToken(app.console_token)
    if app.admin_api_key and app.workspace_id:
        return AdminKey(app.admin_api_key, app.workspace_id)
    return None


def check(order: RunOrder, instant: datetime) -> ReportRequest:
    """Read an order without doing anything, so that wrong values are refused before anything starts.

    :raises SettingsError, UsageError: as reading it would.
    """
    return _request(order, load_settings(), instant)


def check_run(order: RunOrder, instant: datetime) -> None:
    """Read an order as ``check`` does, and check that this machine has what a run needs.

    :raises FatalError: as opening its pipeline would.
    """
    check(order, instant)
    check_machine(load_settings(), order.output_dir)


def _request(order: RunOrder, settings: Settings, instant: datetime) -> ReportRequest:
    app = settings.app(order.app)
    return request_of(order, instant=instant, tz=app.tz, formats=app.formats)


@contextmanager
def open_pipeline(
    order: RunOrder, instant: datetime, progress: Progress | None = None
) -> Iterator[tuple[Pipeline, ReportRequest]]:
    """Open all parts that an order needs, and close them at the end.

    :raises FatalError: for whatever cannot be used, the folder of an order too, before anything is collected.
    """
    settings = load_settings()
    request = _request(order, settings, instant)
    app = settings.app(order.app)
    check_machine(settings, order.output_dir)
    with ExitStack() as stack:
        stack.enter_context(kept_logs(settings, app))
        source = stack.enter_context(open_source(app, settings=settings))
        ledger = stack.enter_context(opened_ledger(settings))
        pipeline = Pipeline(
            app_name=app.name,
            language=app.language,
            source=source,
            ledger=ledger,
            store=open_store(settings, order.output_dir, prefix=app.storage_prefix),
            formats=_formats(settings, request.formats),
            clock=clock.utc_now,
            progress=progress or SilentProgress(),
            open_for=settings.stuck_after,
            workers=app.max_concurrency,
            user=user_name(),
            schedule=settled_schedule(order, request, app),
            storage=storage_of(app, order.output_dir),
            is_late=order.is_late,
            report_again=ReportAgain(settings.report_again),
            reopened=partial(_reopened, settings),
            certificate_max_age=settings.certificate_max_age,
        )
        yield pipeline, request


def _formats(settings: Settings, names: tuple[str, ...]) -> tuple[ReportFormat, ...]:
    return report_formats(
        names, csv_raw_values=settings.csv_raw_values, markdown_details=settings.markdown_details
    )


def _reopened(settings: Settings, content: ReportContent) -> tuple[ReportStore, tuple[ReportFormat, ...]]:
    """Open the storage and the formats of a report that was written earlier."""
    return open_store_again(settings, content.storage), _formats(settings, content.formats)


def run_directly(
    order: RunOrder, instant: datetime, *, run_id: str, progress: Progress | None = None
) -> RunResult:
    """Run all stages of an order in this thread, without Prefect; its period is seen from ``instant``.

    :raises FlowledgerError: as opening the pipeline and its stages do; what was read is in the ledger then.
    """
    started = time.monotonic()
    with open_pipeline(order, instant, progress) as (pipeline, request):
        return pipeline.run(request, run_id=run_id, started=started)
