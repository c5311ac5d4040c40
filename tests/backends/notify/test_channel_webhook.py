"""Webhook: values, signature, idempotency, statuses."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from bots import SECRET, Answer, Receiver, running
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, MessageRefusedError
from flowledger.notify.webhook import WebhookChannel

MESSAGE = Message(message_id="notice-1", subject="报告", body="12 runs", data={"runs": 12, "app": "客服"})


def channel_of(bot: Receiver, secret: str | None = SECRET) -> WebhookChannel:
    """Give a channel to a receiver."""
    return WebhookChannel(SecretStr(bot.address), SecretStr(secret) if secret else None)


def test_sends_values_that_the_receiver_can_prove() -> None:
    """Data, subject and body arrive as JSON under a signature that holds, with the message's id."""
    with running(Receiver()) as bot:
        channel_of(bot).send(MESSAGE)
        assert bot.accepted == [{"runs": 12, "app": "客服", "subject": "报告", "body": "12 runs"}]
        assert bot.asked[0].headers["idempotency-key"] == "notice-1"
        assert bot.asked[0].headers["content-type"] == "application/json; charset=utf-8"


def test_without_a_secret_there_is_no_signature() -> None:
    """The time is told, and nothing pretends to be signed."""
    with running(Receiver(secret=None)) as bot:
        channel_of(bot, secret=None).send(MESSAGE)
        assert "x-flowledger-signature" not in bot.asked[0].headers
        assert bot.asked[0].headers["x-flowledger-timestamp"].isdigit()


@pytest.mark.parametrize("bot", [Receiver(secret="another"), Receiver(clock=lambda: time.time() + 7200)])
def test_a_wrong_secret_or_clock_is_refused(bot: Receiver) -> None:
    """401 is final."""
    with running(bot), pytest.raises(MessageRefusedError, match="HTTP 401"):
        channel_of(bot).send(MESSAGE)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_accepts(status: int) -> None:
    """Any 2xx is a success, whatever else is said."""
    with running(Receiver(fault=Answer(b"", status=status))) as bot:
        channel_of(bot).send(MESSAGE)


@pytest.mark.parametrize("answer", [Answer(b"", drip=True), Answer(b" " * 200_000)])
def test_the_answers_body_is_not_waited_for(answer: Answer) -> None:
    """Of a receiver only the status counts: a message it accepted is not sent again for what it babbles."""
    with running(Receiver(fault=answer)) as bot:
        channel_of(bot).send(MESSAGE)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 302])
def test_passing_statuses_leave_it_waiting(status: int) -> None:
    """Statuses that pass raise ChannelBusyError, without a wait where none is asked for."""
    with running(Receiver(fault=Answer(b"", status=status))) as bot:
        with pytest.raises(ChannelBusyError, match=str(status)) as caught:
            channel_of(bot).send(MESSAGE)
        assert caught.value.retry_after_s is None


@pytest.mark.parametrize("status", [301, 308, 400, 401, 403, 404, 410, 413, 422])
def test_final_statuses_refuse(status: int) -> None:
    """Statuses that do not pass raise MessageRefusedError."""
    with (
        running(Receiver(fault=Answer(b"", status=status))) as bot,
        pytest.raises(MessageRefusedError, match=str(status)),
    ):
        channel_of(bot).send(MESSAGE)


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Sun, 01 Nov 2020 00:00:00 GMT", 0.0),
        ("-5", None),
        ("inf", None),
        ("soon", None),
        ("²", None),
    ],
)
def test_honours_retry_after(asked: str, wait: float | None) -> None:
    """The wait is read as seconds or a date; nonsense is none."""
    with running(Receiver(fault=Answer(b"", status=429, headers={"Retry-After": asked}))) as bot:
        with pytest.raises(ChannelBusyError) as caught:
            channel_of(bot).send(MESSAGE)
        assert caught.value.retry_after_s == wait


def test_honours_a_date_to_come() -> None:
    """A date in an hour is a wait of an hour."""
    at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with running(Receiver(fault=Answer(b"", status=503, headers={"Retry-After": at}))) as bot:
        with pytest.raises(ChannelBusyError) as caught:
            channel_of(bot).send(MESSAGE)
        assert caught.value.retry_after_s == pytest.approx(3600, abs=60)


@pytest.mark.parametrize(
    "url", ["", "example.com/hook", "ftp://example.com/hook", "http://", "http://[::1/x", "http://a..b/x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """An address that cannot be asked is final, and not shown."""
    with pytest.raises(MessageRefusedError, match="address") as caught:
        WebhookChannel(SecretStr(url)).send(MESSAGE)
    assert "/hook" not in str(caught.value)


def test_sends_no_credentials_of_a_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-ins that somebody keeps for other programs stay where they are."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with running(Receiver()) as bot:
        channel_of(bot).send(MESSAGE)
        assert "authorization" not in bot.asked[0].headers
