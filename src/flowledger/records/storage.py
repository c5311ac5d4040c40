"""Where logs are stored: one class over any ledger, and which ledger each storage type opens."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

from flowledger.bootstrap import clock, user_name
from flowledger.bootstrap.ledgers import limits_of_records, open_record_ledger, options_of_records
from flowledger.domain import record_checks
from flowledger.domain.executions import Record, logged, refuse_other_workflow, same_json
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import KINDS, LOG, raw_of, record_of
from flowledger.domain.runs import AppKey, Detailed, Entry, Run
from flowledger.errors import RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Ledger
from flowledger.records.legacy_files import LegacyFiles
from flowledger.records.models import EXECUTIONS, WorkflowOperationLog, log_type_of
from flowledger.records.queries import Filters, find_executions, find_operations
from flowledger.services.history.paging import pages_of
from flowledger.settings.model import RecordOptions

LogChange = Callable[[Record | None], Record]
"""Returns what an execution becomes; its argument is the stored record, or None if there is none."""


class BaseLogStorage:
    """Base class of storages: one of your own implements ``save_log``, ``get_logs``, ``get_log_by_id``.

    ``log_type`` is ``workflow_executions`` or ``workflow_operations``.
    """

    def save_log(self, log_type: str, data: Mapping[str, Any]) -> Record:
        """Insert or update a log; return it as stored, with its id."""
        raise NotImplementedError

    def get_logs(self, log_type: str, filters: Mapping[str, Any] | None = None) -> list[Record]:
        """Return the logs that match the filters, newest first."""
        raise NotImplementedError

    def get_log_by_id(self, log_type: str, log_id: str) -> Record | None:
        """Return one log, or None if there is none."""
        raise NotImplementedError

    def add_execution(self, record: Record) -> Record:
        """Insert an execution whose id is new, so that no stored one needs to be looked for."""
        return self.save_log(EXECUTIONS, record)

    def amend_execution(self, execution_id: str, change: LogChange, workflow_id: str | None = None) -> Record:
        """Read an execution, change it and store it; ``workflow_id`` lets it be inserted if there is none.

        This default is not atomic: of two changes of one execution at once, one can be lost.

        :raises RecordNotFoundError: when there is none and no ``workflow_id``.
        """
        stored = self.get_log_by_id(EXECUTIONS, execution_id)
        if stored is None and workflow_id is None:
            raise missing_execution(execution_id)
        return self.save_log(EXECUTIONS, change(stored))

    def delete_executions(self, before: datetime) -> int:
        """Delete the executions that began before an instant; return how many."""
        raise NotImplementedError

    def limits(self) -> record_checks.RecordLimits:
        """Return how large a log may be, and the time zone of times without one."""
        return record_checks.RecordLimits()

    def close(self) -> None:
        """Close files and connections."""


class LedgerLogStorage(BaseLogStorage):
    """Stores logs in a ledger; threads may share it, and processes may share its ledger."""

    def __init__(self, ledger: Ledger, options: RecordOptions) -> None:
        self.ledger = ledger
        self.options = options
        self.legacy = LegacyFiles(
            options.legacy_dir, options.workflow_execution_dir, options.workflow_operation_dir
        )
        self._limits = limits_of_records(options)

    def save_log(self, log_type: str, data: Mapping[str, Any]) -> Record:
        """Store a log and return it as stored; one without an id gets one.

        Of a stored execution the fields in ``data`` are replaced; an operation is never changed.

        :raises UsageError: for an invalid log, of which nothing is stored; RecordConflictError: when the id
            belongs to another workflow, or to another operation.
        """
        log_type = log_type_of(log_type)
        if not isinstance(data, Mapping):
            raise UsageError(f"a log must be an object, not {record_checks.kind_of(data)}")
        if log_type != EXECUTIONS:
            return self._save_operation(data)
        workflow_id = record_checks.checked_id("workflow_id", data.get("workflow_id"))
        at, is_new = clock.utc_now(), data.get("execution_id") is None
        execution_id = (
            str(uuid4()) if is_new else record_checks.checked_id("execution_id", data["execution_id"])
        )
        identified = {**data, "execution_id": execution_id}
        if is_new:
            return self.add_execution(logged(None, identified, at, self._limits))
        return self.amend_execution(
            execution_id, lambda stored: logged(stored, identified, at, self._limits), workflow_id
        )

    def get_logs(self, log_type: str, filters: Mapping[str, Any] | None = None) -> list[Record]:
        """Return the logs that match the filters, newest first; by default at most ``max_log_entries``.

        :raises UsageError: for an unknown or invalid filter.
        """
        query = Filters({} if filters is None else filters, self._limits.zone, self.options.max_log_entries)
        if log_type_of(log_type) == EXECUTIONS:
            return find_executions(self.ledger, query)
        return [_record(operation) for operation in find_operations(self.ledger, query)]

    def get_log_by_id(self, log_type: str, log_id: str) -> Record | None:
        """Return one log, or None if there is none.

        :raises UsageError: for an invalid id.
        """
        if log_type_of(log_type) != EXECUTIONS:
            operation = self.ledger.operation(record_checks.checked_id("operation_id", log_id))
            return None if operation is None else _record(operation)
        app = self.ledger.locate(LOG, record_checks.checked_id("execution_id", log_id))
        entry = None if app is None else self.ledger.entry(RunKey(app, log_id))
        return None if entry is None else record_of(entry.run)

    def add_execution(self, record: Record) -> Record:
        """Insert an execution whose id is new, without looking for a stored one."""
        key = RunKey(AppKey(LOG, record["workflow_id"]), record["execution_id"])
        return self._amend(key, lambda _stored: record)

    def amend_execution(self, execution_id: str, change: LogChange, workflow_id: str | None = None) -> Record:
        """Read an execution, change it and store it, as one transaction of the ledger.

        :raises RecordNotFoundError: when there is none and no ``workflow_id``; RecordConflictError: when it
            is another workflow's.
        """
        app = self.ledger.locate(LOG, record_checks.checked_id("execution_id", execution_id))
        if app is not None:
            refuse_other_workflow(execution_id, app.app_id, workflow_id or app.app_id)
            return self._amend(RunKey(app, execution_id), change)
        if workflow_id is None:
            raise missing_execution(execution_id)
        return self._amend(RunKey(AppKey(LOG, workflow_id), execution_id), change)

    def delete_executions(self, before: datetime) -> int:
        """Delete the logged executions that began before an instant and have ended; return how many."""
        deleted = 0
        query = RunQuery(sources=(LOG,), listed_before=before)
        for page in pages_of(self.ledger, query, with_details=False):
            keys = [RunKey(each.run.app, each.run.run_id) for each in page if not each.run.status.is_open]
            if keys:
                deleted += self.ledger.delete_runs(keys, only_if=lambda each: _has_ended(each, before))
            for key in keys:
                self.legacy.write_execution(self.ledger, key)
        return deleted

    def limits(self) -> record_checks.RecordLimits:
        """Return how large a log may be, and the time zone of times without one."""
        return self._limits

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _amend(self, key: RunKey, change: LogChange) -> Record:
        def amended(entry: Entry | None) -> tuple[Run, Detailed] | None:
            stored = None if entry is None else record_of(entry.run)
            record = change(stored)
            # The same object is a change that changes nothing: the ledger writes nothing for None.
            return None if record is stored else KINDS[LOG].run_and_detail(record)

        entry = self.ledger.amend(key, amended)
        if entry is None:
            raise missing_execution(key.run_id)
        self.legacy.write_execution(self.ledger, key)
        return record_of(entry.run)

    def _save_operation(self, data: Mapping[str, Any]) -> Record:
        operation = _operation(data, self._limits)
        if not self.ledger.record(operation):
            existing = self.ledger.operation(operation.operation_id)
            if existing is None or not _is_same(existing, operation, timed="timestamp" in data):
                raise RecordConflictError(
                    f"there is another operation {operation.operation_id} already, and operations are never"
                    " changed: record this one with an id of its own"
                )
            return _record(existing)
        record = _record(operation)
        self.legacy.write_operation(record)
        return record


class FileLogStorage(LedgerLogStorage):
    """Stores logs in files below ``log_dir``."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        options = options_of_records(config)
        super().__init__(open_record_ledger("file", options), options)


