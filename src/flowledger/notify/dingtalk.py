"""Messages through a custom bot of a DingTalk group."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.domain.texts import clip
from flowledger.notify.chat_bots import ChatBot, Dialect, RateLimit, RateLimiter, compose, dingtalk_address
from flowledger.notify.escaping import cut, json_size

MAX_BYTES = 20_000
"""Of the whole body."""
EVERYBODY = "all"
_TITLE_CHARACTERS = 100
_MUTED_S = 600.0
"""A bot that sends too fast is muted for ten minutes."""

DIALECT = Dialect(
    maker="DingTalk",
    code="errcode",
    words="errmsg",
    busy={130101: _MUTED_S, 410100: _MUTED_S, -1: 60.0},
    muting=frozenset({130101, 410100}),
    hints={
        310000: "a security setting of the robot refuses it: check the secret, the keywords, the allowed"
        " addresses, and this machine's clock (at most an hour off)",
        300001: "the access_token of the webhook is not known: copy the address anew",
        300005: "the access_token of the webhook is not known: copy the address anew",
        400101: "the access_token of the webhook is not known: copy the address anew",
        400102: "the robot is switched off: switch it on in the group's settings",
        400013: "the group is gone: make a robot in another one",
        460101: "the message is too long: shorten the template",
    },
)


@dataclass(frozen=True, slots=True)
class DingTalkChannel:
    """Sends Markdown to a DingTalk group; ``at`` are mobile numbers, or the word ``all``."""

    webhook: SecretStr
    secret: SecretStr | None = None
    at: tuple[str, ...] = ()

    limiter: ClassVar[RateLimiter] = RateLimiter([RateLimit(20, 60)])

    @property
    def takes_files(self) -> bool:
        """DingTalk's bots take none."""
        return False

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:  # noqa: ARG002  # takes none
        """Deliver one message, cut to what DingTalk takes; an urgent one mentions people.

        :raises ChannelBusyError: when trying later may help; MessageRefusedError: when it will not.
        """
        webhook = self.webhook.get_secret_value()
        secret = self.secret.get_secret_value() if self.secret else ""
        bot = ChatBot(DIALECT, self.limiter, webhook, secret)
        payload = self._payload(message)
        bot.reserve(1)
        # Signed last: the signature is of the time of sending, and valid for an hour.
        bot.send(dingtalk_address(webhook, secret, time.time_ns() // 10**6) if secret else webhook, payload)

    def _payload(self, message: Message) -> dict[str, Any]:
        mobiles = [each for each in self.at if each != EVERYBODY] if message.urgent else []
        # DingTalk mentions a number of ``atMobiles`` only where the text has it, too.
        ending = "\n\n" + " ".join(f"@{mobile}" for mobile in mobiles) if mobiles else ""
        title = clip(message.subject, _TITLE_CHARACTERS) or "Flowledger"
        payload: dict[str, Any] = {
            "msgtype": "markdown",
            "markdown": {"title": title, "text": ending},
            "at": {"atMobiles": mobiles, "isAtAll": message.urgent and EVERYBODY in self.at},
        }
        room = MAX_BYTES - len(compose(payload))
        payload["markdown"]["text"] = cut(message.body or message.subject, room, json_size) + ending
        return payload
