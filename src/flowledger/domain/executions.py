"""What becomes of a logged execution (source ``log``): decided here, kept by whoever asks.

An execution is a JSON object: execution_id, workflow_id, status (the caller's own word), start_time and
end_time (aware ISO 8601), context, messages, task_results, and whatever else its program tells.  ``held`` is
the execution as it is kept, ``at`` the present (aware UTC).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flowledger.domain import record_checks
from flowledger.domain.record_kinds import LOG, instant_of, raw_of, record_of, status_from_word, status_of
from flowledger.domain.runs import Detailed, Entry, Json, RunStatus
from flowledger.errors import RecordConflictError, UsageError

Record = dict[str, Any]
COMPLETED, FAILED, RUNNING = "completed", "failed", "running"
_DID_WELL = (RunStatus.SUCCESS, RunStatus.PARTIAL)
_TIMES = ("start_time", "end_time")


def logged(
    stored: Record | None, fields: Mapping[str, Json], at: datetime, limits: record_checks.RecordLimits
) -> Record:
    """Return an execution as it is after being logged: what is given takes the place of what is held.

    Of a new one ``status`` is else running, ``start_time`` the present; ``given`` has both ids.

    :raises UsageError: when something is wrong with it; RecordConflictError: when it is another workflow's.
    """
    changes = _checked(fields, limits)
    if stored is None:
        fresh = {"execution_id": "", "workflow_id": "", "status": RUNNING, "start_time": at.isoformat()}
        return _fitting({**fresh, "end_time": None, "context": {}, "messages": [], **changes}, limits)
    refuse_other_workflow(str(changes["execution_id"]), stored["workflow_id"], changes["workflow_id"])
    return _fitting(_ended({**stored, **changes}, stored, changes, at), limits)


def started(
    stored: Record | None,
    workflow_id: str,
    execution_id: str,
    context: Json,
    at: datetime,
    limits: record_checks.RecordLimits,
) -> Record:
    """Return an execution as it is after its start; one that was started just so before stays as it is.

    :raises UsageError: when something is wrong; RecordConflictError: when it was started otherwise.
    """
    fields = {"execution_id": execution_id, "workflow_id": workflow_id, "context": context}
    fresh = logged(None, fields, at, limits)
    if stored is None:
        return fresh
    refuse_other_workflow(execution_id, stored["workflow_id"], workflow_id)
    if not same_json(stored.get("context"), fresh["context"]):
        raise RecordConflictError(
            f"the execution {execution_id} of {workflow_id} was started before, with another context:"
            " start this one with an id of its own"
        )
    return stored


def updated(
    stored: Record,
    at: datetime,
    limits: record_checks.RecordLimits,
    *,
    status: object = None,
    messages: object = None,
    task_results: object = None,
) -> Record:
    """Return an execution with its new status, messages added at the end, and task results put among its own.

    :raises UsageError: when something is wrong; RecordConflictError: when it has ended with another status.
    """
    changes: Record = {}
    if status is not None:
        changes["status"] = record_checks.checked_word("status", status)
        _refuse_late(stored, changes["status"])
    if messages is not None:
        changes["messages"] = [*_list("messages", stored.get("messages")), *_list("messages", messages)]
    if task_results is not None:
        merged = {**_object("task_results", stored.get("task_results"))}
        changes["task_results"] = {**merged, **_object("task_results", task_results)}
    record_checks.check_json("the execution", changes, limits)
    return _fitting(_ended({**stored, **changes}, stored, changes, at), limits)


def completed(
    stored: Record,
    at: datetime,
    limits: record_checks.RecordLimits,
    *,
    success: object = True,
    messages: object = None,
    end_time: object = None,
) -> Record:
    """Return an execution that has ended; saying so twice changes nothing.

    :raises UsageError: when something is wrong; RecordConflictError: when it ended otherwise before.
    """
    if not isinstance(success, bool):
        raise UsageError(f"success must be true or false, not {record_checks.kind_of(success)}")
    before = _status(stored)
    if not before.is_open and (before in _DID_WELL) is not success:
        raise _ended_before(stored, COMPLETED if success else FAILED)
    existing, added = _list("messages", stored.get("messages")), _list("messages", messages)
    is_repeated = not before.is_open and existing[len(existing) - len(added) :] == added
    changes: Record = {"messages": existing if is_repeated else [*existing, *added]}
    record_checks.check_json("the execution", changes, limits)
    if before.is_open:
        changes["status"] = COMPLETED if success else FAILED
    end = record_checks.checked_time("end_time", end_time, limits.zone)
    ended = end or stored.get("end_time") or _not_before(stored.get("start_time"), at)
    return _fitting({**stored, **changes, "end_time": ended}, limits)


def execution_of(entry: Entry) -> Record:
    """Return any run as an execution; one that was logged comes back as it was given."""
    run, detail = entry.run, entry.detail
    if run.app.source == LOG:
        return record_of(run)
    return {
        "execution_id": run.run_id,
        "workflow_id": run.app.app_id,
        "status": run.source_status,
        "start_time": (run.started_at or run.listed_at).isoformat(),
        "end_time": run.finished_at.isoformat() if run.finished_at else None,
        "context": dict(detail.inputs or {}) if isinstance(detail, Detailed) else {},
        "messages": [],
        "task_results": dict(detail.outputs or {}) if isinstance(detail, Detailed) else {},
        "source": run.app.source,
    }


def refuse_other_workflow(execution_id: str, owner_id: object, workflow_id: object) -> None:
    """Let an execution belong to one workflow only.

    :raises RecordConflictError: with the names of both.
    """
    if owner_id != workflow_id:
        raise other_workflow(execution_id, owner_id, workflow_id)


def other_workflow(execution_id: str, owner_id: object, workflow_id: object) -> RecordConflictError:
    """Return the error for an execution whose id another workflow has."""
    return RecordConflictError(
        f"the execution {execution_id} belongs to the workflow {owner_id}, not to {workflow_id}:"
        " record it with an id of its own"
    )


def same_json(one: Json, other: Json) -> bool:
    """Return whether two values are the same JSON: true is not 1, and the order of keys does not matter."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _checked(fields: Mapping[str, Json], limits: record_checks.RecordLimits) -> Record:
    """Return what is told of an execution with its parts of the right kinds."""
    if not isinstance(fields, Mapping):
        raise UsageError(f"an execution must be an object, not {record_checks.kind_of(fields)}")
    times = {
        name: record_checks.checked_time(name, fields[name], limits.zone)
        for name in _TIMES
        if fields.get(name) is not None or (name == "end_time" and name in fields)
    }
    changes: Record = {**{name: value for name, value in fields.items() if name not in _TIMES}, **times}
    changes["execution_id"] = record_checks.checked_id("execution_id", changes.get("execution_id"))
    changes["workflow_id"] = record_checks.checked_id("workflow_id", changes.get("workflow_id"))
    record_checks.check_json("the execution", changes, limits)
    if "status" in changes:
        changes["status"] = (
            RUNNING if changes["status"] is None else record_checks.checked_word("status", changes["status"])
        )
    for name, kind in (("context", _object), ("messages", _list), ("task_results", _object)):
        if name in changes:
            changes[name] = kind(name, changes[name])
    return changes


