"""One HTTP exchange over pooled connections: verified TLS, a total deadline, a size limit, no retries.

A ``requests.Session`` reads the environment, netrc and cookies anew for every request and would follow
redirects with our keys; here its adapter is used alone, and proxies are read from the environment once.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse, Timeout
from urllib3.exceptions import HTTPError

from flowledger import __version__
from flowledger.dify.addresses import host_of, is_loopback
from flowledger.dify.answers import Answer
from flowledger.dify.failures import Attempt, translate
from flowledger.dify.pools import POOLS
from flowledger.errors import AuthenticationError, SettingsError, SourceGarbledError

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
    max_bytes: int = 256 * 2**20
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
        proxy = requests.utils.select_proxy(base_url, proxies) or ""
        self._attempt = Attempt(host_of(base_url), host_of(proxy), options.connect_s, options.deadline_s)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send one request and read its whole answer, whatever the status.

        :raises RetriableError: when no complete answer came; SettingsError: for a bad address or certificate.
        """
        request = _compose(method, url, headers, body)
        timeout = Timeout(connect=self._options.connect_s, total=self._options.deadline_s)
        try:
            response = self._adapter.send(
                request,
                stream=True,
                timeout=timeout,  # type: ignore[arg-type]  # requests passes it on, but does not say so
                verify=True,
                proxies=self._proxies,
            )
            content = self._read(response.raw)
        except (requests.RequestException, HTTPError) as error:
            raise translate(error, self._attempt) from error
        return Answer(response.status_code, response.raw.headers, content, url)

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def _read(self, raw: HTTPResponse) -> bytes:
        most = self._options.max_bytes
        content = raw.read(most + 1, decode_content=True)
        if len(content) > most:
            raw.close()
            raise SourceGarbledError(
                f"{self._attempt.host}: an answer of more than {most:,} bytes was cut off"
            )
        return content


class _PoolingAdapter(HTTPAdapter):
    """requests' adapter over our pools, one TLS context, and the one pool a single server needs."""

    def __init__(self, context: ssl.SSLContext | None, pool_size: int) -> None:
        self._context = context
        self._pool: Any = None
        super().__init__(pool_connections=2, pool_maxsize=pool_size, pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = dict(POOLS)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = dict(POOLS)
        return manager

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return self._pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave trust to the one context; requests would load the authorities for each connection."""


def _compose(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> requests.PreparedRequest:
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise AuthenticationError(
                f"the {name} header would hold a line break or a character outside ASCII: copy the key anew"
            )
    request = requests.PreparedRequest()
    request.method, request.url, request.body = method, url, body
    request.headers = CaseInsensitiveDict(STANDING_HEADERS | dict(headers))
    if body is not None:
        request.headers["Content-Type"] = "application/json"
        request.headers["Content-Length"] = str(len(body))
    return request


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
