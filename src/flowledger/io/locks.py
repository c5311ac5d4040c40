"""One process at a time: locks that end with the process which holds them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowledger.errors import StorageError
from flowledger.io.atomic import make_directories

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file, and tell whether it is held; without waiting, another may have it.

    Windows has no such locks: there everyone gets it, and two who upload at once do it twice.

    :raises StorageError: when the file cannot be made.
    """
    try:
        make_directories(path.parent)
        file = path.open("a")
    except OSError as error:
        raise StorageError(
            f"cannot lock {path}: {error.strerror or error}; check that the disk has space and may be "
            "written, then run again"
        ) from error
    with file as lock:
        if sys.platform == "win32":
            yield True
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
