"""What becomes of a wait: when it is due at the latest, and how its step ends.  Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flowledger.domain.record_kinds import instant_of
from flowledger.domain.runs import Json
from flowledger.domain.workflows.steps import ErrorType, Outcome, StepStatus, WaitKind

TIMED_OUT = "system:timeout"


def due_at(kind: WaitKind, facts: Mapping[str, Json], since: datetime) -> datetime | None:
    """Return when a wait ends by itself; None where only somebody can end it."""
    until = instant_of(facts.get("until"))
    if until is not None:
        return until
    if (seconds := _number(facts.get("seconds"))) is not None:
        return since + timedelta(seconds=seconds)
    if kind in (WaitKind.APPROVAL, WaitKind.EVENT) and (hours := _number(facts.get("timeout_hours"))):
        return since + timedelta(hours=hours)
    if kind is WaitKind.EVENT and (seconds := _number(facts.get("timeout_seconds"))):
        return since + timedelta(seconds=seconds)
    return None


def expired(kind: WaitKind, facts: Mapping[str, Json]) -> dict[str, Any]:
    """Return the resolution of a wait whose time is over."""
    if kind is WaitKind.APPROVAL:
        approves = facts.get("auto_approve_on_timeout") is True
        return {"approved": approves, "by": TIMED_OUT, "timed_out": True}
    return {} if kind is WaitKind.DELAY else {"timed_out": True}


def outcome_of(kind: WaitKind, resolution: Mapping[str, Any]) -> Outcome:
    """Return how the step of a resolved wait ends.

    ``resolution`` is ``{approved, by, comment, votes, timed_out}`` of an approval, ``{status, output,
    error}`` of a child execution, ``{data}`` of an event; ``{cancelled: true}`` of any.
    """
    if resolution.get("cancelled"):
        return Outcome(StepStatus.CANCELLED, error="cancelled", error_type=ErrorType.CANCELLED)
    if kind is WaitKind.APPROVAL:
        return _decided(resolution)
    if kind is WaitKind.CHILD:
        return _of_child(resolution)
    if kind is WaitKind.EVENT and resolution.get("timed_out"):
        return _failed(ErrorType.TIMEOUT, "the event has not come in time", resolution)
    return Outcome(StepStatus.SUCCESS, resolution.get("data"))


def _decided(resolution: Mapping[str, Any]) -> Outcome:
    is_late = bool(resolution.get("timed_out"))
    if resolution.get("approved"):
        return Outcome(StepStatus.SUCCESS, dict(resolution), manual=not is_late)
    if is_late:
        return _failed(ErrorType.APPROVAL_TIMEOUT, "nobody has decided in time", resolution)
    return _failed(ErrorType.APPROVAL_REJECTED, f"rejected by {resolution.get('by')}", resolution)


def _of_child(resolution: Mapping[str, Any]) -> Outcome:
    if resolution.get("status") in ("success", "partial"):
        return Outcome(StepStatus.SUCCESS, resolution.get("output"))
    error = resolution.get("error") or f"the sub-workflow is {resolution.get('status')}"
    return _failed(str(resolution.get("error_type") or "SubworkflowFailed"), str(error), resolution)


def _failed(error_type: str, error: str, resolution: Mapping[str, Any]) -> Outcome:
    return Outcome(StepStatus.FAILED, dict(resolution), error=error, error_type=error_type)


def _number(value: Json) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e9 else None  # type: ignore[arg-type,operator]
