"""The console login: forms by release, one refresh or one login for all threads, one try per password."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from loopback import reply
from pydantic import SecretStr
from scripted_console import APPS, EMAIL, PASSWORD, ScriptedConsole, signed_to

from flowledger.dify.credentials import AdminKey, ConsoleToken, EmailPassword
from flowledger.errors import (
    AuthenticationError,
    LoginLockedError,
    SourceBusyError,
    SourceRefusedError,
)

WRONG = EmailPassword(EMAIL, SecretStr("wrong-pass-wörd"))
LOCKED = reply({"code": "email_code_login_limit", "message": "Too many", "status": 429}, 429)
VERSIONS = ["1.9.1", "1.10.0", "1.12.1", "1.13.3", "nightly"]


@pytest.mark.fault(14)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("prefix", ["", "__Host-"])
def test_each_release_is_logged_into_in_its_form(version: str, prefix: str) -> None:
    """Release first, then one login; Secure and __Host- cookies go over plain http too."""
    console = ScriptedConsole(version, prefix)
    with signed_to(console) as (login, server):
        assert server.asked == []
        for _ in range(2):
            assert login.get(APPS, {"page": "1"}, fields=("data",)).document == {"data": []}
    assert console.counted == {"setup": 1, "login": 1, "apps": 2}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("prefix", ["", "__Host-"])
def test_expired_tokens_are_refreshed(version: str, prefix: str) -> None:
    """After a 401 the refresh token is used in the form of the release, and the request is sent again."""
    console = ScriptedConsole(version, prefix)
    with signed_to(console) as (login, _):
        login.get(APPS)
        console.expire()
        login.get(APPS)
    assert console.counted == {"setup": 1, "login": 1, "refresh-token": 1, "apps": 3}


def test_a_refused_refresh_leads_to_one_login() -> None:
    """A used-up refresh token means logging in anew."""
    console = ScriptedConsole(refreshes=False)
    with signed_to(console) as (login, _):
        login.get(APPS)
        console.expire()
        login.get(APPS)
    assert console.counted == {"setup": 1, "login": 2, "refresh-token": 1, "apps": 3}


@pytest.mark.fault(13)
@pytest.mark.parametrize(("refreshes", "logins"), [(True, 1), (False, 2)])
def test_threads_renew_once_together(refreshes: bool, logins: int) -> None:
    """Eight threads that all got a 401 share one refresh, or one login, and all go on."""
    console = ScriptedConsole(refreshes=refreshes)
    with signed_to(console) as (login, _), ThreadPoolExecutor(8) as pool:
        login.get(APPS)
        console.expire()
        console.barrier = Barrier(8)
        answers = list(pool.map(lambda _: login.get(APPS).status, range(8)))
    assert answers == [200] * 8
    assert console.counted == {"setup": 1, "login": logins, "refresh-token": 1, "apps": 1 + 16}


def test_threads_log_in_once_together() -> None:
    """Eight threads that begin at once share one login."""
    console = ScriptedConsole()
    with signed_to(console) as (login, _), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: login.get(APPS).status, range(8))) == [200] * 8
    assert console.counted == {"setup": 1, "login": 1, "apps": 8}


@pytest.mark.fault(15)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_password_is_offered_once(version: str) -> None:
    """The same error comes back at once, without a request, and names what to check, never the password."""
    console = ScriptedConsole(version)
    with signed_to(console, WRONG) as (login, _):
        for _ in range(6):
            with pytest.raises(
                AuthenticationError, match=r"ops@example\.com.*DIFY_CONSOLE_PASSWORD"
            ) as caught:
                login.get(APPS)
            assert "wrong-pass" not in f"{caught.value} {caught.value.body}"
    assert console.counted == {"setup": 1, "login": 1}


@pytest.mark.fault(15)
def test_threads_offer_a_refused_password_once() -> None:
    """Eight threads at once make one try between them."""
    console = ScriptedConsole()
    with signed_to(console, WRONG) as (login, _), ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(login.get, APPS) for _ in range(8)]
        assert all(isinstance(attempt.exception(), AuthenticationError) for attempt in tries)
    assert console.counted["login"] == 1


def test_a_password_changed_meanwhile_is_offered_once() -> None:
    """When refresh and new login are refused, no request follows."""
    console = ScriptedConsole(refreshes=False)
    with signed_to(console) as (login, _):
        login.get(APPS)
        console.expire()
        console.password = "another-one"
        for _ in range(3):
            with pytest.raises(AuthenticationError):
                login.get(APPS)
    assert console.counted == {"setup": 1, "login": 2, "refresh-token": 1, "apps": 2}


@pytest.mark.fault(2)
def test_a_locked_account_is_left_alone() -> None:
    """429 on login is a lock of 24 hours: said so, remembered, not retried."""
    console = ScriptedConsole(login_answers=[LOCKED])
    with signed_to(console) as (login, _):
        for _ in range(3):
            with pytest.raises(LoginLockedError, match=r"ops@example\.com for 24 hours"):
                login.get(APPS)
    assert console.counted == {"setup": 1, "login": 1}


def test_logins_without_an_answer_are_bounded() -> None:
    """A 503 may have counted as a wrong password, so after three of them no more is tried."""
    console = ScriptedConsole(login_answers=[reply({}, 503)] * 9)
    with signed_to(console) as (login, _):
        for _ in range(6):
            with pytest.raises(SourceBusyError):
                login.get(APPS)
    assert console.counted["login"] == 3


def test_a_login_may_succeed_after_a_failure() -> None:
    """One 503 is forgotten once a login succeeds."""
    console = ScriptedConsole(login_answers=[reply({}, 503)])
    with signed_to(console) as (login, _):
        with pytest.raises(SourceBusyError):
            login.get(APPS)
        assert login.get(APPS).status == 200


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply({"code": "invalid_param", "message": "no e-mail", "status": 400}, 400), AuthenticationError),
        (reply({"result": "fail", "data": "account_in_freeze"}), AuthenticationError),
        (reply({"code": "not_found", "message": "no console here", "status": 404}, 404), SourceRefusedError),
    ],
)
def test_other_refusals_of_a_login_are_final(answer: bytes, expected: type[Exception]) -> None:
    """A bad e-mail, a frozen account or a missing console end the matter."""
    console = ScriptedConsole(login_answers=[answer])
    with signed_to(console) as (login, _):
        for _ in range(2):
            with pytest.raises(expected):
                login.get(APPS)
    assert console.counted["login"] == 1


def test_the_release_is_taken_from_any_answer_before() -> None:
    """When another request has told the release, setup is not asked."""
    console = ScriptedConsole()
    with signed_to(console) as (login, _):
        login.session.get("/v1/info")
        login.get(APPS)
    assert console.counted["setup"] == 0


def test_an_admin_key_needs_no_login() -> None:
    """Key and workspace go as headers, at once."""
    console = ScriptedConsole()
    key = AdminKey(SecretStr("admin-key-of-nobody"), "workspace-1")
    with signed_to(console, key) as (login, _):
        assert login.get(APPS).status == 200
    assert console.counted == {"apps": 1}


def test_a_refused_admin_key_is_offered_once() -> None:
    """The message names both settings and the server's own."""
    console = ScriptedConsole()
    key = AdminKey(SecretStr("wrong-admin-key"), "workspace-1")
    with signed_to(console, key) as (login, _):
        for _ in range(3):
            with pytest.raises(
                AuthenticationError, match=r"DIFY_ADMIN_API_KEY.*ADMIN_API_KEY_ENABLE"
            ) as caught:
                login.get(APPS)
            assert "wrong-admin-key" not in str(caught.value)
    assert console.counted == {"apps": 1}


