"""``ExecutionHistoryService``: the executions of Coze workflows, in the ledger.

Coze itself retains outputs for a day to a week only, so this record is the lasting one.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Self
from uuid import uuid4

from flowledger.bootstrap import clock, user_name
from flowledger.bootstrap.ledgers import limits_of_records, open_record_ledger, options_of_records
from flowledger.domain.certificates import Scope
from flowledger.domain.coze_runs import NOT_GIVEN, NotGiven, begun, changed, created
from flowledger.domain.executions import Record
from flowledger.domain.history import HistoryPage, Place, RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.record_checks import checked_id, checked_word
from flowledger.domain.record_kinds import COZE, KINDS, record_of
from flowledger.domain.runs import AppKey, Detailed, Entry, Json, Run
from flowledger.domain.windows import LATEST, Window
from flowledger.errors import RecordNotFoundError, UsageError
from flowledger.ports import Ledger
from flowledger.records.legacy_files import LegacyFiles
from flowledger.services.history.paging import pages_of

LARGEST_PAGE = 100
SKIPPED_AT_ONCE = 1000
EVER = Window(0, LATEST)
Change = Callable[[Entry | None], tuple[Run, Detailed] | None]


class ExecutionHistoryService:
    """Stores executions of Coze workflows; the work runs in threads, so the event loop is not blocked.

    ``config`` holds options that override the settings; without ``ledger`` it opens the one they name.
    ``user`` is who deletes, by default who runs this program.  Errors: ``UsageError`` for an invalid record,
    of which nothing is stored; ``RecordConflictError`` where it contradicts the stored one;
    ``RecordNotFoundError``; ``LedgerError`` where the ledger cannot be used.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, *, ledger: Ledger | None = None) -> None:
        options = options_of_records(config)
        self.config: dict[str, Any] = dict(options)
        self.ledger = ledger or open_record_ledger(options.storage_type, options)
        self.legacy = LegacyFiles(options.legacy_dir)
        self._limits = limits_of_records(options)

    async def create_execution_record(
        self,
        workflow_id: str,
        parameters: Mapping[str, Any] | None,
        bot_id: str | None = None,
        conversation_id: str | None = None,
        execute_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **more: Json,
    ) -> Record:
        """Insert an execution that begins now, and return its record; the same again is one execution.

        ``more`` may be ``run_mode`` (0 sync, 1 streaming, 2 async), ``connector_id``, ``connector_uid``.

        :raises RecordConflictError: when another execution, of this workflow or another one, has that id.
        """
        _refuse_unknown(more, ("run_mode", "connector_id", "connector_uid"))
        fresh = created(
            {
                "execute_id": str(uuid4()) if execute_id is None else execute_id,
                "workflow_id": workflow_id,
                "input_parameters": parameters,
                "bot_id": bot_id,
                "conversation_id": conversation_id,
                "metadata": metadata,
                **more,
            },
            clock.utc_now(),
            self._limits,
        )
        return await asyncio.to_thread(self._create, fresh)

    async def update_execution_record(
        self,
        workflow_id: str,
        execute_id: str,
        execute_status: str | NotGiven = NOT_GIVEN,
        output: Json = NOT_GIVEN,
        usage: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        error_code: int | str | NotGiven | None = NOT_GIVEN,
        error_message: str | NotGiven | None = NOT_GIVEN,
        debug_url: str | NotGiven | None = NOT_GIVEN,
        **more: Json,
    ) -> Record:
        """Update the fields passed, None included, and return the record as stored then.

        ``more`` may be ``metadata``, ``is_output_trimmed``, ``node_execute_status``, ``run_mode``,
        ``conversation_id``, ``connector_id``, ``connector_uid``.

        :raises RecordNotFoundError: when there is none of that id; RecordConflictError: when it has ended
            with another status.
        """
        _refuse_unknown(more, _CHANGEABLE)
        fields = {
            "execute_status": execute_status,
            "output": output,
            "usage": usage,
            "error_code": error_code,
            "error_message": error_message,
            "debug_url": debug_url,
            **more,
        }
        changes = {name: value for name, value in fields.items() if value is not NOT_GIVEN}
        key = _key(workflow_id, execute_id)
        return await asyncio.to_thread(self._update, key, changes)

    async def get_execution_history(
        self, workflow_id: str, page_size: int = 20, page_index: int = 1
    ) -> dict[str, Any]:
        """Return a page of a workflow's executions, newest first.

        Its keys are workflow_id, histories, total, has_more, page_size, page_index.

        :raises UsageError: when ``page_size`` is not 1 to 100, or ``page_index`` not 1 or more.
        """
        _check_number("page_size", page_size, LARGEST_PAGE)
        _check_number("page_index", page_index, None)
        app = _app(workflow_id)
        return await asyncio.to_thread(self._page, app, page_size, page_index)

    async def get_execution_detail(self, workflow_id: str, execute_id: str) -> Record | None:
        """Return the record of one execution, or None if there is none."""
        entry = await asyncio.to_thread(self.ledger.entry, _key(workflow_id, execute_id))
        return None if entry is None else record_of(entry.run)

    async def delete_execution_record(
        self, workflow_id: str, execute_id: str, user: str | None = None
    ) -> bool:
        """Delete one execution; return whether there was one.  It is recorded as an operation DELETE."""
        key, who = _key(workflow_id, execute_id), _user(user)
        return await asyncio.to_thread(self._delete, key, who)

    async def clear_workflow_history(self, workflow_id: str, user: str | None = None) -> int:
        """Delete all executions of a workflow; return how many.  It is recorded as an operation CLEANUP."""
        app, who = _app(workflow_id), _user(user)
        return await asyncio.to_thread(self._clear, app, who)

    async def get_all_workflows(self) -> list[str]:
        """Return the ids of all workflows that have executions, sorted."""
        summaries = await asyncio.to_thread(self.ledger.apps)
        return sorted(each.app.app_id for each in summaries if each.app.source == COZE)

    def close(self) -> None:
        """Close files and connections."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _create(self, fresh: Record) -> Record:
        def begin(entry: Entry | None) -> tuple[Run, Detailed] | None:
            stored = None if entry is None else record_of(entry.run)
            record = begun(stored, fresh)
            # The same object is a change that changes nothing: the ledger writes nothing for None.
            return None if record is stored else KINDS[COZE].run_and_detail(record)

        return self._amend(_key(fresh["workflow_id"], fresh["execute_id"]), begin)

    def _update(self, key: RunKey, changes: Mapping[str, Json]) -> Record:
        now = clock.utc_now()

        def change(entry: Entry | None) -> tuple[Run, Detailed] | None:
            if entry is None:
                raise _missing_execution(key)
            stored = record_of(entry.run)
            record = changed(stored, changes, now, self._limits)
            return None if record is stored else KINDS[COZE].run_and_detail(record)

        return self._amend(key, change)

    def _amend(self, key: RunKey, change: Change) -> Record:
        entry = self.ledger.amend(key, change)
        if entry is None:
            raise _missing_execution(key)
        self.legacy.write_history(self.ledger, key.app.app_id)
        return record_of(entry.run)

    def _page(self, app: AppKey, size: int, index: int) -> dict[str, Any]:
        query = RunQuery(apps=(app,))
        place, is_there = self._skip(query, size * (index - 1))
        page = (
            self.ledger.history(query, after=place, limit=size, with_details=True)
            if is_there
            else HistoryPage((), None)
        )
        return {
            "workflow_id": app.app_id,
            "histories": [record_of(entry.run) for entry in page.entries],
            "total": self.ledger.count(Scope(app, EVER)),
            "has_more": page.following is not None,
            "page_size": size,
            "page_index": index,
        }

    def _skip(self, query: RunQuery, number: int) -> tuple[Place | None, bool]:
        """Skip so many executions; return the place after them, and whether anything follows it.

        Page numbers are the callers' protocol; the ledger itself pages by place only.
        """
        place: Place | None = None
        while number:
            page = self.ledger.history(query, after=place, limit=min(number, SKIPPED_AT_ONCE))
            number -= len(page.entries)
            place = page.following
            if place is None:
                return None, False
        return place, True

    def _delete(self, key: RunKey, user: str) -> bool:
        if self.ledger.entry(key) is None:
            return False
        self._record("DELETE", key.app, user, key.run_id, {})
        is_gone = self.ledger.delete_runs([key]) > 0
        self.legacy.write_history(self.ledger, key.app.app_id)
        return is_gone

    def _clear(self, app: AppKey, user: str) -> int:
        number = self.ledger.count(Scope(app, EVER))
        if not number:
            return 0
        self._record("CLEANUP", app, user, None, {"executions": number})
        pages = pages_of(self.ledger, RunQuery(apps=(app,)), with_details=False)
        deleted = sum(
            self.ledger.delete_runs([RunKey(app, entry.run.run_id) for entry in page]) for page in pages
        )
        self.legacy.write_history(self.ledger, app.app_id)
        return deleted

    def _record(
        self, operation_type: str, app: AppKey, user: str, subject: str | None, data: Mapping[str, Json]
    ) -> None:
        """Record an operation in the audit log; before its deletion, so that one cut short is there, too."""
        self.ledger.record(Operation(str(uuid4()), operation_type, clock.utc_now(), user, app, subject, data))


_CHANGEABLE = (
    "metadata",
    "is_output_trimmed",
    "node_execute_status",
    "run_mode",
    "conversation_id",
    "connector_id",
    "connector_uid",
)


def _app(workflow_id: object) -> AppKey:
    return AppKey(COZE, checked_id("workflow_id", workflow_id))


def _key(workflow_id: object, execute_id: object) -> RunKey:
    return RunKey(_app(workflow_id), checked_id("execute_id", execute_id))


def _user(user: object) -> str:
    return user_name() if user is None else checked_word("user", user)


def _check_number(name: str, value: object, most: int | None) -> None:
    if type(value) is int and value >= 1 and (most is None or value <= most):
        return
    raise UsageError(
        f"{name} must be a whole number from 1 {f'to {most}' if most else 'on'}, not {value!r:.40}"
    )


def _refuse_unknown(more: Mapping[str, Json], allowed: tuple[str, ...]) -> None:
    unknown = [name for name in more if name not in allowed]
    if unknown:
        raise UsageError(f"unknown field {', '.join(unknown)}; further fields are {', '.join(allowed)}")


def _missing_execution(key: RunKey) -> RecordNotFoundError:
    return RecordNotFoundError(
        f"the workflow {key.app.app_id} has no execution {key.run_id}: create its record first"
    )
