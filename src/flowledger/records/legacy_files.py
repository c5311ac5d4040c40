"""The files of the old layout, written beside the ledger for programs that still read them.

``<dir>/workflow_executions/<execution_id>.json``, ``<dir>/workflow_operations/<operation_id>.json`` and
``<dir>/execution_history/<workflow_id>.json``.  The ledger is the record: an error here is logged and
counted, and fails nothing.  Each file is written from the ledger's content at that moment, under a lock, so
that of several writers the last one writes the newest.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from loguru import logger

from flowledger.bootstrap import clock
from flowledger.domain.coze_runs import milliseconds
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.record_kinds import COZE, record_of
from flowledger.domain.runs import AppKey
from flowledger.errors import FlowledgerError
from flowledger.io.atomic import atomic_write
from flowledger.io.locks import locked
from flowledger.ports import Ledger
from flowledger.services.history.paging import runs_of

HISTORIES = "execution_history"


@dataclass(slots=True)
class LegacyFiles:
    """Writes the old layout into a folder; without one it does nothing.

    ``failures`` counts the files that could not be written.
    """

    directory: Path | None
    executions: str = "workflow_executions"
    operations: str = "workflow_operations"
    failures: int = 0
    _counting: Lock = field(default_factory=Lock, repr=False)

    def write_execution(self, ledger: Ledger, key: RunKey) -> None:
        """Write a logged execution as it is in the ledger now, or remove the file of a deleted one."""

        def write(file: Path) -> None:
            entry = ledger.entry(key)
            if entry is None:
                file.unlink(missing_ok=True)
            else:
                write_private(file, [entry.run.raw])

        self._write(self.executions, key.run_id, write)

    def write_operation(self, operation: Mapping[str, Any]) -> None:
        """Write an operation."""
        content = [_encoded(operation)]
        self._write(self.operations, operation["operation_id"], lambda file: write_private(file, content))

    def write_history(self, ledger: Ledger, workflow_id: str) -> None:
        """Rewrite the file of all Coze executions of a workflow, newest first.

        The time grows with their number; memory stays flat.
        """
        self._write(HISTORIES, workflow_id, lambda file: write_private(file, _envelope(ledger, workflow_id)))

    def _write(self, folder: str, name: str, write: Callable[[Path], None]) -> None:
        """Write a file under its folder's lock; a failure is logged and counted."""
        if self.directory is None:
            return
        file = self.directory / folder / f"{name}.json"
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(file.parent / ".lock", wait=True):
                write(file)
        except (OSError, ValueError, FlowledgerError) as error:
            with self._counting:
                self.failures += 1
            logger.warning("cannot write {} of the old layout ({}); the ledger has the record", file, error)


def write_private(file: Path, chunks: Iterable[bytes]) -> None:
    """Write a file whole or not at all, for its owner alone; it survives a power cut."""
    with atomic_write(file) as stream:
        stream.writelines(chunks)


def _envelope(ledger: Ledger, workflow_id: str) -> Iterator[bytes]:
    yield b'{"workflow_id":' + _encoded(workflow_id) + b',"histories":['
    total = 0
    query = RunQuery(apps=(AppKey(COZE, workflow_id),))
    for total, entry in enumerate(runs_of(ledger, query, with_details=True), 1):
        record = _encoded(record_of(entry.run))
        yield b"," + record if total > 1 else record
    updated_at = milliseconds(clock.utc_now())
    yield b'],"total":' + str(total).encode() + b',"updated_at":' + str(updated_at).encode() + b"}"


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
