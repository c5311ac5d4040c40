"""What becomes of a Coze execution (source ``coze``): decided here, kept by whoever asks.

The record has the fields of ``created`` in their order; times are milliseconds since 1970.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, NamedTuple

from flowledger.domain import record_checks
from flowledger.domain.executions import Record, same_json
from flowledger.domain.record_kinds import raw_of
from flowledger.domain.runs import Json
from flowledger.domain.texts import clip, mend
from flowledger.errors import RecordConflictError, UsageError

RUNNING = "running"
STATUSES = (RUNNING, "success", "failed", "interrupted")
RUN_MODES: Mapping[int, str] = {0: "sync", 1: "streaming", 2: "async"}


class NotGiven(Enum):
    """What stands for a value that was not given, since None is a value."""

    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return self.name


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


def created(fields: Mapping[str, Json], at: datetime, limits: record_checks.RecordLimits) -> Record:
    """Make the record of an execution that begins; ``given`` are its fields, None for those not known.

    :raises UsageError: when something is wrong with it.
    """
    now = milliseconds(at)
    record: Record = {
        "execute_id": record_checks.checked_id("execute_id", fields.get("execute_id")),
        "workflow_id": record_checks.checked_id("workflow_id", fields.get("workflow_id")),
        "create_time": now,
        "update_time": now,
        "execute_status": RUNNING,
        "error_code": None,
        "error_message": None,
        "output": None,
        "input_parameters": fields.get("input_parameters"),
        "bot_id": fields.get("bot_id"),
        "conversation_id": fields.get("conversation_id"),
        "debug_url": None,
        "run_mode": fields.get("run_mode", 0),
        "usage": None,
        "metadata": fields.get("metadata"),
        "connector_id": fields.get("connector_id"),
        "connector_uid": fields.get("connector_uid"),
        "is_output_trimmed": False,
        "node_execute_status": None,
    }
    for name in ("input_parameters", "metadata"):
        record[name] = {} if record[name] is None else record[name]
    return _fitting(_checked(record, limits), limits)


def begun(stored: Record | None, fresh: Record) -> Record:
    """Return the record that is kept of a beginning: the held one where it is the same said again.

    :raises RecordConflictError: when another execution has that id.
    """
    if stored is None:
        return fresh
    compared = (
        "input_parameters",
        "bot_id",
        "conversation_id",
        "run_mode",
        "metadata",
        "connector_id",
        "connector_uid",
    )
    different = [name for name in compared if not same_json(stored.get(name), fresh[name])]
    if different:
        raise RecordConflictError(
            f"the workflow {fresh['workflow_id']} has an execution {fresh['execute_id']} already, with other"
            f" {', '.join(different)}: record this one with an id of its own"
        )
    return stored


def changed(
    stored: Record, changes: Mapping[str, Json], at: datetime, limits: record_checks.RecordLimits
) -> Record:
    """Return a record with some of its fields changed; without any it stays as it is.

    :raises UsageError: when something is wrong; RecordConflictError: when it has ended with another status.
    """
    if not changes:
        return stored
    record = _checked({**stored, **changes}, limits)
    before = stored["execute_status"]
    if before != RUNNING and record["execute_status"] != before:
        raise RecordConflictError(
            f"the execution {stored['execute_id']} of {stored['workflow_id']} has ended as {before!r} and"
            f" cannot become {record['execute_status']!r}"
        )
    record["update_time"] = max(milliseconds(at), int(stored["update_time"]))
    return _fitting(record, limits)


def milliseconds(at: datetime) -> int:
    """Return an instant as whole milliseconds since 1970."""
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _checked(record: Record, limits: record_checks.RecordLimits) -> Record:
    record_checks.check_json("the execution", record, limits)
    status = record["execute_status"]
    if status not in STATUSES:
        raise UsageError(
            f"unknown execute_status {record_checks.shortened(status)}: one of {', '.join(STATUSES)}"
        )
    mode = record["run_mode"]
    if type(mode) is not int or mode not in RUN_MODES:
        modes = ", ".join(f"{number} ({name})" for number, name in RUN_MODES.items())
        raise UsageError(f"run_mode must be one of {modes}")
    for name in ("bot_id", "conversation_id", "connector_id", "connector_uid"):
        if record[name] is not None:
            record_checks.checked_word(name, record[name])
    for name, kinds, words in _KINDS:
        if not isinstance(record[name], kinds) or (isinstance(record[name], bool) and bool not in kinds):
            raise UsageError(f"{name} must be {words}, not {record_checks.kind_of(record[name])}")
    return record


def _fitting(record: Record, limits: record_checks.RecordLimits) -> Record:
    record_checks.check_size(f"the execution {record['execute_id']}", raw_of(record), limits)
    return record


_NONE = type(None)
_KINDS: tuple[tuple[str, tuple[type[Any], ...], str], ...] = (
    ("input_parameters", (dict,), "an object"),
    ("metadata", (dict,), "an object"),
    ("usage", (dict, _NONE), "an object or null"),
    ("error_code", (int, str, _NONE), "a number, a text or null"),
    ("error_message", (str, _NONE), "a text or null"),
    ("debug_url", (str, _NONE), "a text or null"),
    ("is_output_trimmed", (bool,), "true or false"),
)


MESSAGE, ERROR, DONE, INTERRUPT, PING = "Message", "Error", "Done", "Interrupt", "PING"
SUCCESS, FAILED, INTERRUPTED = "success", "failed", "interrupted"
UNNAMED = "End"
"""The name of an end node that Coze leaves without one."""
LONGEST_TITLE, LONGEST_REASON, DEEPEST = 100, 4000, 20


class CozeEvent(NamedTuple):
    """One event of a run: its word, its data, and its number in the stream, where it has one."""

    event: str
    data: Mapping[str, Json]
    number: int | None = None


@dataclass(frozen=True, slots=True)
class WorkflowOrder:
    """Which workflow is to run, with what, and for whom."""

    workflow_id: str
    parameters: Mapping[str, Json]
    bot_id: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended; ``interrupt`` is what Coze wants back where the run is to go on."""

    status: str
    error_code: int | str | None = None
    error_message: str | None = None
    interrupt: Mapping[str, Json] | None = None


