"""Temporary places beside the stored files, told apart from those a dead process has left."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from flowledger.storage.durable import make_directories, remove_any

if sys.platform != "win32":
    import fcntl

FOLDER = ".incoming"
"""The folder of workspaces; no stored name begins with a dot."""

_LOCK_SUFFIX = ".lock"


@contextmanager
def workspace(root: Path) -> Iterator[Path]:
    """Give an empty directory on the root's file system, removed in the end.

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
    for known in (root / FOLDER).glob(f"*{_LOCK_SUFFIX}"):
        try:
            lock = known.open("rb")
        except FileNotFoundError:
            continue  # its process has just ended
        with lock:
            if _locked(lock, wait=False):
                remove_any(_place_of(known))
                known.unlink(missing_ok=True)


def _place_of(lock: Path) -> Path:
    return lock.with_suffix("")


def _claimed(folder: Path) -> BinaryIO:
    """Make and lock a lock file; once more where another process took it for a left-over meanwhile."""
    while True:
        lock = (folder / f"{uuid4().hex}{_LOCK_SUFFIX}").open("xb")
        if _locked(lock, wait=True):
            return lock
        lock.close()


def _locked(lock: BinaryIO, *, wait: bool) -> bool:
    """Lock a file and tell whether it is still there; on Windows an open file cannot go, which will do."""
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
    return os.fstat(lock.fileno()).st_nlink > 0
