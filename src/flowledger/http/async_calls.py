"""Calls of workflows to any server: pooled, asynchronous, and only to addresses that may be reached.

* The address is checked when the connection is made and the connection goes to the checked one, so that a
  name which resolves to another address afterwards changes nothing.  Redirects are new calls.
* One deadline counts for name, connection, redirects and body; a body has a largest size, decompressed.
* Proxies and trusted authorities are those of all clients (``session``).  Behind a proxy the name is resolved
  there; what it resolves to here is checked before.
* No cookie is stored, no .netrc is read, nothing is tried twice.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import httpcore
import httpx
import requests

from flowledger.http.address_guard import AddressGuard, ForbiddenAddressError
from flowledger.http.pools import IDLE_S
from flowledger.http.session import STANDING_HEADERS, environment_proxies, trusted_authorities
from flowledger.http.urls import DEFAULT_PORTS

MOST_REDIRECTS = 5
_ACROSS_HOSTS = frozenset(("accept", "accept-encoding", "accept-language", "content-type", "user-agent"))
"""Headers that another host may get after a redirect; others may hold a key, whatever their names."""
_POST_BECOMES_GET = (301, 302)


class CallError(Exception):
    """No complete answer: ``kind`` is what steps show as error type."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class CallReply(NamedTuple):
    """A whole answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    encoding: str


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Limits of calls: bytes of a body, connections at once, seconds for connecting; own authorities."""

    max_bytes: int = 10_000_000
    connections: int = 200
    connect_s: float = 10.0
    ca_bundle: str | None = None


Take = Callable[[bytes], None]
"""Is given the pieces of a body as they come."""
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host, for a port; ``OSError`` when it has none."""


async def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host, also of numbers in any notation that the system's resolver reads.

    :raises OSError: when it has none.
    """
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


