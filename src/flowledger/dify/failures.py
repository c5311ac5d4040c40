"""What went wrong below HTTP, translated once into our own errors, naming the host and what to do."""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests
import requests.exceptions as lost
import urllib3.exceptions as wire

from flowledger.errors import (
    DeadlineExceededError,
    FlowledgerError,
    SettingsError,
    SourceGarbledError,
    SourceUnreachableError,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried: the host, its proxy's host ("" for none), the limits in seconds."""

    host: str
    proxy: str = ""
    connect_s: float = 10.0
    deadline_s: float = 60.0


Translation = Callable[[Attempt, BaseException], FlowledgerError]


def translate(error: BaseException, attempt: Attempt) -> FlowledgerError:
    """Give our error for one of requests or urllib3: the first cause in its chain that has an entry wins.

    ``requests`` wraps what urllib3 wrapped, so the innermost known cause says most.
    """
    for cause in reversed(list(_chain(error))):
        known = entry(type(cause))
        if known is not None:
            return known(attempt, cause)
    return _unreachable(attempt, error)


def entry(kind: type[BaseException]) -> Translation | None:
    """Give the translation of a class: its own or its nearest ancestor's; None for a foreign one."""
    return next((TRANSLATIONS[ancestor] for ancestor in kind.__mro__ if ancestor in TRANSLATIONS), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = _inner(current)


def _inner(error: BaseException) -> BaseException | None:
    # A proxy's failure is told as such, whatever lies below it.
    if isinstance(error, lost.ProxyError | wire.ProxyError):
        return None
    wrapped = (getattr(error, "reason", None), *reversed(error.args), error.__cause__)
    return next((item for item in wrapped if isinstance(item, BaseException)), None)


def _unreachable(attempt: Attempt, error: BaseException) -> FlowledgerError:
    return SourceUnreachableError(f"{attempt.host}: the connection failed ({type(error).__name__})")


def _unknown_name(attempt: Attempt, _: BaseException) -> FlowledgerError:
    return SourceUnreachableError(
        f"{attempt.host}: no machine of this name is known here; check DIFY_BASE_URL and the name server"
    )


def _not_connected(attempt: Attempt, error: BaseException) -> FlowledgerError:
    why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else None
    return SourceUnreachableError(
        f"{attempt.host}: no connection ({why or 'refused'}); see that Dify runs and that "
        "DIFY_BASE_URL names its address and port"
    )


def _connect_timeout(attempt: Attempt, _: BaseException) -> FlowledgerError:
    return SourceUnreachableError(
        f"{attempt.host}: no connection within {attempt.connect_s:g} s; check network, firewall and port"
    )


def _deadline(attempt: Attempt, _: BaseException) -> FlowledgerError:
    return DeadlineExceededError(
        f"{attempt.host}: no complete answer in time ({attempt.connect_s:g} s to connect, "
        f"{attempt.deadline_s:g} s in all); the server is overloaded or hangs (DIFY_REQUEST_DEADLINE_S)"
    )


def _cut_short(attempt: Attempt, _: BaseException) -> FlowledgerError:
    return SourceUnreachableError(f"{attempt.host}: the connection broke before the answer was complete")


def _garbled(attempt: Attempt, error: BaseException) -> FlowledgerError:
    return SourceGarbledError(f"{attempt.host}: the answer breaks the rules of HTTP ({type(error).__name__})")


def _proxy(attempt: Attempt, error: BaseException) -> FlowledgerError:
    refused = " and wants a password" if "407" in str(error) else ""
    return SourceUnreachableError(
        f"{attempt.host}: the proxy {attempt.proxy or '(unnamed)'} does not let us through{refused}; "
        "check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY"
    )


def _tls(attempt: Attempt, error: BaseException) -> FlowledgerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return SettingsError(
            [
                f"DIFY_CA_BUNDLE: the certificate of {attempt.host} is not trusted "
                f"({error.verify_message}); name the file of the authority that signed it"
            ]
        )
    return SourceUnreachableError(
        f"{attempt.host}: no secure connection ({type(error).__name__}); see whether the port speaks https"
    )


def _address(attempt: Attempt, _: BaseException) -> FlowledgerError:
    return SettingsError([f"DIFY_BASE_URL: {attempt.host!r} is not an address that can be asked"])


def _proxy_address(_: Attempt, __: BaseException) -> FlowledgerError:
    return SettingsError(["HTTPS_PROXY or HTTP_PROXY: not the address of a proxy that can be used"])


TRANSLATIONS: dict[type[BaseException], Translation] = {
    # requests
    requests.RequestException: _unreachable,
    lost.ConnectionError: _unreachable,
    lost.ProxyError: _proxy,
    lost.SSLError: _tls,
    lost.ConnectTimeout: _connect_timeout,
    lost.Timeout: _deadline,
    lost.ChunkedEncodingError: _cut_short,
    lost.ContentDecodingError: _garbled,
    lost.InvalidHeader: _garbled,
    lost.InvalidJSONError: _garbled,
    lost.HTTPError: _garbled,
    lost.TooManyRedirects: _garbled,
    lost.RetryError: _unreachable,
    lost.StreamConsumedError: _garbled,
    lost.UnrewindableBodyError: _unreachable,
    lost.URLRequired: _address,
    lost.MissingSchema: _address,
    lost.InvalidSchema: _proxy_address,  # our own scheme is checked before; what remains is SOCKS
    lost.InvalidURL: _address,
    lost.InvalidProxyURL: _proxy_address,
    # urllib3
    wire.HTTPError: _unreachable,
    wire.NameResolutionError: _unknown_name,
    wire.NewConnectionError: _not_connected,
    wire.ConnectTimeoutError: _connect_timeout,
    wire.TimeoutError: _deadline,
    wire.ProtocolError: _cut_short,
    wire.IncompleteRead: _cut_short,
    wire.InvalidChunkLength: _cut_short,
    wire.DecodeError: _garbled,
    wire.InvalidHeader: _garbled,
    wire.HeaderParsingError: _garbled,
    wire.ResponseError: _garbled,
    wire.SSLError: _tls,
    wire.ProxyError: _proxy,
    wire.ProxySchemeUnknown: _proxy_address,
    wire.ProxySchemeUnsupported: _proxy_address,
    wire.LocationValueError: _address,
    # the standard library, inside those
    ssl.SSLCertVerificationError: _tls,
}
