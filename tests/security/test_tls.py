"""Every client verifies certificates; what signed itself is refused, unless its authority is named."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificate, make_certificate
from loopback import Asked, Loopback, reply, serving
from mail_servers import PASSWORD, USER, Mailbox, mail_server
from planted_secrets import SECRETS
from pydantic import SecretStr
from workplace import PROJECT

from flowledger.coze.client import CozeClient
from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions
from flowledger.domain.coze_runs import WorkflowOrder
from flowledger.domain.messages import Message
from flowledger.errors import FlowledgerError
from flowledger.http.session import HttpOptions
from flowledger.notify.email import EmailChannel
from flowledger.notify.webhook import WebhookChannel
from flowledger.settings import ConfigManager, Settings
from flowledger.storage import oss, s3
from flowledger.storage.oss import OssStorage
from flowledger.storage.s3 import S3Storage

HOST = "server.example.com"
KEY = {"Authorization": f"Bearer {SECRETS['DIFY_API_TOKEN']}"}
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
MESSAGE = Message(message_id="m", subject="s", body="b")
EMPTY_BUCKET = b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


def ask_dify(address: str) -> None:
    """Ask for the log list with the app's key."""
    with DifySession(address, options=SessionOptions(retry=RetryPolicy(tries=1))) as session:
        session.get("/v1/workflows/logs", headers=KEY)


def ask_coze(address: str) -> None:
    """Run a workflow with Coze's token."""
    run = CozeClient(address, SecretStr(SECRETS["COZE_API_TOKEN"])).prepare(WorkflowOrder("w", {}))
    run.open()


def ask_robot(address: str) -> None:
    """Send a message to a webhook whose address is a secret; all robots are asked by the same function."""
    WebhookChannel(SecretStr(f"{address}/in/{SECRETS['WEBHOOK_URL']}")).send(MESSAGE)


def ask_s3(address: str) -> None:
    """List a bucket by S3's protocol."""
    keys = (SecretStr(SECRETS["S3_ACCESS_KEY_ID"]), SecretStr(SECRETS["S3_SECRET_ACCESS_KEY"]))
    S3Storage("b", address, "us-east-1", *keys, addressing_style="path").names("")


def ask_oss(address: str) -> None:
    """List a bucket by OSS's protocol."""
    keys = (SecretStr(SECRETS["OSS_ACCESS_KEY_ID"]), SecretStr(SECRETS["OSS_ACCESS_KEY_SECRET"]))
    OssStorage(address, "bkt", *keys).names("")


CLIENTS: dict[str, tuple[Callable[[str], None], str]] = {
    "dify": (ask_dify, "REQUESTS_CA_BUNDLE"),
    "coze": (ask_coze, "REQUESTS_CA_BUNDLE"),
    "robot": (ask_robot, "REQUESTS_CA_BUNDLE"),
    "s3": (ask_s3, "AWS_CA_BUNDLE"),
    "oss": (ask_oss, "REQUESTS_CA_BUNDLE"),
}
"""How each is asked, and the variable that names the authorities it trusts."""
every_client = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where certificates are."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    """One for the server's names, which nobody else signed."""
    return make_certificate(folder, HOST, f"bkt.{HOST}")


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names are this machine's, no authority is named, no proxy is between, nothing is tried twice."""
    for name in [*AUTHORITIES, *(name for name in os.environ if name.lower().endswith("_proxy"))]:
        monkeypatch.delenv(name, raising=False)
    known = socket.getaddrinfo

    def here(host: Any, *more: Any, **words: Any) -> Any:
        return known("127.0.0.1" if str(host).endswith(HOST) else host, *more, **words)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(oss, "ATTEMPTS", 1)


def answer(asked: Asked) -> bytes:
    """Answer what any of the clients takes for an answer."""
    if "list-type" in asked.target:
        return reply(EMPTY_BUCKET, headers={"Content-Type": "application/xml"})
    if "stream_run" in asked.target:
        return reply(b"event: Done\ndata: {}\n\n", headers={"Content-Type": "text/event-stream"})
    return reply({"data": []})


@pytest.fixture
def server(certificate: Certificate) -> Iterator[Loopback]:
    """A server with that certificate."""
    with serving(answer, certificate.context) as server:
        yield server


