"""A file that is there whole or not at all, for its owner alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flowledger.errors import StorageError
from flowledger.io.atomic import atomic_write


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file elsewhere in its folder, sync it, and put it in its place when all went well (mode 0600).

    :raises StorageError: naming the file, when the system refuses; what was there stays.
    """
    try:
        with atomic_write(path) as stream:
            yield stream
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}): make room, or name another place"
        ) from error
