"""Apps of Dify, opened."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar

from pydantic import SecretStr

from flowledger.dify.console import Console
from flowledger.dify.credentials import AdminKey, ConsoleToken, Credentials, EmailPassword
from flowledger.dify.fetcher import WorkflowLogFetcher
from flowledger.dify.servers import Servers
from flowledger.dify.service import ServiceApi
from flowledger.dify.session import SessionOptions
from flowledger.dify.transport import TransportOptions
from flowledger.domain.runs import AppKey
from flowledger.settings import AppSettings
from flowledger.wiring import clock


def open_source(
    app: AppSettings, options: SessionOptions | None = None
) -> AbstractContextManager[WorkflowLogFetcher]:
    """Open an app as the settings describe it; nothing is sent until it is asked."""
    return open_dify(
        app.key,
        name=app.name,
        base_url=app.base_url,
        api_token=app.api_token,
        credentials=console_credentials(app),
        options=options
        or SessionOptions(transport=transport_options(app, app.request_deadline_s), now=clock.utc_now),
        most_at_once=app.max_concurrency,
    )


def transport_options(app: AppSettings, deadline_s: float) -> TransportOptions:
    """Give the limits of one exchange with an app's server."""
    return TransportOptions(
        deadline_s=deadline_s,
        max_bytes=app.max_answer_mb * 2**20,
        ca_bundle=str(app.ca_bundle) if app.ca_bundle else None,
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
    with ExitStack() as stack:
        servers = _servers.get() or stack.enter_context(Servers())
        session = servers.session(base_url, options or SessionOptions(), most_at_once)
        console = Console(servers.login(session, credentials)) if credentials else None
        yield WorkflowLogFetcher(app, ServiceApi(session, api_token, name), console, always_state)


_servers: ContextVar[Servers | None] = ContextVar("servers", default=None)


@contextmanager
def shared_servers() -> Iterator[Servers]:
    """Let all apps opened inside share each server's session, limiter and login; nested, the outer one's."""
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
    """Choose an app's way into the console; the settings allow at most one."""
    if app.console_email and app.console_password:
        return EmailPassword(app.console_email, app.console_password)
    if app.console_token:
        return ConsoleToken(app.console_token)
    if app.admin_api_key and app.workspace_id:
        return AdminKey(app.admin_api_key, app.workspace_id)
    return None
