"""The ledger in a folder: a SQLite file that counts, and beside it JSON files that people read.

``DIR/ledger.db`` is the ledger.  What is in ``projections`` is written from it after each commit; a process
that dies in between leaves the file in the queue, and whoever opens the folder next writes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

from loguru import logger

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.history import RunKey
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import LOG
from flowledger.domain.runs import Detail, Entry, Run
from flowledger.errors import LedgerError, UsageError
from flowledger.ledger import takeover
from flowledger.ledger.adoption import Adoption
from flowledger.ledger.disk import explaining, locked, make_folder
from flowledger.ledger.legacy_folder import LegacyFolder
from flowledger.ledger.projections import RecordFiles
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.projection_queue import OPERATION, Due, ProjectionQueue
from flowledger.ledger.sql.sqlite import SqliteFile
from flowledger.ports import Change, Decoder

LOCK = ".lock"
AT_ONCE = 500
BEHIND_PERCENT = 1
"""A Coze workflow's file is written anew once so many of its executions have changed: for each one it would
take ever longer.  It is whole whenever the ledger is opened, compacted or closed."""


@dataclass(frozen=True)
class FolderLedger(SqlLedger):
    """The ``Ledger`` port over a folder; threads and processes may share it."""

    root: Path
    problems: list[str] = field(default_factory=list)
    """What was found damaged when it was opened."""
    _lags: dict[str, "_Lag"] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, url: str, decoders: Mapping[str, Decoder], **_options: float) -> Self:
        """Open the folder of ``file:///DIR``, made where it is missing.

        A folder of journals is taken over once, and record files that somebody brought are adopted.

        :raises UsageError: when the URL names no folder; LedgerError: when it cannot be used;
            LedgerVersionError: when its format is newer than this program.
        """
        name = url.partition("://")[2]
        if not name.strip("/"):
            raise UsageError(f"{url} names no folder: write file:///path/to/folder")
        root = Path(name)
        with explaining(root):
            make_folder(root)
        with locked(root / LOCK):
            return cls._prepared(root, decoders)

    @classmethod
    def _prepared(cls, root: Path, decoders: Mapping[str, Decoder]) -> Self:
        problems: list[str] = []
        _make_current(root, decoders, partial(_report, problems))
        opened = SqlLedger.at(SqliteFile(root / takeover.DATABASE), decoders)
        ledger = cls(opened.place, opened.decoders, opened.engine, root, problems)
        try:
            ledger._queue.create()
            ledger._files.clear_incoming()
            ledger._write_files(everything=True)
            if Adoption(root, opened, ledger._queue, partial(_report, problems)).adopt():
                ledger._write_files(everything=True)
        except BaseException:
            ledger.engine.dispose()
            raise
        return ledger

    def save_runs(
        self, runs: Sequence[Run], *, scope: Scope, at: datetime, certificate: Certificate | None = None
    ) -> None:
        """Insert or update runs, and the scope's certificate, in one transaction."""
        super().save_runs(runs, scope=scope, at=at, certificate=certificate)
        self._project()

    def save_details(self, details: Sequence[tuple[Run, Detail]]) -> None:
        """Save details, and the runs as they are now, in one transaction."""
        super().save_details(details)
        self._project()

    def amend(self, key: RunKey, change: Change) -> Entry | None:
        """Read one run and save what becomes of it, with nobody between; it is on the disk then."""
        amended = super().amend(key, change)
        self._project()
        return amended

    def delete_runs(self, keys: Sequence[RunKey], *, only_if: Callable[[Entry], bool] | None = None) -> int:
        """Delete runs, where ``only_if`` is true of what is stored, in one transaction; return how many."""
        deleted = super().delete_runs(keys, only_if=only_if)
        self._project()
        return deleted

    def record(self, operation: Operation) -> bool:
        """Append to the audit log; the same operation id twice is once, and False the second time."""
        is_new = super().record(operation)
        self._project()
        return is_new

    def compact(self) -> None:
        """Return the space of what was deleted to the disk, and write all files that are behind."""
        super().compact()
        self._project(everything=True)

    def close(self) -> None:
        """Write all files that are behind, and close files and connections."""
        try:
            self._project(everything=True)
        finally:
            super().close()

    @property
    def _queue(self) -> ProjectionQueue:
        return ProjectionQueue(self.transactions)

    @property
    def _files(self) -> RecordFiles:
        return RecordFiles(self.root)

    def _project(self, *, everything: bool = False) -> None:
        """Write the files of what was committed; what cannot be written stays in the queue."""
        try:
            if self._queue.due(0, 1):
                with locked(self.root / LOCK):
                    self._write_files(everything=everything)
        except LedgerError as error:
            logger.warning("the ledger has it, but a file beside it is not written yet: {}", error)

    def _write_files(self, *, everything: bool) -> None:
        """Write what is behind; the lock on the folder has to be held."""
        last = 0
        while due := self._queue.due(last, AT_ONCE):
            self._queue.remove([each for each in due if self._write_file(each, everything=everything)])
            last = due[-1].number

    def _write_file(self, due: Due, *, everything: bool) -> bool:
        """Write one file, and return whether it is written: a Coze workflow's may wait for more changes."""
        if due.kind == LOG:
            self._files.put_execution(due.record_id, self._queue.execution(due.app_id, due.record_id))
        elif due.kind == OPERATION:
            operation = self.operation(due.record_id)
            if operation is not None:
                self._files.put_operation(operation)
        else:
            lag = self._lags.setdefault(due.app_id, _Lag())
            lag.see(due.number)
            if not everything and lag.may_wait:
                return False
            records = self._queue.executions_of(due.app_id)
            self._lags[due.app_id] = _Lag(self._files.put_workflow(due.app_id, records))
        return True


@dataclass(slots=True)
class _Lag:
    """How far a Coze workflow's file is behind: its size, and the changes since it was written."""

    size: int = 0
    changes: int = 0
    last_number: int = 0

    def see(self, number: int) -> None:
        """Count a change, once however often its place in the queue is looked at."""
        self.changes += number != self.last_number
        self.last_number = number

    @property
    def may_wait(self) -> bool:
        return self.changes * 100 < self.size * BEHIND_PERCENT


def _make_current(root: Path, decoders: Mapping[str, Decoder], report: Callable[[str], None]) -> None:
    """Bring a folder to the format of today."""
    legacy, found = LegacyFolder(root), takeover.read_format(root)
    if found is not None and found.version == takeover.VERSION:
        takeover.refuse_strays(legacy, found.journals or {})
        if found.journals is not None:
            takeover.finish(legacy)
    elif (root / takeover.DATABASE).exists():
        raise LedgerError(
            f"the folder {root} has a {takeover.DATABASE} that is another ledger: write LEDGER_URL=sqlite://{root}/{takeover.DATABASE}"
            " to use that one, or another folder for this one"
        )
    elif legacy.journals():
        takeover.take_over(legacy, decoders, report)
    else:
        takeover.write_format(root)


def _report(problems: list[str], problem: str) -> None:
    problems.append(problem)
    logger.warning("{}", problem)
