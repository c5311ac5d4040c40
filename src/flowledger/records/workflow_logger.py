"""Executions and operations of workflows in a storage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from flowledger.domain.executions import Record
from flowledger.records.storage import BaseLogStorage
from flowledger.records.words import EXECUTIONS, OPERATIONS


@dataclass(frozen=True, slots=True)
class WorkflowLogger:
    """Keeps what happens to workflows in a storage; what is switched off is told back and not kept."""

    storage: BaseLogStorage
    keeps_executions: bool = True
    keeps_operations: bool = True

    def log_execution(self, execution_data: Mapping[str, Any]) -> Record:
        """Keep an execution, found by its ``execution_id``, and give it as it is kept."""
        if not self.keeps_executions:
            given = execution_data.get("execution_id")
            return {**execution_data, "execution_id": given or str(uuid4())}
        return self.storage.save_log(EXECUTIONS, execution_data)

    def log_operation(
        self,
        operation_type: str,
        workflow_id: str | None,
        data: Mapping[str, Any] | None = None,
        user: str | None = None,
    ) -> Record:
        """Keep an operation and give it as it is kept; without a user it is of who runs this."""
        told = {"operation_type": operation_type, "workflow_id": workflow_id, "data": data, "user": user}
        if not self.keeps_operations:
            return {"operation_id": str(uuid4()), **told}
        return self.storage.save_log(OPERATIONS, told)

    def get_executions(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Give executions, newest first."""
        return self.storage.get_logs(EXECUTIONS, _of(workflow_id, filters))

    def get_operations(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Give operations, newest first."""
        return self.storage.get_logs(OPERATIONS, _of(workflow_id, filters))


def _of(workflow_id: str | None, filters: Mapping[str, Any] | None) -> Mapping[str, Any]:
    said = {} if filters is None else filters
    return said if workflow_id is None else {**said, "workflow_id": workflow_id}
