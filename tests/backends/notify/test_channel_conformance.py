"""What every registered channel must do, whatever it speaks."""

import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from email.message import EmailMessage
from socket import create_server
from typing import Any

import pytest
from bots import KEY, SECRET, Answer, Bot, DingTalkBot, FeishuBot, Receiver, WeChatBot, running
from mail_servers import PASSWORD, USER, Mailbox, mail_server, scripted_mail_server
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, FlowledgerError, MessageRefusedError
from flowledger.notify import posting
from flowledger.notify.dingtalk import DingTalkChannel
from flowledger.notify.email import EmailChannel
from flowledger.notify.feishu import FeishuChannel
from flowledger.notify.webhook import WebhookChannel
from flowledger.notify.wechat import WeChatChannel
from flowledger.plugins import CHANNELS, load
from flowledger.ports import Channel

DEADLINE_S = 0.4
MEAN = (
    '| `code` <script>alert(1)</script> <at user_id="all"></at> @all [x](http://example.com)'
    " \u202eabc \x00 \ud800 😀"
)
MESSAGE = Message(message_id="notice-1", subject="报告 ready 😀", body="第一行\n\n- second line")

Told = Callable[[], str]
"""Gives all that has arrived, as one text."""
World = AbstractContextManager[tuple[Channel, Told]]


def _of_bot(kind: type[Bot], fault: Answer | None = None) -> Callable[[], AbstractContextManager[Bot]]:
    return lambda: running(kind(fault=fault))


def _channel(name: str, address: str) -> Channel:
    webhook, secret = SecretStr(address), SecretStr(SECRET)
    made: dict[str, Callable[[], Channel]] = {
        "dingtalk": lambda: DingTalkChannel(webhook, secret, at=("all",)),
        "wechat": lambda: WeChatChannel(webhook, at=("all",)),
        "feishu": lambda: FeishuChannel(webhook, secret, at=("all",)),
        "webhook": lambda: WebhookChannel(webhook, secret),
    }
    return made[name]()


def _mail(port: int, host: str = "127.0.0.1") -> EmailChannel:
    return EmailChannel(
        host,
        to=("someone@example.com",),
        port=port,
        user=USER,
        password=SecretStr(PASSWORD),
        security="none",
        insecure_login=True,
        timeout_s=DEADLINE_S,
    )


BOTS: dict[str, type[Bot]] = {
    "dingtalk": DingTalkBot,
    "wechat": WeChatBot,
    "feishu": FeishuBot,
    "webhook": Receiver,
}
HTML = b"<!DOCTYPE html><html><body>Please log in to the proxy</body></html>"
BOT_FAULTS = {
    "refusal": {
        "dingtalk": Answer({"errcode": 300001, "errmsg": f"no such token {KEY}"}),
        "wechat": Answer({"errcode": 93000, "errmsg": f"invalid webhook url {KEY}"}),
        "feishu": Answer({"code": 19001, "msg": f"invalid token {KEY}"}),
        "webhook": Answer(f"Cannot POST /hook/{KEY}".encode(), status=404),
    },
    "busy": dict.fromkeys(BOTS, Answer(HTML, status=500)),
    "garbage": dict.fromkeys(BOTS, Answer(HTML, status=502)) | dict.fromkeys(list(BOTS)[:3], Answer(HTML)),
    "hang": dict.fromkeys(BOTS, Answer(b"", hang=True)),
    "drip": dict.fromkeys(BOTS, Answer(b"", drip=True)),
    "flood": dict.fromkeys(BOTS, Answer(b" " * 200_000)),
}
MAIL_FAULTS: dict[str, Any] = {
    "refusal": {"EHLO": "250-example\r\n250 AUTH PLAIN", "AUTH": f"535 wrong password {PASSWORD}"},
    "busy": {"EHLO": "250-example\r\n250 AUTH PLAIN", "AUTH": "235 in", "MAIL": "451 later"},
    "garbage": {"": "<!DOCTYPE html>"},
}


@contextmanager
def working(name: str) -> Iterator[tuple[Channel, Told]]:
    """Give a channel of a type and what tells what has arrived through it."""
    if name == "email":
        mailbox = Mailbox()
        with mail_server(mailbox, auth_require_tls=False) as port:
            yield _mail(port), lambda: "\n".join(map(_read, mailbox.mails))
        return
    with running(BOTS[name]()) as bot:
        yield _channel(name, bot.address), lambda: "\n".join(map(_texts, bot.accepted))


