"""DingTalk: signature, codes inside of HTTP 200, size, mentions."""

import time

import pytest
from bots import SECRET, Answer, DingTalkBot, running
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, MessageRefusedError
from flowledger.notify.chat_bots import RateLimit, RateLimiter
from flowledger.notify.dingtalk import MAX_BYTES, DingTalkChannel

CALM = Message(message_id="1", subject="Daily report", body="- 12 runs")
URGENT = Message(message_id="2", subject="Failed", body="- 3 runs failed", urgent=True)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the counting to the robot."""
    monkeypatch.setattr(DingTalkChannel, "limiter", RateLimiter([RateLimit(1000, 60)]))


def channel_of(bot: DingTalkBot, secret: str | None = SECRET, at: tuple[str, ...] = ()) -> DingTalkChannel:
    """Give a channel to a robot."""
    return DingTalkChannel(SecretStr(bot.address), SecretStr(secret) if secret else None, at)


def test_signs_the_address_once_encoded() -> None:
    """The robot finds its signature after decoding once, for many times of which some need encoding."""
    with running(DingTalkBot()) as bot:
        for _ in range(12):
            channel_of(bot).send(CALM)
        assert len(bot.accepted) == 12
        assert all("%25" not in asked.raw_query for asked in bot.asked)


def test_needs_no_signature_where_there_is_no_secret() -> None:
    """A robot secured by keywords gets the bare address."""
    with running(DingTalkBot(secret=None)) as bot:
        channel_of(bot, secret=None).send(CALM)
        assert set(bot.asked[0].query) == {"access_token"}


@pytest.mark.parametrize("skew_s", [-7200, 7200])
def test_a_clock_that_is_off_is_refused_with_the_hint(skew_s: int) -> None:
    """A signature that is two hours off is refused, and the error names clock, secret and keywords."""
    with (
        running(DingTalkBot(clock=lambda: time.time() + skew_s)) as bot,
        pytest.raises(MessageRefusedError, match=r"310000.*secret.*keywords.*clock"),
    ):
        channel_of(bot).send(CALM)


def test_a_wrong_secret_is_refused() -> None:
    """HTTP 200 with errcode 310000 is no success."""
    with running(DingTalkBot()) as bot, pytest.raises(MessageRefusedError, match="310000"):
        channel_of(bot, secret="another").send(CALM)


@pytest.mark.fault(32)
def test_too_many_wait_ten_minutes_and_are_not_asked_meanwhile() -> None:
    """After errcode 130101 the robot is left alone for the ten minutes of its mute."""
    with running(DingTalkBot()) as bot:
        channel = channel_of(bot)
        for _ in range(20):
            channel.send(CALM)
        with pytest.raises(ChannelBusyError, match="130101") as caught:
            channel.send(CALM)
        assert caught.value.retry_after_s == 600
        with pytest.raises(ChannelBusyError) as again:
            channel.send(CALM)
        assert again.value.retry_after_s == pytest.approx(600, abs=5)
        assert len(bot.asked) == 21


@pytest.mark.fault(32)
def test_fills_the_limit_and_no_more() -> None:
    """A long body is cut so that the whole request just fits."""
    with running(DingTalkBot()) as bot:
        body = '一行 "quoted" \\ text\n' * 3000
        channel_of(bot, at=("13000000000",)).send(
            Message(message_id="1", subject="s", body=body, urgent=True)
        )
        assert MAX_BYTES - 100 < len(bot.asked[0].body) <= MAX_BYTES
        assert bot.accepted[0]["markdown"]["text"].endswith("text\n…\n\n@13000000000")


def test_an_urgent_message_mentions_by_number_in_the_text_too() -> None:
    """Numbers stand in ``at`` and in the text, as DingTalk needs it; ``all`` only in ``at``."""
    with running(DingTalkBot()) as bot:
        channel_of(bot, at=("13000000000", "all")).send(URGENT)
        assert bot.accepted[0]["at"] == {"atMobiles": ["13000000000"], "isAtAll": True}
        assert bot.accepted[0]["markdown"]["text"] == "- 3 runs failed\n\n@13000000000"


def test_a_calm_message_mentions_nobody() -> None:
    """Good news wakes nobody up."""
    with running(DingTalkBot()) as bot:
        channel_of(bot, at=("13000000000", "all")).send(CALM)
        assert bot.accepted[0]["at"] == {"atMobiles": [], "isAtAll": False}
        assert bot.accepted[0]["markdown"] == {"title": "Daily report", "text": "- 12 runs"}


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    "answer",
    [
        Answer({"errcode": -1, "errmsg": "system busy"}),
        Answer({"errcode": 0, "errmsg": "ok"}, status=503),
        Answer({"errmsg": "ok"}),
        Answer({"errcode": "0"}, status=201),
        Answer([0]),
        Answer(b"[" * 60_000),
    ],
)
def test_only_http_200_with_errcode_0_is_a_success(answer: Answer) -> None:
    """Whatever else looks like an answer leaves the message waiting."""
    with running(DingTalkBot(fault=answer)) as bot, pytest.raises(ChannelBusyError):
        channel_of(bot).send(CALM)


@pytest.mark.parametrize(("status", "kind"), [(301, MessageRefusedError), (302, ChannelBusyError)])
def test_follows_no_redirection(status: int, kind: type[Exception]) -> None:
    """The key is not carried to another address; a log-in page between us and the robot may pass."""
    with running(DingTalkBot()) as other, running(DingTalkBot()) as bot:
        bot.fault = Answer(b"", status=status, headers={"Location": other.address})
        with pytest.raises(kind, match=str(status)):
            channel_of(bot).send(CALM)
        assert other.asked == []
