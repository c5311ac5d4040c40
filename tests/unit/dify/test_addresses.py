"""Base URLs as people write them."""

import pytest

from flowledger.errors import SettingsError
from flowledger.http.urls import host_of, join, normalise, origin


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://dify.example.com", "http://dify.example.com"),
        ("http://dify.example.com/", "http://dify.example.com"),
        ("https://Dify.Example.com:8443/v1/", "https://dify.example.com:8443"),
        ("https://dify.example.com/console/api", "https://dify.example.com"),
        (" http://example.com/some/dify/v1 ", "http://example.com/some/dify"),
        ("http://[::1]:5001/v1", "http://[::1]:5001"),
    ],
)
def test_base_urls_come_to_one_form(written: str, expected: str) -> None:
    """A slash at the end and the API's own root do not matter; a path prefix stays."""
    assert normalise(written) == expected


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("dify.example.com", "http://"),
        ("ftp://dify.example.com", "http://"),
        ("http://", "host"),
        ("http://example.com:port", "not an address"),
        ("http://me:pass-word@example.com", "user name"),
        ("http://example.com/?a=b", "query"),
    ],
)
def test_wrong_base_urls_are_refused(written: str, problem: str) -> None:
    """The message names the setting and what is wrong, and never a password."""
    with pytest.raises(SettingsError, match="DIFY_BASE_URL") as caught:
        normalise(written)
    assert problem in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_parameters_are_percent_encoded() -> None:
    """A plus sign and Chinese survive the way (docs/dify-api.md "The log list")."""
    url = join("http://h", "/v1/workflows/logs", {"created_at__before": "T00:00+08:00", "keyword": "你 a&b"})
    assert url == (
        "http://h/v1/workflows/logs?created_at__before=T00%3A00%2B08%3A00&keyword=%E4%BD%A0%20a%26b"
    )


def test_default_port_is_the_same_server() -> None:
    """http://h and http://h:80 are one server; https is another."""
    assert origin("http://h/x") == origin("http://h:80/y") != origin("https://h/x")
    assert host_of("http://user:word@h:81/x") == "h:81"
