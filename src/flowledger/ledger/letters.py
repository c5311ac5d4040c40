"""What a ledger keeps of a letter, and what settling one does to the held one; pure, one rule for all."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from flowledger.domain.messages import Attachment, Letter, Message
from flowledger.errors import LedgerError


def message_values(message: Message) -> dict[str, Any]:
    """Give a message as a JSON object; nothing of it is changed."""
    values = {each.name: getattr(message, each.name) for each in fields(message)}
    values["attachments"] = [asdict(attachment) for attachment in message.attachments]
    values["data"] = dict(message.data)
    return values


def message_from(values: Mapping[str, Any]) -> Message:
    """Make the message of ``message_values`` again."""
    attachments = tuple(Attachment(**each) for each in values["attachments"])
    return Message(**{**values, "attachments": attachments})


def waits(letter: Letter) -> bool:
    """Whether a letter is still to be sent."""
    return letter.sent_at is None and not letter.given_up


def settled(held: Letter, seen: Letter) -> Letter:
    """Give the letter to keep: one that was sent stays sent, and one given up waits no more.

    A sender whose lease ended settles late what another has settled already.
    """
    if held.sent_at is not None or (held.given_up and seen.sent_at is None):
        return held
    return replace(
        held,
        tries=max(held.tries, seen.tries),
        problem=seen.problem,
        not_before=seen.not_before,
        sent_at=seen.sent_at,
        given_up=seen.given_up,
    )


def never_posted(letter: Letter) -> LedgerError:
    """Say that there is no such letter."""
    return LedgerError(f"letter {letter.letter_id!r} was never posted: post it before it is settled")
