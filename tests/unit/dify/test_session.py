"""The session: JSON or an error, retries, redirects, and what it learns from answers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from loopback import Asked, Loopback, Script, reply, serving

from flowledger.dify.credentials import Release
from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions
from flowledger.errors import (
    AuthenticationError,
    FlowledgerError,
    RetriableError,
    SettingsError,
    SourceBusyError,
    SourceGarbledError,
    SourceRefusedError,
)

PATH = "/v1/workflows/logs"
NOW = datetime(2026, 11, 22, 1, 19, 19, tzinfo=UTC)
KEY = {"Authorization": "Bearer app-not-a-real-key"}
PAGE = {"data": [], "total": 0}


def open_session(server: Loopback, tries: int = 3, path: str = "") -> tuple[DifySession, list[float]]:
    """Open a session that notes its waits instead of waiting."""
    waits: list[float] = []
    policy = RetryPolicy(tries=tries, sleep=waits.append, jitter=lambda: 0.0)
    return DifySession(server.url + path, options=SessionOptions(retry=policy, now=lambda: NOW)), waits


def ask(script: Script, *, tries: int = 3, fields: tuple[str, ...] = ("data",)) -> tuple[Any, list[float]]:
    """Ask once and give the document and the waits."""
    with serving(script) as server:
        session, waits = open_session(server, tries)
        with session:
            return session.get(PATH, {"page": "1"}, headers=KEY, fields=fields).document, waits


def in_turn(*answers: bytes) -> Script:
    """Give one answer after the other, the last for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_requests_go_below_the_base_url(path: str) -> None:
    """The base URL may be written in each usual way; key and parameters arrive."""
    with serving(lambda _: reply(PAGE)) as server, open_session(server, path=path)[0] as session:
        answer = session.get(PATH, {"keyword": "你好"}, headers=KEY)
        assert (answer.status, answer.document) == (200, PAGE)
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("GET", PATH + "?keyword=%E4%BD%A0%E5%A5%BD")
    assert asked.headers["authorization"] == KEY["Authorization"]
    assert asked.headers["user-agent"].startswith("flowledger/")


def test_a_path_prefix_stays() -> None:
    """A Dify behind a prefix is asked below it."""
    with serving(lambda _: reply(PAGE)) as server, open_session(server, path="/ai/v1")[0] as session:
        session.get(PATH)
    assert server.asked[0].target == "/ai" + PATH


@pytest.mark.parametrize(
    ("status", "expected", "sent"),
    [
        (400, SourceRefusedError, 1),
        (401, AuthenticationError, 1),
        (403, SourceRefusedError, 1),
        (404, SourceRefusedError, 1),
        (405, SourceRefusedError, 1),
        (415, SourceRefusedError, 1),
        (429, SourceBusyError, 3),
        (500, SourceBusyError, 3),
        (503, SourceBusyError, 3),
        (304, SourceGarbledError, 3),
    ],
)
def test_what_a_status_means(status: int, expected: type[FlowledgerError], sent: int) -> None:
    """Refusals are final, a busy server is asked again; the message holds place, status and words."""
    script = in_turn(reply({"code": "some_code", "message": "Some words", "status": status}, status))
    with serving(script) as server:
        session, _ = open_session(server)
        with session, pytest.raises(expected) as caught:
            session.get(PATH, {"keyword": "private"}, headers=KEY)
        assert session.requests == sent == len(server.asked)
    assert type(caught.value) is expected
    said = "" if status == 304 else "some_code: Some words"  # 304 has no body
    for words in (PATH, str(status), said, "127.0.0.1"):
        assert words in str(caught.value)
    assert "private" not in str(caught.value)
    assert getattr(caught.value, "status", status) == status


@pytest.mark.fault(4)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (reply(b"<html><title>Sign in</title></html>", headers={"Content-Type": "text/html"}), "Sign in"),
        (reply(b'{"data": [{"id": "1'), "cut"),
        (reply(b""), "an empty body"),
        (reply({"code": "unknown", "message": "Oops", "status": 500}), "unknown: Oops"),
        (reply({"total": 0}), "data"),
        (reply([]), "data"),
        (reply(b"[" * 100_000), "instead of JSON"),
        (reply(b"\xff\xfe\x00"), "instead of JSON"),
    ],
)
def test_a_200_without_data_is_an_error(body: bytes, words: str) -> None:
    """A proxy's page, cut JSON or an error object is retried and then an error, never an empty list."""
    with pytest.raises(SourceGarbledError, match=words):
        ask(in_turn(body))
    assert ask(in_turn(body, reply(PAGE)))[0] == PAGE


def test_an_error_object_is_no_data_even_where_no_field_is_named() -> None:
    """Without named fields an object with code, message and status still is an error."""
    with pytest.raises(SourceGarbledError):
        ask(in_turn(reply({"code": "unknown", "message": "Oops", "status": 500})), fields=())
    assert ask(in_turn(reply({"status": "ok"})), fields=())[0] == {"status": "ok"}


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7.0),
        ("Sun, 22 Nov 2026 01:19:49 GMT", 30.0),
        ("Sun, 22 Nov 2009 01:19:49 GMT", 0.0),
        ("99999999", 60.0),
        ("rubbish", 0.25),
    ],
)
def test_retry_after_is_kept(header: str, wait: float) -> None:
    """The server's own wish decides the wait, within a minute."""
    script = in_turn(reply({}, 429, {"Retry-After": header}), reply(PAGE))
    assert ask(script) == (PAGE, [wait])


