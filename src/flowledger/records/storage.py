"""Where logs are kept: one class over any ledger, and how each kind opens its own."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Self
from uuid import uuid4

from flowledger.bootstrap import clock, user_name
from flowledger.bootstrap.records import limits_of_records, open_record_ledger, options_of_records
from flowledger.domain.executions import Record, logged, refuse_other_workflow, same_json
from flowledger.domain.history import Place, RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_checks import (
    RecordLimits,
    check_json,
    check_size,
    checked_id,
    checked_time,
    checked_word,
    kind_of,
)
from flowledger.domain.record_kinds import KINDS, LOG, raw_of, record_of
from flowledger.domain.runs import AppKey, Detailed, Entry, Run
from flowledger.errors import RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Ledger
from flowledger.records.legacy_files import LegacyFiles
from flowledger.records.models import EXECUTIONS, WorkflowOperationLog, log_type_of
from flowledger.records.queries import Filters, find_executions, find_operations
from flowledger.settings.record_options import RecordOptions

DELETED_AT_ONCE = 500

LogChange = Callable[[Record | None], Record]
"""Decides what an execution becomes, given as it is held (None: not at all)."""


class BaseLogStorage:
    """Keeps logs: what a storage of one's own has to do.

    ``log_type`` is ``workflow_executions`` or ``workflow_operations``.
    """

    def save_log(self, log_type: str, data: Mapping[str, Any]) -> Record:
        """Keep a log and give it as it is kept, with its id."""
        raise NotImplementedError

    def get_logs(self, log_type: str, filters: Mapping[str, Any] | None = None) -> list[Record]:
        """Give the logs that filters ask for, newest first."""
        raise NotImplementedError

    def get_log_by_id(self, log_type: str, log_id: str) -> Record | None:
        """Give one log; None where there is none."""
        raise NotImplementedError

    def add_execution(self, record: Record) -> Record:
        """Keep an execution whose id was made for it, so that nobody else has it."""
        return self.save_log(EXECUTIONS, record)

    def amend_execution(self, execution_id: str, change: LogChange, workflow_id: str | None = None) -> Record:
        """Read an execution and keep what becomes of it; of a new one the workflow is named.

        Here two who amend one execution at once can lose a change: a storage of one's own does better.

        :raises RecordNotFoundError: when it is not there and no workflow is named.
        """
        held = self.get_log_by_id(EXECUTIONS, execution_id)
        if held is None and workflow_id is None:
            raise not_found(execution_id)
        return self.save_log(EXECUTIONS, change(held))

    def delete_executions(self, before: datetime) -> int:
        """Delete the executions that began before an instant; give how many."""
        raise NotImplementedError

    def limits(self) -> RecordLimits:
        """Tell what a log may be."""
        return RecordLimits()

    def close(self) -> None:
        """Give files and connections back."""


class LedgerLogStorage(BaseLogStorage):
    """Logs in a ledger; threads may share it, and processes may share its ledger."""

    def __init__(self, ledger: Ledger, options: RecordOptions) -> None:
        self.ledger = ledger
        self.options = options
        self.legacy = LegacyFiles(
            options.legacy_dir, options.workflow_execution_dir, options.workflow_operation_dir
        )
        self._limits = limits_of_records(options)
        self._making = Lock()

    def save_log(self, log_type: str, data: Mapping[str, Any]) -> Record:
        """Keep a log and give it as it is kept; one without an id gets one.

        An execution that is held takes what is given; an operation is never changed.

        :raises UsageError: when something is wrong with it, and nothing is kept; RecordConflictError: when
            the id belongs to another workflow, or to another operation.
        """
        log_type = log_type_of(log_type)
        if not isinstance(data, Mapping):
            raise UsageError(f"a log must be an object, not {kind_of(data)}")
        if log_type != EXECUTIONS:
            return self._save_operation(data)
        workflow_id = checked_id("workflow_id", data.get("workflow_id"))
        at, is_new = clock.utc_now(), data.get("execution_id") is None
        execution_id = str(uuid4()) if is_new else checked_id("execution_id", data["execution_id"])
        given = {**data, "execution_id": execution_id}

        def change(held: Record | None) -> Record:
            return logged(held, given, at, self._limits)

        if is_new:
            return self.add_execution(change(None))
        return self.amend_execution(execution_id, change, workflow_id)

    def get_logs(self, log_type: str, filters: Mapping[str, Any] | None = None) -> list[Record]:
        """Give the logs that filters ask for, newest first; at most ``max_log_entries`` without a limit.

        :raises UsageError: for a filter that is unknown or wrong.
        """
        wanted = Filters({} if filters is None else filters, self._limits.zone, self.options.max_log_entries)
        if log_type_of(log_type) == EXECUTIONS:
            return find_executions(self.ledger, wanted)
        return [_told(operation) for operation in find_operations(self.ledger, wanted)]

    def get_log_by_id(self, log_type: str, log_id: str) -> Record | None:
        """Give one log; None where there is none.

        :raises UsageError: for what is no id.
        """
        if log_type_of(log_type) != EXECUTIONS:
            operation = self.ledger.operation(checked_id("operation_id", log_id))
            return None if operation is None else _told(operation)
        app = self.ledger.locate(LOG, checked_id("execution_id", log_id))
        held = None if app is None else self.ledger.entry(RunKey(app, log_id))
        return None if held is None else record_of(held.run)

    def add_execution(self, record: Record) -> Record:
        """Keep an execution whose id was made for it, without looking for another one."""
        key = RunKey(AppKey(LOG, record["workflow_id"]), record["execution_id"])
        return self._amend(key, lambda _held: record)

    def amend_execution(self, execution_id: str, change: LogChange, workflow_id: str | None = None) -> Record:
        """Read an execution and keep what becomes of it, with nobody between.

        :raises RecordNotFoundError: when it is not there and no workflow is named; RecordConflictError: when
            it is another workflow's.
        """
        app = self.ledger.locate(LOG, checked_id("execution_id", execution_id))
        if app is not None:
            refuse_other_workflow(execution_id, app.app_id, workflow_id or app.app_id)
            return self._amend(RunKey(app, execution_id), change)
        if workflow_id is None:
            raise not_found(execution_id)
        with self._making:  # an id may not come to belong to two workflows
            app = self.ledger.locate(LOG, execution_id) or AppKey(LOG, workflow_id)
            refuse_other_workflow(execution_id, app.app_id, workflow_id)
            return self._amend(RunKey(app, execution_id), change)

    def delete_executions(self, before: datetime) -> int:
        """Delete the logged executions that began before an instant and have ended; give how many."""
        query = RunQuery(sources=(LOG,), listed_before=before)
        deleted = 0
        after: Place | None = None
        while True:
            page = self.ledger.history(query, after=after, limit=DELETED_AT_ONCE)
            keys = [
                RunKey(each.run.app, each.run.run_id) for each in page.entries if not each.run.status.is_open
            ]
            deleted += self.ledger.delete_runs(keys) if keys else 0
            for key in keys:
                self.legacy.keep_execution(self.ledger, key)
            after = page.following
            if after is None:
                return deleted

    def limits(self) -> RecordLimits:
        """Tell what a log may be."""
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
            held = None if entry is None else record_of(entry.run)
            record = change(held)
            return None if record is held else KINDS[LOG].kept(record)

        kept = self.ledger.amend(key, amended)
        if kept is None:
            raise not_found(key.run_id)
        self.legacy.keep_execution(self.ledger, key)
        return record_of(kept.run)

    def _save_operation(self, data: Mapping[str, Any]) -> Record:
        operation = _operation(data, self._limits)
        if not self.ledger.record(operation):
            held = self.ledger.operation(operation.operation_id)
            if held is None or not _is_same(held, operation, timed="timestamp" in data):
                raise RecordConflictError(
                    f"there is another operation {operation.operation_id} already, and operations are never"
                    " changed: record this one with an id of its own"
                )
            return _told(held)
        told = _told(operation)
        self.legacy.keep_operation(told)
        return told


class FileLogStorage(LedgerLogStorage):
    """Logs in files below ``log_dir``."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        options = options_of_records(config)
        super().__init__(open_record_ledger("file", options), options)


