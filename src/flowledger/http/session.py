"""``HttpSession``: one server's pooled connections, under the rules that all clients share.

* Proxies come from the environment, read once; this machine is never reached through one.
* TLS is verified against one file of authorities: the session's own, the environment's, or certifi's.
* An exchange has a total deadline, or, where it is a stream, a longest silence; an answer has a largest size.
* Nothing is tried twice, no redirect is followed, no cookie is stored, no .netrc is read: a
  ``requests.Session`` would do all of that with our keys.  Of requests only the adapter is used, which knows
  proxies; what its own sending adds takes longer than the exchange itself (measured).
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPHeaderDict, Timeout, encode_multipart_formdata

from flowledger import __version__
from flowledger.errors import AuthenticationError, SettingsError
from flowledger.http.pools import POOLS
from flowledger.http.urls import host_of, is_loopback

Headers = HTTPHeaderDict
"""Headers of an answer: a mapping that ignores case, with all values of a repeated one."""

STANDING_HEADERS = {
    "User-Agent": f"flowledger/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Limits of one exchange in seconds and bytes, the file of trusted authorities, idle connections to keep.

    With ``silence_s`` answers are read as streams: it is the longest wait between two of their bytes, and
    takes the place of the total deadline.
    """

    deadline_s: float = 60.0
    connect_s: float = 10.0
    max_bytes: int = 64 * 2**20
    ca_bundle: str | None = None
    pool_size: int = 64
    silence_s: float | None = None


class HttpReply(NamedTuple):
    """A whole answer, decompressed; ``is_cut`` where it is longer than allowed.  ``headers`` ignore case."""

    status: int
    headers: Headers
    body: bytes
    is_cut: bool


