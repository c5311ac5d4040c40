"""What becomes of a Coze execution (source ``coze``): decided here, kept by whoever asks.

The record has the fields of ``created`` in their order; times are milliseconds since 1970.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from flowledger.domain.executions import Record, same_json
from flowledger.domain.record_checks import (
    RecordLimits,
    check_json,
    check_size,
    checked_id,
    checked_word,
    kind_of,
    shortened,
)
from flowledger.domain.record_kinds import raw_of
from flowledger.domain.runs import Json
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


def created(given: Mapping[str, Json], at: datetime, limits: RecordLimits) -> Record:
    """Make the record of an execution that begins; ``given`` are its fields, None for those not known.

    :raises UsageError: when something is wrong with it.
    """
    now = milliseconds(at)
    record: Record = {
        "execute_id": checked_id("execute_id", given.get("execute_id")),
        "workflow_id": checked_id("workflow_id", given.get("workflow_id")),
        "create_time": now,
        "update_time": now,
        "execute_status": RUNNING,
        "error_code": None,
        "error_message": None,
        "output": None,
        "input_parameters": given.get("input_parameters"),
        "bot_id": given.get("bot_id"),
        "conversation_id": given.get("conversation_id"),
        "debug_url": None,
        "run_mode": given.get("run_mode", 0),
        "usage": None,
        "metadata": given.get("metadata"),
        "connector_id": given.get("connector_id"),
        "connector_uid": given.get("connector_uid"),
        "is_output_trimmed": False,
        "node_execute_status": None,
    }
    for name in ("input_parameters", "metadata"):
        record[name] = {} if record[name] is None else record[name]
    return _fitting(_checked(record, limits), limits)


def begun(held: Record | None, fresh: Record) -> Record:
    """Give the record that is kept of a beginning: the held one where it is the same said again.

    :raises RecordConflictError: when another execution has that id.
    """
    if held is None:
        return fresh
    told = (
        "input_parameters",
        "bot_id",
        "conversation_id",
        "run_mode",
        "metadata",
        "connector_id",
        "connector_uid",
    )
    different = [name for name in told if not same_json(held.get(name), fresh[name])]
    if different:
        raise RecordConflictError(
            f"the workflow {fresh['workflow_id']} has an execution {fresh['execute_id']} already, with other"
            f" {', '.join(different)}: record this one with an id of its own"
        )
    return held


def changed(held: Record, changes: Mapping[str, Json], at: datetime, limits: RecordLimits) -> Record:
    """Give a record with some of its fields changed; without any it stays as it is.

    :raises UsageError: when something is wrong; RecordConflictError: when it has ended with another status.
    """
    if not changes:
        return held
    record = _checked({**held, **changes}, limits)
    before = held["execute_status"]
    if before != RUNNING and record["execute_status"] != before:
        raise RecordConflictError(
            f"the execution {held['execute_id']} of {held['workflow_id']} has ended as {before!r} and cannot"
            f" become {record['execute_status']!r}"
        )
    record["update_time"] = max(milliseconds(at), int(held["update_time"]))
    return _fitting(record, limits)


def milliseconds(at: datetime) -> int:
    """Give an instant as whole milliseconds since 1970."""
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _checked(record: Record, limits: RecordLimits) -> Record:
    check_json("the execution", record, limits)
    status = record["execute_status"]
    if status not in STATUSES:
        raise UsageError(f"unknown execute_status {shortened(status)}: one of {', '.join(STATUSES)}")
    mode = record["run_mode"]
    if type(mode) is not int or mode not in RUN_MODES:
        modes = ", ".join(f"{number} ({name})" for number, name in RUN_MODES.items())
        raise UsageError(f"run_mode must be one of {modes}")
    for name in ("bot_id", "conversation_id", "connector_id", "connector_uid"):
        if record[name] is not None:
            checked_word(name, record[name])
    for name, kinds, words in _KINDS:
        if not isinstance(record[name], kinds) or (isinstance(record[name], bool) and bool not in kinds):
            raise UsageError(f"{name} must be {words}, not {kind_of(record[name])}")
    return record


def _fitting(record: Record, limits: RecordLimits) -> Record:
    check_size(f"the execution {record['execute_id']}", raw_of(record), limits)
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
