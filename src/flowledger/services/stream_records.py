"""The record of one streamed run: begun before Coze is asked, kept now and then, ended once."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from loguru import logger

from flowledger.domain import coze_runs
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.record_checks import RecordLimits
from flowledger.domain.record_kinds import COZE, KINDS, record_of
from flowledger.domain.runs import Detail, Entry, Run, RunStatus
from flowledger.errors import FlowledgerError, RecordConflictError, UsageError
from flowledger.ports import Clock, RunHistory
from flowledger.services.history.paging import runs_of
from flowledger.services.secret_masking import redacted

STREAMING = 1
"""Coze's number for the mode of such a run."""
LEASE = "lease"
"""Where in a running record's metadata it stands until when its process vouches for it."""


class ExecutionRecords(Protocol):
    """Keeps executions (``records.ExecutionHistoryService``); each call is durable when it returns."""

    async def create_execution_record(
        self,
        workflow_id: str,
        parameters: Mapping[str, Any] | None,
        bot_id: str | None = None,
        conversation_id: str | None = None,
        execute_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """Keep an execution that begins; ``RecordConflictError`` where another one has that id."""

    async def update_execution_record(self, workflow_id: str, execute_id: str, **changes: Any) -> Any:
        """Change what is given of an execution."""


@dataclass(frozen=True, slots=True)
class RecordPace:
    """How often a running record is kept: after so many bytes of output or seconds, whichever is first.

    The lease is renewed every ``renew_s`` and lasts ``lease_s``: whoever finds it over may end the record.
    """

    save_bytes: int = 65_536
    save_s: float = 5.0
    renew_s: float = 15.0
    lease_s: float = 60.0


EVERYDAY = RecordPace()


@dataclass(slots=True)
class StreamRecord:
    """One record; ``owner`` names the process and the try, for people and to tell two tries apart."""

    records: ExecutionRecords
    order: coze_runs.WorkflowOrder
    execute_id: str
    owner: str
    transcript: coze_runs.Transcript
    clock: Clock
    pace: RecordPace = EVERYDAY
    log_id: Callable[[], str | None] = lambda: None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _saved_at: datetime | None = None
    _saved_bytes: int = 0
    _is_ended: bool = False

    async def begin(self) -> None:
        """Keep the start.

        :raises RecordConflictError: when there is a run of that id already; UsageError: for what cannot be
            kept; LedgerError: when nothing can.
        """
        order = self.order
        self._saved_at = self.clock()
        await self.records.create_execution_record(
            order.workflow_id,
            order.parameters,
            order.bot_id,
            order.conversation_id,
            self.execute_id,
            self._metadata(),
            run_mode=STREAMING,
            connector_uid=order.user_id,
        )

    async def save_if_due(self) -> None:
        """Keep the output so far, where enough has come or enough time has passed."""
        new_bytes = self.transcript.output_bytes - self._saved_bytes
        # Each time the whole record is written, so the steps grow with it.
        due = max(self.pace.save_bytes, self._saved_bytes // 4)
        if new_bytes >= due or (new_bytes and self._seconds_since_save() >= self.pace.save_s):
            await self._save()

    async def renew(self) -> None:
        """Renew the lease regularly, until cancelled: it shows that this run is alive."""
        while True:
            await asyncio.sleep(self.pace.renew_s)
            await self._save()

    async def end(self, ending: coze_runs.Ending) -> None:
        """Keep the end; where that fails it is logged, and whoever finds the lease over ends the record."""
        changes = {
            **self.transcript.changes(),
            "execute_status": ending.status,
            "error_code": ending.error_code,
            "error_message": None
            if ending.error_message is None
            else coze_runs.reason(redacted(ending.error_message)),
        }
        async with self._lock:
            self._is_ended = True
            metadata = self._metadata(ending)
            try:
                await self._update({**changes, "metadata": metadata})
            except RecordConflictError as error:
                logger.error("the end of {} ({}) is not kept: {}", self, ending.status, error)
            except UsageError as error:
                await self._end_without_output(changes, str(error))
            except FlowledgerError as error:
                logger.error("the end of {} ({}) cannot be kept: {}", self, ending.status, error)

    def __str__(self) -> str:
        return f"the execution {self.execute_id} of {self.order.workflow_id}"

    async def _end_without_output(self, changes: Mapping[str, Any], why: str) -> None:
        logger.error("the output of {} cannot be kept: {}", self, why)
        bare = {name: changes[name] for name in ("execute_status", "error_code", "error_message")}
        bare |= {
            "is_output_trimmed": True,
            "metadata": {**self._metadata(), "output_refused": coze_runs.reason(why)},
        }
        bare["metadata"].pop(LEASE)
        try:
            await self._update(bare)
        except FlowledgerError as error:
            logger.error("the end of {} cannot be kept: {}", self, error)

    async def _save(self) -> None:
        async with self._lock:
            if self._is_ended:
                return
            self._saved_at, self._saved_bytes = self.clock(), self.transcript.output_bytes
            try:
                await self._update({**self.transcript.changes(), "metadata": self._metadata()})
            except FlowledgerError as error:
                # The run goes on: the next saving, or the end, may do better.
                logger.warning("{} cannot be kept for now: {}", self, error)

    async def _update(self, changes: Mapping[str, Any]) -> None:
        await self.records.update_execution_record(self.order.workflow_id, self.execute_id, **changes)

    def _metadata(self, ending: coze_runs.Ending | None = None) -> dict[str, Any]:
        metadata: dict[str, Any] = {"owner": self.owner}
        log_id = self.log_id()
        if log_id:
            metadata["coze_log_id"] = coze_runs.reason(log_id)
        if self.transcript.missing_events:
            metadata["missing_events"] = self.transcript.missing_events
        if ending is None:
            until = coze_runs.milliseconds(self.clock()) + int(self.pace.lease_s * 1000)
            metadata[LEASE] = until
        elif ending.interrupt is not None:
            metadata["interrupt"] = ending.interrupt
        return metadata

    def _seconds_since_save(self) -> float:
        return (self.clock() - self._saved_at).total_seconds() if self._saved_at else 0.0


ANY_SIZE = RecordLimits(size_bytes=2**62)
OPEN_STREAMS = RunQuery(sources=(COZE,), statuses=(RunStatus.RUNNING,))


def end_abandoned(history: RunHistory, now: datetime) -> list[RunKey]:
    """End every running record whose lease is over as interrupted, and return which; others stay as they are.

    :raises LedgerError: when the ledger cannot be used.
    """
    abandoned = [key for key, record in _running(history) if _is_abandoned(record, now)]
    return [key for key in abandoned if _ended(history.amend(key, partial(_end, now=now)))]


def _running(history: RunHistory) -> Iterator[tuple[RunKey, dict[str, Any]]]:
    # The record is the run's raw row, which comes with the details only.
    for entry in runs_of(history, OPEN_STREAMS, with_details=True):
        yield RunKey(entry.run.app, entry.run.run_id), record_of(entry.run)


def _is_abandoned(record: dict[str, Any], now: datetime) -> bool:
    metadata = record.get("metadata")
    lease = metadata.get(LEASE) if isinstance(metadata, dict) else None
    return (
        record["execute_status"] == coze_runs.RUNNING
        and type(lease) is int
        and lease < coze_runs.milliseconds(now)
    )


def _end(entry: Entry | None, *, now: datetime) -> tuple[Run, Detail] | None:
    """Look again: it may have been renewed, ended or deleted since it was listed."""
    if entry is None:
        return None
    record = record_of(entry.run)
    if not _is_abandoned(record, now):
        return None
    changes = {
        "execute_status": coze_runs.PROCESS_GONE.status,
        "error_code": coze_runs.PROCESS_GONE.error_code,
        "error_message": coze_runs.PROCESS_GONE.error_message,
        "metadata": {name: value for name, value in record["metadata"].items() if name != LEASE},
    }
    return KINDS[COZE].run_and_detail(coze_runs.changed(record, changes, now, ANY_SIZE))


def _ended(entry: Entry | None) -> bool:
    return entry is not None and record_of(entry.run)["error_code"] == coze_runs.PROCESS_GONE.error_code