@dataclass(frozen=True)
class AsyncCaller:
    """Sends requests to any server that may be reached; each event loop has a pool of its own."""

    guard: AddressGuard = field(default_factory=AddressGuard)
    options: CallOptions = field(default_factory=CallOptions)
    resolve: Resolve = resolved
    _clients: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Client]" = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        deadline_s: float,
        taking: Take | None = None,
    ) -> CallReply:
        """Send a request, follow its redirects and read the whole answer, whatever its status.

        With ``taking`` the body of a good answer is given to it as it comes, and is not kept.

        :raises CallError: when there is none, within the deadline and the limits.
        """
        try:
            client = self._client()
            async with asyncio.timeout(deadline_s), client.places:
                return await self._followed(client.http, method, url, dict(headers), body, taking)
        except TimeoutError:
            raise CallError("Timeout", f"no complete answer within {deadline_s:g} s") from None
        except (ForbiddenAddressError, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise CallError("ValidationError", str(error)) from None
        except httpcore.LocalProtocolError:  # its message would quote the header, which may be a key
            raise CallError("ValidationError", "a header or the address cannot be sent as it is") from None
        except httpcore.ConnectTimeout:
            raise CallError("Timeout", f"no connection within {self.options.connect_s:g} s") from None
        except _FAILURES as error:
            raise CallError("ConnectionError", _reason(error)) from None

    async def close(self) -> None:
        """Close the connections of the running loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.http.aclose()

    async def _followed(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        taking: Take | None,
    ) -> CallReply:
        for _ in range(MOST_REDIRECTS + 1):
            request = client.build_request(method, _checked(url), headers=headers, content=body)
            response = await client.send(request, stream=True)
            try:
                if not response.has_redirect_location:
                    return await self._read(response, taking if response.status_code < 400 else None)
            finally:
                await response.aclose()
            target = request.url.join(response.headers["location"])
            method, body, headers = _redirected(request, response.status_code, target, headers, body)
            url = str(target)
        raise CallError("ConnectionError", f"more than {MOST_REDIRECTS} redirects")

    async def _read(self, response: httpx.Response, taking: Take | None) -> CallReply:
        body = bytearray()
        most = self.options.max_bytes
        async for piece in response.aiter_bytes():
            if taking is not None:
                taking(piece)
                continue
            body += piece
            if len(body) > most:
                raise CallError("ResponseTooLarge", f"the answer is larger than {most:,} bytes")
        names = {name.lower(): ", ".join(response.headers.get_list(name)) for name in response.headers}
        return CallReply(response.status_code, names, bytes(body), response.charset_encoding or "utf-8")

    def _client(self) -> "_Client":
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            http = httpx.AsyncClient(
                transport=_Transport(self.guard, self.options, self.resolve),
                headers=STANDING_HEADERS,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                timeout=httpx.Timeout(
                    None, connect=self.options.connect_s
                ),  # the deadline counts for the rest
                trust_env=False,
            )
            client = self._clients[loop] = _Client(http, asyncio.Semaphore(self.options.connections))
        return client


class _Client(NamedTuple):
    """What one event loop has; httpcore searches all that waits in its pool each time, so calls wait here."""

    http: httpx.AsyncClient
    places: asyncio.Semaphore


_FAILURES = (
    httpx.HTTPError,
    *(httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.ProxyError),
    *(httpcore.UnsupportedProtocol, OSError, ssl.SSLError),
)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _checked(text: str) -> httpx.URL:
    url = httpx.URL(text)
    if url.scheme not in DEFAULT_PORTS or not url.host:
        raise CallError("ValidationError", f"no http or https address: {text[:200]!r}")
    if url.userinfo:
        raise CallError("ValidationError", "an address must not hold a user name or password: use a header")
    return url


def _redirected(
    request: httpx.Request, status: int, target: httpx.URL, headers: dict[str, str], body: bytes | None
) -> tuple[str, bytes | None, dict[str, str]]:
    """Return method, body and headers of the request that a redirect asks for."""
    method = request.method
    if (status == 303 and method != "HEAD") or (status in _POST_BECOMES_GET and method == "POST"):
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    here = (request.url.scheme, request.url.host, request.url.port)
    if here != (target.scheme, target.host, target.port):
        if body is not None:
            raise CallError(
                "ConnectionError", f"a redirect would send the body to another host: {target.host}"
            )
        headers = {name: value for name, value in headers.items() if name.lower() in _ACROSS_HOSTS}
    return method, body, headers


class _Transport(httpx.AsyncBaseTransport):
    """Hands requests to the connections of their way: direct ones, or those of each proxy."""

    def __init__(self, guard: AddressGuard, options: CallOptions, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve
        self._most = options.connections
        self._context = trusted_authorities("https:", options.ca_bundle)
        self._direct = _Connections(self._context, _GuardedNetwork(guard, resolve))
        self._proxies: dict[str, httpcore.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        proxy = requests.utils.select_proxy(url, environment_proxies(url)) or ""
        if proxy:
            await self._check_ahead(request.url.host)
        way = self._proxied(proxy) if proxy else self._direct
        response = await way.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=_raw(request.url),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response.stream))

    async def aclose(self) -> None:
        await self._direct.aclose()
        for pool in self._proxies.values():
            await pool.aclose()

    async def _check_ahead(self, host: str) -> None:
        try:
            addresses = await self._resolve(host, 0)
        except OSError:
            return  # only the proxy can resolve it
        self._guard.check(host, addresses)

    def _proxied(self, proxy: str) -> httpcore.AsyncConnectionPool:
        if proxy not in self._proxies:
            self._proxies[proxy] = httpcore.AsyncConnectionPool(
                ssl_context=self._context,
                max_connections=self._most,
                keepalive_expiry=IDLE_S,
                proxy=_proxy(proxy),
            )
        return self._proxies[proxy]


class _Connections:
    """Connections to all servers; httpcore's own pool looks at each pair of them for every request."""

    def __init__(self, context: ssl.SSLContext | None, network: httpcore.AsyncNetworkBackend) -> None:
        self._context = context
        self._network = network
        self._idle: dict[str, list[httpcore.AsyncHTTPConnection]] = {}

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        origin = request.url.origin
        connection = await self._taken(str(origin)) or await self._begun(origin)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await connection.aclose()
            raise
        stream = _Lent(response.stream, lambda: self._give_back(str(origin), connection))
        return httpcore.Response(response.status, headers=response.headers, content=stream)

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                await connection.aclose()
        self._idle.clear()

    async def _taken(self, server: str) -> httpcore.AsyncHTTPConnection | None:
        idle = self._idle.get(server, [])
        while idle:
            connection = idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    async def _begun(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        expired = []
        for server, connections in [*self._idle.items()]:  # those to servers that nobody calls any more
            expired += [each for each in connections if each.has_expired()]
            self._idle[server] = [each for each in connections if each not in expired]
        self._idle = {server: connections for server, connections in self._idle.items() if connections}
        for connection in expired:
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._context, keepalive_expiry=IDLE_S, network_backend=self._network
        )

    async def _give_back(self, server: str, connection: httpcore.AsyncHTTPConnection) -> None:
        if connection.is_idle():
            self._idle.setdefault(server, []).append(connection)
        else:
            await connection.aclose()


class _Lent:
    """The body of an answer, whose connection is given back when it is closed."""

    def __init__(self, stream: Any, give_back: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._give_back = give_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._give_back()


def _proxy(url: str) -> httpcore.Proxy:
    parsed = httpx.Proxy(url)
    return httpcore.Proxy(_raw(parsed.url), auth=parsed.raw_auth)


def _raw(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that a name has after all of them have been checked."""

    def __init__(self, guard: AddressGuard, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved ({error})") from error
        self._guard.check(host, addresses)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"the name {host} has no address")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
