"""What a single value has to be."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.http.urls import base_url
from flowledger.settings import Settings, validators

Load = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]
Variables = dict[str, str]


@given(
    st.sampled_from(["http://localhost", "https://dify.example.com:8443/base", "http://[::1]:5001"]),
    st.sampled_from(["", "/", "/v1", "/v1/", "///", "//v1/"]),
)
def test_a_base_url_has_one_form(base: str, tail: str) -> None:
    """A trailing slash or /v1 does not matter, and normalising twice is normalising once."""
    assert base_url(base + tail) == base
    assert base_url(base_url(base + tail)) == base


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
        base_url(url)


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
        ("LEDGER_URL", "file:///", "names no folder: "),
        ("LEDGER_URL", "postgresql://h", "names no database: "),
        ("LEDGER_URL", "postgresql://u:p@[h/x", "has a host or a port that cannot be read: "),
        ("LEDGER_URL", "postgresql://u:p@h:port/x", "has a host or a port that cannot be read: "),
        ("LEDGER_URL", "postgresql+asyncpg://h/x", "names another driver (postgresql+asyncpg): "),
        ("DIFY_CA_BUNDLE", "/nowhere/ca.pem", "there is no file /nowhere/ca.pem"),
        ("DIFY_MAX_CONCURRENCY", "0", "should be greater than or equal to 1"),
        ("DIFY_REQUEST_DEADLINE_S", "0", "should be greater than 0"),
        ("REPORT_LANGUAGE", "fr", "should be 'zh' or 'en'"),
        ("REPORT_FORMATS", " , ", "should have at least 1 item"),
        ("PREFECT_API_URL", "localhost:4200", "must begin with http:// or https://"),
        ("PREFECT_UI_URL", "localhost", "must begin with http:// or https://"),
        ("LOG_ROTATION", "24:00", 'must be a time of day such as 00:00, or a size such as "100 MB"'),
        ("LOG_ROTATION", "0 MB", 'must be a time of day such as 00:00, or a size such as "100 MB"'),
        ("LOG_TARGET", "file,moon", "should be 'file' or 'stderr'"),
        ("TASK_RUNNER", "dask:host:8786", "must be threads, dask, or dask:tcp://host:port"),
        ("CATCH_UP_PERIODS", "-1", "should be greater than or equal to 0"),
        ("LINK_HOURS", "169", "should be less than or equal to 168"),
        ("NOTIFICATION_ENABLED", "perhaps", "should be a valid boolean"),
        ("NOTIFICATION_TYPE", "fax", "unknown type of channel 'fax': one of "),
        ("DINGTALK_WEBHOOK", "robot", "must be an address that begins with http:// or https://"),
        ("S3_ENDPOINT", "minio:9000", "must begin with http:// or https://"),
        ("REPORT_RETENTION_DAYS", "0", "should be greater than or equal to 1"),
        ("WORKFLOWS_ALLOWED_HOSTS", "https://h/x", "'https://h/x' is no host name, address or network"),
        ("WORKFLOW_SECRETS", "A=x,y", "must be NAME=value, by commas, or "),
        ("WORKFLOW_SECRETS", '{"A": ', "must be NAME=value, by commas, or "),
        ("WORKFLOWS_IN_PREFECT", "sometimes", "should be 'beside', 'first' or 'never'"),
        ("WORKER_AT_ONCE", "0", "should be greater than or equal to 1"),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_ROTATION", "23:59"),
        ("LOG_ROTATION", "100 MB"),
        ("LOG_ROTATION", "1GiB"),
        ("TASK_RUNNER", "dask"),
        ("TASK_RUNNER", "dask:tcp://scheduler.example.com:8786"),
        ("CATCH_UP_PERIODS", "0"),
        ("NOTIFICATION_ATTACH_MB", "0.5"),
    ],
)
def test_a_right_value_is_taken(load: Load, name: str, value: str) -> None:
    """Each form that is documented is accepted."""
    settings = load({name: value}, need_app=False)
    assert str(getattr(settings, name.lower())) == value


def test_a_ledger_may_be_forgotten(load: Load) -> None:
    """memory:// keeps nothing and needs no file."""
    settings = load({"LEDGER_URL": "memory://"}, need_app=False)
    assert settings.ledger_url.get_secret_value() == "memory://"


def test_a_ledger_may_be_a_folder(load: Load, tmp_path: Path) -> None:
    """An absolute folder stays as it is, a relative one is meant from the root."""
    for folder, meant in (("file:///var/lib/x", "/var/lib/x"), ("file://outputs/x", f"{tmp_path}/outputs/x")):
        settings = load({"LEDGER_URL": folder}, need_app=False)
        assert settings.ledger_url.get_secret_value() == f"file://{meant}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_ledger_may_be_in_postgresql(load: Load, scheme: str) -> None:
    """The address is kept as it is."""
    url = f"{scheme}://user:simulated%40@db.example.com:5432/ledger?sslmode=require"
    assert load({"LEDGER_URL": url}, need_app=False).ledger_url.get_secret_value() == url


def test_a_missing_driver_is_a_setting_to_mend(problems: Problems, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL ledger without psycopg is told before anything starts, with how to install it."""
    monkeypatch.setattr(validators, "find_spec", lambda name: None)
    (problem,) = problems({"LEDGER_URL": "postgresql://h/x"}, need_app=False)
    assert "needs psycopg: scripts/setup --all" in problem


def test_a_certificate_file_is_found_from_the_root(load: Load, app: Variables, tmp_path: Path) -> None:
    """A relative path begins at the root, as everywhere."""
    (tmp_path / "ca.pem").touch()
    assert load({**app, "DIFY_CA_BUNDLE": "ca.pem"}).app().ca_bundle == tmp_path / "ca.pem"


def test_stuck_after_is_in_hours(load: Load) -> None:
    """STUCK_AFTER_HOURS becomes a duration."""
    assert load({"STUCK_AFTER_HOURS": "2"}, need_app=False).stuck_after.total_seconds() == 7200
