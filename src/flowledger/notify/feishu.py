"""Messages through a custom bot of a Feishu (飞书, Lark) group."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import SecretStr

from flowledger.domain.messages import Message
from flowledger.domain.texts import clip
from flowledger.notify.chat_bots import ChatBot, Dialect, RateLimit, RateLimiter, compose, feishu_sign
from flowledger.notify.escaping import cut, json_size

MAX_BYTES = 20_000
"""Of the whole body; Feishu documents the limit as 20 KB."""
CALM, URGENT = "blue", "red"
_TITLE_CHARACTERS = 100

DIALECT = Dialect(
    maker="Feishu",
    code="code",
    words="msg",
    busy={11232: 60.0, 9499: 60.0, 99991400: 60.0},
    muting=frozenset({11232}),
    final_words=frozenset({(9499, "bad request")}),
    hints={
        19001: "the address of the webhook is not known: copy it anew",
        19021: "the signature is wrong or too old: check the secret, and this machine's clock (an hour at"
        " most)",
        19022: "this machine's address is not among those the robot allows",
        19024: "the message holds none of the robot's keywords: put one into the template or take them away",
        19002: "the message is not understood: check the template",
        9499: "the message is not understood, or too long: check the template",
        11246: "the card is not understood: check the template",
        230025: "the message is too long: shorten the template",
    },
)


@dataclass(frozen=True, slots=True)
class FeishuChannel:
    """Sends cards to a Feishu group; ``at`` are open ids or user ids of people, or the word ``all``."""

    webhook: SecretStr
    secret: SecretStr | None = None
    at: tuple[str, ...] = ()

    limiter: ClassVar[RateLimiter] = RateLimiter([RateLimit(5, 1), RateLimit(100, 60)])

    @property
    def takes_files(self) -> bool:
        """Feishu's bots take none."""
        return False

    def send(self, message: Message, files: Sequence[tuple[str, bytes]] = ()) -> None:  # noqa: ARG002  # takes none
        """Deliver one message, cut to what Feishu takes; an urgent one is red and mentions people.

        :raises ChannelBusyError: when trying later may help; MessageRefusedError: when it will not.
        """
        secret = self.secret.get_secret_value() if self.secret else ""
        bot = ChatBot(DIALECT, self.limiter, self.webhook.get_secret_value(), secret)
        payload = self._payload(message)
        bot.reserve(1)
        bot.send(bot.webhook, _signature(secret, int(time.time())) | payload)

    def _payload(self, message: Message) -> dict[str, Any]:
        ending = "\n" + "".join(f"<at id={each}></at>" for each in self._mentioned(message))
        text = {"tag": "markdown", "content": ""}
        title = clip(message.subject, _TITLE_CHARACTERS)
        payload: dict[str, Any] = {
            "msg_type": "interactive",
            "card": {
                "config": {"wide_screen_mode": True},
                "header": {
                    "title": {"tag": "plain_text", "content": title},
                    "template": URGENT if message.urgent else CALM,
                },
                "elements": [text],
            },
        }
        # Signatures of all times and secrets have the same length.
        room = MAX_BYTES - len(compose(_signature("-", 10**9) | payload)) - json_size(ending)
        text["content"] = (cut(message.body or message.subject, room, json_size) + ending).rstrip()
        return payload

    def _mentioned(self, message: Message) -> list[str]:
        """Return the ids to mention; anything else would become markup of the card."""
        ids = [each for each in self.at if each.replace("_", "").replace("-", "").isalnum()]
        return ids if message.urgent else []


def _signature(secret: str, at_s: int) -> dict[str, str]:
    return {"timestamp": str(at_s), "sign": feishu_sign(secret, at_s)} if secret else {}
