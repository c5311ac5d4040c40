"""Files for programs that know only records: written from the journal, and never read once it is there."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowledger.ledger.files.disk import explaining, make_folder, write_all, write_whole
from flowledger.ledger.files.naming import file_stem

INCOMING = ".incoming"


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """A folder with one file for each record.

    A file on its way in or out is in ``.incoming`` meanwhile: made and synced before the journal's line is
    written, and in its place after that.  Whoever writes next finds what a killed process left there.
    """

    folder: Path
    id_field: str

    def prepare(self, records: Mapping[str, bytes]) -> None:
        """Make files ready, by id."""
        if not records:
            return
        incoming = self._incoming()
        for record_id, content in records.items():
            file = incoming / self._name(record_id)
            with explaining(file):
                _write(file, content)

    def place(self, ids: Iterable[str]) -> None:
        """Put files that are ready in their places."""
        with explaining(self.folder):
            for record_id in ids:
                name = self._name(record_id)
                (self.folder / INCOMING / name).replace(self.folder / name)

    def withdraw(self, ids: Iterable[str]) -> Sequence[Path]:
        """Take files out of their places, for ``drop``."""
        incoming = self._incoming()
        withdrawn = []
        with explaining(self.folder):
            for record_id in ids:
                name = self._name(record_id)
                if (self.folder / name).exists():
                    withdrawn.append((self.folder / name).replace(incoming / name))
        return withdrawn

    def drop(self, withdrawn: Iterable[Path]) -> None:
        """Delete what was withdrawn."""
        with explaining(self.folder):
            for file in withdrawn:
                file.unlink(missing_ok=True)

    def repair(self, held: Callable[[str], bytes | None]) -> None:
        """Finish what a killed process left on its way; ``held`` gives records by id."""
        try:
            left = list((self.folder / INCOMING).iterdir())
        except FileNotFoundError:
            return
        for file in left:
            with explaining(file):
                record_id = self._id_in(file)
                content = None if record_id is None else held(record_id)
                if record_id is not None and content is not None:
                    write_whole(self.folder / self._name(record_id), [content])
                file.unlink()

    def _incoming(self) -> Path:
        incoming = self.folder / INCOMING
        with explaining(incoming):
            make_folder(incoming)
        return incoming

    def _name(self, record_id: str) -> str:
        return f"{file_stem(record_id)}.json"

    def _id_in(self, file: Path) -> str | None:
        try:
            record = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            return None
        found = record.get(self.id_field) if isinstance(record, dict) else None
        return found if isinstance(found, str) else None


def write_snapshot(
    file: Path, workflow_id: str, total: int, newest_first: Iterable[bytes], at_ms: int
) -> None:
    """Write all records of a Coze workflow as one JSON object, a record a line; memory stays flat."""

    def chunks() -> Iterator[bytes]:
        name = json.dumps(workflow_id).encode()
        yield b'{"workflow_id":' + name + b',"total":' + str(total).encode() + b',"histories":['
        separator = b"\n"
        for record in newest_first:
            yield separator + record
            separator = b",\n"
        yield b'\n],"updated_at":' + str(at_ms).encode() + b"}\n"

    with explaining(file):
        make_folder(file.parent)
        write_whole(file, chunks())


def _write(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    except OSError:
        file.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
