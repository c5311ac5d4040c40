"""An answer without end, or one that unpacks without end, is cut off: memory stays near the limit."""

import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
from loopback import Drip, Script, reply, serving
from planted_secrets import app_variables
from pydantic import SecretStr
from simulated_dify import DAY, END, NODES, make_day
from workplace import move_to

import flowledger_simulator as simulator
from flowledger.cli.main import main
from flowledger.coze.client import CozeClient
from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions
from flowledger.domain.coze_runs import WorkflowOrder
from flowledger.errors import ChannelBusyError, SourceGarbledError, SourceRefusedError
from flowledger.http.session import HttpOptions
from flowledger.notify.posting import MAX_BYTES, post
from flowledger.settings import Settings
from flowledger_simulator import credentials

MIB = 2**20
LIMIT = 2 * MIB
TIMES = 10
"""So many times the limit is offered."""
BLOCK = b" " * 65_536


def chunked(pieces: Iterator[bytes], encoding: str, status: int = 200) -> Drip:
    """Send pieces as they come, for as long as the other side reads."""

    def send(conn: socket.socket, _: Event) -> None:
        head = f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\nContent-Encoding: {encoding}\r\n\r\n"
        with suppress(OSError):
            conn.sendall(head.encode())
            for piece in pieces:
                conn.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            conn.sendall(b"0\r\n\r\n")

    return send


def plain(size: int) -> Iterator[bytes]:
    """Give blanks."""
    return (BLOCK for _ in range(size // len(BLOCK)))


def packed(pieces: Iterator[bytes], window: int) -> Iterator[bytes]:
    """Compress pieces (window 31: gzip, 15: zlib, -15: bare deflate)."""
    packer = zlib.compressobj(wbits=window)
    for piece in pieces:
        if small := packer.compress(piece):
            yield small
    yield packer.flush()


BOMBS: dict[str, tuple[str, Callable[[int], Iterator[bytes]]]] = {
    "endless": ("identity", plain),
    "gzip": ("gzip", lambda size: packed(plain(size), 31)),
    "deflate": ("deflate", lambda size: packed(plain(size), 15)),
    "bare deflate": ("deflate", lambda size: packed(plain(size), -15)),
    "gzip in gzip": ("gzip, gzip", lambda size: packed(packed(plain(4 * size), 31), 31)),
    "brotli, not asked for": ("br", plain),
    "zstd, not asked for": ("zstd", plain),
}


class Peak:
    """The most bytes that were allocated at once inside of the context, beyond those before."""

    size = 0

    def __enter__(self) -> "Peak":
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.size = tracemalloc.get_traced_memory()[1] - self._before
        tracemalloc.stop()


def session_at(url: str, limits: HttpOptions) -> DifySession:
    """Open a session that tries once."""
    return DifySession(url, options=SessionOptions(http=limits, retry=RetryPolicy(tries=1)))


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("bomb", BOMBS)
def test_dify_cannot_fill_the_memory(bomb: str, status: int) -> None:
    """Neither by data nor by an error's page: twice the limit and what one step unpacks, never more."""
    encoding, pieces = BOMBS[bomb]
    refused = SourceRefusedError if status == 200 else SourceGarbledError
    with serving(lambda _: chunked(pieces(TIMES * LIMIT), encoding, status)) as server, Peak() as peak:
        session = session_at(server.url, HttpOptions(max_bytes=LIMIT, deadline_s=20))
        # A packing that was not asked for and is not known is taken as it comes.
        with pytest.raises(refused, match=r"127\.0\.0\.1.*more than 2,097,152 bytes.*DIFY_MAX_ANSWER_MB"):
            session.get("/v1/workflows/logs")
        session.close()
    assert peak.size < 5 * LIMIT


def test_headers_without_end_are_cut_off() -> None:
    """Their number and their length are bounded by http.client."""

    def send(conn: socket.socket, _: Event) -> None:
        with suppress(OSError):
            conn.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                conn.sendall(b"X-More: " + BLOCK[:1000] + b"\r\n")

    with serving(lambda _: send) as server, Peak() as peak:
        session = session_at(server.url, HttpOptions(deadline_s=20))
        with pytest.raises(Exception, match=r"127\.0\.0\.1"):
            session.get("/")
        session.close()
    assert peak.size < 5 * LIMIT


def test_ten_megabytes_pass_by_default() -> None:
    """The limit is far above what workflows hold, and is one for the address of the settings."""
    assert Settings.model_fields["dify_max_answer_mb"].default == 64
    assert HttpOptions().max_bytes == 64 * MIB
    body = json.dumps({"outputs": {"text": "数" * (10 * MIB // 6)}}).encode()
    assert len(body) > 10_000_000
    for answer in (reply(body), reply(gzip.compress(body), headers={"Content-Encoding": "gzip"})):
        with serving(_always(answer)) as server:
            session = session_at(server.url, HttpOptions())
            assert session.get("/").body == body
            session.close()


def _always(answer: bytes) -> Script:
    return lambda _: answer


def test_a_run_that_is_too_large_is_reported_without_its_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is asked for once, the reason names the setting, and the window is certified all the same."""
    with simulator.serve(make_day(2, node_kb=700.0)) as server:
        settings = app_variables(server.base_url, DIFY_API_TOKEN=credentials.API_TOKEN, TIMEZONE="UTC")
        move_to(tmp_path, monkeypatch, settings | {"DIFY_MAX_ANSWER_MB": "1"})
        with pytest.raises(SystemExit) as ended:
            main(["run", "--direct", "--json", "--format", "json", *_WINDOW])
        asked = server.requests.count(ending=NODES)
    result = json.loads(capsys.readouterr().out)
    assert (ended.value.code, result["certificate"]["certified"], result["logs_count"]) == (0, True, 2)
    assert asked == 2
    (report,) = (Path(path) for path in result["report_paths"] if path.endswith(".json"))
    assert report.read_text("utf-8").count("DIFY_MAX_ANSWER_MB") >= 2


_WINDOW = ("--after", DAY.isoformat(), "--before", END.isoformat())


@pytest.mark.parametrize("bomb", ["endless", "gzip", "deflate", "gzip in gzip"])
def test_robots_and_coze_cannot_fill_the_memory(bomb: str) -> None:
    """A robot's answer and a refusal of Coze are a line; of more only the beginning is read."""
    encoding, pieces = BOMBS[bomb]
    with serving(lambda _: chunked(pieces(10 * MIB), encoding, 400)) as server, Peak() as peak:
        with pytest.raises(ChannelBusyError, match=rf"127\.0\.0\.1.*more than {MAX_BYTES:,} bytes"):
            post(f"{server.url}/hook", b"{}", {})
        with pytest.raises(SourceRefusedError, match="Coze refuses"):
            CozeClient(server.url, SecretStr("pat-x")).prepare(WorkflowOrder("w", {})).open()
    assert peak.size < 4 * MIB


def test_an_event_of_coze_without_end_is_cut_off() -> None:
    """One event may have eight megabytes; the line that never ends is given up there."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: Message\ndata: "

    def send(conn: socket.socket, _: Event) -> None:
        with suppress(OSError):
            conn.sendall(head)
            for piece in plain(50 * MIB):
                conn.sendall(piece)

    with serving(lambda _: send) as server, Peak() as peak:
        run = CozeClient(server.url, SecretStr("pat-x"), max_event_bytes=LIMIT).prepare(
            WorkflowOrder("w", {})
        )
        run.open()
        with pytest.raises(SourceGarbledError, match="an event of more than 2,097,152 bytes"):
            list(iter(run.read, ()))
        run.close()
    assert peak.size < 5 * LIMIT
