"""The running server and every fault, seen from a client."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest
import requests
from simulated_site import KEY, RUNS

from flowledger.errors import UsageError
from flowledger_simulator import (
    FAULTS,
    Fault,
    Faults,
    Options,
    Recipe,
    SimulatedServer,
    World,
    credentials,
    make_world,
    parse_faults,
    serve,
)
from flowledger_simulator.http_messages import Request

LOGS = "/v1/workflows/logs"
NOW = 1_795_000_000.0
OPTIONS = Options(clock=lambda: NOW, keep_alive_s=0.05)


@pytest.fixture(scope="module")
def world() -> World:
    """A small world."""
    return make_world(Recipe(runs=40, ties=0.0))


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[dict[str, SimulatedServer]]:
    """One server whose rules each test sets anew."""
    with serve(world, faults=Faults(), options=OPTIONS) as server:
        yield {"": server}


def strike(servers: dict[str, SimulatedServer], kind: str) -> SimulatedServer:
    """Let a fault strike the next request."""
    server = servers[""]
    server.faults.rules = (Fault(kind, rate=1.0),)
    return server


def get(server: SimulatedServer, path: str = LOGS, **query: str) -> requests.Response:
    """Ask with the app's key."""
    headers = {"authorization": KEY["authorization"], "connection": "close"}
    return requests.get(server.base_url + path, params=query, headers=headers, timeout=5)


@pytest.mark.parametrize(
    ("kind", "wait"),
    [
        ("429", "1"),
        ("429-date", "Wed, 18 Nov 2026 11:06:42 GMT"),
        ("429-past", "Sun, 09 Sep 2001 01:46:40 GMT"),
        ("429-absurd", "999999999"),
        ("429-bare", None),
    ],
)
def test_too_many_requests(servers: dict[str, SimulatedServer], kind: str, wait: str | None) -> None:
    """Retry-After comes in every form."""
    response = get(strike(servers, kind))
    assert (response.status_code, response.headers.get("retry-after")) == (429, wait)


@pytest.mark.parametrize(
    ("kind", "status"), [("500", 500), ("502", 502), ("503", 503), ("504", 504), ("html", 200)]
)
def test_foreign_pages(servers: dict[str, SimulatedServer], kind: str, status: int) -> None:
    """They are HTML, the 200 too."""
    response = get(strike(servers, kind))
    assert (response.status_code, response.headers["content-type"][:9]) == (status, "text/html")


def test_an_error_object_with_status_200(servers: dict[str, SimulatedServer]) -> None:
    """It is JSON without rows."""
    response = get(strike(servers, "error-object"))
    assert (response.status_code, "data" in response.json()) == (200, False)


def test_cut_json(servers: dict[str, SimulatedServer]) -> None:
    """The framing is right, the text ends in the middle."""
    with pytest.raises(json.JSONDecodeError):
        json.loads(get(strike(servers, "cut-json")).content)


@pytest.mark.parametrize("kind", ["short-body", "bad-chunk", "reset"])
def test_broken_bodies(servers: dict[str, SimulatedServer], kind: str) -> None:
    """The client notices in the middle of the body."""
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        get(strike(servers, kind))


def test_a_reset_is_a_reset(servers: dict[str, SimulatedServer]) -> None:
    """The connection ends with an error, not with an end of file."""
    with open_connection(strike(servers, "reset")) as connection, pytest.raises(ConnectionResetError):
        read_all(connection)


def test_a_dropped_connection(servers: dict[str, SimulatedServer]) -> None:
    """Not one byte comes."""
    with open_connection(strike(servers, "drop")) as connection:
        assert connection.recv(1) == b""


def test_a_slow_body(servers: dict[str, SimulatedServer]) -> None:
    """Bytes come one by one."""
    with open_connection(strike(servers, "slow")) as connection:
        head = connection.recv(4096)
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert len(connection.recv(4096)) < 500


def test_a_hanging_server(servers: dict[str, SimulatedServer]) -> None:
    """No answer comes while the connection stays open."""
    with open_connection(strike(servers, "hang")) as connection:
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_endless_pages(servers: dict[str, SimulatedServer]) -> None:
    """There is always more; the rows themselves are right."""
    page = get(strike(servers, "endless"), page="99").json()
    assert (page["has_more"], page["data"]) == (True, [])


def test_the_same_page_again(servers: dict[str, SimulatedServer]) -> None:
    """Bounds and page are ignored."""
    server = strike(servers, "repeat")
    bounds = ("2026-11-20T12:00:00Z", "2020")
    rows = [get(server, created_at__before=bound).json()["data"] for bound in bounds]
    assert rows[0] == rows[1] != []


def test_a_row_twice(servers: dict[str, SimulatedServer]) -> None:
    """The last row of a page comes twice."""
    rows = get(strike(servers, "duplicate"), limit="3").json()["data"]
    assert (len(rows), rows[2]) == (4, rows[3])


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("no-more", "has_more", False),
        ("wrong-page", "page", 2),
        ("wrong-limit", "limit", 4),
        ("error-beside", "code", "internal_server_error"),
        ("emptied", "data", []),
    ],
)
def test_a_list_lies(servers: dict[str, SimulatedServer], kind: str, name: str, value: object) -> None:
    """One field of the answer is not so; the others stay."""
    honest, lying = (get(server, limit="3").json() for server in (servers[""], strike(servers, kind)))
    assert lying[name] == value
    assert {field for field in honest if honest[field] != lying[field]} <= {name}


