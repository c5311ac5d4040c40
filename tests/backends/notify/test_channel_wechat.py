"""WeCom: size in bytes, mentions by a text of their own, files handed over first."""

from dataclasses import dataclass, field

import pytest
from bots import Answer, Asked, WeChatBot, running
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, MessageRefusedError
from flowledger.notify.chat_bots import RateLimit, RateLimiter
from flowledger.notify.wechat import WeChatChannel

CALM = Message(message_id="1", subject="Daily report", body="**12** runs")
URGENT = Message(message_id="2", subject="Failed", body="3 runs failed", urgent=True)
CSV = b"id,status\r\n1,ok\r\n"


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the counting to the robot."""
    monkeypatch.setattr(WeChatChannel, "limiter", RateLimiter([RateLimit(1000, 60)]))


def channel_of(bot: WeChatBot, at: tuple[str, ...] = ()) -> WeChatChannel:
    """Give a channel to a robot."""
    return WeChatChannel(SecretStr(bot.address), at)


@pytest.mark.fault(32)
def test_a_long_message_is_cut_at_the_end_of_a_line() -> None:
    """4,096 bytes of Chinese are kept as whole lines."""
    with running(WeChatBot()) as bot:
        channel_of(bot).send(Message(message_id="1", subject="s", body="> 一二三四五\n" * 500))
        content = bot.accepted[0]["markdown"]["content"]
        assert 4000 < len(content.encode()) <= 4096
        assert content.endswith("> 一二三四五\n…")


def test_mentions_by_a_text_after_the_message() -> None:
    """Numbers, user ids and everybody are mentioned by a text, since Markdown cannot."""
    with running(WeChatBot()) as bot:
        channel_of(bot, at=("13000000000", "zhang", "all")).send(URGENT)
        markdown, text = bot.accepted
        assert markdown == {"msgtype": "markdown", "markdown": {"content": "3 runs failed"}}
        assert text["text"] == {
            "content": "Failed",
            "mentioned_list": ["zhang", "@all"],
            "mentioned_mobile_list": ["13000000000"],
        }


def test_a_calm_message_mentions_nobody() -> None:
    """Good news wakes nobody up."""
    with running(WeChatBot()) as bot:
        channel_of(bot, at=("all",)).send(CALM)
        assert [each["msgtype"] for each in bot.accepted] == ["markdown"]


def test_files_follow_the_message_under_their_names() -> None:
    """A file is handed over whole, with its Chinese name, and shown after the message."""
    with running(WeChatBot()) as bot:
        channel_of(bot).send(CALM, [("报告.csv", CSV)])
        assert bot.files == {"media-0": ("报告.csv", CSV)}
        assert [each["msgtype"] for each in bot.accepted] == ["markdown", "file"]
        assert bot.asked[0].path == "/cgi-bin/webhook/upload_media"


def test_a_file_of_a_size_that_wecom_does_not_take_stays_behind() -> None:
    """Five bytes are too few and twenty mebibytes and one too many; the message goes without."""
    with running(WeChatBot()) as bot:
        channel_of(bot).send(CALM, [("a.csv", b"12345"), ("b.csv", bytes(20 * 2**20 + 1))])
        assert len(bot.asked) == 1


@dataclass
class _Choosy(WeChatBot):
    """Answers wrongly to one kind of request."""

    kind: str = ""
    wrong: Answer = field(default_factory=lambda: Answer({"errcode": 40058, "errmsg": "no"}))

    def answer(self, asked: Asked) -> Answer:
        kind = "upload" if asked.path.endswith("upload_media") else asked.json["msgtype"]
        return self.wrong if kind == self.kind else super().answer(asked)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("upload", ["markdown", "text"]), ("file", ["markdown", "text"]), ("text", ["markdown", "file"])],
)
def test_a_delivered_message_is_not_sent_twice_for_what_belongs_to_it(kind: str, shown: list[str]) -> None:
    """A refused file or mention is told in the log only, for an error would bring the message again."""
    with running(_Choosy(kind=kind)) as bot:
        channel_of(bot, at=("all",)).send(URGENT, [("a.csv", CSV)])
        assert [each["msgtype"] for each in bot.accepted] == shown


def test_a_busy_upload_leaves_all_waiting() -> None:
    """Where files cannot be handed over now nothing has been shown yet, so all of it waits."""
    with running(_Choosy(kind="upload", wrong=Answer({"errcode": 45009, "errmsg": "later"}))) as bot:
        with pytest.raises(ChannelBusyError, match="45009") as caught:
            channel_of(bot).send(CALM, [("a.csv", CSV)])
        assert caught.value.retry_after_s == 60
        assert bot.accepted == []


def test_reserves_room_for_the_whole_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message with a mention is not begun where there is room for one request only."""
    monkeypatch.setattr(WeChatChannel, "limiter", RateLimiter([RateLimit(2, 60)]))
    with running(WeChatBot()) as bot:
        channel = channel_of(bot, at=("all",))
        channel.send(CALM)
        with pytest.raises(ChannelBusyError):
            channel.send(URGENT)
        assert len(bot.asked) == 1


def test_too_many_are_busy() -> None:
    """The 21st message within a minute gets errcode 45009 with HTTP 200, and waits."""
    with running(WeChatBot()) as bot:
        channel = channel_of(bot)
        for _ in range(20):
            channel.send(CALM)
        with pytest.raises(ChannelBusyError, match="45009"):
            channel.send(CALM)


def test_a_message_that_is_not_understood_is_refused() -> None:
    """Errcode 40058 comes with HTTP 200 and is final."""
    with (
        running(WeChatBot(fault=Answer({"errcode": 40058, "errmsg": "exceed max length"}))) as bot,
        pytest.raises(MessageRefusedError, match=r"40058 \(exceed max length\).*template"),
    ):
        channel_of(bot).send(CALM)