def test_a_login_is_never_sent_twice() -> None:
    """POST is not repeated, whatever the answer."""
    with serving(lambda _: reply({}, 503)) as server, open_session(server)[0] as session:
        with pytest.raises(RetriableError):
            session.post("/console/api/login", {"email": "ops@example.com"})
        assert (session.requests, server.asked[0].body) == (1, b'{"email":"ops@example.com"}')
    assert server.asked[0].headers["content-type"] == "application/json"


def test_what_was_sent_does_not_come_back_in_messages() -> None:
    """A server that echoes key, cookie or password has them struck out."""

    def echo(asked: Asked) -> bytes:
        said = f"{asked.headers} {asked.body.decode()}"
        return reply({"code": "echo", "message": said}, 403)

    headers = KEY | {
        "Cookie": "access_token=abc-cookie-1; csrf_token=abc-cookie-2",
        "X-CSRF-Token": "abc-cookie-2",
    }
    with (
        serving(echo) as server,
        open_session(server)[0] as session,
        pytest.raises(SourceRefusedError) as caught,
    ):
        session.post("/x", {"password": "not-a-real-password"}, headers=headers)
    told = str(caught.value) + caught.value.body
    assert "***" in told
    for secret in ("app-not-a-real-key", "abc-cookie-1", "abc-cookie-2", "not-a-real-password"):
        assert secret not in told


def test_an_echo_with_status_200_is_struck_out_too() -> None:
    """Nor does a garbled answer show the key."""
    with pytest.raises(SourceGarbledError) as caught:
        ask(lambda asked: reply(f"you said {asked.headers}".encode()), tries=1)
    assert "app-not-a-real-key" not in str(caught.value)


def test_a_redirect_on_the_same_server_is_followed() -> None:
    """Up to three hops, with the key."""

    def script(asked: Asked) -> bytes:
        return reply(PAGE) if asked.target == "/there" else reply(b"", 308, {"Location": "/there"})

    with serving(script) as server, open_session(server)[0] as session:
        assert session.get(PATH, headers=KEY).document == PAGE
        assert session.requests == 2
    assert server.asked[1].headers["authorization"] == KEY["Authorization"]


def test_a_redirect_to_another_server_is_refused() -> None:
    """The key goes nowhere else; the message names the address to set."""
    with serving(lambda _: reply(PAGE)) as other:
        script = in_turn(reply(b"", 302, {"Location": f"{other.url}/signin?state=hidden"}))
        with pytest.raises(SourceRefusedError, match=rf"{other.url}/signin;.*DIFY_BASE_URL") as caught:
            ask(script)
        assert (caught.value.status, other.asked) == (302, [])
        assert "hidden" not in str(caught.value)


def test_redirects_in_a_circle_end() -> None:
    """A circle is an error after three hops."""
    with pytest.raises(SourceGarbledError, match="more than 3 times"):
        ask(in_turn(reply(b"", 302, {"Location": PATH})), tries=1)
    with pytest.raises(SourceGarbledError, match="without an address"):
        ask(in_turn(reply(b"", 302)), tries=1)


def test_a_login_follows_no_redirect() -> None:
    """A password is sent to the address of the settings only."""
    script = in_turn(reply(b"", 307, {"Location": "/elsewhere"}))
    with serving(script) as server, open_session(server)[0] as session:
        with pytest.raises(SourceRefusedError, match="elsewhere"):
            session.post("/console/api/login", {"password": "not-a-real-password"})
        assert len(server.asked) == 1


def test_release_and_clock_are_learned_from_any_answer() -> None:
    """X-Version and Date count on errors too."""
    headers = {"X-Version": "1.12.1", "Date": "Sun, 22 Nov 2026 02:19:19 GMT"}
    with serving(lambda _: reply({}, 404, headers)) as server, open_session(server)[0] as session:
        assert (session.release, session.clock_difference_s, session.server_now()) == (None, None, None)
        with pytest.raises(SourceRefusedError):
            session.get(PATH)
        assert session.release == Release(1, 12, 1)
        assert session.clock_difference_s == 3600.0
        assert session.server_now() == NOW + timedelta(hours=1)


def test_a_forks_own_version_is_no_release() -> None:
    """A version without numbers leaves the release unknown."""
    nightly = reply({}, headers={"X-Version": "nightly"})
    with serving(lambda _: nightly) as server, open_session(server)[0] as session:
        session.get(PATH)
        assert session.release is None


def test_threads_share_a_session() -> None:
    """32 threads each get their own answer, and all requests are counted."""
    with serving(lambda asked: reply({"data": asked.target})) as server, open_session(server)[0] as session:
        with ThreadPoolExecutor(32) as pool:
            found = list(
                pool.map(lambda n: session.get(f"/{n}", fields=("data",)).document["data"], range(100))
            )
        assert found == [f"/{n}" for n in range(100)]
        assert session.requests == 100


def test_a_failing_server_slows_the_session_down() -> None:
    """The limiter hears of 5xx through the session."""
    with serving(lambda _: reply({}, 503)) as server, open_session(server, tries=1)[0] as session:
        with pytest.raises(SourceBusyError):
            session.get(PATH)
        assert session.limiter.limit == 2


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("dify.example.com", "http://"),
        ("ftp://dify.example.com", "http://"),
        ("http://", "host"),
        ("http://example.com:port", "a port that is not a number"),
        ("http://me:pass-word@example.com", "user name"),
        ("http://example.com/?a=b", "query"),
    ],
)
def test_wrong_base_urls_are_refused(written: str, problem: str) -> None:
    """The message names the setting and what is wrong, and never a password."""
    with pytest.raises(SettingsError, match="DIFY_BASE_URL") as caught:
        DifySession(written)
    assert problem in str(caught.value)
    assert "pass-word" not in str(caught.value)
