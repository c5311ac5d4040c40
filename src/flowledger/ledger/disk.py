"""Folders and files of a ledger in a folder: for their owner alone, and errors that name them."""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from flowledger.errors import LedgerError

FULL = "the disk is full, or files may not grow so far; what was stored is intact: make room and run again"
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


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that other threads and processes wait for; the file stays where it is."""
    with explaining(file):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with explaining(file):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # unlocks it, too


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


def write_whole(file: Path, chunks: Iterable[bytes], made: Path) -> None:
    """Write a file (mode 0600) under another name, sync it, and put it in its place."""
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.writelines(chunks)
        stream.flush()
        os.fsync(stream.fileno())
    made.replace(file)
    sync_folder(file.parent)


def set_aside(file: Path) -> Path:
    """Rename a damaged file to ``<name>.corrupt-<time of its last change>``, and return that."""
    stamp = datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 0
    while True:
        aside = file.with_name(f"{file.name}.corrupt-{stamp}" + (f".{number}" if number else ""))
        try:
            os.link(file, aside)
        except FileExistsError:
            number += 1
            continue
        file.unlink()
        return aside