CUT_SHORT = Ending(
    FAILED,
    "stream_ended",
    "Coze ended the stream without the event Done; what came before it is in the output",
)
CLIENT_GONE = Ending(
    INTERRUPTED, "client_gone", "the client went away before the end; the workflow may have run on in Coze"
)
SERVER_STOPPED = Ending(
    INTERRUPTED,
    "server_stopped",
    "Flowledger was stopped before the end; the workflow may have run on in Coze",
)
PROCESS_GONE = Ending(
    INTERRUPTED,
    "process_gone",
    "the process that recorded this run is gone; the workflow may have run on in Coze",
)


@dataclass(slots=True)
class _Message:
    """One text of one node, as far as it has come."""

    name: str
    facts: dict[str, Json]
    pieces: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Transcript:
    """What a run has told so far; of the output at most ``most_bytes`` (as JSON in UTF-8) are kept.

    The first event that ends the run decides; nothing after it counts.
    """

    most_bytes: int
    ending: Ending | None = None
    output_bytes: int = 0
    is_trimmed: bool = False
    missing_events: int = 0
    usage: Mapping[str, Json] | None = None
    debug_url: str | None = None
    _messages: list[_Message] = field(default_factory=list)
    _open: dict[str, _Message] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _next: int = 0

    def take(self, event: CozeEvent) -> Ending | None:
        """Add one event, and return how the run ended, once it has."""
        if self.ending is not None:
            return self.ending
        self._count(event.number)
        data = event.data
        if isinstance(data.get("usage"), Mapping) and data["usage"]:
            self.usage = storable(data["usage"])
        if isinstance(data.get("debug_url"), str):
            self.debug_url = storable(data["debug_url"]) or self.debug_url
        if event.event == MESSAGE:
            self._take_message(data)
        elif event.event == DONE:
            self.ending = Ending(SUCCESS)
        elif event.event == ERROR:
            self.ending = _failure(data)
        elif event.event == INTERRUPT:
            self.ending = _interruption(data)
        return self.ending

    def changes(self) -> dict[str, Any]:
        """Return the fields of the record that follow from it, those not known left out."""
        values: dict[str, Any] = {"is_output_trimmed": self.is_trimmed}
        if self._messages:
            values["output"] = {each.name: "".join(each.pieces) for each in self._messages}
            values["node_execute_status"] = {each.name: each.facts for each in self._messages}
        if self.usage is not None:
            values["usage"] = self.usage
        if self.debug_url is not None:
            values["debug_url"] = self.debug_url
        return values

    def _count(self, number: int | None) -> None:
        """Coze numbers its events from 0 on, so that a lost one shows."""
        if number is None:
            return
        self.missing_events += max(0, number - self._next)
        self._next = max(self._next, number + 1)

    def _take_message(self, data: Mapping[str, Json]) -> None:
        title = _title(data)
        key = next((str(data[name]) for name in ("node_execute_uuid", "node_id") if data.get(name)), title)
        message = self._open.get(key) or self._begin(key, title, data)
        content = data.get("content")
        text = content if isinstance(content, str) else "" if content is None else json.dumps(content)
        self._add(message, storable(text))
        if data.get("node_is_finish") is True:
            message.facts["is_finish"] = True
            del self._open[key]

    def _begin(self, key: str, title: str, data: Mapping[str, Json]) -> _Message:
        self._names[title] = number = self._names.get(title, 0) + 1
        name = title if number == 1 else f"{title} ({number})"
        facts: dict[str, Json] = {"is_finish": False}
        for fact in ("node_id", "node_execute_uuid", "node_type", "content_type"):
            value = data.get(fact)
            if isinstance(value, str) and value:
                facts[fact] = storable(clip(value, LONGEST_TITLE))
        message = self._open[key] = _Message(name, facts)
        if self._fits(len(json.dumps({name: facts}, ensure_ascii=False).encode()) * 2):
            self._messages.append(message)
        return message

    def _add(self, message: _Message, text: str) -> None:
        if text and self._fits(len(json.dumps(text, ensure_ascii=False).encode()) - 2):
            message.pieces.append(text)

    def _fits(self, size_bytes: int) -> bool:
        # Once something was left out, all that follows is: a text with holes would look whole.
        self.is_trimmed = self.is_trimmed or self.output_bytes + size_bytes > self.most_bytes
        if not self.is_trimmed:
            self.output_bytes += size_bytes
        return not self.is_trimmed