def _read(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return f"{mail['Subject']}\n{body.get_content() if body else ''}"


def _texts(values: Any) -> str:
    """Give all texts inside of values."""
    if isinstance(values, dict):
        return "\n".join(map(_texts, values.values()))
    return "\n".join(map(_texts, values)) if isinstance(values, list) else str(values)


@contextmanager
def failing(name: str, fault: str) -> Iterator[Channel]:
    """Give a channel of a type whose server does wrong."""
    if name == "email":
        with scripted_mail_server(MAIL_FAULTS.get(fault, {}), _DRIPS.get(fault)) as port:
            yield _mail(port)
        return
    with running(BOTS[name](fault=BOT_FAULTS[fault][name])) as bot:
        yield _channel(name, bot.address)


def _drip(connection: socket.socket, stopped: Any) -> None:
    while not stopped.wait(0.02):
        connection.sendall(b"2")


def _flood(connection: socket.socket, stopped: Any) -> None:
    connection.sendall(b"220-" + b"x" * 200_000 + b"\r\n")
    stopped.wait(10)


_DRIPS: dict[str, Callable[[socket.socket, Any], None]] = {
    "hang": lambda _, stopped: stopped.wait(10),
    "drip": _drip,
    "flood": _flood,
}


def failure_of(channel: Channel, message: Message = MESSAGE) -> FlowledgerError:
    """Give the error of a message that does not get through."""
    with pytest.raises((ChannelBusyError, MessageRefusedError)) as caught:
        channel.send(message)
    return caught.value


def shows_nothing(error: FlowledgerError) -> bool:
    """Whether no secret is in an error, its chain or what a traceback shows of it."""
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    return not any(each in told for each in (KEY, SECRET, PASSWORD))


@pytest.fixture(autouse=True)
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing longer than a moment."""
    monkeypatch.setattr(posting, "DEADLINE_S", DEADLINE_S)


every_channel = pytest.mark.parametrize("name", list(CHANNELS))


def test_each_has_a_server_here() -> None:
    """Every registered channel is tried in this file."""
    assert set(CHANNELS) == {*BOTS, "email"}


@every_channel
def test_delivers(name: str) -> None:
    """A message arrives with subject and body."""
    with working(name) as (channel, told):
        channel.send(MESSAGE)
        assert "第一行" in told()
        assert "second line" in told()


@every_channel
def test_carries_any_text(name: str) -> None:
    """NUL, lone surrogates, markup and emoji in subject and body do no harm to the delivery."""
    mean = Message(
        message_id="id\r\nX-Injected: 1 \ud800 é", subject=f"a\r\nBcc: x@example.com {MEAN}", body=MEAN
    )
    with working(name) as (channel, told):
        channel.send(mean)
        assert "😀" in told()


@every_channel
def test_takes_files_or_says_that_it_does_not(name: str) -> None:
    """Files given to a channel that takes none are not an error."""
    with working(name) as (channel, told):
        channel.send(MESSAGE, [("报告.csv", b"a,b\r\n1,2\r\n")] if channel.takes_files else ())
        assert "second line" in told()


@pytest.mark.fault(32)
@every_channel
@pytest.mark.parametrize("urgent", [True, False])
def test_survives_a_long_message(name: str, urgent: bool) -> None:
    """A message of a megabyte arrives, cut where the receiver has a limit."""
    long = Message(
        message_id="long", subject="长" * 3000, body='很长的一行 | with "quotes" 😀\n' * 20_000, urgent=urgent
    )
    with working(name) as (channel, told):
        channel.send(long)
        assert "很长的一行" in told()
        assert name in ("email", "webhook") or "\n…" in told()


@pytest.mark.fault(32)
@every_channel
def test_a_refusal_is_final(name: str) -> None:
    """What will never be taken raises MessageRefusedError, with a remedy."""
    with failing(name, "refusal") as channel:
        error = failure_of(channel)
    assert isinstance(error, MessageRefusedError)
    assert "check" in str(error) or "copy" in str(error)
    assert shows_nothing(error)


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (name, fault)
        for name in CHANNELS
        for fault in ("busy", "garbage", "hang", "drip", "flood")
        if name != "webhook" or fault not in ("drip", "flood")  # of a receiver only the status counts
    ],
)
def test_trouble_passes(name: str, fault: str) -> None:
    """A server that fails, babbles, hangs or dawdles raises ChannelBusyError, in time, naming the server."""
    with failing(name, fault) as channel:
        error = failure_of(channel)
    assert isinstance(error, ChannelBusyError)
    assert "127.0.0.1" in str(error)
    assert shows_nothing(error)


@every_channel
def test_nobody_listening_passes(name: str) -> None:
    """A refused connection raises ChannelBusyError."""
    with create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    channel = _mail(port) if name == "email" else _channel(name, f"http://127.0.0.1:{port}/{KEY}?key={KEY}")
    error = failure_of(channel)
    assert isinstance(error, ChannelBusyError)
    assert "no connection" in str(error)
    assert shows_nothing(error)


@every_channel
def test_an_unknown_host_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose name nobody knows raises ChannelBusyError with the name."""

    def nobody(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    host = "nowhere.example.com"
    channel = _mail(587, host) if name == "email" else _channel(name, f"https://{host}/{KEY}?key={KEY}")
    error = failure_of(channel)
    assert isinstance(error, ChannelBusyError)
    assert host in str(error)
    assert shows_nothing(error)


@every_channel
def test_shows_no_secret(name: str) -> None:
    """A channel's repr hides address, secret and password."""
    channel = _mail(25) if name == "email" else _channel(name, f"https://example.com/{KEY}")
    assert not any(each in repr(channel) for each in (KEY, SECRET, PASSWORD))


@every_channel
def test_is_a_value(name: str) -> None:
    """A channel is a frozen dataclass whose fields are its options, and nothing else."""
    kind = load("channel", name)
    assert kind.__dataclass_params__.frozen
    assert {each.name for each in fields(kind)} == set(kind.__slots__)
