"""NOTIFY: a message to people through a channel of the settings."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from flowledger.domain.messages import Message, OutboxMessage
from flowledger.domain.runs import Json
from flowledger.domain.texts import mend
from flowledger.errors import UsageError
from flowledger.io.json_text import dumps_strict
from flowledger.io.own_thread import OwnThreads
from flowledger.nodes.options import FLAG, OBJECT, TEXT, Schema, handled
from flowledger.workflow_ports import NodeAnswer, NodeCall

AT_ONCE = 8
_PLACE = re.compile(r"\{(\w+)\}")

Post = Callable[[str, Message], OutboxMessage | None]
"""Stores a message for a channel and tries to send it; None where notifications are off."""


def no_channels(channel: str, _: Message) -> OutboxMessage | None:
    """Refuse every channel.

    :raises UsageError: always.
    """
    raise UsageError(f"there is no channel {channel!r:.80}")


@dataclass(frozen=True)
class NotifyNode:
    """Sends ``template``, with ``variables`` in the place of their ``{names}``: delivered, or waiting."""

    config_schema: ClassVar[Schema] = handled(
        "channel", channel=TEXT, subject=TEXT, template=TEXT, variables=OBJECT, urgent=FLAG
    )
    post: Post = no_channels
    threads: OwnThreads = field(default_factory=lambda: OwnThreads("notify", AT_ONCE))

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Post the message; a step that is tried again posts the same one, which is sent once."""
        channel = str(call.config.get("channel") or "")
        message = message_of(call)
        letter = await self.threads.run(lambda: self.post(channel, message))
        if letter is not None and letter.given_up:
            return NodeAnswer(error=letter.problem, error_type="MessageRefused")
        status = "off" if letter is None else "waiting" if letter.sent_at is None else "delivered"
        return NodeAnswer({"status": status, "channel": channel, "message_id": message.message_id})


def message_of(call: NodeCall) -> Message:
    """Return the message that a config describes; without a template it lists the variables."""
    given = call.config.get("variables")
    variables: Mapping[str, Json] = given if isinstance(given, Mapping) else {}
    template = call.config.get("template")
    if template is None:
        body = "\n".join(f"{name}: {_text(value)}" for name, value in variables.items())
    else:
        body = _PLACE.sub(
            lambda place: _text(variables[place[1]]) if place[1] in variables else place[0], _text(template)
        )
    return Message(
        message_id=call.idempotency_key,
        subject=_text(call.config.get("subject")) or call.name,
        body=body,
        urgent=call.config.get("urgent") is True,
        data={
            "occasion": "workflow",
            "workflow_id": call.execution.workflow_id,
            "execution_id": call.execution.execution_id,
            "step": call.key,
            "variables": dict(variables),
        },
    )


def _text(value: Json) -> str:
    if value is None or isinstance(value, str):
        return mend(value or "")
    return dumps_strict(value).decode()