class HttpSession:
    """Sends requests to the one server of a URL; threads share it.

    ``proxy`` is the host of the proxy in use, "" for none.

    :raises SettingsError: when the file of trusted authorities cannot be read.
    """

    def __init__(self, url: str, options: HttpOptions) -> None:
        parts = urlsplit(url)
        self._options = options
        self._server = f"{parts.scheme}://{parts.netloc}"
        self._proxies = environment_proxies(url)
        proxy = requests.utils.select_proxy(url, self._proxies) or ""
        self.proxy = host_of(proxy)
        # A proxy of plain HTTP is sent the whole address; through all others we speak with the server itself.
        self._names_whole = proxy.lower().startswith("http") and parts.scheme == "http"
        is_stream = options.silence_s is not None
        self._timeout = (
            Timeout(connect=options.connect_s, read=options.silence_s)
            if is_stream
            else Timeout(connect=options.connect_s, total=options.deadline_s)
        )
        context = trusted_authorities(url, options.ca_bundle)
        self._adapter = _PoolingAdapter(context, options.pool_size, has_deadline=not is_stream)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        reads_body: bool = True,
    ) -> HttpReply:
        """Send one request and read its whole answer, whatever the status.

        ``url`` is one of this server's.  Where only the status counts, the body is not waited for.

        :raises OSError, urllib3.exceptions.HTTPError: ``CONNECTION_ERRORS``, when no complete answer came.
        """
        response = self._open(method, url, headers, body)
        if not reads_body:
            response.close()
            return HttpReply(response.status, response.headers, b"", is_cut=False)
        most = self._options.max_bytes
        content = response.read(most + 1, decode_content=True)
        is_cut = len(content) > most
        if is_cut:
            response.close()  # the rest would have to be read before the connection can be used again
        return HttpReply(response.status, response.headers, content, is_cut)

    def stream(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> "HttpStream":
        """Send one request and return its answer to be read as it comes; the caller closes it.

        :raises OSError, urllib3.exceptions.HTTPError: ``CONNECTION_ERRORS``, when no answer began.
        """
        return HttpStream(self._open(method, url, headers, body))

    def close(self) -> None:
        """Close all connections that are not in use; those in use close when they end."""
        self._adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> BaseHTTPResponse:
        response: BaseHTTPResponse = self._adapter.pool_of(self._server, self._proxies).urlopen(
            method,
            self._target(url),
            body,
            with_standing_headers(headers),
            retries=self._adapter.max_retries,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )
        return response

    def _target(self, url: str) -> str:
        if self._names_whole:
            return url
        if url.startswith(f"{self._server}/"):
            return url.removeprefix(self._server)
        parts = urlsplit(url)  # where a redirect writes the same server differently
        return urlunsplit(("", "", parts.path or "/", parts.query, ""))


class HttpStream:
    """An answer that is read as it comes.  ``headers`` ignore case.

    Reading raises ``CONNECTION_ERRORS``, and ValueError where another thread has closed it meanwhile.
    """

    def __init__(self, response: BaseHTTPResponse) -> None:
        self._response: Any = response  # urllib3 declares read1 and shutdown only for what it really returns
        self.status: int = response.status
        self.headers: Headers = response.headers

    def read_available(self, most: int) -> bytes:
        """Wait for bytes and return those that are there, as they were sent; none at the end."""
        chunk: bytes = self._response.read1(most, decode_content=False) or b""
        return chunk

    def read(self, most: int) -> bytes:
        """Return the decompressed body, at most so many bytes of it."""
        content: bytes = self._response.read(most, decode_content=True)
        return content

    def cut(self) -> None:
        """Wake up a thread that waits in ``read_available``; it must then close the stream itself."""
        try:
            self._response.shutdown()
        except (OSError, ValueError, RuntimeError):
            return  # it has ended by itself

    def close(self) -> None:
        """Close the connection; only while no other thread reads."""
        self._response.close()


class _PoolingAdapter(HTTPAdapter):
    """requests' adapter over our pools and one TLS context: it knows proxies; it does not send."""

    def __init__(self, context: ssl.SSLContext | None, pool_size: int, *, has_deadline: bool) -> None:
        self._context = context
        self._has_deadline = has_deadline
        self._pool: Any = None
        super().__init__(pool_connections=2, pool_maxsize=pool_size, pool_block=False)

    def pool_of(self, server: str, proxies: dict[str, str]) -> Any:
        """Return the one pool that a single server needs."""
        if self._pool is None:
            request = requests.PreparedRequest()
            request.url = server
            self._pool = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        return self._pool

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        if self._has_deadline:
            self.poolmanager.pool_classes_by_scheme = dict(POOLS)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        # SOCKS has pools of its own, whose connections begin with its handshake.
        if self._has_deadline and not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = dict(POOLS)
        return manager


def environment_proxies(url: str) -> dict[str, str]:
    """Return the environment's proxies for a URL, by scheme: the one rule for all clients, buckets included.

    None for this machine, which no proxy can reach, nor for what NO_PROXY names.
    """
    return {} if is_loopback(url) else requests.utils.get_environ_proxies(url)


def proxy_variable(url: str) -> str:
    """Return the name of the variable that sets the proxy for a URL, for messages; in upper case.

    Both names of its scheme where the proxy is the system's own.
    """
    for scheme in (urlsplit(url).scheme, "all"):
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
            if os.environ.get(name):
                return name.upper()
    return "HTTPS_PROXY or HTTP_PROXY"


def socks_variable(url: str) -> str | None:
    """Return the name of the variable that sets a SOCKS proxy for a URL; None where none does.

    Clients of other packages word that in their own way, or wait for it to pass.
    """
    proxy = requests.utils.select_proxy(url, environment_proxies(url)) or ""
    return proxy_variable(url) if proxy.lower().startswith("socks") else None


BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file of authorities, the stronger first: the one rule for all clients."""


def trusted_authorities(url: str, bundle: str | None) -> ssl.SSLContext | None:
    """Return what verifies a server's certificate; None for plain HTTP.

    The authorities are those of ``bundle``, else of ``BUNDLE_VARIABLES``, else certifi's.

    :raises SettingsError: when the file cannot be read.
    """
    if not url.startswith("https:"):
        return None  # reading all authorities takes longer than many requests
    path = bundle or authorities_file()
    try:
        if path and Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path or certifi.where())
    except OSError as error:
        # Only Dify has a setting of its own.
        setting = "DIFY_CA_BUNDLE" if bundle else authorities_variable() or "certifi"
        raise SettingsError([f"{setting}: {path} cannot be read as PEM ({error})"]) from error


def authorities_file() -> str | None:
    """Return the file of authorities that the environment names, or None."""
    name = authorities_variable()
    return os.environ[name] if name else None


def authorities_variable() -> str | None:
    """Return the name of the variable that names a file of authorities, or None."""
    return next(filter(os.environ.get, BUNDLE_VARIABLES), None)


def unreadable_bundle(*names: str) -> str | None:
    """Return what is wrong with the file that the first set variable names; None where nothing is."""
    name = next((name for name in names if os.environ.get(name)), None)
    if name is None:
        return None
    path = os.environ[name]
    try:
        if not Path(path).is_dir():
            ssl.create_default_context(cafile=path)
    except OSError as error:
        return f"{name}: {path} cannot be read as PEM ({error.strerror or error})"
    return None


def with_standing_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers together with those that every request has, unless they are there in any case."""
    names = {name.lower() for name in headers}
    standing = {name: value for name, value in STANDING_HEADERS.items() if name.lower() not in names}
    return {**standing, **headers}


def encoded(url: str) -> str:
    """Return a URL as it is sent: host in IDNA, path and query percent-encoded, no user, no fragment.

    :raises requests.RequestException: when it cannot be one.
    """
    prepared = requests.Request("GET", url).prepare().url
    without_user: str = requests.utils.urldefragauth(prepared or url)
    return without_user


def form_of(field: str, file_name: str, content: bytes) -> tuple[bytes, str]:
    """Return a file as the body of a form, and its content type."""
    return encode_multipart_formdata({field: (file_name, content, "application/octet-stream")})


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that keys can be headers, before a library quotes them in an error.

    :raises AuthenticationError: naming the header alone.
    """
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise AuthenticationError(
                f"the {name} header would hold a line break or a character outside ASCII: copy the key anew"
            )
