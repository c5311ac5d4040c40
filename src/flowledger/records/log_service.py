"""``LogService``: what other programs log, in the ledger."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import uuid4

from flowledger.bootstrap import clock
from flowledger.bootstrap.records import options_of_records
from flowledger.domain.executions import Record, completed, started, updated
from flowledger.domain.record_checks import checked_id, kind_of
from flowledger.errors import UsageError
from flowledger.records.models import EXECUTIONS, OPERATIONS
from flowledger.records.storage import BaseLogStorage, create_storage, not_found


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


def load_default_config() -> dict[str, Any]:
    """Give the options that the settings say, by their names here.

    :raises SettingsError: with a line for everything that is wrong.
    """
    return dict(options_of_records())


class LogService:
    """Keeps executions and operations of workflows; threads may share one.

    ``storage_type`` is ledger, file, database (db, sqlite, postgresql) or memory, without it that of the
    settings.  ``config`` holds options that take the place of the settings'.  Errors are ``UsageError`` for
    what is wrong with a record, and nothing is kept then; ``RecordConflictError`` for what contradicts it;
    ``LedgerError`` where the ledger cannot be used.
    """

    def __init__(
        self,
        storage_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        storage: BaseLogStorage | None = None,
    ) -> None:
        self._options = options_of_records(config)
        self.config: dict[str, Any] = dict(self._options)
        self.storage = storage or create_storage(storage_type, config)
        self.workflow_logger = WorkflowLogger(
            self.storage, self._options.enable_execution_logging, self._options.enable_operation_logging
        )

    def log_workflow_execution(self, execution_data: Mapping[str, Any]) -> Record:
        """Keep an execution and give it as it is kept.

        It needs ``workflow_id``; ``execution_id`` is made where it is missing, ``status`` is else running,
        ``start_time`` now.  What is given takes the place of what is held under that id.
        """
        if not isinstance(execution_data, Mapping):
            raise UsageError(f"an execution must be an object, not {kind_of(execution_data)}")
        return self.workflow_logger.log_execution(execution_data)

    def log_workflow_operation(
        self,
        operation_type: str,
        workflow_id: str | None,
        data: Mapping[str, Any] | None = None,
        user: str | None = None,
    ) -> Record:
        """Keep an operation, such as CREATE or PUBLISH, and give it with its ``operation_id``.

        Without a user it is of the one who runs this program.
        """
        return self.workflow_logger.log_operation(operation_type, workflow_id, data, user)

    def get_workflow_executions(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Give executions, newest first.

        Filters: ``status``, ``source``, ``operation_type`` (a word or several), ``user``, ``started_after``
        (included), ``started_before`` (excluded), ``limit`` (else ``max_log_entries``), ``offset``,
        ``order`` (newest or oldest).
        """
        return self.workflow_logger.get_executions(workflow_id, filters)

    def get_workflow_operations(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Give operations, newest first; filters as of executions, without ``status``."""
        return self.workflow_logger.get_operations(workflow_id, filters)

    def get_workflow_execution(self, execution_id: str) -> Record | None:
        """Give one execution; None where there is none."""
        return self.storage.get_log_by_id(EXECUTIONS, execution_id)

    def start_workflow_execution(
        self, workflow_id: str, context: Mapping[str, Any] | None = None, execution_id: str | None = None
    ) -> Record:
        """Keep an execution that begins now, and give it; the same said twice is one execution.

        :raises RecordConflictError: when one of that id began with another context or workflow.
        """
        made = str(uuid4()) if execution_id is None else execution_id
        at, limits = clock.utc_now(), self.storage.limits()
        fresh = started(None, workflow_id, made, context, at, limits)
        if not self.workflow_logger.keeps_executions:
            return fresh
        if execution_id is None:
            return self.storage.add_execution(fresh)
        return self.storage.amend_execution(
            made, lambda held: started(held, workflow_id, made, context, at, limits), workflow_id
        )

    def update_workflow_execution(
        self,
        execution_id: str,
        status: str | None = None,
        messages: Sequence[Any] | None = None,
        task_results: Mapping[str, Any] | None = None,
    ) -> Record:
        """Set an execution's status, add messages at its end, put task results among its own; give it then.

        With a status that ends it comes the time of its end.

        :raises RecordNotFoundError: when there is none of that id; RecordConflictError: when it has ended
            with another status.
        """
        at, limits = clock.utc_now(), self.storage.limits()
        return self._amended(
            execution_id,
            lambda held: updated(
                held, at, limits, status=status, messages=messages, task_results=task_results
            ),
        )

    def complete_workflow_execution(
        self,
        execution_id: str,
        success: bool = True,  # noqa: FBT001, FBT002, RUF100  the signature is the caller's
        messages: Sequence[Any] | None = None,
        end_time: str | datetime | None = None,
    ) -> Record:
        """End an execution as completed or failed, now where no time is given; saying so twice is once.

        :raises RecordNotFoundError: when there is none of that id; RecordConflictError: when it has ended
            otherwise.
        """
        at, limits = clock.utc_now(), self.storage.limits()
        return self._amended(
            execution_id,
            lambda held: completed(held, at, limits, success=success, messages=messages, end_time=end_time),
        )

    def delete_expired_executions(self, user: str | None = None) -> int:
        """Delete the ended executions that began before ``log_retention_days``, and give how many.

        Nothing calls it by itself.  It leaves an operation CLEANUP, written before anything is deleted.
        """
        days = self._options.log_retention_days
        before = clock.utc_now() - timedelta(days=days)
        self.workflow_logger.log_operation(
            "CLEANUP", None, {"records": "log", "days": days, "before": before.isoformat()}, user
        )
        return self.storage.delete_executions(before)

    def close(self) -> None:
        """Give files and connections back."""
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _amended(self, execution_id: str, change: Callable[[Record], Record]) -> Record:
        checked_id("execution_id", execution_id)

        def amend(held: Record | None) -> Record:
            if held is None:
                raise not_found(execution_id)
            return change(held)

        if not self.workflow_logger.keeps_executions:
            return {"execution_id": execution_id}
        return self.storage.amend_execution(execution_id, amend)
