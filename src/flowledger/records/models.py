"""Executions and operations as values of a program, and as text for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from flowledger.bootstrap import clock
from flowledger.domain.record_checks import shortened
from flowledger.errors import UsageError


def present() -> str:
    """Return the present as aware ISO 8601."""
    return clock.utc_now().isoformat()


@dataclass
class WorkflowExecutionLog:
    """An execution of a workflow; times are aware ISO 8601, ``status`` is the caller's own word."""

    execution_id: str
    workflow_id: str
    status: str
    start_time: str | None = None
    end_time: str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start_time = self.start_time or present()
        self.context = self.context or {}
        self.messages = self.messages or []

    def to_dict(self) -> dict[str, Any]:
        """Return the execution as a JSON object."""
        return {
            "execution_id": self.execution_id,
            "workflow_id": self.workflow_id,
            "status": self.status,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "context": self.context,
            "messages": self.messages,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read an execution from a JSON object; other keys are ignored."""
        return cls(
            data["execution_id"],
            data["workflow_id"],
            data["status"],
            data.get("start_time"),
            data.get("end_time"),
            data.get("context") or {},
            data.get("messages") or [],
        )


@dataclass
class WorkflowOperationLog:
    """An operation on a workflow: CREATE, UPDATE, DELETE …; ``timestamp`` is aware ISO 8601.

    ``workflow_id`` is None for one that concerns no single workflow.
    """

    operation_id: str
    operation_type: str
    workflow_id: str | None
    timestamp: str | None = None
    user: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.timestamp = self.timestamp or present()
        self.data = self.data or {}

    def to_dict(self) -> dict[str, Any]:
        """Return the operation as a JSON object."""
        return {
            "operation_id": self.operation_id,
            "operation_type": self.operation_type,
            "workflow_id": self.workflow_id,
            "timestamp": self.timestamp,
            "user": self.user,
            "data": self.data,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read an operation from a JSON object; other keys are ignored."""
        return cls(
            data["operation_id"],
            data["operation_type"],
            data["workflow_id"],
            data.get("timestamp"),
            data.get("user"),
            data.get("data") or {},
        )


EXECUTIONS = "workflow_executions"
OPERATIONS = "workflow_operations"
_LOG_TYPES: Mapping[str, str] = {
    word: log_type
    for log_type in (EXECUTIONS, OPERATIONS)
    for one in (log_type.removesuffix("s"), log_type.removeprefix("workflow_").removesuffix("s"))
    for word in (one, f"{one}s", f"{one}_log", f"{one}_logs")
}
OPERATION_TYPES = (
    *("CREATE", "UPDATE", "DELETE", "PUBLISH", "EXECUTE", "CANCEL", "RESUME", "RETRY"),
    *("APPROVE", "REJECT", "IMPORT", "EXPORT", "MIGRATE", "CLEANUP", "CONFIG"),
)
"""The usual types of operations; any other word is accepted as well."""


def log_type_of(word: object) -> str:
    """Return the log type that a word stands for: ``EXECUTIONS`` or ``OPERATIONS``.

    :raises UsageError: for an unknown word.
    """
    log_type = _LOG_TYPES.get(word.lower()) if isinstance(word, str) else None
    if log_type is None:
        raise UsageError(f"unknown type of log {shortened(word)}: {EXECUTIONS} or {OPERATIONS}")
    return log_type


_EXECUTION = ("start_time", "status", "workflow_id", "execution_id", "end_time")
_OPERATION = ("timestamp", "operation_type", "workflow_id", "operation_id", "user")


class LogFormatter:
    """Formats an execution or an operation of ``LogService`` as a line, as JSON or as a table."""

    def line(self, log: Mapping[str, Any]) -> str:
        """Return one line: time, status or type, workflow, id, and the last message or the data."""
        text = " ".join(_cell(log.get(name)) for name in _fields(log))
        messages = log.get("messages")
        more = messages[-1] if isinstance(messages, list) and messages else log.get("data")
        return f"{text} {_cell(more)}" if more else text

    def json(self, log: Mapping[str, Any], *, indent: int | None = None) -> str:
        """Return JSON, by default on one line."""
        return json.dumps(log, ensure_ascii=False, indent=indent)

    def table(self, logs: Sequence[Mapping[str, Any]]) -> str:
        """Return a table of logs of one type: a line of names, then a line for each log."""
        if not logs:
            return ""
        names = _fields(logs[0])
        rows = [names, *(tuple(_cell(log.get(name)) for name in names) for log in logs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)


def _fields(log: Mapping[str, Any]) -> tuple[str, ...]:
    return _OPERATION if "operation_id" in log else _EXECUTION


def _cell(value: object) -> str:
    """Write a value without control characters, so that it stays on its line in any terminal."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
