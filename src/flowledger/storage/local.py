"""Files and directories stored below one directory."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flowledger.domain.texts import safe_path
from flowledger.errors import StorageError
from flowledger.io.atomic import copy_any, make_directories, remove_any, sync_directory
from flowledger.ports import StoredFile
from flowledger.storage.workspace import FOLDER, remove_leftovers, workspace

_PAYLOAD = "payload"
_REPLACED = "replaced"


@dataclass(frozen=True)
class LocalStorage:
    """Files below ``root``; every part of a name is made safe, so that none leads out of it.

    What a killed process left half written is removed when the storage is opened.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())
        with _naming("left-over files", self.root):
            remove_leftovers(self.root)

    def put(self, name: str, source: Path) -> str:
        """Store a file or a whole directory under a name, replacing what was there, and return its path.

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
        """Return a file's content.

        :raises StorageError: with the name, when it is not there or cannot be read.
        """
        with _naming(name, self.root, "read"):
            return self._path(name).read_bytes()

    def names(self, prefix: str) -> Sequence[StoredFile]:
        """List the files whose names begin with a prefix, with the time (UTC) of storing, oldest first."""
        folder, _, beginning = prefix.rpartition("/")
        start = self.root / safe_path(folder) if folder else self.root
        with _naming(prefix, self.root, "list"):
            files = [each for each in self._files(start, beginning) if each.name.startswith(prefix)]
        return sorted(files, key=lambda each: (each.stored_at, each.name))

    def location(self, name: str) -> str:
        """Return the path of a name."""
        return str(self._path(name))

    def link(self, name: str, valid_for: timedelta) -> str:  # noqa: ARG002  # a path is valid for ever
        """Return the path of a file: it needs no signature."""
        return self.location(name)

    def remove(self, *names: str) -> None:
        """Remove files or directories, and the directories that become empty; one not there is no error.

        :raises StorageError: with the name, when it cannot.
        """
        for name in names:
            self._remove(name)

    def _remove(self, name: str) -> None:
        path = self._path(name)
        with _naming(name, self.root, "remove"):
            remove_any(path)
            for parent in path.parents:
                if parent == self.root or not parent.is_dir() or any(parent.iterdir()):
                    break
                parent.rmdir()

    def _path(self, name: str) -> Path:
        return self.root / safe_path(name)

    def _files(self, start: Path, beginning: str) -> Iterator[StoredFile]:
        """Yield the files below a folder; directly in it only those whose names begin so."""
        for folder, folders, files in os.walk(start):  # unlike rglob, it goes on where a directory vanishes
            start_of_name = beginning if folder == str(start) else ""
            folders[:] = [name for name in folders if name != FOLDER and name.startswith(start_of_name)]
            for path in (Path(folder, file) for file in files if file.startswith(start_of_name)):
                with suppress(FileNotFoundError):
                    about = path.stat()
                    stored_at = datetime.fromtimestamp(about.st_mtime, UTC)
                    yield StoredFile(path.relative_to(self.root).as_posix(), stored_at, about.st_size)


def _move_in(place: Path, target: Path) -> None:
    """Move a payload to its name; an existing directory is moved aside first, and back on failure."""
    if not target.is_dir():
        (place / _PAYLOAD).replace(target)
        return
    # No system call replaces a directory that has content: for a moment there is neither.
    target.replace(place / _REPLACED)
    try:
        (place / _PAYLOAD).replace(target)
    except OSError:
        (place / _REPLACED).replace(target)
        raise


@contextmanager
def _naming(name: str, root: Path, act: str = "store") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {act} {name} in {root}: {error.strerror or error}; check that the directory is there, "
            "has free space and may be written, then run again"
        ) from error
