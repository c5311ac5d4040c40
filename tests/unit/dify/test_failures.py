"""Every error of requests and urllib3 becomes one of ours."""

from collections.abc import Iterator

import pytest
import requests
import urllib3.exceptions as wire

from flowledger.dify.failures import TRANSLATIONS, Attempt, entry, translate
from flowledger.errors import (
    DeadlineExceededError,
    FlowledgerError,
    SettingsError,
    SourceGarbledError,
    SourceUnreachableError,
)

ATTEMPT = Attempt("dify.example.com", "proxy.example.com:3128")


def descendants(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    """Give a class and all below it."""
    yield kind
    for child in kind.__subclasses__():
        yield from descendants(child)


LIBRARY = [
    kind
    for root in (requests.RequestException, wire.HTTPError)
    for kind in descendants(root)
    if kind.__module__.startswith(("requests.", "urllib3."))
]
ROOTS = {requests.RequestException, wire.HTTPError}
GENERAL = {wire.PoolError, wire.RequestError, wire.MaxRetryError, wire.ClosedPoolError, wire.EmptyPoolError}
GENERAL |= {wire.FullPoolError, wire.HostChangedError, wire.UnrewindableBodyError, wire.TimeoutStateError}
GENERAL |= {wire.BodyNotHttplibCompatible}


@pytest.mark.parametrize("kind", sorted(set(LIBRARY), key=str), ids=lambda kind: kind.__name__)
def test_no_library_error_is_missed(kind: type[BaseException]) -> None:
    """Each class has an entry of its own or of an ancestor below the root, wrappers and misuse aside."""
    ancestor = next(known for known in kind.__mro__ if known in TRANSLATIONS)
    assert ancestor not in ROOTS or kind in ROOTS | GENERAL
    assert isinstance(translate(kind.__new__(kind), ATTEMPT), FlowledgerError)


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (requests.ConnectTimeout(), SourceUnreachableError, "no connection within 10 s"),
        (requests.ReadTimeout(), DeadlineExceededError, "60 s in all"),
        (requests.exceptions.ProxyError("407 Proxy"), SourceUnreachableError, "proxy.example.com:3128"),
        (requests.exceptions.ProxyError("407 Proxy"), SourceUnreachableError, "wants a password"),
        (
            requests.exceptions.ChunkedEncodingError(),
            SourceUnreachableError,
            "before the answer was complete",
        ),
        (requests.exceptions.ContentDecodingError(), SourceGarbledError, "rules of HTTP"),
        (requests.exceptions.SSLError(), SourceUnreachableError, "no secure connection"),
        (requests.exceptions.InvalidURL(), SettingsError, "DIFY_BASE_URL"),
        (requests.exceptions.InvalidProxyURL(), SettingsError, "HTTPS_PROXY"),
        (wire.IncompleteRead(1, 2), SourceUnreachableError, "before the answer was complete"),
    ],
)
def test_message_says_what_to_do(error: Exception, expected: type[FlowledgerError], words: str) -> None:
    """The translation has the right class and words."""
    translated = translate(error, ATTEMPT)
    assert type(translated) is expected
    assert words in str(translated)


def test_innermost_known_cause_speaks() -> None:
    """A name that is not found is told as such, however often it was wrapped."""
    unknown = wire.NameResolutionError("nowhere", None, OSError("no"))  # type: ignore[arg-type]
    wrapped = requests.ConnectionError(wire.MaxRetryError(None, "/", unknown))  # type: ignore[arg-type]
    assert "no machine of this name" in str(translate(wrapped, ATTEMPT))


def test_foreign_errors_are_unreachable() -> None:
    """What neither library declares counts as a broken connection."""
    assert entry(ValueError) is None
    assert type(translate(ValueError("secret"), ATTEMPT)) is SourceUnreachableError
    assert "secret" not in str(translate(ValueError("secret"), ATTEMPT))
