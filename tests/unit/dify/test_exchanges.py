"""Deadlines, connections, TLS and broken answers on a real socket."""

import gzip
import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from loopback import Asked, Drip, Script, reply, serving

from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions
from flowledger.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FlowledgerError,
    SettingsError,
    SourceGarbledError,
    SourceRefusedError,
    SourceUnreachableError,
)
from flowledger.http import pools
from flowledger.http.session import HttpOptions, HttpSession

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
BAD_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n"


def dripping(before: bytes, drop: bytes) -> Drip:
    """Send something at once and then one byte after the other, for ever."""

    def drip(conn: socket.socket, stopped: Event) -> None:
        conn.sendall(before)
        while not stopped.wait(0.01):
            conn.sendall(drop)

    return drip


def resetting(conn: socket.socket, _: Event) -> None:
    """Send half an answer and reset the connection."""
    conn.sendall(HEAD + b'{"data": [')
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signed itself, with its key, as a PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "loopback.pem"
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, *plain))
    return path


@pytest.fixture
def context(authority: Path) -> ssl.SSLContext:
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


def session_at(url: str, **options: object) -> DifySession:
    """Open a session that tries once, with a short deadline."""
    limits = HttpOptions(**({"deadline_s": 5.0} | options))  # type: ignore[arg-type]
    return DifySession(url, options=SessionOptions(http=limits, retry=RetryPolicy(tries=1)))


def fetch(script: Script, **options: object) -> bytes:
    """Fetch one answer."""
    with serving(script) as server:
        sender = session_at(server.url, **options)
        try:
            return sender.get("/").body
        finally:
            sender.close()


@pytest.mark.fault(7)
@pytest.mark.parametrize(
    "drip",
    [
        pytest.param(dripping(b"", b"H"), id="status line"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"), id="headers"),
        pytest.param(dripping(HEAD, b" "), id="body"),
        pytest.param(dripping(b"", b""), id="silence"),
    ],
)
def test_a_slow_server_meets_the_deadline(drip: Drip) -> None:
    """One byte now and then does not extend the total deadline."""
    began = monotonic()
    with pytest.raises(DeadlineExceededError, match=r"127\.0\.0\.1.* 0\.1 s in all"):
        fetch(lambda _: drip, deadline_s=0.1)
    assert monotonic() - began < 2


@pytest.mark.fault(7)
@pytest.mark.parametrize("before", [b"HTTP/1.1 200 OK\r\nX-Slow: ", HEAD])
def test_a_slow_server_meets_the_deadline_over_tls(
    before: bytes, authority: Path, context: ssl.SSLContext
) -> None:
    """The same holds for https."""
    with serving(lambda _: dripping(before, b"x"), context) as server:
        sender = session_at(server.url, deadline_s=0.2, ca_bundle=str(authority))
        with pytest.raises(DeadlineExceededError):
            sender.get("/")
        sender.close()


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param(lambda _: HEAD + b'{"data": []}', SourceUnreachableError, id="short body"),
        pytest.param(lambda _: resetting, SourceUnreachableError, id="reset"),
        pytest.param(lambda _: BAD_CHUNK, SourceUnreachableError, id="bad chunk"),
        pytest.param(lambda _: b"", SourceUnreachableError, id="hung up"),
        pytest.param(lambda _: b"SSH-2.0-OpenSSH_9\r\n\r\n", SourceUnreachableError, id="not HTTP"),
        pytest.param(
            lambda _: reply(b"plain", headers={"Content-Encoding": "gzip"}), SourceGarbledError, id="not gzip"
        ),
        pytest.param(
            lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 1,2\r\n\r\nx", SourceGarbledError, id="two lengths"
        ),
    ],
)
def test_broken_answers_are_never_data(script: Script, expected: type[FlowledgerError]) -> None:
    """Half an answer is an error that names the host; it is never handed on."""

    def broken(asked: Asked) -> "bytes | Drip":
        answer = script(asked)
        if isinstance(answer, bytes):
            return lambda conn, _: conn.sendall(answer)
        return answer

    with pytest.raises(expected, match=r"127\.0\.0\.1"):
        fetch(broken)


def test_an_answer_may_be_too_large() -> None:
    """The limit counts the bytes after decompression."""
    bomb = reply(gzip.compress(b'"' + b"0" * 99_998 + b'"'), headers={"Content-Encoding": "gzip"})
    assert len(fetch(lambda _: bomb, max_bytes=100_000)) == 100_000
    with pytest.raises(SourceRefusedError, match=r"more than 99,999 bytes .*DIFY_MAX_ANSWER_MB"):
        fetch(lambda _: bomb, max_bytes=99_999)


