"""The composition root: the only place that reads settings and builds backends."""

import getpass
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flowledger import plugins
from flowledger.dify.console import Console
from flowledger.dify.credentials import AdminKey, ConsoleToken, Credentials, EmailPassword
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.dify.limiter import AdaptiveLimiter
from flowledger.dify.login import ConsoleLogin
from flowledger.dify.service import ServiceApi
from flowledger.dify.session import DifySession, SessionOptions
from flowledger.dify.steering import Course
from flowledger.dify.transport import TransportOptions
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import zone
from flowledger.ledger import open_ledger
from flowledger.ports import Decoder, Ledger, Progress, ReportFormat
from flowledger.services.log_lines import kept_in
from flowledger.services.pipeline import Pipeline
from flowledger.services.progress import SilentProgress
from flowledger.services.requests import ReportRequest, RunOrder, request_of
from flowledger.settings import AppSettings, ConfigManager, Settings
from flowledger.storage.service import StorageService

DEFAULT_ZONE = zone("Asia/Shanghai")


def utc_now() -> datetime:
    """Give the present, aware UTC; the one clock of the program."""
    return datetime.now(UTC)


_configuration: ContextVar[ConfigManager | None] = ContextVar("configuration", default=None)


@contextmanager
def configured(manager: ConfigManager) -> Iterator[None]:
    """Read settings from another place than the working directory and environment, for a while."""
    token = _configuration.set(manager)
    try:
        yield
    finally:
        _configuration.reset(token)


def load_settings(*, need_app: bool = True) -> Settings:
    """Read the settings, of the working directory and the environment where nothing else is configured.

    :raises SettingsError: with a line for everything that is wrong.
    """
    return (_configuration.get() or ConfigManager()).load(need_app=need_app)


def check(order: RunOrder, instant: datetime) -> ReportRequest:
    """Read an order without touching anything, so that wrong words are refused before anything starts.

    :raises SettingsError, UsageError: as reading it would.
    """
    return _request(order, load_settings(), instant)


def _request(order: RunOrder, settings: Settings, instant: datetime) -> ReportRequest:
    app = settings.app(order.app)
    return request_of(order, instant=instant, tz=app.tz, formats=app.formats)


@contextmanager
def open_pipeline(
    order: RunOrder, instant: datetime, progress: Progress | None = None
) -> Iterator[tuple[Pipeline, ReportRequest]]:
    """Build all parts that an order needs, and give them back at the end."""
    settings = load_settings()
    request = _request(order, settings, instant)
    app = settings.app(order.app)
    with ExitStack() as stack:
        stack.enter_context(
            kept_in(settings.log_dir, level=settings.log_level, days=settings.log_retention_days)
        )
        source = stack.enter_context(open_source(app))
        ledger = stack.enter_context(opened_ledger(settings))
        pipeline = Pipeline(
            app_name=app.name,
            language=app.language,
            source=source,
            ledger=ledger,
            store=open_store(settings, order.output_dir),
            formats=report_formats(request.formats),
            clock=utc_now,
            progress=progress or SilentProgress(),
            open_for=settings.stuck_after,
            workers=app.max_concurrency,
            user=user_name(),
        )
        yield pipeline, request


def open_source(app: AppSettings) -> AbstractContextManager[WorkflowLogFetcher]:
    """Open an app as the settings describe it; nothing is sent until it is asked."""
    return open_dify(
        app.key,
        name=app.name,
        base_url=app.base_url,
        api_token=app.api_token,
        credentials=console_credentials(app),
        options=SessionOptions(
            transport=TransportOptions(
                deadline_s=app.request_deadline_s, ca_bundle=str(app.ca_bundle) if app.ca_bundle else None
            ),
            now=utc_now,
        ),
        most_at_once=app.max_concurrency,
    )


@contextmanager
def open_dify(
    app: AppKey,
    *,
    name: str,
    base_url: str,
    api_token: SecretStr,
    credentials: Credentials | None,
    options: SessionOptions | None = None,
    most_at_once: int = 32,
    always_state: bool = False,
) -> Iterator[WorkflowLogFetcher]:
    """Open one app of a Dify server by its address and keys."""
    limiter = AdaptiveLimiter(Course(cap=most_at_once))
    with DifySession(base_url, limiter=limiter, options=options) as session:
        console = Console(ConsoleLogin(session, credentials)) if credentials else None
        yield WorkflowLogFetcher(app, ServiceApi(session, api_token, name), console, always_state)


def console_credentials(app: AppSettings) -> Credentials | None:
    """Choose an app's way into the console; the settings allow at most one."""
    if app.console_email and app.console_password:
        return EmailPassword(app.console_email, app.console_password)
    if app.console_token:
        return ConsoleToken(app.console_token)
    if app.admin_api_key and app.workspace_id:
        return AdminKey(app.admin_api_key, app.workspace_id)
    return None


def opened_ledger(settings: Settings) -> AbstractContextManager[Ledger]:
    """Open the ledger of the settings, its schema brought up to date."""
    return open_ledger_at(settings.ledger_url.get_secret_value())


@contextmanager
def open_ledger_at(url: str) -> Iterator[Ledger]:
    """Open a ledger by its URL and close it at the end."""
    ledger = open_ledger(url, decoders())
    try:
        yield ledger
    finally:
        ledger.close()


def user_name() -> str:
    """Name who runs this, for the audit trail."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


@cache
def decoders() -> Mapping[str, Decoder]:
    """Give the decoder of every source."""
    return {name: plugins.load("decoder", name) for name in plugins.DECODERS}


def report_formats(names: tuple[str, ...]) -> tuple[ReportFormat, ...]:
    """Build report formats by name."""
    return tuple(plugins.load("report format", name)() for name in names)


def open_store(settings: Settings, directory: str | None = None) -> StorageService:
    """Open the storage of reports and data, in another directory than the settings' where one is given."""
    root = Path(directory).resolve() if directory else Path(settings.output_base_dir)
    backend: Any = plugins.load("storage", settings.storage_type)(root=root)
    return StorageService(backend, utc_now)
