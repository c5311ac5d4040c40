"""``ExecutionHistoryService``: the executions of Coze workflows, in the ledger.

Coze keeps outputs for a day to a week only; what is kept here is the record.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Self
from uuid import uuid4

from flowledger.bootstrap import clock, user_name
from flowledger.bootstrap.records import limits_of_records, open_record_ledger, options_of_records
from flowledger.domain.certificates import Scope
from flowledger.domain.coze_executions import NOT_GIVEN, NotGiven, begun, changed, created
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

LARGEST_PAGE = 100
SKIPPED_AT_ONCE = 1000
DELETED_AT_ONCE = 500
EVER = Window(0, LATEST)


class ExecutionHistoryService:
    """Keeps executions of Coze workflows; its work runs in threads, so that an event loop goes on meanwhile.

    ``config`` holds options that take the place of the settings'; without ``ledger`` it opens the one they
    name.  ``user`` is who deletes; without it, who runs this program.  Errors are ``UsageError`` for what is
    wrong with a record, and nothing is kept then; ``RecordConflictError`` for what contradicts it;
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
        """Keep an execution that begins now, and give its record; the same said twice is one execution.

        ``more`` may be ``run_mode`` (0 sync, 1 streaming, 2 async), ``connector_id``, ``connector_uid``.

        :raises RecordConflictError: when another execution of the workflow has that id.
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
        """Change what is given of an execution, None included, and give its record as it is then.

        ``more`` may be ``metadata``, ``is_output_trimmed``, ``node_execute_status``, ``run_mode``,
        ``conversation_id``, ``connector_id``, ``connector_uid``.

        :raises RecordNotFoundError: when there is none of that id; RecordConflictError: when it has ended
            with another status.
        """
        _refuse_unknown(more, _CHANGEABLE)
        told = {
            "execute_status": execute_status,
            "output": output,
            "usage": usage,
            "error_code": error_code,
            "error_message": error_message,
            "debug_url": debug_url,
            **more,
        }
        changes = {name: value for name, value in told.items() if value is not NOT_GIVEN}
        key = _key(workflow_id, execute_id)
        return await asyncio.to_thread(self._update, key, changes)

    async def get_execution_history(
        self, workflow_id: str, page_size: int = 20, page_index: int = 1
    ) -> dict[str, Any]:
        """Give a page of a workflow's executions, newest first.

        It holds workflow_id, histories, total, has_more, page_size, page_index.

        :raises UsageError: when ``page_size`` is not 1 to 100, or ``page_index`` not 1 or more.
        """
        _check_number("page_size", page_size, LARGEST_PAGE)
        _check_number("page_index", page_index, None)
        app = _app(workflow_id)
        return await asyncio.to_thread(self._page, app, page_size, page_index)

    async def get_execution_detail(self, workflow_id: str, execute_id: str) -> Record | None:
        """Give the record of one execution; None where there is none."""
        entry = await asyncio.to_thread(self.ledger.entry, _key(workflow_id, execute_id))
        return None if entry is None else record_of(entry.run)

    async def delete_execution_record(
        self, workflow_id: str, execute_id: str, user: str | None = None
    ) -> bool:
        """Delete one execution, and say whether there was one; it leaves an operation DELETE."""
        key, who = _key(workflow_id, execute_id), _user(user)
        return await asyncio.to_thread(self._delete, key, who)

    async def clear_workflow_history(self, workflow_id: str, user: str | None = None) -> int:
        """Delete all executions of a workflow, and give how many; it leaves an operation CLEANUP."""
        app, who = _app(workflow_id), _user(user)
        return await asyncio.to_thread(self._clear, app, who)

    async def get_all_workflows(self) -> list[str]:
        """Give the ids of all workflows that have executions."""
        summaries = await asyncio.to_thread(self.ledger.apps)
        return sorted(each.app.app_id for each in summaries if each.app.source == COZE)

    def close(self) -> None:
        """Give files and connections back."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _create(self, fresh: Record) -> Record:
        def begin(entry: Entry | None) -> tuple[Run, Detailed] | None:
            held = None if entry is None else record_of(entry.run)
            record = begun(held, fresh)
            return None if record is held else KINDS[COZE].kept(record)

        return self._amend(_key(fresh["workflow_id"], fresh["execute_id"]), begin)

    def _update(self, key: RunKey, changes: Mapping[str, Json]) -> Record:
        now = clock.utc_now()

        def change(entry: Entry | None) -> tuple[Run, Detailed] | None:
            if entry is None:
                raise _not_found(key)
            held = record_of(entry.run)
            record = changed(held, changes, now, self._limits)
            return None if record is held else KINDS[COZE].kept(record)

        return self._amend(key, change)

    def _amend(self, key: RunKey, change: Any) -> Record:
        kept = self.ledger.amend(key, change)
        if kept is None:
            raise _not_found(key)
        self.legacy.keep_history(self.ledger, key.app.app_id)
        return record_of(kept.run)

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
        """Go past so many executions; give the place, and whether anything comes after it."""
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
        self.legacy.keep_history(self.ledger, key.app.app_id)
        return is_gone

    def _clear(self, app: AppKey, user: str) -> int:
        held = self.ledger.count(Scope(app, EVER))
        if not held:
            return 0
        self._record("CLEANUP", app, user, None, {"executions": held})
        deleted = sum(map(self.ledger.delete_runs, self._keys(app)))
        self.legacy.keep_history(self.ledger, app.app_id)
        return deleted

    def _keys(self, app: AppKey) -> Iterator[list[RunKey]]:
        place: Place | None = None
        while True:
            page = self.ledger.history(RunQuery(apps=(app,)), after=place, limit=DELETED_AT_ONCE)
            yield [RunKey(app, entry.run.run_id) for entry in page.entries]
            place = page.following
            if place is None:
                return

    def _record(
        self, operation_type: str, app: AppKey, user: str, subject: str | None, data: Mapping[str, Json]
    ) -> None:
        """Leave an operation, before what it tells of: one that was cut short is told of, too."""
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


def _refuse_unknown(more: Mapping[str, Json], known: tuple[str, ...]) -> None:
    unknown = [name for name in more if name not in known]
    if unknown:
        raise UsageError(f"unknown field {', '.join(unknown)}: besides those named, {', '.join(known)}")


def _not_found(key: RunKey) -> RecordNotFoundError:
    return RecordNotFoundError(
        f"the workflow {key.app.app_id} has no execution {key.run_id}: create its record first"
    )
