"""``Servers``: one session and one login for all apps of a server."""

import pytest
from pydantic import SecretStr

from flowledger import bootstrap
from flowledger.dify.credentials import EmailPassword
from flowledger.dify.login import Servers
from flowledger.dify.session import RetryPolicy, SessionOptions
from flowledger.errors import AuthenticationError
from flowledger.settings import AppSettings
from flowledger_simulator import Recipe, credentials, make_world, serve

LOGIN = "/console/api/login"
OPTIONS = SessionOptions(retry=RetryPolicy(sleep=lambda _: None))
PERSON = EmailPassword(credentials.EMAIL, SecretStr(credentials.PASSWORD))


def apps_of(base_url: str, password: str = credentials.PASSWORD) -> tuple[AppSettings, AppSettings]:
    """Give two apps of one server with the same person, its address written in two ways."""
    console = {"console_email": credentials.EMAIL, "console_password": SecretStr(password)}
    kinds = ((credentials.WORKFLOW_APP_ID, credentials.API_TOKEN), ("another", "app-another"))
    first, second = (
        AppSettings(id=id_, name=id_, base_url=base_url + tail, api_token=SecretStr(token), **console)
        for (id_, token), tail in zip(kinds, ("", "/v1/"), strict=True)
    )
    return first, second


def test_two_apps_of_one_server_log_in_once() -> None:
    """Inside the context they share connections, bounds and tokens."""
    with serve(make_world(Recipe(runs=3))) as server, bootstrap.shared_servers():
        for app in apps_of(server.base_url):
            with bootstrap.open_source(app) as source:
                assert source.console is not None
                source.console.apps("")
        assert server.requests.count(LOGIN) == 1


def test_without_the_context_each_app_is_by_itself() -> None:
    """An app that closes takes nothing from another."""
    with serve(make_world(Recipe(runs=3))) as server:
        first, second = apps_of(server.base_url)
        with bootstrap.open_source(first) as one, bootstrap.open_source(second) as two:
            assert one.console is not None
            assert two.console is not None
            one.console.apps("")
            two.console.apps("")
        assert server.requests.count(LOGIN) == 2


@pytest.mark.fault(15)
def test_a_refused_password_is_offered_once_for_all_apps() -> None:
    """Dify counts wrong passwords for each account: the second app does not try again."""
    with serve(make_world(Recipe(runs=3))) as server, bootstrap.shared_servers():
        for app in apps_of(server.base_url, "not-the-password"):
            with bootstrap.open_source(app) as source:
                assert source.console is not None
                with pytest.raises(AuthenticationError):
                    source.console.apps("")
        assert server.requests.count(LOGIN) == 1


def test_other_persons_and_servers_are_kept_apart() -> None:
    """Tokens never reach another server or person."""
    other = EmailPassword("b@example.com", SecretStr("simulated"))
    with Servers() as servers:
        here, there = (
            servers.session(url, OPTIONS, 4) for url in ("http://127.0.0.1:1", "http://127.0.0.1:2")
        )
        assert servers.session("http://127.0.0.1:1/", OPTIONS, 8) is here
        assert servers.login(here, PERSON) is servers.login(here, PERSON)
        logins = {servers.login(here, PERSON), servers.login(here, other), servers.login(there, PERSON)}
        assert len(logins) == 3


def test_contexts_inside_one_another_are_one() -> None:
    """A part that shares may be called by another that does."""
    with bootstrap.shared_servers() as outer, bootstrap.shared_servers() as inner:
        assert inner is outer
