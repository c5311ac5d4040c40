"""What lies in the environment: proxies and files of authorities, told by the variable that is really set."""

from pathlib import Path

import pytest

from flowledger.dify.session import DifySession
from flowledger.errors import ChannelBusyError, SettingsError
from flowledger.flows import environment
from flowledger.http.session import (
    BUNDLE_VARIABLES,
    authorities_file,
    environment_proxies,
    proxy_variable,
    socks_variable,
    unreadable_bundle,
)
from flowledger.http.urls import is_loopback
from flowledger.notify import email
from flowledger.notify.posting import post

FAR = "https://dify.example.com"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without any of these variables."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:5001",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://dify.localhost",
        "http://127.0.0.1",
        "http://127.8.8.8",
        "http://[::1]:9000",
        "http://[::ffff:127.0.0.1]",
        "http://0.0.0.0:8001",
    ],
)
def test_no_proxy_stands_before_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its address is written."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert is_loopback(url)
    assert environment_proxies(url) == {}


@pytest.mark.parametrize(
    ("name", "url", "shown"),
    [
        ("all_proxy", FAR, "ALL_PROXY"),
        ("ALL_PROXY", "http://dify.example.com", "ALL_PROXY"),
        ("https_proxy", FAR, "HTTPS_PROXY"),
        ("HTTP_PROXY", "http://dify.example.com", "HTTP_PROXY"),
    ],
)
def test_a_socks_proxy_is_named_by_the_variable_that_is_set(
    name: str, url: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For Dify and channels alike."""
    monkeypatch.setenv(name, "socks5://127.0.0.1:7890")
    assert (proxy_variable(url), socks_variable(url)) == (shown, shown)
    with (
        DifySession(url) as session,
        pytest.raises(SettingsError, match=f"{shown}: a SOCKS"),
    ):
        session.get("/v1/info", {})
    with pytest.raises(ChannelBusyError, match=f"a SOCKS proxy is not supported.*check {shown},"):
        post(f"{url}/robot", b"{}", {})


def test_without_a_proxy_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And NO_PROXY counts."""
    assert socks_variable(FAR) is None
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:7890")
    monkeypatch.setenv("NO_PROXY", "dify.example.com")
    assert socks_variable(FAR) is None


@pytest.mark.parametrize("name", BUNDLE_VARIABLES)
def test_a_broken_file_of_authorities_is_named_by_its_variable(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For every client; DIFY_CA_BUNDLE is named only where it is set."""
    monkeypatch.setenv(name, "/nonexistent/ca.pem")
    with pytest.raises(SettingsError, match=f"{name}: /nonexistent/ca.pem cannot be read"):
        DifySession(FAR)
    with pytest.raises(ChannelBusyError, match=f"{name}: /nonexistent/ca.pem cannot be read"):
        post("https://oapi.example.com/robot", b"{}", {})
    assert f"{name}: /nonexistent/ca.pem" in (unreadable_bundle(*BUNDLE_VARIABLES) or "")
    (tmp_path / "no.pem").write_text("no certificate", "utf-8")
    monkeypatch.setenv(name, str(tmp_path / "no.pem"))
    assert f"{name}: {tmp_path}/no.pem" in (unreadable_bundle(name) or "")


@pytest.mark.parametrize("name", BUNDLE_VARIABLES)
def test_one_file_of_authorities_counts_for_every_client(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Mail and Prefect trust what requests trusts."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("no certificate", "utf-8")
    monkeypatch.setenv(name, str(bundle))
    assert authorities_file() == str(bundle)
    with pytest.raises(OSError, match=r"PEM|NO_CERTIFICATE|certificate"):
        email.trust(None)
    variables = {name: str(bundle)}
    environment.point_at(variables, api_url="https://prefect.example.com/api")
    assert variables["PREFECT_API_SSL_CERT_FILE"] == str(bundle)
    named = {name: str(bundle), "PREFECT_API_SSL_CERT_FILE": "/own.pem"}
    environment.point_at(named, api_url=None)
    assert named["PREFECT_API_SSL_CERT_FILE"] == "/own.pem"


def test_the_stronger_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where several are set."""
    for name in BUNDLE_VARIABLES:
        monkeypatch.setenv(name, f"/of/{name}")
    assert authorities_file() == "/of/REQUESTS_CA_BUNDLE"
