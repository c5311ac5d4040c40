"""Files being written: errors that name them, spools, and final names that appear whole."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from flowledger.errors import StorageError

_CHUNK = 1 << 20


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an operating system error into one that names the file.

    :raises StorageError: with the file and the reason.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; check free space and permissions and run again"
        ) from error


@contextmanager
def spool(path: Path) -> Iterator[BinaryIO]:
    """Give a nameless file beside an artifact, for a body whose header is not known yet."""
    with naming(path):
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
        with naming(path):
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
    direct = target.exists() and not target.is_file()
    partial = target if direct else target.with_name(f".partial-{uuid4().hex}")
    with naming(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        out = partial.open("wb")
    try:
        with closing(out, path):
            yield out
            with naming(path):
                out.flush()
                if not direct:
                    os.fsync(out.fileno())
        if not direct:
            with naming(path):
                partial.replace(target)
    except BaseException:
        if not direct:
            partial.unlink(missing_ok=True)
        raise
