"""Login, refresh and logout in their three forms, locks, tokens and keys."""

import base64
import json
import re

import pytest
from simulated_site import ADMIN, RUNS, ask, make_site, post

from flowledger_simulator import Options, credentials
from flowledger_simulator.http_messages import Request, Response
from flowledger_simulator.server import respond
from flowledger_simulator.site import Site

LOGIN = "/console/api/login"
REFRESH = "/console/api/refresh-token"
NOW = 1_795_000_000.0


def encode(password: str) -> str:
    """Give the base64 of a password."""
    return base64.b64encode(password.encode()).decode("ascii")


def log_in(site: Site, password: str = credentials.PASSWORD, email: str = credentials.EMAIL) -> Response:
    """Post a login with the password as it is given."""
    return post(site, LOGIN, {"email": email, "password": password})


def cookies_of(response: Response) -> dict[str, str]:
    """Give the cookies an answer sets."""
    found = [re.match(r"([^=]+)=([^;]*)", text) for name, text in response.headers if name == "set-cookie"]
    return {match[1]: match[2] for match in found if match}


def with_cookies(cookies: dict[str, str], **headers: str) -> dict[str, str]:
    """Give headers that send cookies."""
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), **headers}


@pytest.mark.parametrize(
    ("version", "plain", "encoded"),
    [
        ("1.9.1", 200, 401),
        ("1.10.0", 200, 401),
        ("1.11.1", 200, 401),
        ("1.11.2", 401, 200),
        ("1.13.3", 401, 200),
    ],
)
def test_each_release_wants_its_form_of_the_password(version: str, plain: int, encoded: int) -> None:
    """Plain until 1.11.1, base64 since 1.11.2."""
    site = make_site(version)
    assert log_in(site, credentials.PASSWORD).status == plain
    assert log_in(site, encode(credentials.PASSWORD)).status == encoded


def test_six_wrong_passwords_lock_the_account_for_a_day() -> None:
    """The seventh try is a 429 without Retry-After, even with the right password; a day later it works."""
    now = [NOW]
    site = make_site("1.9.1", options=Options(clock=lambda: now[0]))
    assert [log_in(site, "wrong").status for _ in range(6)] == [401] * 6
    locked = log_in(site)
    assert locked.status == 429
    assert "retry-after" not in dict(locked.headers)
    now[0] += 86_401
    assert log_in(site).status == 200


def test_a_success_resets_the_count() -> None:
    """Five failures, a success and five more failures do not lock."""
    site = make_site("1.9.1")
    for password in ["wrong"] * 5 + [credentials.PASSWORD] + ["wrong"] * 5:
        log_in(site, password)
    assert log_in(site).status == 200


def test_a_password_that_is_no_base64_does_not_count() -> None:
    """It is refused as unreadable however often it is tried."""
    site = make_site()
    assert {log_in(site, "not base64").status for _ in range(8)} == {401}
    assert log_in(site, encode(credentials.PASSWORD)).status == 200


def test_cookies_and_csrf_open_the_console() -> None:
    """The access cookie (or bearer), the CSRF cookie and its header are all needed."""
    site = make_site()
    cookies = cookies_of(log_in(site, encode(credentials.PASSWORD)))
    full = with_cookies(cookies, **{"x-csrf-token": cookies["csrf_token"]})
    assert ask(site, RUNS, full).status == 200
    only_csrf = {"csrf_token": cookies["csrf_token"]}
    bearer = {"authorization": f"Bearer {cookies['access_token']}", "x-csrf-token": cookies["csrf_token"]}
    assert ask(site, RUNS, with_cookies(only_csrf, **bearer)).status == 200
    assert ask(site, RUNS, with_cookies(cookies)).status == 401
    assert ask(site, RUNS, {"x-csrf-token": cookies["csrf_token"], **with_cookies({})}).status == 401
    assert ask(site, RUNS, bearer).status == 401


def test_host_cookies_are_secure() -> None:
    """With https on the server, the names begin with __Host- and the cookies are Secure."""
    site = make_site(options=Options(secure_cookies=True))
    response = log_in(site, encode(credentials.PASSWORD))
    cookies = cookies_of(response)
    assert set(cookies) == {"__Host-access_token", "__Host-refresh_token", "__Host-csrf_token"}
    assert all("; Secure;" in text for name, text in response.headers if name == "set-cookie")
    headers = with_cookies(cookies, **{"x-csrf-token": cookies["__Host-csrf_token"]})
    assert ask(site, RUNS, headers).status == 200


def test_a_refresh_token_rotates_and_works_once() -> None:
    """The second use is a 401; the new token works; the old access token lives on."""
    site = make_site()
    first = cookies_of(log_in(site, encode(credentials.PASSWORD)))
    renewed = post(site, REFRESH, None, **with_cookies(first))
    assert renewed.status == 200
    assert post(site, REFRESH, None, **with_cookies(first)).status == 401
    assert post(site, REFRESH, None, **with_cookies(cookies_of(renewed))).status == 200
    assert ask(site, RUNS, with_cookies(first, **{"x-csrf-token": first["csrf_token"]})).status == 200


def test_tokens_travel_in_json_until_1_9_1() -> None:
    """Login and refresh give both tokens; the access token is a bearer, and no CSRF is asked for."""
    site = make_site("1.9.1")
    response = log_in(site)
    tokens = json.loads(response.body)["data"]
    assert not cookies_of(response)
    assert ask(site, RUNS, {"authorization": f"Bearer {tokens['access_token']}"}).status == 200
    assert post(site, REFRESH, {"refresh_token": tokens["refresh_token"]}).status == 200
    assert post(site, REFRESH, {"refresh_token": tokens["refresh_token"]}).status == 401
    assert respond(site, Request("GET", "/console/api/logout")).status == 200


def test_an_access_token_expires() -> None:
    """After its lifetime it is refused with the server's words."""
    now = [NOW]
    site = make_site("1.9.1", options=Options(clock=lambda: now[0], token_lifetime_s=60))
    token = json.loads(log_in(site).body)["data"]["access_token"]
    now[0] += 61
    refused = ask(site, RUNS, {"authorization": f"Bearer {token}"})
    assert (refused.status, json.loads(refused.body)["message"]) == (401, "Token has expired.")


def test_logout_empties_the_cookies_and_the_refresh_token() -> None:
    """The refresh token is gone; the access token is good until it expires."""
    site = make_site()
    cookies = cookies_of(log_in(site, encode(credentials.PASSWORD)))
    left = post(site, "/console/api/logout", None, **with_cookies(cookies))
    assert set(cookies_of(left).values()) == {""}
    assert post(site, REFRESH, None, **with_cookies(cookies)).status == 401
    assert ask(site, RUNS, with_cookies(cookies, **{"x-csrf-token": cookies["csrf_token"]})).status == 200


def test_the_admin_key_needs_its_workspace() -> None:
    """Since 1.11.0 key and workspace read the console without cookies."""
    assert ask(make_site(), RUNS, ADMIN).status == 200
    assert ask(make_site(), RUNS, {"authorization": ADMIN["authorization"]}).status == 401
    assert ask(make_site("1.10.0"), RUNS, ADMIN).status == 401
