"""One journal: lines that are appended, synced and shared with other processes; the index follows it.

A write of several lines begins with a line that tells how much follows, so that all of it counts or none:
what a killed writer left unfinished at the end is no write, and the next writer cuts it off.  Nothing that
counts is ever changed in place: compacting writes a new file and puts it in the old one's place.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, Protocol
from uuid import uuid4
from zlib import crc32

from flowledger.domain.runs import Json
from flowledger.errors import LedgerError, LedgerVersionError
from flowledger.ledger.files.disk import (
    explaining,
    make_folder,
    set_aside,
    sync_folder,
    write_all,
    write_beside,
    write_whole,
)

VERSION = 1
MARK = b'{"flowledger":'
"""How each line begins that is no plain record."""
HEADER = MARK + b'"journal"'
BATCH = MARK + b'"batch"'
BLOCK = 1 << 20
HEAD = 96
"""So many bytes at a journal's beginning tell it from the one it replaced."""
ROOM = 1 << 20
"""A journal is not worth compacting for fewer bytes."""


class Span(NamedTuple):
    """Where a line is in its journal, without its end."""

    offset: int
    length: int


class DamagedLineError(ValueError):
    """A line that cannot be what was written."""


class Table(Protocol):
    """What follows a journal: an index of what its lines say."""

    def clear(self) -> None:
        """Know nothing."""

    def take(self, line: bytes, span: Span) -> None:
        """Take in a line.

        :raises DamagedLineError: when it cannot be what was written.
        """


Moved = tuple[bytes, Callable[[Span], None] | None]
"""A line for a new journal, and who wants to know where it is there."""


@dataclass(slots=True)
class Journal:
    """A journal's file and what has been taken in of it; threads and processes may share it."""

    path: Path
    table: Table
    about: Mapping[str, Json]
    report: Callable[[str], None]
    lock: RLock = field(default_factory=RLock)
    size: int = 0
    """So many bytes of the file have been taken in."""
    _inode: int = 0
    _head: bytes = b""
    _stamp: tuple[int, int] = (0, 0)
    _damaged: list[tuple[int, str]] = field(default_factory=list)
    _compact_at: int = ROOM

    @contextmanager
    def reading(self) -> Iterator[int | None]:
        """Give the file, all that counts taken in, to read from; None where there is none."""
        with self.lock:
            descriptor = self._opened()
            try:
                yield descriptor
            finally:
                if descriptor is not None:
                    os.close(descriptor)

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Give the file with nobody else writing it, all that counts taken in and nothing else in it."""
        with self.lock:
            with explaining(self.path):
                descriptor = self._locked()
            try:
                yield descriptor
            finally:
                os.close(descriptor)  # unlocks it, too

    def append(self, descriptor: int, lines: Sequence[bytes]) -> None:
        """Add lines, all or none; they are safe on the disk when this returns.

        :raises LedgerError: when they cannot be written; what was held stays as it is.
        """
        if not lines:
            return
        data = b"".join(line + b"\n" for line in lines)
        if len(lines) > 1:
            data = _batch(len(lines), len(data)) + data
        with explaining(self.path):
            try:
                write_all(descriptor, data)
            except OSError:
                with suppress(OSError):  # else the next writer cuts it off
                    os.ftruncate(descriptor, self.size)
                raise
            os.fsync(descriptor)
            self._catch_up(descriptor)

    def read(self, descriptor: int | None, span: Span) -> bytes:
        """Read a line."""
        if descriptor is None:
            raise LedgerError(f"the ledger's file {self.path} is gone: restore it from a backup")
        with explaining(self.path):
            return os.pread(descriptor, span.length, span.offset)

    def is_due(self, live_bytes: Callable[[], int]) -> bool:
        """Whether so much of the file counts no more that it is worth writing it anew."""
        if self.size < self._compact_at:
            return False
        live = live_bytes()
        self._compact_at = max(2 * live, self.size + self.size // 2) + ROOM
        return self.size > 2 * live + ROOM

    def rewrite(self, lines: Iterable[Moved]) -> None:
        """Write the journal anew with these lines; the lock on it has to be held."""
        placed: list[tuple[Callable[[Span], None], Span]] = []
        header = self._header()
        end = 0

        def chunks() -> Iterator[bytes]:
            nonlocal end
            yield header
            end = len(header)
            for line, tell in lines:
                if tell is not None:
                    placed.append((tell, Span(end, len(line))))
                end += len(line) + 1
                yield line + b"\n"

        with explaining(self.path):
            made = write_beside(self.path, chunks())
            stat = made.stat()
            write_whole(self.path, (), made=made)
        for tell, span in placed:
            tell(span)
        self.size, self._inode, self._head = end, stat.st_ino, header[:HEAD]
        self._stamp = (stat.st_size, stat.st_mtime_ns)
        self._compact_at = 2 * end + ROOM

    def begin_with(self, lines: Iterable[bytes]) -> None:
        """Make the journal with these lines, unless it is there already."""
        with explaining(self.path):
            make_folder(self.path.parent)
            made = write_beside(self.path, (self._header(), *(line + b"\n" for line in lines)))
            try:
                with suppress(FileExistsError):  # another process was first, and began with the same
                    os.link(made, self.path)
            finally:
                made.unlink()
            sync_folder(self.path.parent)

    def _opened(self) -> int | None:
        with explaining(self.path):
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self._restart(0, b"")
                return None
            try:
                self._catch_up(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        if not self._damaged:
            return descriptor
        os.close(descriptor)
        self._mend_if_possible()
        with explaining(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._catch_up(descriptor)
            self._damaged.clear()
        return descriptor

    def _locked(self) -> int:
        while True:
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                make_folder(self.path.parent)
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if self._is_current(descriptor) and self._prepared(descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.fstat(descriptor).st_ino == self.path.stat().st_ino
        except FileNotFoundError:
            return False

    def _prepared(self, descriptor: int) -> bool:
        """Take all in and cut off what is unfinished; False where the file had to be written anew."""
        self._catch_up(descriptor)
        if self._damaged:
            self._mend(descriptor)
            return False
        if os.fstat(descriptor).st_size > self.size:
            os.ftruncate(descriptor, self.size)
        if self.size == 0:
            write_all(descriptor, self._header())
            os.fsync(descriptor)
            sync_folder(self.path.parent)
            self._catch_up(descriptor)
        return True

    def _catch_up(self, descriptor: int) -> None:
        stat = os.fstat(descriptor)
        if (stat.st_size, stat.st_mtime_ns) == self._stamp and stat.st_ino == self._inode:
            return
        head = os.pread(descriptor, HEAD, 0)
        if stat.st_ino != self._inode or stat.st_size < self.size or not head.startswith(self._head):
            self._restart(stat.st_ino, b"")
        for line, span, end in _lines(descriptor, self.size, stat.st_size):
            if line.startswith(BATCH) and not self._is_whole(line, end, stat.st_size):
                break
            self._take(line, span)
            self.size = end
        self._head = head[: min(HEAD, self.size)]
        self._stamp = (stat.st_size, stat.st_mtime_ns)

    def _take(self, line: bytes, span: Span) -> None:
        try:
            if line.startswith(HEADER):
                self._check_version(parsed(line))
            elif not line.startswith(BATCH):
                self.table.take(line, span)
        except DamagedLineError as error:
            self._damaged.append((span.offset, str(error)))

    def _is_whole(self, line: bytes, end: int, size: int) -> bool:
        """Whether all lines of a batch are there; those after a damaged first line count one by one."""
        try:
            return end + _length_of(parsed(line)) <= size
        except DamagedLineError as error:
            self._damaged.append((end - len(line) - 1, str(error)))
            return True

    def _check_version(self, header: Mapping[str, Any]) -> None:
        check_version(self.path, header.get("version"))

    def _restart(self, inode: int, head: bytes) -> None:
        if self.size:
            self.table.clear()
        self.size, self._inode, self._head, self._stamp = 0, inode, head, (0, 0)
        self._damaged.clear()

    def _mend_if_possible(self) -> None:
        """Set a damaged journal aside; where it may not be written, say so and read what can be read."""
        damage = _told(self._damaged)
        try:
            with self.writing():
                pass
        except LedgerError as error:
            self.report(f"the ledger's file {self.path} is damaged ({damage}) and cannot be mended: {error}")

    def _mend(self, descriptor: int) -> None:
        """Keep the damaged journal aside, and what can be read of it in its place."""
        damage, bad = _told(self._damaged), {offset for offset, _ in self._damaged}
        good = (
            line
            for line, span, _ in _lines(descriptor, 0, self.size)
            if span.offset not in bad and not line.startswith((HEADER, BATCH))
        )
        made = write_beside(self.path, (self._header(), *(line + b"\n" for line in good)))
        aside = set_aside(self.path, copied=True)
        write_whole(self.path, (), made=made)
        self._restart(0, b"")
        self.report(
            f"the ledger's file {self.path} was damaged ({damage}): it is kept as {aside.name},"
            " and all lines that can be read are held; restore the others from a backup"
        )

    def _header(self) -> bytes:
        return line_of("journal", generation=uuid4().hex, version=VERSION, **self.about) + b"\n"


def line_of(kind: str, /, **values: Json) -> bytes:
    """Write a line of the ledger's own."""
    return json.dumps({"flowledger": kind, **values}, separators=(",", ":")).encode()