def _fitting(record: Record, limits: record_checks.RecordLimits) -> Record:
    record_checks.check_size(f"the execution {record['execution_id']}", raw_of(record), limits)
    return record


def _ended(record: Record, stored: Record, changes: Record, at: datetime) -> Record:
    """Let the end's time follow the status where it is not told; a new start takes it away."""
    if "status" not in changes or "end_time" in changes:
        return record
    new_status = status_from_word(record["status"])
    if new_status is not None and new_status.is_open and not _status(stored).is_open:
        return {**record, "end_time": None}
    if new_status is not None and not new_status.is_open and record.get("end_time") is None:
        return {**record, "end_time": _not_before(record.get("start_time"), at)}
    return record


def _not_before(start: Json, at: datetime) -> str:
    started_at = instant_of(start)
    return (at if started_at is None else max(at, started_at)).isoformat()


def _refuse_late(stored: Record, word: str) -> None:
    """Refuse a status that says of an ended execution that it goes on, or that it ended otherwise."""
    before, new_status = _status(stored), status_from_word(word)
    if before.is_open or new_status is None or new_status == before:
        return
    if new_status.is_open or status_from_word(stored["status"]) is not None:
        raise _ended_before(stored, word)


def _status(stored: Record) -> RunStatus:
    return status_of(str(stored["status"]), ended=stored.get("end_time") is not None)


def _ended_before(stored: Record, word: str) -> RecordConflictError:
    return RecordConflictError(
        f"the execution {stored['execution_id']} of {stored['workflow_id']} has ended as {stored['status']!r}"
        f" and cannot become {word!r}; to begin it anew, log it with that status (log_workflow_execution)"
    )


def _list(name: str, value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
        raise UsageError(f"{name} must be a list, not {record_checks.kind_of(value)}")
    return list(value)


def _object(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be an object, not {record_checks.kind_of(value)}")
    return dict(value)