def storable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value as every ledger can keep it: no NUL, no half of a surrogate pair, not too deep."""
    match value:
        case str():
            return mend(value).replace("\0", "\u2400")
        case Mapping() if depth < DEEPEST:
            return {storable(str(name)): storable(each, depth + 1) for name, each in value.items()}
        case list() if depth < DEEPEST:
            return [storable(each, depth + 1) for each in value]
        case Mapping() | list():
            return "…"
    return value


def reason(text: str) -> str:
    """Return the reason of a failure as it is kept."""
    return storable(clip(text, LONGEST_REASON))  # type: ignore[no-any-return]


def _title(data: Mapping[str, Json]) -> str:
    title = data.get("node_title")
    text = storable(clip(title, LONGEST_TITLE)) if isinstance(title, str) else ""
    return text or UNNAMED


def _failure(data: Mapping[str, Json]) -> Ending:
    code, message = data.get("error_code"), data.get("error_message")
    message_text = message if isinstance(message, str) and message else "Coze gave no reason"
    is_code = isinstance(code, int | str) and not isinstance(code, bool)
    return Ending(FAILED, storable(code) if is_code else "error", reason(message_text))


def _interruption(data: Mapping[str, Json]) -> Ending:
    title = _title(data)
    question = data.get("interrupt_data")
    interrupt = {"node_title": title, "interrupt_data": storable(question)}
    return Ending(INTERRUPTED, None, f"the workflow waits for an answer at the node {title}", interrupt)