def refused(ask: Callable[[str], None], server: Loopback) -> str:
    """See that a client does not speak with a server, and give what it says."""
    with pytest.raises(FlowledgerError) as caught:
        ask(f"https://{HOST}:{server.port}")
    assert server.asked == []
    return str(caught.value)


@every_client
@pytest.mark.parametrize("switched_off", [{}, {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}])
def test_what_signed_itself_gets_nothing(
    client: str, switched_off: dict[str, str], server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names host and cause; a variable that is empty switches nothing off."""
    for name, value in switched_off.items():
        monkeypatch.setenv(name, value)
    said = refused(CLIENTS[client][0], server)
    assert HOST in said or client in ("s3", "oss")  # they are known by their bucket
    assert "certificate" in said or "Invalid CA bundle" in said  # boto3 says so of an empty variable


@every_client
def test_a_named_authority_is_trusted(
    client: str, server: Loopback, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client has its variable."""
    ask, variable = CLIENTS[client]
    monkeypatch.setenv(variable, str(certificate.path))
    ask(f"https://{HOST}:{server.port}")
    assert len(server.asked) == 1


@every_client
@pytest.mark.parametrize("wrong", ["name", "time"])
def test_a_trusted_certificate_must_be_this_servers_and_good_today(
    client: str, wrong: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of another host, or of the day before yesterday, gets nothing either."""
    hosts = ("elsewhere.example.org",) if wrong == "name" else (HOST, f"bkt.{HOST}")
    bad = make_certificate(folder, *hosts, ended=wrong == "time")
    ask, variable = CLIENTS[client]
    monkeypatch.setenv(variable, str(bad.path))
    with serving(answer, bad.context) as server:
        assert "certificate" in refused(ask, server)


def test_the_setting_of_an_app_counts_before_the_surroundings(
    server: Loopback, certificate: Certificate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DIFY_CA_BUNDLE is that of one app; the variable of all programs does not take its place."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(make_certificate(folder, "other.example.com").path))
    options = HttpOptions(ca_bundle=str(certificate.path))
    address = f"https://{HOST}:{server.port}"
    with DifySession(address, options=SessionOptions(options, RetryPolicy(tries=1))) as session:
        session.get("/v1/workflows/logs", headers=KEY)
    said = refused(ask_dify, Loopback(answer, port=server.port))
    assert "DIFY_CA_BUNDLE" in said


@every_client
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_one_rule_names_the_authorities_of_all(
    client: str, variable: str, server: Loopback, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that counts for one client counts for each, as docs/security.md says."""
    monkeypatch.setenv(variable, str(certificate.path))
    CLIENTS[client][0](f"https://{HOST}:{server.port}")
    assert len(server.asked) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_trusts_openssls_variable_and_its_own_option(
    security: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without either the password is not sent; more about mail in tests/backends/notify."""
    own = make_certificate(folder, HOST)

    def mail(ca_bundle: str | None = None) -> EmailChannel:
        return EmailChannel(
            HOST, (USER,), port, USER, SecretStr(PASSWORD), security=security, ca_bundle=ca_bundle
        )

    mailbox = Mailbox()
    words: dict[str, Any] = {
        "starttls": {"tls_context": own.context, "require_starttls": True},
        "tls": {"ssl_context": own.context, "auth_require_tls": False},
    }
    with mail_server(mailbox, **words[security]) as port:
        with pytest.raises(FlowledgerError, match="certificate"):
            mail().probe()
        assert mailbox.logins == []
        mail(str(own.path)).probe()
        monkeypatch.setenv("SSL_CERT_FILE", str(own.path))
        mail().probe()
    assert [user for user, _ in mailbox.logins] == [USER.encode()] * 2


def test_nothing_switches_verification_off(tmp_path: Path) -> None:
    """No setting does, and no line of the program."""
    words = ("verify", "insecure", "trust", "unsafe", "check_host")
    assert {name for name in Settings.model_fields if any(word in name for word in words)} == {
        "smtp_insecure_login"  # a mail server without TLS at all, on this machine
    }
    spelled = r"verify *= *False|CERT_NONE|check_hostname *= *False|unverified_context|use_ssl"
    found = subprocess.run(
        ["grep", "-rnE", "--include=*.py", spelled, str(PROJECT / "src"), str(PROJECT / "scripts")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, "")
    assert ConfigManager(tmp_path, {}).examine(need_app=False).settings.smtp_security == "starttls"
