"""What may go wrong below HTTP, sorted by what it means; and when a server says to try again.

The libraries raise some sixty classes, several for one thing, often wrapped in each other.  ``classify``
finds the one that says most; each client then words it, because which setting to look at differs.
"""

import math
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import requests
import requests.exceptions as lost
import urllib3.exceptions as wire

CONNECTION_ERRORS = (lost.RequestException, wire.HTTPError, OSError, UnicodeError)
"""What sending a request or reading its answer may raise."""


class FailureKind(Enum):
    """What a failed exchange means."""

    ADDRESS = auto()
    """The address cannot be used."""
    UNKNOWN_NAME = auto()
    NOT_CONNECTED = auto()
    """The machine refused the connection, or no way leads to it."""
    CONNECT_TIMEOUT = auto()
    DEADLINE = auto()
    """Connected, but no complete answer in time."""
    CUT_SHORT = auto()
    GARBLED = auto()
    """The answer breaks the rules of HTTP."""
    CERTIFICATE = auto()
    """Its authority is not trusted, or it is another host's."""
    TLS = auto()
    PROXY = auto()
    PROXY_ADDRESS = auto()
    SOCKS = auto()
    """The proxy speaks SOCKS, and the package for that is not installed."""
    UNREACHABLE = auto()
    """Any other failure."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed exchange: its kind, and the error in the chain that showed it."""

    kind: FailureKind
    cause: BaseException


KINDS: dict[type[BaseException], FailureKind] = {
    # requests
    requests.RequestException: FailureKind.UNREACHABLE,
    lost.ConnectionError: FailureKind.UNREACHABLE,
    lost.ProxyError: FailureKind.PROXY,
    lost.SSLError: FailureKind.TLS,
    lost.ConnectTimeout: FailureKind.CONNECT_TIMEOUT,
    lost.Timeout: FailureKind.DEADLINE,
    lost.ChunkedEncodingError: FailureKind.CUT_SHORT,
    lost.ContentDecodingError: FailureKind.GARBLED,
    lost.InvalidHeader: FailureKind.GARBLED,
    lost.InvalidJSONError: FailureKind.GARBLED,
    lost.HTTPError: FailureKind.GARBLED,
    lost.TooManyRedirects: FailureKind.GARBLED,
    lost.RetryError: FailureKind.UNREACHABLE,
    lost.StreamConsumedError: FailureKind.GARBLED,
    lost.UnrewindableBodyError: FailureKind.UNREACHABLE,
    lost.URLRequired: FailureKind.ADDRESS,
    lost.MissingSchema: FailureKind.ADDRESS,
    lost.InvalidSchema: FailureKind.SOCKS,  # raised for nothing else: we send by urllib3's pools
    lost.InvalidURL: FailureKind.ADDRESS,
    lost.InvalidProxyURL: FailureKind.PROXY_ADDRESS,
    # urllib3
    wire.HTTPError: FailureKind.UNREACHABLE,
    wire.NameResolutionError: FailureKind.UNKNOWN_NAME,
    wire.NewConnectionError: FailureKind.NOT_CONNECTED,
    wire.ConnectTimeoutError: FailureKind.CONNECT_TIMEOUT,
    wire.TimeoutError: FailureKind.DEADLINE,
    wire.ProtocolError: FailureKind.CUT_SHORT,
    wire.IncompleteRead: FailureKind.CUT_SHORT,
    wire.InvalidChunkLength: FailureKind.CUT_SHORT,
    wire.DecodeError: FailureKind.GARBLED,
    wire.InvalidHeader: FailureKind.GARBLED,
    wire.HeaderParsingError: FailureKind.GARBLED,
    wire.ResponseError: FailureKind.GARBLED,
    wire.SSLError: FailureKind.TLS,
    wire.ProxyError: FailureKind.PROXY,
    wire.ProxySchemeUnknown: FailureKind.PROXY_ADDRESS,
    wire.ProxySchemeUnsupported: FailureKind.PROXY_ADDRESS,
    wire.LocationValueError: FailureKind.ADDRESS,
    # the standard library, alone or inside those
    ssl.SSLCertVerificationError: FailureKind.CERTIFICATE,
    UnicodeError: FailureKind.ADDRESS,  # a host that IDNA cannot write
}


def classify(error: BaseException) -> Failure:
    """Return what an error means: the innermost cause that has an entry in ``KINDS`` says most."""
    for cause in reversed(list(_chain(error))):
        kind = kind_of(type(cause))
        if kind is not None:
            return Failure(kind, cause)
    # No entry in KINDS: inside urllib3's errors it may as well be a timeout of connecting.
    is_timeout = isinstance(error, TimeoutError)
    return Failure(FailureKind.DEADLINE if is_timeout else FailureKind.UNREACHABLE, error)


def kind_of(error: type[BaseException]) -> FailureKind | None:
    """Return the kind of an error class: its own or its nearest ancestor's; None for a foreign one."""
    return next((KINDS[ancestor] for ancestor in error.__mro__ if ancestor in KINDS), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    visited: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in visited:
        visited.add(id(current))
        yield current
        current = _inner(current)


def _inner(error: BaseException) -> BaseException | None:
    # The causes below a proxy's failure are about the proxy and not about the server: they would mislead.
    if isinstance(error, lost.ProxyError | lost.InvalidProxyURL | wire.ProxyError):
        return None
    # urllib3 puts the wrapped error into ``reason`` or among the arguments, where ``__cause__`` may be unset.
    wrapped = (getattr(error, "reason", None), *reversed(error.args), error.__cause__)
    return next((item for item in wrapped if isinstance(item, BaseException)), None)


def retry_after_s(text: str | None, *, now: datetime, longest_s: float = math.inf) -> float | None:
    """Return the seconds that a Retry-After header asks for, written as a number or as an HTTP date.

    A date in the past is 0, more than ``longest_s`` is ``longest_s``, anything else than these two is None.
    """
    word = (text or "").strip()
    if word.isascii() and word.isdigit():
        return min(longest_s, float(word[:9]))
    moment = http_date(word)
    return None if moment is None else max(0.0, min(longest_s, (moment - now).total_seconds()))


def http_date(text: str | None) -> datetime | None:
    """Return an HTTP date as aware UTC; None when it is none."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
