"""Every error of requests and urllib3 becomes one of ours, and Retry-After is read in every writing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
import urllib3.exceptions as wire
from hypothesis import given, settings
from hypothesis import strategies as st

from flowledger.dify.answers import Attempt, failure_of
from flowledger.errors import (
    DeadlineExceededError,
    FlowledgerError,
    SettingsError,
    SourceGarbledError,
    SourceUnreachableError,
)
from flowledger.http.errors import KINDS, http_date, kind_of, retry_after_s

NOW = datetime(2026, 11, 22, 1, 19, 19, tzinfo=UTC)
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
    ancestor = next(known for known in kind.__mro__ if known in KINDS)
    assert ancestor not in ROOTS or kind in ROOTS | GENERAL
    assert isinstance(failure_of(kind.__new__(kind), ATTEMPT), FlowledgerError)


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (requests.ConnectTimeout(), SourceUnreachableError, "no connection within 10 s"),
        (requests.ReadTimeout(), DeadlineExceededError, "60 s in all"),
        (requests.exceptions.ProxyError("407 Proxy"), SourceUnreachableError, "proxy.example.com:3128"),
        (requests.exceptions.ProxyError("407 Proxy"), SourceUnreachableError, "requires a password"),
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
    translated = failure_of(error, ATTEMPT)
    assert type(translated) is expected
    assert words in str(translated)


def test_innermost_known_cause_speaks() -> None:
    """A name that is not found is told as such, however often it was wrapped."""
    unknown = wire.NameResolutionError("nowhere", None, OSError("no"))  # type: ignore[arg-type]
    wrapped = requests.ConnectionError(wire.MaxRetryError(None, "/", unknown))  # type: ignore[arg-type]
    assert "this name cannot be resolved" in str(failure_of(wrapped, ATTEMPT))


def test_foreign_errors_are_unreachable() -> None:
    """What neither library declares counts as a broken connection."""
    assert kind_of(ValueError) is None
    assert type(failure_of(ValueError("secret"), ATTEMPT)) is SourceUnreachableError
    assert "secret" not in str(failure_of(ValueError("secret"), ATTEMPT))


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("999999999999", 60.0),
        ("-5", None),
        ("soon", None),
        ("٣", None),
        ("Sun, 22 Nov 2026 01:19:29 GMT", 10.0),
        ("Sun, 22 Nov 2020 01:19:29 GMT", 0.0),
        ("Sun, 22 Nov 2096 01:19:29 GMT", 60.0),
    ],
)
def test_retry_after_in_every_writing(text: str | None, expected: float | None) -> None:
    """Seconds and dates count, past ones are now, absurd ones are a minute, rubbish is ignored."""
    assert retry_after_s(text, now=NOW, longest_s=60.0) == expected


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_any_retry_after_text_is_survived(text: str) -> None:
    """Whatever a server writes, the wait lies between nothing and a minute."""
    wait = retry_after_s(text, now=NOW, longest_s=60.0)
    assert wait is None or 0 <= wait <= 60


def test_http_dates_are_utc() -> None:
    """A date without a zone counts as UTC."""
    assert http_date("Sun, 22 Nov 2026 01:19:19 -0000") == NOW
    assert http_date("Sun, 22 Nov 2026 09:19:19 +0800") == NOW
    assert http_date("yesterday") is None
    assert NOW.utcoffset() == timedelta(0)
