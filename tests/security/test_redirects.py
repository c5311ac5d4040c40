"""No redirection carries a key to another host, port or scheme, whoever answers with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Certificate, make_certificate
from loopback import Asked, Drip, Loopback, Script, reply, serving
from planted_secrets import SECRETS
from pydantic import SecretStr

from flowledger.coze.client import CozeClient
from flowledger.dify.credentials import AdminKey, ConsoleToken, Credentials, EmailPassword
from flowledger.dify.endpoints import Console
from flowledger.dify.login import ConsoleLogin
from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions
from flowledger.domain.coze_runs import WorkflowOrder
from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, MessageRefusedError, SourceRefusedError
from flowledger.http.session import HttpOptions
from flowledger.notify.dingtalk import DingTalkChannel
from flowledger.notify.feishu import FeishuChannel
from flowledger.notify.webhook import WebhookChannel
from flowledger.notify.wechat import WeChatChannel
from flowledger_simulator import credentials

KEY = {"Authorization": f"Bearer {SECRETS['DIFY_API_TOKEN']}"}
PATH = "/v1/workflows/logs"
STATUSES = (301, 302, 303, 307, 308)
WAYS_OUT: dict[str, str] = {
    "another port": "http://127.0.0.1:%(port)d/v1",
    "another name": "http://localhost:%(own)d/v1",
    "no scheme": "//127.0.0.1:%(port)d/v1",
    "the own host as a user": "http://127.0.0.1:%(own)d@127.0.0.1:%(port)d/v1",
    "the own host before a backslash": "http://127.0.0.1:%(own)d\\@127.0.0.1:%(port)d/v1",
    "another scheme": "https://127.0.0.1:%(own)d/v1",
    "capitals": "HTTP://LOCALHOST:%(own)d/v1",
    "no web address": "file:///etc/hostname",
    "blanks before it": " \thttp://127.0.0.1:%(port)d/v1",
}


@pytest.fixture
def other() -> Iterator[Loopback]:
    """A server that must never be asked."""
    with serving(lambda _: reply({"data": [], "code": 0, "errcode": 0})) as server:
        yield server
    assert server.asked == []


def sending_away(location: str, status: int) -> Script:
    """Send every caller there."""
    return lambda _: reply(b"", status, {"Location": location})


def session_at(server: Loopback, ca_bundle: str | None = None) -> DifySession:
    """Open a session that tries once."""
    options = SessionOptions(HttpOptions(deadline_s=5, ca_bundle=ca_bundle), RetryPolicy(tries=1))
    return DifySession(server.url, options=options)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("way", WAYS_OUT)
def test_an_apps_key_stays_with_its_server(other: Loopback, way: str, status: int) -> None:
    """The one that is asked is the one in the settings, and is asked once."""

    def script(asked: Asked) -> "bytes | Drip":
        return sending_away(WAYS_OUT[way] % {"port": other.port, "own": server.port}, status)(asked)

    with serving(script) as server, session_at(server) as session:
        with pytest.raises(SourceRefusedError, match=r"redirects to .*; the keys are not sent there"):
            session.get(PATH, headers=KEY)
        assert len(server.asked) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One that both schemes' server shows."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.mark.parametrize("status", STATUSES)
def test_a_key_never_leaves_tls(other: Loopback, certificate: Certificate, status: int) -> None:
    """From https to http is another server, whatever its name."""
    script = sending_away(f"http://127.0.0.1:{other.port}/v1", status)
    with (
        serving(script, certificate.context) as server,
        session_at(server, str(certificate.path)) as session,
        pytest.raises(SourceRefusedError, match="redirects to http://"),
    ):
        session.get(PATH, headers=KEY)


def test_a_redirection_on_the_same_server_is_asked_of_that_server() -> None:
    """However it writes its own address: the connection is not chosen by what an answer says."""

    def script(asked: Asked) -> bytes:
        if asked.target == "/there":
            return reply({"data": []})
        return reply(b"", 302, {"Location": f"HTTP://127.0.0.1:{server.port}/there"})

    with serving(script) as server, session_at(server) as session:
        assert session.get(PATH, headers=KEY).document == {"data": []}
        assert [asked.headers["host"] for asked in server.asked] == [f"127.0.0.1:{server.port}"] * 2


CONSOLES: dict[str, Credentials] = {
    "cookies": EmailPassword(credentials.EMAIL, SecretStr(credentials.PASSWORD)),
    "token": ConsoleToken(SecretStr(SECRETS["DIFY_CONSOLE_TOKEN"])),
    "admin key": AdminKey(SecretStr(SECRETS["DIFY_ADMIN_API_KEY"]), "w"),
}


@pytest.mark.parametrize("way_in", CONSOLES)
@pytest.mark.parametrize("status", [302, 307])
def test_a_way_into_the_console_stays_with_its_server(other: Loopback, way_in: str, status: int) -> None:
    """Cookies with their CSRF token, an access token, the admin key."""
    out = sending_away(f"http://127.0.0.1:{other.port}/console/api", status)
    version = {"X-Version": "1.9.1" if way_in == "token" else "1.12.1"}
    cookies = "access_token=planted-access; Path=/\r\nSet-Cookie: csrf_token=planted-csrf; Path=/"

    def script(asked: Asked) -> bytes:
        if asked.target == "/console/api/login":
            tokens = {"access_token": "planted-access", "refresh_token": "planted-refresh"}
            return reply({"result": "success", "data": tokens}, headers={"Set-Cookie": cookies})
        if asked.target.endswith("/setup"):
            return reply({"step": "finished"}, headers=version)
        answer = out(asked)
        return answer if isinstance(answer, bytes) else b""

    with serving(script) as server, session_at(server) as session:
        console = Console(ConsoleLogin(session, CONSOLES[way_in]))
        with pytest.raises(SourceRefusedError, match="not sent there"):
            console.node_executions("app", "run")


@pytest.mark.parametrize("status", STATUSES)
def test_a_password_is_posted_to_no_other_address(other: Loopback, status: int) -> None:
    """Not even to another path of the same server."""
    for location in (f"http://127.0.0.1:{other.port}/console/api/login", "/console/api/login-here"):
        with serving(sending_away(location, status)) as server, session_at(server) as session:
            with pytest.raises(SourceRefusedError):
                session.post("/console/api/login", {"password": credentials.PASSWORD})
            assert len(server.asked) == 1


ROBOTS: dict[str, Callable[[SecretStr], WebhookChannel | DingTalkChannel | WeChatChannel | FeishuChannel]] = {
    "dingtalk": lambda url: DingTalkChannel(url, SecretStr("planted-secret")),
    "wechat": WeChatChannel,
    "feishu": lambda url: FeishuChannel(url, SecretStr("planted-secret")),
    "webhook": lambda url: WebhookChannel(url, SecretStr("planted-secret")),
}
MESSAGE = Message(message_id="m", subject="s", body="b")


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("robot", ROBOTS)
def test_a_message_goes_to_no_other_address(other: Loopback, robot: str, status: int) -> None:
    """Its address holds a key, and it is signed: neither is taken elsewhere, nor to another path."""
    for location in (f"http://127.0.0.1:{other.port}/in", "/elsewhere"):
        with serving(sending_away(location, status)) as server:
            channel = ROBOTS[robot](SecretStr(f"{server.url}/hook/planted?access_token=planted"))
            with pytest.raises((MessageRefusedError, ChannelBusyError)):
                channel.send(MESSAGE)
            assert len(server.asked) == 1


@pytest.mark.parametrize("status", STATUSES)
def test_cozes_token_goes_to_no_other_address(other: Loopback, status: int) -> None:
    """A workflow is run where the settings say, or not at all."""
    with serving(sending_away(f"http://127.0.0.1:{other.port}/v1", status)) as server:
        run = CozeClient(server.url, SecretStr(SECRETS["COZE_API_TOKEN"])).prepare(WorkflowOrder("w", {}))
        with pytest.raises(SourceRefusedError):
            run.open()
        assert len(server.asked) == 1


def test_a_netrc_gives_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What requests would find in the home folder takes the place of no key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password planted-netrc\n", "utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(lambda _: reply({"data": [], "code": 0})) as server:
        with session_at(server) as session:
            session.get(PATH, headers=KEY)
        WebhookChannel(SecretStr(f"{server.url}/hook")).send(MESSAGE)
    assert [asked.headers.get("authorization") for asked in server.asked] == [KEY["Authorization"], None]
