"""The console login against the simulator's releases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from flowledger.dify.credentials import AdminKey, Credentials, EmailPassword, Release
from flowledger.dify.login import ConsoleLogin
from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions
from flowledger.errors import AuthenticationError, LoginLockedError
from flowledger_simulator import (
    Options,
    Recipe,
    SimulatedServer,
    credentials,
    make_world,
    parse_faults,
    serve,
)

RELEASES = ["1.9.1", "1.12.1", "1.13.3"]
OPERATOR = EmailPassword(credentials.EMAIL, SecretStr(credentials.PASSWORD))
STRANGER = EmailPassword(credentials.EMAIL, SecretStr("not-the-password"))
APPS = "/console/api/apps"
LOGIN = "/console/api/login"
REFRESH = "/console/api/refresh-token"


class Clock:
    """Seconds since 1970 that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        """Give the present."""
        return self.now


@contextmanager
def signing_in(
    version: str, known: Credentials = OPERATOR, *, options: Options | None = None, faults: str = ""
) -> Iterator[tuple[ConsoleLogin, SimulatedServer]]:
    """Run a server of a release and open a login to it."""
    world, patient = make_world(Recipe(runs=3)), SessionOptions(retry=RetryPolicy(sleep=lambda _: None))
    with (
        serve(world, version=version, options=options, faults=parse_faults(faults)) as server,
        DifySession(server.base_url, options=patient) as session,
    ):
        yield ConsoleLogin(session, known), server


@pytest.mark.fault(14)
@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("secure", [False, True])
def test_login_and_refresh_of_each_release(version: str, secure: bool) -> None:
    """Each release is read after one login, and after one refresh when its token has expired."""
    clock = Clock()
    options = Options(clock=clock, token_lifetime_s=60, secure_cookies=secure)
    with signing_in(version, options=options) as (login, server):
        assert login.get(APPS, fields=("data",)).status == 200
        assert login.session.release == Release.parse(version)
        clock.now += 120
        assert login.get(APPS, fields=("data",)).status == 200
        assert (server.requests.count(LOGIN), server.requests.count(REFRESH)) == (1, 1)


@pytest.mark.fault(13)
@pytest.mark.parametrize("version", RELEASES)
def test_threads_share_refresh_and_login(version: str) -> None:
    """Threads whose token has expired need one refresh; where that is refused, one login."""
    clock = Clock()
    options = Options(clock=clock, token_lifetime_s=60)
    with signing_in(version, options=options, faults="refresh-refused:#2") as (login, server):
        for _ in range(3):
            with ThreadPoolExecutor(8) as pool:
                assert list(pool.map(lambda _: login.get(APPS).status, range(24))) == [200] * 24
            clock.now += 120
        assert (server.requests.count(LOGIN), server.requests.count(REFRESH)) == (2, 2)


@pytest.mark.parametrize("version", RELEASES)
def test_a_wrong_password_is_tried_once(version: str) -> None:
    """One wrong try, far from the six that lock the account."""
    with signing_in(version, STRANGER) as (login, server):
        for _ in range(8):
            with pytest.raises(AuthenticationError, match=r"ops@example\.com"):
                login.get(APPS)
        assert server.requests.count(LOGIN) == 1


def test_a_locked_account_is_told_and_left_alone() -> None:
    """After a 429 no second login is sent."""
    with signing_in("1.12.1", faults="locked:1") as (login, server):
        for _ in range(3):
            with pytest.raises(LoginLockedError, match="24 hours"):
                login.get(APPS)
        assert server.requests.count(LOGIN) == 1


def test_an_admin_key_reads_without_login() -> None:
    """Key and workspace suffice from 1.11.0 on."""
    key = AdminKey(SecretStr(credentials.ADMIN_KEY), credentials.WORKSPACE_ID)
    with signing_in("1.12.1", key) as (login, server):
        assert login.get(APPS, fields=("data",)).status == 200
        assert server.requests.total == 1


@pytest.mark.parametrize(
    "fault", ["html", "error-object", "cut-json", "short-body", "bad-chunk", "reset", "503", "429"]
)
def test_a_fault_on_the_way_is_invisible(fault: str) -> None:
    """Each fault of one answer costs one more request, and nothing else."""
    with signing_in("1.12.1", faults=f"{fault}:#1@{APPS}") as (login, server):
        assert login.get(APPS, fields=("data",)).document["data"]
        assert server.requests.count(APPS) == 2