def test_totals_lie_and_a_row_is_left_out(servers: dict[str, SimulatedServer]) -> None:
    """The total is one too many or too few; the first row is not shown."""
    honest = get(servers[""], limit="3").json()
    assert get(strike(servers, "total-above"), limit="3").json()["total"] == honest["total"] + 1
    assert get(strike(servers, "total-below"), limit="3").json()["total"] == honest["total"] - 1
    assert len(get(strike(servers, "hidden"), limit="3").json()["data"]) == 2


def test_a_filter_is_ignored(servers: dict[str, SimulatedServer]) -> None:
    """Whatever is asked for, everything is listed."""
    everything = get(servers[""]).json()["total"]
    assert get(strike(servers, "unfiltered"), status="stopped").json()["total"] == everything


def test_login_faults(servers: dict[str, SimulatedServer]) -> None:
    """Lock, expiry and refused refresh strike where they belong, and nowhere else."""
    form = {"email": credentials.EMAIL, "password": "x"}
    base = strike(servers, "locked").base_url
    assert requests.post(f"{base}/console/api/login", json=form, timeout=5).status_code == 429
    assert get(servers[""]).status_code == 200
    assert get(strike(servers, "expired"), RUNS).json()["message"] == "Token has expired."
    strike(servers, "refresh-refused")
    assert (
        requests.post(f"{base}/console/api/refresh-token", timeout=5).json()["message"]
        == "Invalid refresh token"
    )


def test_every_fault_is_tested() -> None:
    """No fault is listed without a test here."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in FAULTS if f'"{name}"' not in text] == []


def test_numbered_faults_strike_their_requests_only(world: World) -> None:
    """The second and third matching request fail; others do not count."""
    faults = parse_faults("503:#2-3@/v1/workflows")
    with serve(world, faults=faults, options=OPTIONS) as server:
        paths = [LOGS, "/v1/info", LOGS, LOGS, LOGS]
        statuses = [get(server, path).status_code for path in paths]
    assert statuses == [200, 200, 503, 503, 200]
    assert faults.struck == {"503": 2}


@pytest.mark.parametrize("kind", ["500", "429-bare"])
def test_what_comes_beyond_the_capacity_fails_at_once(world: World, kind: str) -> None:
    """Of four requests at once a server that bears two answers two, and later ones again."""
    faults = parse_faults(f"{kind}:>2@{LOGS}")
    with (
        serve(world, faults=faults, latency_ms=300, options=OPTIONS) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        paths = [LOGS, LOGS, LOGS, LOGS]
        statuses = [answer.status_code for answer in pool.map(lambda path: get(server, path), paths)]
        assert sorted(statuses) == [200, 200, int(kind[:3]), int(kind[:3])]
        assert get(server).status_code == 200
    assert faults.struck == {kind: 2}


def test_chance_is_seeded() -> None:
    """The same seed lets the same requests fail."""
    one, other = (parse_faults("503:0.3,reset:0.2", seed=4) for _ in range(2))
    request = Request("GET", LOGS)
    struck = [one.choose(request) for _ in range(200)]
    assert struck == [other.choose(request) for _ in range(200)]
    assert 40 < struck.count("503") < 80


@pytest.mark.parametrize("text", ["503", "503:2", "500:>", "flood:0.1", "503:0.1;reset:0.1", "503:#x"])
def test_wrong_fault_texts_list_the_known_ones(text: str) -> None:
    """Whatever cannot be read says how to write it, or what a rate is."""
    with pytest.raises(UsageError, match=r"known are:\n|between 0 and 1"):
        parse_faults(text)


def test_an_idle_connection_is_closed(servers: dict[str, SimulatedServer]) -> None:
    """The server closes it after its keep-alive time, as gunicorn does after two seconds."""
    servers[""].faults.rules = ()
    began = monotonic()
    with open_connection(servers[""], keep=True) as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK")
    assert 0.05 <= monotonic() - began < 4
    assert Options().keep_alive_s == 2


def test_latency_is_added(world: World) -> None:
    """Every answer is late by the wanted time."""
    with serve(world, latency_ms=30) as server:
        began = monotonic()
        get(server, "/v1/info")
        assert monotonic() - began >= 0.03


def test_requests_are_remembered(world: World) -> None:
    """Path, method and query of each; a cleared log is empty."""
    with serve(world) as server:
        get(server, limit="3")
        get(server, "/v1/info")
        first = server.requests.recent[0]
        assert (first.path, first.query) == (LOGS, {"limit": "3"})
        assert (server.requests.count("/v1/"), server.requests.count(ending="/info")) == (2, 1)
        server.requests.clear()
        assert server.requests.total == 0


def test_unknown_paths_are_html_and_wrong_methods_json(servers: dict[str, SimulatedServer]) -> None:
    """Both name the release in X-Version."""
    servers[""].faults.rules = ()
    page = get(servers[""], "/v1/nope")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    wrong = requests.delete(servers[""].base_url + LOGS, timeout=5)
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert page.headers["x-version"] == wrong.headers["x-version"] == "1.12.1"


def test_a_taken_port_is_refused(servers: dict[str, SimulatedServer]) -> None:
    """The message names the port."""
    port = urlsplit(servers[""].base_url).port
    assert port is not None
    with pytest.raises(UsageError, match=str(port)), serve(make_world(Recipe(runs=1)), port=port):
        pass


def open_connection(server: SimulatedServer, *, keep: bool = False) -> socket.socket:
    """Open a connection and ask for the log list."""
    url = urlsplit(server.base_url)
    assert url.hostname is not None
    connection = socket.create_connection((url.hostname, url.port or 80), timeout=5)
    ending = "" if keep else "Connection: close\r\n"
    lines = f"GET {LOGS} HTTP/1.1\r\nHost: x\r\nAuthorization: {KEY['authorization']}\r\n{ending}\r\n"
    connection.sendall(lines.encode("ascii"))
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))
