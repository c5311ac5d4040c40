"""Files that survive a power cut: written elsewhere on the same file system, synced, then renamed."""

import glob
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from flowledger.errors import StorageError

OWNER_ONLY = 0o600

_CHUNK = 1 << 20
_NAME_CHARACTERS = 40
"""Of the target's name in the temporary one, whose whole must stay below the 255 bytes file systems allow."""


class AtomicFile:
    """A file that is written beside its target and takes the target's name only when it is complete.

    ``mode`` is the permission bits of the new file; None leaves them to the umask, as for any new file.
    Exactly one of ``replace`` and ``discard`` ends it.

    :raises OSError: when the file cannot be made.
    """

    def __init__(self, target: Path, mode: int | None = OWNER_ONLY) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name[:_NAME_CHARACTERS]}.{uuid4().hex}.partial")
        # Whoever may not read the finished file may not read it half written either: the mode comes with it.
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else OWNER_ONLY
        )
        self.stream: BinaryIO = os.fdopen(descriptor, "wb")
        if mode not in (None, OWNER_ONLY):
            self._path.chmod(stat.S_IMODE(mode or 0))  # exactly, where os.open would subtract the umask

    def finish(self) -> None:
        """Write out and sync the content; nothing can be written after it.

        :raises OSError: when the disk refuses.
        """
        if not self.stream.closed:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.stream.close()

    def replace(self) -> None:
        """Finish, and put the file in the target's place.

        :raises OSError: when the system refuses; what was there stays.
        """
        self.finish()
        self._path.replace(self._target)
        sync_directory(self._target.parent)

    def discard(self) -> None:
        """Remove what was written; without effect once it has replaced the target."""
        with suppress(OSError):  # closing may fail to write the buffer once more, which no longer matters
            self.stream.close()
        self._path.unlink(missing_ok=True)


def partial_files(target: Path) -> list[Path]:
    """Return what is being written in place of a target, or was left of it by a process that was killed."""
    return list(target.parent.glob(f".{glob.escape(target.name[:_NAME_CHARACTERS])}.*.partial"))


@contextmanager
def atomic_write(target: Path, mode: int | None = OWNER_ONLY) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when the context ends well, and not at all otherwise.

    :raises OSError: when the system refuses; what was there stays.
    """
    file = AtomicFile(target, mode)
    try:
        yield file.stream
        file.replace()
    finally:
        file.discard()


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Turn an operating system error into one that names the file.

    :raises StorageError: with the file, the reason and what to do.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; check free space and permissions and run again"
        ) from error


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content and sync it; times and modes are new."""
    with source.open("rb") as content, target.open("xb") as out:
        shutil.copyfileobj(content, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())


def copy_any(source: Path, target: Path) -> None:
    """Copy a file or a whole directory, synced; links are followed."""
    if not source.is_dir():
        copy_file(source, target)
        return
    target.mkdir()
    for child in sorted(source.iterdir()):
        copy_any(child, target / child.name)
    sync_directory(target)


def make_directories(directory: Path) -> None:
    """Make a directory and its parents; each survives a power cut in its own parent."""
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make a directory's names survive a power cut, where the system can open directories."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_any(path: Path) -> None:
    """Remove a file or a whole directory; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
