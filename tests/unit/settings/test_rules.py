"""What a single value has to be."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.settings import Settings
from flowledger.settings.rules import normalise_base_url

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]


@given(
    st.sampled_from(["http://localhost", "https://dify.example.com:8443/base", "http://[::1]:5001"]),
    st.sampled_from(["", "/", "/v1", "/v1/", "///", "//v1/"]),
)
def test_a_base_url_has_one_form(base: str, tail: str) -> None:
    """A trailing slash or /v1 does not matter, and normalising twice is normalising once."""
    assert normalise_base_url(base + tail) == base
    assert normalise_base_url(normalise_base_url(base + tail)) == base


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("dify.example.com", "must begin with http:// or https://"),
        ("ftp://dify.example.com", "must begin with http:// or https://"),
        ("http://", "names no host"),
        ("http://di fy", "names no host, or has a space"),
        ("http://user:word@dify.example.com", "must not hold a user name or password"),
        ("http://dify.example.com/?a=1", "must be the address alone"),
        ("http://dify.example.com:99999", "has a port that is not a number"),
    ],
)
def test_a_wrong_base_url_is_refused_with_the_reason(url: str, reason: str) -> None:
    """What cannot be the address of a server is refused before the first request."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        normalise_base_url(url)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("DIFY_API_TOKEN", "app-xxxxxxxxxxxxx", "is still the placeholder of .env.example"),
        ("DIFY_API_TOKEN", "Bearer app-1", "must be the token alone: one word of plain ASCII characters"),
        ("DIFY_APP_ID", "https://h/app/1", "must be the id alone: letters, digits, dot, dash and underscore"),
        ("STORAGE_TYPE", "tape", "unknown storage 'tape': one of "),
        ("LEDGER_URL", "outputs/ledger.db", "must be an address such as sqlite:///outputs/ledger.db"),
        ("LEDGER_URL", "oracle://h/x", "unknown ledger 'oracle': one of "),
        ("LEDGER_URL", "sqlite://", "names no file: "),
        ("DIFY_CA_BUNDLE", "/nowhere/ca.pem", "there is no file /nowhere/ca.pem"),
        ("DIFY_MAX_CONCURRENCY", "0", "should be greater than or equal to 1"),
        ("DIFY_REQUEST_DEADLINE_S", "0", "should be greater than 0"),
        ("REPORT_LANGUAGE", "fr", "should be 'zh' or 'en'"),
        ("REPORT_FORMATS", " , ", "should have at least 1 item"),
        ("PREFECT_API_URL", "localhost:4200", "must begin with http:// or https://"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(
    problems: Problems, app: Variables, name: str, value: str, reason: str
) -> None:
    """Each variable says what it wants."""
    (line,) = problems({**app, name: value})
    assert line.startswith(f"{name} in environment: {reason}")


def test_formats_are_words_between_commas(load: Load, app: Variables) -> None:
    """Spaces do not matter, and a format named twice is written once."""
    assert load({**app, "REPORT_FORMATS": "json, csv,json"}).app().formats == ("json", "csv")


def test_a_ledger_may_be_forgotten(load: Load) -> None:
    """memory:// keeps nothing and needs no file."""
    settings = load({"LEDGER_URL": "memory://"}, need_app=False)
    assert settings.ledger_url.get_secret_value() == "memory://"


def test_a_certificate_file_is_found_from_the_root(load: Load, app: Variables, tmp_path: Path) -> None:
    """A relative path begins at the root, as everywhere."""
    (tmp_path / "ca.pem").touch()
    assert load({**app, "DIFY_CA_BUNDLE": "ca.pem"}).app().ca_bundle == tmp_path / "ca.pem"


def test_stuck_after_is_in_hours(load: Load) -> None:
    """STUCK_AFTER_HOURS becomes a duration."""
    assert load({"STUCK_AFTER_HOURS": "2"}, need_app=False).stuck_after.total_seconds() == 7200
