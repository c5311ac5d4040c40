"""One HTTP exchange over pooled connections: verified TLS, a total deadline, a size limit, no retries.

A ``requests.Session`` reads the environment, netrc and cookies anew for every request and would follow
redirects with our keys; here its adapter is used alone, and proxies are read from the environment once.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError

from flowledger import __version__
from flowledger.dify.answers import Answer, Sent
from flowledger.dify.failures import Attempt, translate
from flowledger.errors import AuthenticationError, SettingsError, SourceGarbledError, SourceRefusedError
from flowledger.http.pools import POOLS
from flowledger.http.urls import host_of, is_loopback

STANDING_HEADERS = {
    "User-Agent": f"flowledger/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Limits of one exchange, in seconds and bytes; the file of trusted authorities; connections kept."""

    deadline_s: float = 60.0
    connect_s: float = 10.0
    max_bytes: int = 64 * 2**20
    ca_bundle: str | None = None
    pool_size: int = 64
    use_environment_proxies: bool = True


class Transport:
    """Sends requests to one server; threads share it."""

    def __init__(self, base_url: str, options: TransportOptions) -> None:
        """Prepare connections; nothing is sent.

        :raises SettingsError: when the file of trusted authorities cannot be read.
        """
        proxies, bundle = _surroundings(base_url, options)
        self._options = options
        self._proxies = proxies
        self._adapter = _PoolingAdapter(_trust(base_url, bundle), options.pool_size)
        self._timeout = Timeout(connect=options.connect_s, total=options.deadline_s)
        self._server = base_url.removesuffix(urlsplit(base_url).path)
        proxy = requests.utils.select_proxy(base_url, proxies) or ""
        # A proxy of plain HTTP is told the whole address; through all others we speak with the server itself.
        self._names_whole = proxy.lower().startswith("http") and self._server.startswith("http:")
        self._attempt = Attempt(host_of(base_url), host_of(proxy), options.connect_s, options.deadline_s)

    def send(self, method: str, url: str, sent: Sent, body: bytes | None = None) -> Answer:
        """Send one request and read its whole answer, whatever the status.

        ``url`` is one of this server's.

        :raises RetriableError: when no complete answer came; SourceRefusedError: for too large a one;
            SettingsError: for a bad address or certificate.
        """
        headers = _headers(sent.headers, body)
        try:
            # What requests' own sending adds to this takes longer than the exchange itself (measured).
            response = self._adapter.pool_of(self._server, self._proxies).urlopen(
                method,
                self._target(url),
                body,
                headers,
                retries=self._adapter.max_retries,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
            content = self._read(response)
        except (HTTPError, OSError) as error:
            raise translate(error, self._attempt) from error
        return Answer(response.status, response.headers, content, url, sent)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def _target(self, url: str) -> str:
        if self._names_whole:
            return url
        if url.startswith(f"{self._server}/"):
            return url.removeprefix(self._server)
        parts = urlsplit(url)  # where a redirect writes the same server differently
        return urlunsplit(("", "", parts.path or "/", parts.query, ""))

    def _read(self, raw: BaseHTTPResponse) -> bytes:
        most = self._options.max_bytes
        content = raw.read(most + 1, decode_content=True)
        if len(content) > most:
            raw.close()
            host = self._attempt.host
            text = f"{host}: an answer of more than {most:,} bytes was cut off (DIFY_MAX_ANSWER_MB)"
            # Data will be as large again; a broken server's page may not.
            raise SourceRefusedError(text, status=200) if raw.status == 200 else SourceGarbledError(text)
        return content


class _PoolingAdapter(HTTPAdapter):
    """requests' adapter over our pools and one TLS context: it knows proxies; it does not send."""

    def __init__(self, context: ssl.SSLContext | None, pool_size: int) -> None:
        self._context = context
        self._pool: Any = None
        super().__init__(pool_connections=2, pool_maxsize=pool_size, pool_block=False)

    def pool_of(self, server: str, proxies: dict[str, str]) -> Any:
        """Give the one pool that a single server needs."""
        if self._pool is None:
            request = requests.PreparedRequest()
            request.url = server
            self._pool = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        return self._pool

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = dict(POOLS)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = dict(POOLS)
        return manager


def _headers(wanted: Mapping[str, str], body: bytes | None) -> dict[str, str]:
    for name, value in wanted.items():
        if not (value.isascii() and value.isprintable()):
            raise AuthenticationError(
                f"the {name} header would hold a line break or a character outside ASCII: copy the key anew"
            )
    kind = {} if body is None else {"Content-Type": "application/json"}
    return {**STANDING_HEADERS, **wanted, **kind}


def _surroundings(base_url: str, options: TransportOptions) -> tuple[dict[str, str], str | None]:
    """Give the proxies and the trusted authorities, asking the environment once."""
    if not options.use_environment_proxies or is_loopback(base_url):
        return {}, options.ca_bundle
    with requests.Session() as session:
        found = session.merge_environment_settings(base_url, {}, None, options.ca_bundle, None)
    bundle = found["verify"]
    return dict(found["proxies"]), bundle if isinstance(bundle, str) else None


def _trust(base_url: str, bundle: str | None) -> ssl.SSLContext | None:
    if not base_url.startswith("https:"):
        return None  # reading all authorities takes longer than many requests
    try:
        return ssl.create_default_context(cafile=bundle or certifi.where())
    except OSError as error:
        raise SettingsError([f"DIFY_CA_BUNDLE: {bundle} cannot be read as PEM ({error})"]) from error
