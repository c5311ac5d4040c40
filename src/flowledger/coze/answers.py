"""What Coze answers, read: events, and refusals as our errors.

A refusal comes as an HTTP status, or as 200 with ``{"code": …, "msg": …}`` in place of events.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from flowledger.coze.sse import ServerSentEvent
from flowledger.domain.coze_streams import CozeEvent
from flowledger.domain.texts import clip, one_line
from flowledger.errors import (
    AuthenticationError,
    FlowledgerError,
    SourceBusyError,
    SourceGarbledError,
    SourceRefusedError,
)

EVENTS = "text/event-stream"
WRONG_TOKEN = frozenset({4100, 4101, 700012006})
TOO_MANY = frozenset({4013, 4020, 4021})
SHOWN = 300


def coze_event(raw: ServerSentEvent) -> CozeEvent:
    """Read an event.

    :raises SourceGarbledError: when its data is no JSON object.
    """
    number = int(raw.id) if raw.id.isascii() and raw.id.isdecimal() and len(raw.id) < 10 else None
    if not raw.data.strip():
        return CozeEvent(raw.event, {}, number)
    data = _json(raw.data)
    if not isinstance(data, dict):
        raise SourceGarbledError(f"Coze: the data of an event {_shown(raw.event)} is no JSON object")
    return CozeEvent(raw.event, data, number)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> FlowledgerError:
    """Give the error for an answer that holds no events."""
    text = body.decode("utf-8", "replace")
    told = _json(text)
    code, msg = (told.get("code"), told.get("msg")) if isinstance(told, dict) else (None, None)
    why = f"{status}" if code is None else f"{status}, code {_shown(code)}: {_shown(msg or 'no reason')}"
    if status in (401, 403) or code in WRONG_TOKEN:
        return AuthenticationError(
            f"Coze refuses the token ({why}): see that COZE_API_TOKEN is valid and may run this workflow",
            status=status,
            body=text,
        )
    if status == 429 or status >= 500 or code in TOO_MANY:
        wait = headers.get("Retry-After", "")
        after = float(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 6 else None
        return SourceBusyError(f"Coze is busy ({why}): try later", status=status, retry_after_s=after)
    if status == 200 and code is None:
        kind = _shown(headers.get("Content-Type", "nothing named"))
        return SourceGarbledError(
            f"Coze answered {kind} instead of events: see that COZE_BASE_URL is the address of its API"
        )
    return SourceRefusedError(
        f"Coze refuses to run the workflow ({why}): see that it is published, and its parameters",
        status=status,
        body=text,
    )


def _json(text: str) -> Any:
    """Read JSON; None where it is none, as numbers that JSON does not have."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _shown(value: object) -> str:
    return clip(one_line(str(value)), SHOWN)
