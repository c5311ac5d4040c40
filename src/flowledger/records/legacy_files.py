"""The files of the old layout, written beside the ledger for programs that still read them.

``<dir>/workflow_executions/<execution_id>.json``, ``<dir>/workflow_operations/<operation_id>.json`` and
``<dir>/execution_history/<workflow_id>.json``.  The ledger is the record: whatever goes wrong here is
logged and counted, and fails nothing.  Each file is written from what the ledger holds at that moment, under
a lock, so that of several writers the last one writes the newest.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkstemp
from threading import Lock
from typing import Any

from loguru import logger

from flowledger.bootstrap import clock
from flowledger.domain.coze_executions import milliseconds
from flowledger.domain.history import Place, RunKey, RunQuery
from flowledger.domain.record_kinds import COZE, record_of
from flowledger.domain.runs import AppKey
from flowledger.errors import FlowledgerError
from flowledger.io.atomic import sync_directory
from flowledger.io.locks import locked
from flowledger.ports import Ledger

HISTORIES = "execution_history"
PAGE = 50


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

    def keep_execution(self, ledger: Ledger, key: RunKey) -> None:
        """Write a logged execution as it is now, or remove its file where it is gone."""

        def write(file: Path) -> None:
            held = ledger.entry(key)
            if held is None:
                file.unlink(missing_ok=True)
            else:
                write_private(file, [held.run.raw])

        self._write(self.executions, key.run_id, write)

    def keep_operation(self, operation: Mapping[str, Any]) -> None:
        """Write an operation."""
        content = [_encoded(operation)]
        self._write(self.operations, operation["operation_id"], lambda file: write_private(file, content))

    def keep_history(self, ledger: Ledger, workflow_id: str) -> None:
        """Write all Coze executions of a workflow anew, newest first, as the old file had them.

        It takes as long as there are executions; memory stays flat.
        """
        self._write(HISTORIES, workflow_id, lambda file: write_private(file, _envelope(ledger, workflow_id)))

    def _write(self, folder: str, name: str, write: Callable[[Path], None]) -> None:
        """Write a file under its folder's lock; what fails is said and counted."""
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
            logger.warning("the old layout lacks {} as it is now ({}); the ledger has it", file, error)


def write_private(file: Path, chunks: Iterable[bytes]) -> None:
    """Write a file whole or not at all, for its owner alone; it survives a power cut."""
    descriptor, made = mkstemp(prefix=f".{file.name[:40]}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fsync(stream.fileno())
        Path(made).replace(file)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
    sync_directory(file.parent)


def _envelope(ledger: Ledger, workflow_id: str) -> Iterator[bytes]:
    yield b'{"workflow_id":' + _encoded(workflow_id) + b',"histories":['
    total = 0
    for raw in _raws(ledger, AppKey(COZE, workflow_id)):
        yield b"," + raw if total else raw
        total += 1
    updated_at = milliseconds(clock.utc_now())
    yield b'],"total":' + str(total).encode() + b',"updated_at":' + str(updated_at).encode() + b"}"


def _raws(ledger: Ledger, app: AppKey) -> Iterator[bytes]:
    after: Place | None = None
    while True:
        page = ledger.history(RunQuery(apps=(app,)), after=after, limit=PAGE, with_details=True)
        yield from (_encoded(record_of(entry.run)) for entry in page.entries)
        after = page.following
        if after is None:
            return


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
