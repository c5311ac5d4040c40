"""What an answer over HTTP means for a message: accepted, later, or never."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from flowledger.errors import ChannelBusyError, MessageRefusedError
from flowledger.notify.posting import Reply

_LATER = frozenset({302, 303, 307, 408, 425, 429})
"""Besides 5xx; a temporary redirection is often a log-in page between us and the receiver."""


def check_status(reply: Reply) -> None:
    """Let a 2xx pass.

    :raises ChannelBusyError: when trying later may help, with the wait that was asked for;
        MessageRefusedError: when it will not.
    """
    status = reply.status
    if 200 <= status < 300:
        return
    if status in _LATER or status >= 500:
        raise ChannelBusyError(f"{reply.place}: HTTP {status}", retry_after_s=retry_after_s(reply))
    what = (
        "redirects elsewhere, which is not followed" if 300 <= status < 400 else "does not accept the message"
    )
    raise MessageRefusedError(f"{reply.place}: HTTP {status}: it {what}; check the channel's address and key")


def retry_after_s(reply: Reply) -> float | None:
    """Give the seconds to wait that an answer asks for, as a number or as a date; None where it does not."""
    asked = reply.headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        at = parsedate_to_datetime(asked)
    except ValueError:
        return None
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


def json_object(reply: Reply) -> Mapping[str, Any]:
    """Give the JSON object of an answer; empty where it is anything else."""
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
