"""Files and directories kept below one directory."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flowledger.domain.names import safe_path
from flowledger.errors import StorageError
from flowledger.storage.durable import copy_any, make_directories, remove_any, sync_directory
from flowledger.storage.workspace import FOLDER, remove_leftovers, workspace

_PAYLOAD = "payload"
_REPLACED = "replaced"


@dataclass(frozen=True)
class LocalStorage:
    """Keeps files below ``root``; every part of a name is made safe, so that none leads out of it.

    What a killed process left half written is removed when the storage is opened.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())
        with _naming("left-over files", self.root):
            remove_leftovers(self.root)

    def put(self, name: str, source: Path) -> str:
        """Keep a file or a whole directory under a name, replacing what was there, and give its path.

        :raises StorageError: with the name, when it cannot; what was there stays, nothing new is visible.
        """
        target = self._path(name)
        with _naming(name, self.root), workspace(self.root) as place:
            copy_any(source, place / _PAYLOAD)
            make_directories(target.parent)
            _move_in(place, target)
            sync_directory(target.parent)
        return str(target)

    def read(self, name: str) -> bytes:
        """Give a file's content.

        :raises StorageError: with the name, when it is not there or cannot be read.
        """
        with _naming(name, self.root, "read"):
            return self._path(name).read_bytes()

    def names(self, prefix: str) -> Sequence[tuple[str, datetime]]:
        """List the files whose names begin with a prefix, with the time (UTC) each was kept, oldest first."""
        start = self.root / safe_path(prefix.rpartition("/")[0]) if "/" in prefix else self.root
        with _naming(prefix, self.root, "list"):
            found = [(name, kept_at) for name, kept_at in self._files(start) if name.startswith(prefix)]
        return sorted(found, key=lambda item: (item[1], item[0]))

    def location(self, name: str) -> str:
        """Give the path of a name."""
        return str(self._path(name))

    def remove(self, name: str) -> None:
        """Forget a file or directory, and the directories that become empty; one not there is no error.

        :raises StorageError: with the name, when it cannot.
        """
        path = self._path(name)
        with _naming(name, self.root, "remove"):
            remove_any(path)
            for parent in path.parents:
                if parent == self.root or not parent.is_dir() or any(parent.iterdir()):
                    break
                parent.rmdir()

    def _path(self, name: str) -> Path:
        return self.root / safe_path(name)

    def _files(self, start: Path) -> Iterator[tuple[str, datetime]]:
        for folder, folders, files in os.walk(start):  # unlike rglob, it goes on where a directory vanishes
            if FOLDER in folders:
                folders.remove(FOLDER)
            for path in (Path(folder, file) for file in files):
                with suppress(FileNotFoundError):
                    kept_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    yield path.relative_to(self.root).as_posix(), kept_at


def _move_in(place: Path, target: Path) -> None:
    """Give a payload its name; a directory that is there is moved aside first, and back on failure."""
    if not target.is_dir():
        (place / _PAYLOAD).replace(target)
        return
    target.replace(place / _REPLACED)
    try:
        (place / _PAYLOAD).replace(target)
    except OSError:
        (place / _REPLACED).replace(target)
        raise


@contextmanager
def _naming(name: str, root: Path, act: str = "keep") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {act} {name} in {root}: {error.strerror or error}; check that the directory is there, "
            "has free space and may be written, then run again"
        ) from error