@pytest.mark.fault(6)
def test_connections_are_kept_and_dropped_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests share a connection, unless it was idle for too long."""
    with serving(lambda _: reply({})) as server:
        sender = session_at(server.url)
        for _ in range(3):
            sender.get("/")
        assert {asked.connection for asked in server.asked} == {1}
        monkeypatch.setattr(pools, "IDLE_S", -1.0)
        sender.get("/")
        assert server.asked[-1].connection == 2
        sender.close()


@pytest.mark.fault(6)
def test_a_connection_closed_by_the_server_is_noticed() -> None:
    """A server that closes after each answer, and says so, costs no error."""
    last = reply({}, headers={"Connection": "close"})
    with serving(lambda _: lambda conn, _: conn.sendall(last)) as server:
        sender = session_at(server.url)
        assert [sender.get("/").status for _ in range(3)] == [200] * 3
        sender.close()


def test_threads_share_it() -> None:
    """32 threads get each their own answer, and no more connections than threads are opened."""
    with (
        serving(lambda asked: reply(asked.target)) as server,
        HttpSession(server.url, HttpOptions()) as session,
    ):
        with ThreadPoolExecutor(32) as pool:
            bodies = list(pool.map(lambda n: session.send("GET", f"{server.url}/{n}", {}).body, range(200)))
        assert bodies == [f'"/{n}"'.encode() for n in range(200)]
        assert len(server.connections) <= 32


def test_certificates_are_verified(authority: Path, context: ssl.SSLContext) -> None:
    """An unknown authority is refused with the setting to change; a named one is trusted."""
    with serving(lambda _: reply({}), context) as server:
        stranger, friend = session_at(server.url), session_at(server.url, ca_bundle=str(authority))
        with pytest.raises(SettingsError, match=r"DIFY_CA_BUNDLE.*127\.0\.0\.1.*not trusted"):
            stranger.get("/")
        assert [friend.get("/").status for _ in range(2)] == [200, 200]
        stranger.close()
        friend.close()


def test_plain_http_on_a_tls_address() -> None:
    """https to a server that speaks http is told as that."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(answer_anything, listener)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        sender = session_at(url)
        with pytest.raises(SourceUnreachableError, match="speaks https"):
            sender.get("/")
        sender.close()


def answer_anything(listener: socket.socket) -> None:
    """Answer the first bytes of a connection with an error in plain HTTP."""
    conn, _ = listener.accept()
    with conn:
        conn.recv(65536)
        conn.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unreadable_bundle_is_a_bad_setting(tmp_path: Path, content: str | None) -> None:
    """A file of authorities that is missing or not PEM is told before anything is sent."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(SettingsError, match=r"DIFY_CA_BUNDLE.*ca\.pem"):
        session_at("https://127.0.0.1", ca_bundle=str(bundle))


@pytest.mark.fault(8)
def test_nobody_listens() -> None:
    """A refused connection names the host and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sender = session_at(url)
    with pytest.raises(SourceUnreachableError, match=r"127\.0\.0\.1:\d+: no connection \(.*refused\)"):
        sender.get("/")
    sender.close()


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment gets the request, and is read once."""
    with serving(lambda asked: reply(asked.target)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        sender = session_at("http://dify.example.com")
        monkeypatch.delenv("http_proxy")
        assert sender.get("/x").body == b'"http://dify.example.com/x"'
        sender.close()


@pytest.mark.fault(8)
def test_a_refusing_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that wants a password is named; what stands before its @ is not."""
    with serving(lambda _: reply(b"", status=407)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:open-sesame@"))
        monkeypatch.setenv("no_proxy", "")
        sender = session_at("https://dify.example.com")
        with pytest.raises(SourceUnreachableError, match=rf"127\.0\.0\.1:{proxy.port}.*NO_PROXY") as caught:
            sender.get("/")
        assert "open-sesame" not in str(caught.value)
        sender.close()


@pytest.mark.parametrize("token", ["app-x\r\nX-Evil: 1", "app-ключ"])
def test_a_key_that_cannot_be_a_header(token: str) -> None:
    """A key with a line break or foreign letters is refused before sending, and not shown."""
    sender = session_at("http://127.0.0.1:9")
    with pytest.raises(AuthenticationError, match="Authorization") as caught:
        sender.get("/", headers={"Authorization": f"Bearer {token}"})
    assert "app-" not in str(caught.value)
    sender.close()