def parsed(line: bytes) -> dict[str, Any]:
    """Read a line.

    :raises DamagedLineError: when it is no JSON object.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DamagedLineError(f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise DamagedLineError("no JSON object")
    return value


def check_version(file: Path, version: object) -> None:
    """Refuse what a newer program has written.

    :raises LedgerVersionError: with the version that is needed.
    """
    if isinstance(version, int) and version <= VERSION:
        return
    raise LedgerVersionError(
        f"the ledger's file {file} has format {version}, and this program knows formats up to {VERSION}:"
        f" use a Flowledger that knows format {version}"
    )


def _lines(descriptor: int, start: int, end: int) -> Iterator[tuple[bytes, Span, int]]:
    """Read whole lines, each with its place and where the next one begins."""
    rest, offset = b"", start
    while offset + len(rest) < end:
        block = os.pread(descriptor, min(BLOCK, end - offset - len(rest)), offset + len(rest))
        if not block:
            return
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            following = offset + len(line) + 1
            yield line, Span(offset, len(line)), following
            offset = following


def _batch(lines: int, length: int) -> bytes:
    return line_of("batch", lines=lines, bytes=length, check=_check(lines, length)) + b"\n"


def _length_of(batch: Mapping[str, Any]) -> int:
    try:
        lines, length = int(batch["lines"]), int(batch["bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedLineError(f"no first line of a batch: {error!r}") from error
    if batch.get("check") != _check(lines, length):
        raise DamagedLineError("no first line of a batch: its sum is another")
    return length


def _check(lines: int, length: int) -> int:
    return crc32(f"{lines} {length}".encode())


def _told(damaged: Sequence[tuple[int, str]]) -> str:
    offset, why = damaged[0]
    more = f", and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    return f"at byte {offset}: {why}{more}"
