"""The JSON files of a folder's ledger, for people and for programs that know only records.

``workflow_executions/<execution_id>.json``   one logged execution each, its record
``workflow_operations/<operation_id>.json``   one operation each
``execution_history/<workflow_id>.json``      all executions of a Coze workflow, newest first

They are written from the ledger after each commit, each whole or not at all, and never read again.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from time import time_ns

from flowledger.domain.operations import Operation
from flowledger.domain.texts import safe_name
from flowledger.ledger.disk import explaining, make_folder, write_whole

EXECUTIONS = "workflow_executions"
OPERATIONS = "workflow_operations"
HISTORIES = "execution_history"
INCOMING = ".incoming"
"""Where files are until they are whole."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def file_stem(name: str) -> str:
    """Return the name of a file without its ending: an id that is one already, else a safe one made of it.

    No id is ever a path.
    """
    return name if _PLAIN_NAME.fullmatch(name) else safe_name(name)


def record_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder, in the order of their names."""
    return sorted(folder.glob("[!.]*.json")) if folder.is_dir() else []


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """Writes the files of one ledger; whoever calls it has the lock on the folder."""

    root: Path

    def put_execution(self, execution_id: str, record: bytes | None) -> None:
        """Write a logged execution, or remove its file where there is no record."""
        file = self.root / EXECUTIONS / f"{file_stem(execution_id)}.json"
        if record is None or not _has(file, record):
            self._put(file, None if record is None else [record])

    def put_operation(self, operation: Operation) -> None:
        """Write an operation."""
        content = {
            "operation_id": operation.operation_id,
            "operation_type": operation.operation_type,
            "workflow_id": operation.app and operation.app.app_id,
            "timestamp": operation.at.astimezone(UTC).isoformat(),
            "user": operation.user,
            "data": dict(operation.data),
        }
        file = self.root / OPERATIONS / f"{file_stem(operation.operation_id)}.json"
        record = json.dumps(content).encode()
        if not _has(file, record):
            self._put(file, [record])

    def put_workflow(self, workflow_id: str, newest_first: Iterator[bytes]) -> int:
        """Write all executions of a Coze workflow, one a line, and return how many; of none, no file."""
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            name = json.dumps(workflow_id).encode()
            yield b'{"workflow_id":' + name + b',"histories":['
            for record in newest_first:
                yield (b",\n" if count else b"\n") + record.replace(b"\n", b" ")
                count += 1
            now_ms = time_ns() // 1_000_000
            yield b'\n],"total":' + str(count).encode() + b',"updated_at":' + str(now_ms).encode() + b"}\n"

        file = self.root / HISTORIES / f"{file_stem(workflow_id)}.json"
        self._put(file, lines())
        if not count:
            self._put(file, None)
        return count

    def clear_incoming(self) -> None:
        """Delete what a killed process left unfinished."""
        incoming = self.root / INCOMING
        with explaining(incoming):
            for file in incoming.iterdir() if incoming.is_dir() else ():
                file.unlink()

    def _put(self, file: Path, chunks: Iterable[bytes] | None) -> None:
        with explaining(file):
            if chunks is None:
                file.unlink(missing_ok=True)
                return
            make_folder(file.parent)
            make_folder(self.root / INCOMING)
            write_whole(file, chunks, self.root / INCOMING / file.name)


def _has(file: Path, record: bytes) -> bool:
    """Whether a file has a record already, however it is written."""
    try:
        content = file.read_bytes()
        return content == record or json.dumps(json.loads(content)) == json.dumps(json.loads(record))
    except (OSError, ValueError, RecursionError):
        return False
