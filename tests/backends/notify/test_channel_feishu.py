"""Feishu: signature in the body, cards, codes inside of HTTP 200, rate."""

import time
from itertools import repeat

import pytest
from bots import SECRET, Answer, FeishuBot, running
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, MessageRefusedError
from flowledger.notify.chat_bots import RateLimit, RateLimiter
from flowledger.notify.feishu import FeishuChannel

CALM = Message(message_id="1", subject="Daily report", body="**12** runs")
URGENT = Message(message_id="2", subject="Failed", body="3 runs failed", urgent=True)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the counting to the robot."""
    monkeypatch.setattr(FeishuChannel, "limiter", RateLimiter([RateLimit(1000, 60)]))


def channel_of(bot: FeishuBot, secret: str | None = SECRET, at: tuple[str, ...] = ()) -> FeishuChannel:
    """Give a channel to a robot."""
    return FeishuChannel(SecretStr(bot.address), SecretStr(secret) if secret else None, at)


def test_sends_a_card_coloured_by_urgency() -> None:
    """Trouble is red and mentions people, the rest is blue and mentions nobody."""
    with running(FeishuBot()) as bot:
        channel = channel_of(bot, at=("all", "ou_1", "<b>"))
        channel.send(CALM)
        channel.send(URGENT)
        calm, urgent = (each["card"] for each in bot.accepted)
        assert calm["header"] == {
            "title": {"tag": "plain_text", "content": "Daily report"},
            "template": "blue",
        }
        assert calm["elements"] == [{"tag": "markdown", "content": "**12** runs"}]
        assert urgent["header"]["template"] == "red"
        assert urgent["elements"][0]["content"] == "3 runs failed\n<at id=all></at><at id=ou_1></at>"


def test_needs_no_signature_where_there_is_no_secret() -> None:
    """A robot without signature gets none."""
    with running(FeishuBot(secret=None)) as bot:
        channel_of(bot, secret=None).send(CALM)
        assert set(bot.accepted[0]) == {"msg_type", "card"}


@pytest.mark.parametrize("skew_s", [-7200, 7200])
def test_a_clock_that_is_off_is_refused_with_the_hint(skew_s: int) -> None:
    """A signature that is two hours off is refused, and the error names clock and secret."""
    with (
        running(FeishuBot(clock=lambda: time.time() + skew_s)) as bot,
        pytest.raises(MessageRefusedError, match=r"19021.*secret.*clock"),
    ):
        channel_of(bot).send(CALM)


def test_fills_the_limit_and_no_more() -> None:
    """A long body is cut so that the whole request just fits, signature included."""
    with running(FeishuBot()) as bot:
        body = '一行 "quoted" \\ text\n' * 3000
        channel_of(bot, at=("all",)).send(Message(message_id="1", subject="s", body=body, urgent=True))
        assert 19_800 < len(bot.asked[0].body) <= 20_000
        assert bot.accepted[0]["card"]["elements"][0]["content"].endswith("text\n…\n<at id=all></at>")


def test_too_many_in_a_second_are_busy() -> None:
    """The sixth message within a second gets code 11232 with HTTP 200, and waits."""
    with running(FeishuBot(clock=repeat(time.time()).__next__)) as bot:
        channel = channel_of(bot)
        for _ in range(5):
            channel.send(CALM)
        with pytest.raises(ChannelBusyError, match="11232") as caught:
            channel.send(CALM)
        assert caught.value.retry_after_s == 60


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("words", "kind"),
    [("too many request", ChannelBusyError), ("Bad Request", MessageRefusedError)],
)
def test_9499_means_two_things(words: str, kind: type[Exception]) -> None:
    """Code 9499 is a rate or a body that is not understood, by its words."""
    with (
        running(FeishuBot(fault=Answer({"code": 9499, "msg": words, "data": {}}))) as bot,
        pytest.raises(kind, match="9499"),
    ):
        channel_of(bot).send(CALM)


def test_counts_before_the_robot_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The channel's own count keeps the sixth message of a second back."""
    monkeypatch.setattr(
        FeishuChannel, "limiter", RateLimiter([RateLimit(5, 1), RateLimit(100, 60)], clock=lambda: 7.0)
    )
    with running(FeishuBot()) as bot:
        channel = channel_of(bot)
        for _ in range(5):
            channel.send(CALM)
        with pytest.raises(ChannelBusyError) as caught:
            channel.send(CALM)
        assert caught.value.retry_after_s == 1
        assert len(bot.asked) == 5
