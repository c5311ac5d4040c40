"""Base URLs as people write them."""

import pytest

from flowledger.http.urls import base_url, host_of, is_loopback, join, origin


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
    assert base_url(written) == expected


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


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://localhost:5001/v1", True),
        ("https://127.0.0.1", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:5001", True),
        ("http://10.0.0.1", False),
        ("https://localhost.example.com", False),
        ("no address", False),
    ],
)
def test_this_machine_has_several_names(url: str, is_here: bool) -> None:
    """No proxy stands before any address of loopback, for whichever client."""
    assert is_loopback(url) is is_here
