"""Files that are there whole or not at all, for their owner alone, and errors that name them."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp

from flowledger.errors import LedgerError

FULL = "the disk is full, or files may not grow so far; what was held is intact: make room and run again"
CLOSED = "make the ledger's folder writable for this user, or set LEDGER_URL to another place"
IN_THE_WAY = "something else is in the place of a folder: move it aside, or set LEDGER_URL to another place"
WAYS_OUT: Mapping[int, str] = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EACCES: CLOSED,
    errno.EPERM: CLOSED,
    errno.EROFS: CLOSED,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENOLCK: "the file system has no locks: set LEDGER_URL to a place on a local disk",
    errno.ENOTSUP: "the file system has no locks: set LEDGER_URL to a place on a local disk",
}
OTHERWISE = "check the disk's health and free space, then run again"


@contextmanager
def explaining(file: Path) -> Iterator[None]:
    """Turn the system's errors into ``LedgerError`` with the file's name and a way out."""
    try:
        yield
    except OSError as error:
        way_out = WAYS_OUT.get(error.errno or 0, OTHERWISE)
        place = error.filename or file
        raise LedgerError(f"the ledger's file {place}: {error.strerror or error}; {way_out}") from error


def make_folder(folder: Path) -> None:
    """Make a folder (mode 0700) and its parents, each known to its own parent for good."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's names survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(file: Path, chunks: Iterable[bytes], *, made: Path | None = None) -> None:
    """Write a file (mode 0600) elsewhere, sync it, and put it in its place."""
    made = write_beside(file, chunks) if made is None else made
    made.replace(file)
    sync_folder(file.parent)


def write_beside(file: Path, chunks: Iterable[bytes]) -> Path:
    """Write a file (mode 0600) under a name of its own in the same folder, synced; give that name."""
    descriptor, name = mkstemp(prefix=f".{file.name[:40]}.", dir=file.parent)
    made = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however little the system takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def set_aside(file: Path, *, copied: bool = False) -> Path:
    """Keep a damaged file as ``<name>.corrupt-<time of its last change>``; ``copied`` leaves it there too."""
    stamp = _stamp(file.stat().st_mtime)
    number = 0
    while True:
        aside = file.with_name(f"{file.name}.corrupt-{stamp}" + (f".{number}" if number else ""))
        try:
            os.link(file, aside)
            break
        except FileExistsError:
            number += 1
    if not copied:
        file.unlink()
    return aside


def _stamp(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")