def test_a_console_token_opens_old_releases() -> None:
    """Before 1.9.2 a token alone is enough; when it expires, that is said once."""
    console = ScriptedConsole("1.9.1", opening=7)
    with signed_to(console, ConsoleToken(SecretStr("access-7"))) as (login, _):
        assert login.get(APPS).status == 200
        console.expire()
        for _ in range(2):
            with pytest.raises(AuthenticationError, match="renew DIFY_CONSOLE_TOKEN"):
                login.get(APPS)
    assert console.counted == {"setup": 1, "apps": 2}


def test_a_console_token_alone_does_not_open_new_releases() -> None:
    """Since 1.9.2 the CSRF cookie is missing: said before the token is sent, with the other ways in."""
    console = ScriptedConsole("1.12.1")
    token, words = ConsoleToken(SecretStr("access-7")), r"1\.9\.2.*DIFY_CONSOLE_EMAIL"
    with signed_to(console, token) as (login, _), pytest.raises(AuthenticationError, match=words):
        login.get(APPS)
    assert console.counted == {"setup": 1}


def test_other_errors_pass_through() -> None:
    """A 404 of the console is neither retried nor taken for an expired token."""
    console = ScriptedConsole()
    with signed_to(console) as (login, server):
        login.get(APPS)
        server.script = lambda _: reply({"code": "app_not_found", "message": "gone", "status": 404}, 404)
        with pytest.raises(SourceRefusedError) as caught:
            login.get(APPS + "/unknown")
    assert caught.value.status == 404


def test_secrets_stay_out_of_every_repr() -> None:
    """Neither credentials nor tokens nor answers show what they hold."""
    console = ScriptedConsole()
    with signed_to(console) as (login, _):
        answer = login.get(APPS)
        shown = repr((login._credentials, login.sign_in(), answer))
    for secret in (PASSWORD, "access-1", "refresh-1", "csrf-1"):
        assert secret not in shown
