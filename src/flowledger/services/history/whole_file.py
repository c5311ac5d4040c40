"""A file that is there whole or not at all, for its owner alone."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from flowledger.errors import StorageError
from flowledger.io.atomic import atomic_write, partial_files
from flowledger.io.locks import lock_file


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file elsewhere in its folder, sync it, and put it in its place when all went well (mode 0600).

    :raises StorageError: naming the file, when the system refuses; what was there stays.
    """
    try:
        _remove_leftovers(path)
        with atomic_write(path) as stream:
            lock_file(stream, wait=False)
            yield stream
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}): make room, or name another place"
        ) from error


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of this file; what is being written is locked, and stays."""
    for partial in partial_files(path):
        with suppress(FileNotFoundError), partial.open("rb") as stream:
            if lock_file(stream, wait=False):
                partial.unlink(missing_ok=True)