class DatabaseLogStorage(LedgerLogStorage):
    """Logs in a database: that of LEDGER_URL, or a SQLite file in ``log_dir``."""

    def __init__(self, config: Mapping[str, Any] | None = None, storage_type: str = "database") -> None:
        options = options_of_records(config)
        super().__init__(open_record_ledger(storage_type, options), options)


def create_storage(
    storage_type: str | None = None, config: Mapping[str, Any] | None = None
) -> BaseLogStorage:
    """Open the storage of a type: ledger, file, database (db), sqlite, postgresql, memory.

    Without a type it is that of the settings.

    :raises SettingsError: for an unknown type or option; LedgerError: when it cannot be used.
    """
    options = options_of_records(config)
    word = str(storage_type or options.storage_type).lower()
    if word == "file":
        return FileLogStorage(config)
    if word in ("database", "db", "sqlite", "postgresql"):
        return DatabaseLogStorage(config, word)
    return LedgerLogStorage(open_record_ledger(word, options), options)


def not_found(execution_id: str) -> RecordNotFoundError:
    """Say that there is no such execution."""
    return RecordNotFoundError(
        f"there is no execution {execution_id}: start it first (start_workflow_execution), or log it whole"
    )


def _operation(data: Mapping[str, Any], limits: RecordLimits) -> Operation:
    """Make an operation of what is told of it."""
    details = {} if data.get("data") is None else data["data"]
    if not isinstance(details, Mapping):
        raise UsageError(f"data must be an object, not {kind_of(details)}")
    check_json("data", details, limits)
    check_size("data", raw_of(details), limits)
    workflow_id, user = data.get("workflow_id"), data.get("user")
    at = checked_time("timestamp", data.get("timestamp"), limits.zone)
    return Operation(
        operation_id=checked_id("operation_id", data.get("operation_id") or str(uuid4())),
        operation_type=checked_word("operation_type", data.get("operation_type")),
        at=clock.utc_now() if at is None else datetime.fromisoformat(at).astimezone(UTC),
        user=user_name() if user is None else checked_word("user", user),
        app=None if workflow_id is None else AppKey(LOG, checked_id("workflow_id", workflow_id)),
        data=details,
    )


def _is_same(held: Operation, told: Operation, *, timed: bool) -> bool:
    return (
        (held.operation_type, held.user, held.app) == (told.operation_type, told.user, told.app)
        and (held.at == told.at or not timed)
        and same_json(dict(held.data), dict(told.data))
    )


def _told(operation: Operation) -> Record:
    return WorkflowOperationLog(
        operation.operation_id,
        operation.operation_type,
        operation.app.app_id if operation.app else None,
        operation.at.isoformat(),
        operation.user,
        dict(operation.data),
    ).to_dict()
