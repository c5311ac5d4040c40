"""What a report is about."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo

from flowledger.domain.certificates import Certificate
from flowledger.domain.runs import Detailed, Entry
from flowledger.domain.windows import Window

LANGUAGES = ("zh", "en")


@dataclass(frozen=True, slots=True)
class Heading:
    """What is known of a report before its first row; times are shown in ``tz``.

    ``conversation_turns`` counts the runs of each conversation in the report, for an app whose runs are turns
    of conversations (a Dify chatflow); None for any other.
    """

    app_name: str
    period: str
    window: Window
    tz: tzinfo
    language: str
    generated_at: datetime
    certificate: Certificate | None = None
    notes: tuple[str, ...] = ()
    with_details: bool = True
    with_nodes: bool = True
    conversation_turns: "dict[str, int] | None" = None


def user_of(entry: Entry) -> str | None:
    """Name the user of a run: session id, else e-mail, name or id of an account, else ``sys.user_id``."""
    creator = entry.run.creator
    if creator and (name := creator.session_id or creator.email or creator.name or creator.id):
        return name
    return _input_text(entry, "sys.user_id")


def conversation_of(entry: Entry) -> str | None:
    """Name the conversation a run is a turn of; None for a run that stands alone."""
    if conversation := _input_text(entry, "sys.conversation_id"):
        return conversation
    if b'"conversation_id"' not in entry.run.raw:
        return None
    try:
        row = json.loads(entry.run.raw)
    except (
        ValueError,
        RecursionError,
    ):  # no JSON, or nested beyond what can be read
        return None
    conversation = row.get("conversation_id") if isinstance(row, dict) else None
    return conversation if isinstance(conversation, str) and conversation else None


def count_turns(entries: Iterable[Entry]) -> dict[str, int]:
    """Count the runs of each conversation (``Heading.conversation_turns``)."""
    return dict(Counter(turn_of for entry in entries if (turn_of := conversation_of(entry))))


def _input_text(entry: Entry, key: str) -> str | None:
    if not isinstance(entry.detail, Detailed) or not entry.detail.inputs:
        return None
    value = entry.detail.inputs.get(key)
    return value if isinstance(value, str) and value else None
