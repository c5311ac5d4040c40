"""``LogService``: what other programs log, in the ledger; ``log_service`` is the one they share."""

import atexit
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Self, cast
from uuid import uuid4

from flowledger.bootstrap import clock
from flowledger.bootstrap.ledgers import options_of_records
from flowledger.domain.executions import Record, completed, started, updated
from flowledger.domain.record_checks import checked_id, kind_of
from flowledger.errors import UsageError
from flowledger.records.models import EXECUTIONS, OPERATIONS
from flowledger.records.storage import BaseLogStorage, LogChange, create_storage, missing_execution


@dataclass(frozen=True, slots=True)
class WorkflowLogger:
    """Logs executions and operations in a storage; what is switched off is returned and not stored."""

    storage: BaseLogStorage
    keeps_executions: bool = True
    keeps_operations: bool = True

    def log_execution(self, execution_data: Mapping[str, Any]) -> Record:
        """Insert or update the execution of that ``execution_id``; return it as stored."""
        if not self.keeps_executions:
            return {**execution_data, "execution_id": execution_data.get("execution_id") or str(uuid4())}
        return self.storage.save_log(EXECUTIONS, execution_data)

    def log_operation(
        self,
        operation_type: str,
        workflow_id: str | None,
        data: Mapping[str, Any] | None = None,
        user: str | None = None,
    ) -> Record:
        """Insert an operation and return it as stored; ``user`` is by default who runs this program."""
        operation = {"operation_type": operation_type, "workflow_id": workflow_id, "data": data, "user": user}
        if not self.keeps_operations:
            return {"operation_id": str(uuid4()), **operation}
        return self.storage.save_log(OPERATIONS, operation)

    def get_executions(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Return executions, newest first."""
        return self.storage.get_logs(EXECUTIONS, _with_workflow(filters, workflow_id))

    def get_operations(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Return operations, newest first."""
        return self.storage.get_logs(OPERATIONS, _with_workflow(filters, workflow_id))


def _with_workflow(filters: Mapping[str, Any] | None, workflow_id: str | None) -> Mapping[str, Any]:
    named = {} if filters is None else filters
    return named if workflow_id is None else {**named, "workflow_id": workflow_id}


def load_default_config() -> dict[str, Any]:
    """Return the options of the record services, by their own names, with the values of the settings.

    :raises SettingsError: with a line for every wrong setting.
    """
    return dict(options_of_records())


class LogService:
    """Stores executions and operations of workflows in the ledger; threads may share one service.

    ``storage_type`` is ledger, file, database (db, sqlite, postgresql) or memory; the default is that of the
    settings.  ``config`` holds options that override the settings.  Errors: ``UsageError`` for an invalid
    record, of which nothing is stored; ``RecordConflictError`` where it contradicts the stored one;
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
        """Insert or update an execution and return it as stored.

        ``workflow_id`` is required; the defaults are a new ``execution_id``, ``status`` running and
        ``start_time`` now.  Of a stored execution the fields in ``execution_data`` are replaced.
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
        """Insert an operation, such as CREATE or PUBLISH, and return it with its ``operation_id``.

        ``user`` is by default who runs this program.
        """
        return self.workflow_logger.log_operation(operation_type, workflow_id, data, user)

    def get_workflow_executions(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Return executions, newest first.

        Filters: ``status``, ``source``, ``operation_type`` (one or several), ``user``, ``started_after``
        (included), ``started_before`` (excluded), ``limit`` (default ``max_log_entries``), ``offset``,
        ``order`` (newest or oldest).
        """
        return self.storage.get_logs(EXECUTIONS, _with_workflow(filters, workflow_id))

    def get_workflow_operations(
        self, workflow_id: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Return operations, newest first; the filters are those of executions without ``status``."""
        return self.storage.get_logs(OPERATIONS, _with_workflow(filters, workflow_id))

    def get_workflow_execution(self, execution_id: str) -> Record | None:
        """Return one execution, or None if there is none."""
        return self.storage.get_log_by_id(EXECUTIONS, execution_id)

    def start_workflow_execution(
        self, workflow_id: str, context: Mapping[str, Any] | None = None, execution_id: str | None = None
    ) -> Record:
        """Insert an execution that begins now and return it; starting it twice alike is one execution.

        :raises RecordConflictError: when that id was started with another context or workflow.
        """
        new_id = str(uuid4()) if execution_id is None else execution_id
        at, limits = clock.utc_now(), self.storage.limits()
        fresh = started(None, workflow_id, new_id, context, at, limits)
        if not self._options.enable_execution_logging:
            return fresh
        if execution_id is None:  # nobody else can have a new id, so no stored execution is looked for
            return self.storage.add_execution(fresh)
        return self.storage.amend_execution(
            new_id, lambda stored: started(stored, workflow_id, new_id, context, at, limits), workflow_id
        )

    def update_workflow_execution(
        self,
        execution_id: str,
        status: str | None = None,
        messages: Sequence[Any] | None = None,
        task_results: Mapping[str, Any] | None = None,
    ) -> Record:
        """Set an execution's status, append messages, merge task results; return it as stored then.

        A status that ends the execution sets ``end_time``.

        :raises RecordNotFoundError: when there is none of that id; RecordConflictError: when it has ended
            with another status.
        """
        at, limits = clock.utc_now(), self.storage.limits()

        def update(stored: Record | None) -> Record:
            existing = _existing(stored, execution_id)
            return updated(existing, at, limits, status=status, messages=messages, task_results=task_results)

        return self._amend(execution_id, update)

    def complete_workflow_execution(
        self,
        execution_id: str,
        success: bool = True,  # noqa: FBT001, FBT002, RUF100  the signature is the caller's
        messages: Sequence[Any] | None = None,
        end_time: str | datetime | None = None,
    ) -> Record:
        """End an execution as completed or failed, by default now; ending it twice alike changes nothing.

        :raises RecordNotFoundError: when there is none of that id; RecordConflictError: when it has ended
            otherwise.
        """
        at, limits = clock.utc_now(), self.storage.limits()

        def complete(stored: Record | None) -> Record:
            existing = _existing(stored, execution_id)
            return completed(existing, at, limits, success=success, messages=messages, end_time=end_time)

        return self._amend(execution_id, complete)

    def delete_expired_executions(self, user: str | None = None) -> int:
        """Delete the ended executions that began more than ``log_retention_days`` ago; return how many.

        Nothing calls it by itself.
        """
        days = self._options.log_retention_days
        before = clock.utc_now() - timedelta(days=days)
        # Before anything is deleted: a clean-up that is cut short is in the audit log, too.
        self.log_workflow_operation(
            "CLEANUP", None, {"records": "log", "days": days, "before": before.isoformat()}, user
        )
        return self.storage.delete_executions(before)

    def close(self) -> None:
        """Close files and connections."""
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _amend(self, execution_id: str, change: LogChange) -> Record:
        checked_id("execution_id", execution_id)
        if not self._options.enable_execution_logging:
            return {"execution_id": execution_id}
        return self.storage.amend_execution(execution_id, change)


def _existing(stored: Record | None, execution_id: str) -> Record:
    if stored is None:
        raise missing_execution(execution_id)
    return stored


_SERVICE_NAMES = frozenset(name for name in vars(LogService) if not name.startswith("_")) | {
    *("config", "storage", "workflow_logger")
}


class LazyLogService:
    """Stands for a ``LogService`` of the settings, opened at its first use and after a ``close`` again.

    Importing it does no I/O.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._opened: LogService | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in _SERVICE_NAMES:  # who only inspects it, such as a debugger, opens nothing
            raise AttributeError(f"LogService has no {name}")
        return getattr(self._service(), name)

    def close(self) -> None:
        """Close files and connections, if any were opened."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            atexit.unregister(self.close)
            opened.close()

    def _service(self) -> LogService:
        with self._lock:
            if self._opened is None:
                self._opened = LogService()
                atexit.register(self.close)
            return self._opened


log_service = cast(LogService, LazyLogService())
"""The ``LogService`` of the settings."""
