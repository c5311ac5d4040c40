"""Messages through a bot of a WeCom (企业微信) group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

from loguru import logger
from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.errors import ChannelBusyError, MessageRefusedError
from flowledger.http.session import form_of
from flowledger.notify.chat_bots import ChatBot, Dialect, RateLimit, RateLimiter
from flowledger.notify.escaping import cut
from flowledger.notify.posting import post

MARKDOWN_BYTES = 4096
TEXT_BYTES = 2048
FILE_BYTES = range(6, 20 * 2**20 + 1)
UPLOAD_DEADLINE_S = 120.0
EVERYBODY = "all"
_REFUSED_ADDRESS = "the key of the webhook is not known: copy the address anew"

DIALECT = Dialect(
    maker="WeCom",
    code="errcode",
    words="errmsg",
    busy={45009: 60.0, 45033: 60.0, -1: 60.0},
    muting=frozenset({45009}),
    hints={
        40058: "a part of the message is missing, wrong or too long: check the template",
        93000: _REFUSED_ADDRESS,
        40001: _REFUSED_ADDRESS,
        93004: "the robot is switched off: switch it on in the group's settings",
        93008: "the robot is not in the group any more: add it again",
        44004: "the message is empty: check the template",
    },
)


@dataclass(frozen=True, slots=True)
class WeChatChannel:
    """Sends Markdown and files to a WeCom group; ``at`` are mobile numbers, user ids, or the word ``all``."""

    webhook: SecretStr
    at: tuple[str, ...] = ()

    limiter: ClassVar[RateLimiter] = RateLimiter([RateLimit(20, 60)])

    @property
    def takes_files(self) -> bool:
        """Files of 6 bytes to 20 MiB."""
        return True

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:
        """Deliver one message, cut to what WeCom takes; an urgent one is followed by a mention of people.

        Files are uploaded before the message and posted after it.  Once the message itself is accepted a
        failure is only logged: an error would send all of it again.

        :raises ChannelBusyError: when trying later may help; MessageRefusedError: when it will not.
        """
        bot = ChatBot(DIALECT, self.limiter, self.webhook.get_secret_value())
        mention = self._mention(message)
        fitting = [(name, content) for name, content in files if _fits(name, content)]
        # Each file takes two requests: its upload, and the message that posts it.
        bot.reserve(1 + len(mention) + 2 * len(fitting))
        uploaded = [media for name, content in fitting if (media := _upload(bot, name, content))]
        bot.send(bot.webhook, _markdown(message))
        for payload in [*mention, *({"msgtype": "file", "file": {"media_id": media}} for media in uploaded)]:
            _send_more(bot, payload)

    def _mention(self, message: Message) -> list[dict[str, Any]]:
        """Return the text message that mentions people, which WeCom's Markdown cannot."""
        if not (message.urgent and self.at):
            return []
        people = ["@all" if each == EVERYBODY else each for each in self.at]
        text = {
            "content": cut(message.subject, TEXT_BYTES),
            "mentioned_list": [each for each in people if not each.isdigit()],
            "mentioned_mobile_list": [each for each in people if each.isdigit()],
        }
        return [{"msgtype": "text", "text": text}]


def _markdown(message: Message) -> dict[str, Any]:
    return {
        "msgtype": "markdown",
        "markdown": {"content": cut(message.body or message.subject, MARKDOWN_BYTES)},
    }


def _fits(name: str, content: bytes) -> bool:
    fits = len(content) in FILE_BYTES
    if not fits:
        logger.warning("{} is not sent to WeCom, which takes files of 6 bytes to 20 MiB", name)
    return fits


def _upload(bot: ChatBot, name: str, content: bytes) -> str:
    """Upload a file and return its media id; empty where WeCom refuses it: the message goes without."""
    body, kind = form_of("media", name, content)
    reply = post(_upload_address(bot.webhook), body, {"Content-Type": kind}, deadline_s=UPLOAD_DEADLINE_S)
    try:
        return str(bot.accepted(reply).get("media_id") or "")
    except MessageRefusedError as error:
        logger.warning("{} is not sent to WeCom: {}", name, error)
        return ""


def _upload_address(webhook: str) -> str:
    parts = urlsplit(webhook)
    path = f"{parts.path.rpartition('/')[0]}/upload_media"
    return urlunsplit(parts._replace(path=path, query=f"{parts.query}&type=file"))


def _send_more(bot: ChatBot, payload: dict[str, Any]) -> None:
    try:
        bot.send(bot.webhook, payload)
    except (ChannelBusyError, MessageRefusedError) as error:
        logger.warning("the message is delivered, but not the {} after it: {}", payload["msgtype"], error)
