"""One process at a time: file locks, which the system ends with the process that holds them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flowledger.errors import StorageError
from flowledger.io.atomic import make_directories

if sys.platform != "win32":
    import fcntl


def lock_file(file: IO[Any], *, wait: bool) -> bool:
    """Lock an open file until it is closed, and return whether it is ours; without waiting, it may not be.

    Windows has no such locks: there everyone gets it, and two who upload at once do it twice.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a file, and yield whether it is ours; without waiting, another process may have it.

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
    with file:
        yield lock_file(file, wait=wait)
