"""Files of a report while they are written: spools, and files that appear under their name whole."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flowledger.io.atomic import AtomicFile, naming_file

_CHUNK = 1 << 20


@contextmanager
def spool(path: Path) -> Iterator[BinaryIO]:
    """Yield a nameless file beside an artifact, for a body that is written before its header."""
    with naming_file(path):
        file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed below
    with closing(file, path):
        yield file


@contextmanager
def closing(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Close a file in the end, which writes what is buffered and may fail as any write.

    :raises StorageError: with the file and the reason.
    """
    try:
        yield file
    finally:
        with naming_file(path):
            file.close()


def append(spooled: BinaryIO, out: BinaryIO) -> None:
    """Copy a spool from its beginning."""
    spooled.seek(0)
    shutil.copyfileobj(spooled, out, _CHUNK)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name whole, when the context ends well, or not at all.

    A link is followed; what is no regular file (``/dev/stdout``) is written directly.

    :raises StorageError: with the file and the reason.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        with naming_file(path):
            out: BinaryIO = target.open("wb")
        with closing(out, path):
            yield out
        return
    with naming_file(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = AtomicFile(target, mode=None)  # reports are for whom the umask lets read
    try:
        yield file.stream
        with naming_file(path):
            file.replace()
    finally:
        file.discard()
