"""Posting: one deadline, no way for an address to get out, proxies and certificates."""

import socket
import ssl
import traceback
from pathlib import Path
from threading import Thread

import pytest
from bots import Answer, Receiver, running
from mail_servers import Certificate, make_certificate

from flowledger.errors import ChannelBusyError
from flowledger.http.session import form_of
from flowledger.notify import posting
from flowledger.notify.posting import place_of, post

HIDDEN = "part-that-opens-something"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make a certificate that nobody signed."""
    return make_certificate(tmp_path_factory.mktemp("https"))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"https://example.com/{HIDDEN}?key={HIDDEN}", "https://example.com"),
        (f"https://someone:{HIDDEN}@example.com:8443/x", "https://example.com:8443"),
        ("http://[::1", "an address that cannot be read"),
        ("http://example.com:port/x", "an address that cannot be read"),
        (HIDDEN, "an address without a host"),
    ],
)
def test_of_an_address_only_its_host_is_told(url: str, place: str) -> None:
    """User, password, path and query stay hidden."""
    assert place_of(url) == place


def test_gives_any_status_with_headers_and_body() -> None:
    """What an answer means is decided elsewhere."""
    with running(Receiver(fault=Answer(b"no", status=418, headers={"Retry-After": "7"}))) as bot:
        reply = post(bot.address, b"{}", {"X-Own": "1"})
    assert (reply.status, reply.headers["retry-after"], reply.body) == (418, "7", b"no")
    assert bot.asked[0].headers["x-own"] == "1"
    assert bot.asked[0].headers["user-agent"].startswith("flowledger/")


def test_headers_that_dawdle_meet_the_deadline() -> None:
    """A byte of the head now and then does not hold a request for ever."""
    listener = socket.create_server(("127.0.0.1", 0))

    def dawdle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.02)
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    try:
                        if not connection.recv(4096):
                            return
                    except TimeoutError:
                        connection.sendall(b"X")
            except OSError:
                return

    thread = Thread(target=dawdle, daemon=True)
    thread.start()
    with listener, pytest.raises(ChannelBusyError, match=r"within 0\.3 s"):
        post(f"http://127.0.0.1:{listener.getsockname()[1]}/{HIDDEN}", b"{}", {}, deadline_s=0.3)
    thread.join()


def test_an_untrusted_certificate_is_named(certificate: Certificate) -> None:
    """The error names the setting, and nothing of the address but the host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            try:
                certificate.context.wrap_socket(connection, server_side=True).close()
            except (ssl.SSLError, OSError):
                connection.close()

        thread = Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(ChannelBusyError, match=r"not trusted.*REQUESTS_CA_BUNDLE") as caught:
            post(f"https://127.0.0.1:{listener.getsockname()[1]}/{HIDDEN}", b"{}", {})
        thread.join()
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))


def test_https_to_a_plain_port_is_told() -> None:
    """The wrong scheme is told as such."""
    with running(Receiver()) as bot, pytest.raises(ChannelBusyError, match="speaks https"):
        post(bot.address.replace("http:", "https:"), b"{}", {})


def test_a_proxy_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the environment is used for others than loopback, and its password is not shown."""
    with running(Receiver(fault=Answer(b"", status=407))) as proxy:
        for variable in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)
        address = proxy.base.replace("://", f"://someone:{HIDDEN}@")
        for variable in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(variable, address)
        with pytest.raises(ChannelBusyError, match="proxy refuses the connection") as caught:
            post(f"https://robots.example.com/{HIDDEN}", b"{}", {})
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))


def test_no_proxy_stands_before_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy cannot reach this machine's own address."""
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with running(Receiver(fault=Answer(b"ok"))) as bot:
        assert post(bot.address, b"{}", {}).body == b"ok"


def test_a_form_carries_a_file_with_any_name(tmp_path: Path) -> None:
    """Quotation marks and line breaks in a name do not end its header."""
    body, kind = form_of("media", '报"告\r\nX: 1.csv', b"a,b")
    assert kind.startswith("multipart/form-data; boundary=")
    head = body.partition(b"\r\n\r\n")[0]
    assert "报%22告%0D%0AX: 1.csv".encode() in head
    assert b"\r\nX:" not in head


def test_the_deadline_is_short_enough_for_a_run() -> None:
    """A channel that hangs delays a run by less than half a minute."""
    assert posting.DEADLINE_S < 30
