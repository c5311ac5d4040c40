"""One POST to a robot or receiver: the only place that speaks HTTP, and what its answer means."""

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse as WireResponse
from socket import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions as wire
from requests.adapters import HTTPAdapter
from urllib3 import Timeout, encode_multipart_formdata
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from flowledger import __version__
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.http.pools import DeadlineReader

if TYPE_CHECKING:  # urllib3 declares these for type checkers only
    from urllib3._base_connection import BaseHTTPConnection, BaseHTTPSConnection


DEADLINE_S = 20.0
CONNECT_S = 10.0
MAX_BYTES = 64 * 2**10
"""Robots answer with a line; more than this is something else."""
JSON_TYPE = "application/json; charset=utf-8"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered, by whom: ``place`` is all of the address that may be told."""

    place: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def place_of(url: str) -> str:
    """Give scheme and host of an address, which is all of it that may be told."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "an address without a host"


def form_of(field: str, file_name: str, content: bytes) -> tuple[bytes, str]:
    """Write a file as a form does, and give its content type too."""
    return encode_multipart_formdata({field: (file_name, content, "application/octet-stream")})


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    deadline_s: float | None = None,
    wants_body: bool = True,
) -> Reply:
    """Send one POST and read its whole answer, whatever its status; a redirection is not followed.

    Where only the status counts, the body is neither read nor waited for.

    :raises ChannelBusyError: when no complete answer came within the deadline (``DEADLINE_S``);
        MessageRefusedError: when the address is none.
    """
    limit_s = DEADLINE_S if deadline_s is None else deadline_s
    host = _host(url)
    try:
        with requests.Session() as session:
            session.mount("http://", _Adapter())
            session.mount("https://", _Adapter())
            return _exchange(session, url, body, dict(headers), limit_s, wants_body)
    except (requests.RequestException, wire.HTTPError, OSError, UnicodeError) as error:
        failure = _told(error, place_of(url), host, limit_s)
    raise failure  # outside of the handler, so that nothing with the address is chained to it


def _exchange(  # the parts of one request
    session: requests.Session,
    url: str,
    body: bytes,
    headers: dict[str, str],
    limit_s: float,
    wants_body: bool,
) -> Reply:
    host = _host(url)
    response = session.post(
        url,
        data=body,
        headers={"User-Agent": f"flowledger/{__version__}", "Accept": "application/json"} | headers,
        auth=_as_it_is,
        allow_redirects=False,
        stream=True,
        timeout=Timeout(connect=CONNECT_S, total=limit_s),  # type: ignore[arg-type]  # requests passes it on
        proxies={"no_proxy": host} if host in _LOOPBACK else {},
    )
    with response:
        content = response.raw.read(MAX_BYTES + 1, decode_content=True) if wants_body else b""
        if len(content) > MAX_BYTES:
            raise ChannelBusyError(f"{place_of(url)}: an answer of more than {MAX_BYTES:,} bytes was cut off")
        return Reply(place_of(url), response.status_code, response.headers, content)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add no credentials: requests would look for some in a .netrc file."""
    return request


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class _DeadlineResponse(WireResponse):
    """A response whose socket's timeout, as it is at its beginning, counts for all of it."""

    def __init__(self, sock: socket, debuglevel: int = 0, method: str | None = None) -> None:
        reader = DeadlineReader(sock, time.monotonic() + (sock.gettimeout() or DEADLINE_S))
        super().__init__(reader, debuglevel, method)  # type: ignore[arg-type]


class _PlainConnection(HTTPConnection):
    response_class = _DeadlineResponse


class _TlsConnection(HTTPSConnection):
    response_class = _DeadlineResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls: "type[BaseHTTPConnection] | type[BaseHTTPSConnection]" = _PlainConnection


class _TlsPool(_PlainPool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _PlainPool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    """requests' adapter over connections with a total deadline."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = dict(_POOLS)
        return manager


def _told(error: BaseException, place: str, host: str, limit_s: float) -> FlowledgerError:
    """Tell a library's error in our words, by the innermost known cause, which says most."""
    for cause in reversed(list(_causes(error))):
        for kinds, told in _REASONS:
            if isinstance(cause, kinds):
                return ChannelBusyError(f"{place}: {told.format(host=host, limit=limit_s)}")
        if isinstance(cause, _BAD_ADDRESS):
            return MessageRefusedError(
                f"{place}: this is no address that can be asked; check the channel's webhook or url"
            )
    return ChannelBusyError(f"{place}: the connection failed ({type(error).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(10):  # deep enough for any chain, and an end for one that goes in circles
        if current is None:
            return
        yield current
        if isinstance(current, _PROXY):
            return
        wrapped = (getattr(current, "reason", None), *reversed(current.args), current.__cause__)
        current = next((each for each in wrapped if isinstance(each, BaseException)), None)


_PROXY = (requests.exceptions.ProxyError, requests.exceptions.InvalidProxyURL, wire.ProxyError)
_BAD_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    wire.LocationValueError,
    UnicodeError,
)
_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        _PROXY,
        "the proxy does not let us through; check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY",
    ),
    (
        (ssl.SSLCertVerificationError,),
        "the certificate is not trusted; name its authority in REQUESTS_CA_BUNDLE",
    ),
    (
        (wire.NameResolutionError,),
        "no machine is known here as {host!r}; check the address and the name server",
    ),
    ((wire.NewConnectionError,), "no connection; check the address, the network and the firewall"),
    ((wire.ConnectTimeoutError,), f"no connection within {CONNECT_S:g} s; check network and firewall"),
    ((wire.TimeoutError, requests.Timeout), "no complete answer within {limit:g} s"),
    ((wire.SSLError, ssl.SSLError), "no secure connection; see whether the port speaks https"),
    ((wire.ProtocolError,), "the connection broke before the answer was complete"),
    ((wire.DecodeError, requests.exceptions.ContentDecodingError), "the answer is not what it claims to be"),
)


_LATER = frozenset({302, 303, 307, 408, 425, 429})
"""Besides 5xx; a temporary redirection is often a log-in page between us and the receiver."""


def check_status(reply: Reply) -> None:
    """Let a 2xx pass.

    :raises ChannelBusyError: when trying later may help, with the wait that was asked for;
        MessageRefusedError: when it will not.
    """
    status = reply.status
    if 200 <= status < 300:
        return
    if status in _LATER or status >= 500:
        raise ChannelBusyError(f"{reply.place}: HTTP {status}", retry_after_s=retry_after_s(reply))
    what = (
        "redirects elsewhere, which is not followed" if 300 <= status < 400 else "does not accept the message"
    )
    raise MessageRefusedError(f"{reply.place}: HTTP {status}: it {what}; check the channel's address and key")


def retry_after_s(reply: Reply) -> float | None:
    """Give the seconds to wait that an answer asks for, as a number or as a date; None where it does not."""
    asked = reply.headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        at = parsedate_to_datetime(asked)
    except ValueError:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


def json_object(reply: Reply) -> Mapping[str, Any]:
    """Give the JSON object of an answer; empty where it is anything else."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
