"""Everything that a process writes, counted, and what happens at one of those points.

A point is a write to a file, a statement that changes the ledger, an fsync, a rename or a commit.  The
chosen one fails once (``error``), or it and all after it, as on a full disk (``full``), or the process is
killed with half of the bytes written (``kill``), or the power is cut (``cut``): then what was written and not
synced is gone as well.
"""

import builtins
import errno
import io
import os
import signal
import sqlite3
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

MODES = ("error", "full", "kill", "cut")
_FAILURES = {"error": errno.EIO, "full": errno.ENOSPC}
_READING = ("SELECT", "PRAGMA", "BEGIN", "WITH")


@dataclass(slots=True)
class Points:
    """Counts what is written; at point ``at`` (from 1, 0 for never) the ``mode`` strikes."""

    mode: str = "full"
    at: int = 0
    folder: Path = field(default_factory=Path)
    seen: list[str] = field(default_factory=list)
    unsynced: set[tuple[int, int]] = field(default_factory=set)

    def strikes(self, kind: str, what: object) -> bool:
        """Count a point and tell whether it is the one."""
        self.seen.append(f"{kind} {what}")
        return len(self.seen) == self.at or (self.mode == "full" and 0 < self.at < len(self.seen))

    def end(self) -> None:
        """Fail, or end this process as a killed one ends."""
        if self.mode in _FAILURES:
            number = _FAILURES[self.mode]
            raise OSError(number, os.strerror(number))
        if self.mode == "cut":
            self._lose()
        os.kill(os.getpid(), signal.SIGKILL)

    def end_ledger(self) -> None:
        """Do the same in the words of the ledger's driver."""
        if self.mode in _FAILURES:
            error = sqlite3.OperationalError("the disk does not take it")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL if self.mode == "full" else sqlite3.SQLITE_IOERR
            raise error
        self.end()

    def _lose(self) -> None:
        """Empty all files whose content was not synced, as a file system may after a power cut."""
        for path in self.folder.rglob("*"):
            about = path.lstat()
            is_lost = stat.S_ISREG(about.st_mode) and (about.st_dev, about.st_ino) in self.unsynced
            if is_lost and "ledger.db" not in path.name:
                os.truncate(path, 0)


class _CountedFile(io.FileIO):
    """A file opened for writing: each write that reaches the system is a point."""

    points: Points

    def write(self, data: Any) -> int:
        about = os.fstat(self.fileno())
        self.points.unsynced.add((about.st_dev, about.st_ino))
        if self.points.strikes("write", self.name):
            super().write(bytes(data)[: len(data) // 2])
            self.points.end()
        return super().write(data)


def install(points: Points) -> None:
    """Let this process write through the points from now on; for processes that end soon."""
    _count_files(points)
    _count_calls(points)
    _count_ledger(points)


def _count_files(points: Points) -> None:
    opens = io.open
    counted = type("_CountedFile", (_CountedFile,), {"points": points})

    def open_counted(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **words: Any) -> Any:
        if not set(mode) & set("wxa+"):
            return opens(file, mode, buffering, *rest, **words)
        names = ("encoding", "errors", "newline", "closefd", "opener")
        words |= dict(zip(names, rest, strict=False))
        raw = counted(
            file,
            mode.replace("b", "").replace("t", ""),
            closefd=words.get("closefd", True),
            opener=words.get("opener"),
        )
        if buffering == 0:
            return raw
        stream: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return stream
        return io.TextIOWrapper(stream, words.get("encoding"), words.get("errors"), words.get("newline"))

    io.open = open_counted
    builtins.open = open_counted


def _count_calls(points: Points) -> None:
    writes, syncs, replaces, renames = os.write, os.fsync, os.replace, os.rename

    def write(handle: int, data: bytes) -> int:
        if points.strikes("write", handle):
            writes(handle, data[: len(data) // 2])
            points.end()
        return writes(handle, data)

    def fsync(handle: Any) -> None:
        if points.strikes("fsync", handle):
            points.end()
        syncs(handle)
        about = os.fstat(handle)
        points.unsynced.discard((about.st_dev, about.st_ino))

    def moving(move: Callable[..., None]) -> Callable[..., None]:
        def counted(source: Any, target: Any, **words: Any) -> None:
            if points.strikes("rename", target):
                points.end()
            move(source, target, **words)

        return counted

    os.write = write  # type: ignore[assignment]
    os.fsync = fsync  # type: ignore[assignment]
    os.replace, os.rename = moving(replaces), moving(renames)


def _count_ledger(points: Points) -> None:
    dialect: Any = DefaultDialect
    one, many, bare, commits = (
        dialect.do_execute,
        dialect.do_executemany,
        dialect.do_execute_no_params,
        dialect.do_commit,
    )

    def counted(execute: Callable[..., None]) -> Callable[..., None]:
        def run(self: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if not statement.lstrip().upper().startswith(_READING) and points.strikes(
                "write", statement.lstrip()[:40].partition("\n")[0]
            ):
                points.end_ledger()
            execute(self, cursor, statement, *rest)

        return run

    def commit(self: Any, connection: Any) -> None:
        if points.strikes("commit", ""):
            points.end_ledger()
        commits(self, connection)

    dialect.do_execute, dialect.do_executemany = counted(one), counted(many)
    dialect.do_execute_no_params, dialect.do_commit = counted(bare), commit


def sampled(count: int, wanted: int, seed: int = 0) -> Sequence[int]:
    """Choose points from 1 to ``count``: the first, the last, and others at even distances from a seed on."""
    step = max(1, count // wanted)
    return sorted({1, count, *range(1 + seed % step, count + 1, step)})
