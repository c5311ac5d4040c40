"""What a simulated Coze does when a workflow is run: a list of steps, and what it answers with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

EVENT_STREAM = "text/event-stream"
TOKENS = {"input_count": 50, "output_count": 100, "token_count": 150}
DEBUG_URL = "https://www.coze.example/work_flow?execute_id=1"


class Act(Enum):
    """What is no event: nothing until the client leaves, or the connection cut without an end."""

    SILENCE = "silence"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Told:
    """One event; its number in the stream is given when it is sent."""

    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait, in seconds."""

    seconds: float


Step = Told | Pause | Act | bytes
"""``bytes`` go out as they are."""


@dataclass(frozen=True, slots=True)
class Script:
    """One way to answer; what it sends goes in pieces of ``piece_bytes``, 0 for each step in one."""

    steps: Sequence[Step] = ()
    status: int = 200
    content_type: str = EVENT_STREAM
    headers: dict[str, str] = field(default_factory=dict)
    piece_bytes: int = 0
    wait_before_answer_s: float = 0.0


def message(
    content: str, *, title: str = "Output", number: int = 0, is_last: bool = False, **more: Any
) -> Told:
    """Make a piece of what a node says."""
    data = {
        "content": content,
        "content_type": "text",
        "node_title": title,
        "node_seq_id": str(number),
        "node_is_finish": is_last,
        **more,
    }
    return Told("Message", data)


def spoken(text: str, *, title: str = "Output", pieces: int = 3) -> list[Told]:
    """Make what a node says, cut into pieces."""
    size = max(1, -(-len(text) // pieces))
    cut = [text[at : at + size] for at in range(0, len(text), size)]
    return [
        message(each, title=title, number=number, is_last=number == len(cut) - 1)
        for number, each in enumerate(cut)
    ]


def end_node(output: str) -> Told:
    """Make the message of the end node, which tells the tokens."""
    content = json.dumps({"output": output}, ensure_ascii=False)
    return message(content, title="End", is_last=True, usage=TOKENS)


def done() -> Told:
    """Make the last event of a run that went well."""
    return Told("Done", {"debug_url": DEBUG_URL})


def failed(code: int = 4000, text: str = "Request parameter error") -> Told:
    """Make the event of a run that fails."""
    return Told("Error", {"error_code": code, "error_message": text})


def interrupted(event_id: str = "7404830425073352713/2769808280134765896") -> Told:
    """Make the event of a run that waits for an answer."""
    asked = {"data": "", "event_id": event_id, "type": 2}
    return Told("Interrupt", {"interrupt_data": asked, "node_title": "Question"})


def ping() -> Told:
    """Make a sign of life."""
    return Told("PING", {})


def refused(code: int, text: str, status: int = 200) -> Script:
    """Answer with an error in place of events, as Coze does with status 200 too."""
    body = json.dumps({"code": code, "msg": text, "detail": {"logid": "simulated"}}).encode()
    return Script((body,), status, "application/json")


GOOD = Script((*spoken("Why did the ruler go to the cinema?"), ping(), end_node("It was long."), done()))
"""What every workflow does that has no script of its own."""