class DatabaseLogStorage(LedgerLogStorage):
    """Stores logs in a database: that of LEDGER_URL, or a SQLite file in ``log_dir``."""

    def __init__(self, config: Mapping[str, Any] | None = None, storage_type: str = "database") -> None:
        options = options_of_records(config)
        super().__init__(open_record_ledger(storage_type, options), options)


def create_storage(
    storage_type: str | None = None, config: Mapping[str, Any] | None = None
) -> BaseLogStorage:
    """Open the storage of a type: ledger, file, database (db), sqlite, postgresql, memory.

    The default is the type in the settings.

    :raises SettingsError: for an unknown type or option; LedgerError: when the ledger cannot be used.
    """
    options = options_of_records(config)
    word = str(storage_type or options.storage_type).lower()
    if word == "file":
        return FileLogStorage(config)
    if word in ("database", "db", "sqlite", "postgresql"):
        return DatabaseLogStorage(config, word)
    return LedgerLogStorage(open_record_ledger(word, options), options)


def _has_ended(entry: Entry, before: datetime) -> bool:
    """Return whether an execution may go still: it may have been begun anew since it was listed."""
    return not entry.run.status.is_open and entry.run.listed_at < before


def missing_execution(execution_id: str) -> RecordNotFoundError:
    """Return the error for an execution that is not in the ledger."""
    return RecordNotFoundError(
        f"there is no execution {execution_id}: start it first (start_workflow_execution), or log it whole"
    )


def _operation(data: Mapping[str, Any], limits: record_checks.RecordLimits) -> Operation:
    details = {} if data.get("data") is None else data["data"]
    if not isinstance(details, Mapping):
        raise UsageError(f"data must be an object, not {record_checks.kind_of(details)}")
    record_checks.check_json("data", details, limits)
    record_checks.check_size("data", raw_of(details), limits)
    workflow_id, user = data.get("workflow_id"), data.get("user")
    at = record_checks.checked_time("timestamp", data.get("timestamp"), limits.zone)
    return Operation(
        operation_id=record_checks.checked_id("operation_id", data.get("operation_id") or str(uuid4())),
        operation_type=record_checks.checked_word("operation_type", data.get("operation_type")),
        at=clock.utc_now() if at is None else datetime.fromisoformat(at).astimezone(UTC),
        user=user_name() if user is None else record_checks.checked_word("user", user),
        app=None
        if workflow_id is None
        else AppKey(LOG, record_checks.checked_id("workflow_id", workflow_id)),
        data=details,
    )


def _is_same(existing: Operation, new: Operation, *, timed: bool) -> bool:
    """Whether two operations are one that was sent twice; the time counts only where the sender set it."""
    return (
        (existing.operation_type, existing.user, existing.app) == (new.operation_type, new.user, new.app)
        and (existing.at == new.at or not timed)
        and same_json(dict(existing.data), dict(new.data))
    )


def _record(operation: Operation) -> Record:
    return WorkflowOperationLog(
        operation.operation_id,
        operation.operation_type,
        operation.app.app_id if operation.app else None,
        operation.at.isoformat(),
        operation.user,
        dict(operation.data),
    ).to_dict()
