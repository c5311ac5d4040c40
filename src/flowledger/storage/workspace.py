"""Temporary directories for files on their way into a storage, and removing those of dead processes."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from flowledger.errors import StorageError
from flowledger.io.atomic import make_directories, remove_any
from flowledger.io.locks import lock_file

FOLDER = ".incoming"
"""The folder of workspaces; no stored name begins with a dot."""

_LOCK_SUFFIX = ".lock"


@contextmanager
def workspace(root: Path) -> Iterator[Path]:
    """Yield an empty directory on the root's file system, removed in the end.

    A lock file beside it is held open and locked meanwhile, which the system ends with the process.
    """
    folder = root / FOLDER
    make_directories(folder)
    with _claimed(folder) as lock:
        path = _place_of(Path(lock.name))
        try:
            path.mkdir()
            yield path
        finally:
            remove_any(path)
            Path(lock.name).unlink(missing_ok=True)


def remove_leftovers(root: Path) -> None:
    """Remove the workspaces of dead processes; those in use, or being removed by another process, stay."""
    for path in (root / FOLDER).glob(f"*{_LOCK_SUFFIX}"):
        try:
            lock = path.open("rb")
        except FileNotFoundError:
            continue  # its process has just ended
        with lock:
            if _locked(lock, wait=False):
                remove_any(_place_of(path))
                path.unlink(missing_ok=True)


def _place_of(lock: Path) -> Path:
    return lock.with_suffix("")


def _claimed(folder: Path) -> BinaryIO:
    """Return a new, locked lock file; made again where another process removed it as a left-over."""
    while True:
        lock = (folder / f"{uuid4().hex}{_LOCK_SUFFIX}").open("xb")
        if _locked(lock, wait=True):
            return lock
        lock.close()


def _locked(lock: BinaryIO, *, wait: bool) -> bool:
    """Lock a file and return whether it still exists (on Windows it does: an open file cannot be removed)."""
    return lock_file(lock, wait=wait) and os.fstat(lock.fileno()).st_nlink > 0


@contextmanager
def written(name: str, content: bytes) -> Iterator[Path]:
    """Yield a temporary file with this content.

    :raises StorageError: with the name it is meant for, when it cannot be written.
    """
    with _directory(name) as directory:
        source = directory / "content"
        with _naming(name):
            source.write_bytes(content)
        yield source


@contextmanager
def together(paths: Sequence[Path], names: Sequence[str]) -> Iterator[Path]:
    """Yield a directory that holds exactly these files under these names."""
    parent = paths[0].parent
    if {path.name for path in parent.iterdir()} == set(names) and all(
        path.parent == parent for path in paths
    ):
        yield parent
        return
    with _directory(str(parent)) as directory:
        with _naming(str(directory)):
            for path, name in zip(paths, names, strict=True):
                shutil.copyfile(path, directory / name)
        yield directory


@contextmanager
def _directory(name: str) -> Iterator[Path]:
    with _naming(name):
        directory = Path(tempfile.mkdtemp(prefix="flowledger-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {name}: {error.strerror or error}; check free space of the temporary directory"
        ) from error
