"""What is logged, as values of a program."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from flowledger.wiring import clock


def present() -> str:
    """Give the present as aware ISO 8601."""
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
        """Give the execution as a JSON object."""
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
        """Read an execution from a JSON object; what else is in it is left out."""
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
    """An act on a workflow: CREATE, UPDATE, DELETE …; ``timestamp`` is aware ISO 8601.

    ``workflow_id`` is None where the act was on none.
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
        """Give the operation as a JSON object."""
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
        """Read an operation from a JSON object; what else is in it is left out."""
        return cls(
            data["operation_id"],
            data["operation_type"],
            data["workflow_id"],
            data.get("timestamp"),
            data.get("user"),
            data.get("data") or {},
        )
