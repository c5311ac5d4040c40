"""A log as one file a day in a folder that several processes may write at once.

Nothing is renamed: a line's time gives the name of its file, so no process takes a file away from another.
Every line is one write to the end of its file, which the system does not mix with another's.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from flowledger.errors import UsageError

STEM = "flowledger"
ERRORS_STEM = "flowledger-errors"
OWNER_AND_GROUP = 0o640
_NAME = re.compile(
    r"(?P<stem>flowledger(?:-errors)?)-(?P<day>\d{4}-\d{2}-\d{2})(?:\.(?P<number>\d+))?\.jsonl"
)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_SIZE = re.compile(r"(\d+)\s*([kmg])(i?)b", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3}
SMALLEST = 10_000


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new file begins: each day at ``at`` after midnight, and also after ``most_bytes`` if given."""

    at: timedelta = timedelta()
    most_bytes: int | None = None


EACH_MIDNIGHT = Rotation()


def rotation_of(text: str) -> Rotation:
    """Read a rotation: a time of day such as ``00:00``, or a size such as ``100 MB``.

    :raises UsageError: when it is neither.
    """
    words = text.strip()
    if clock := _CLOCK.fullmatch(words):
        return Rotation(at=timedelta(hours=int(clock[1]), minutes=int(clock[2])))
    if size := _SIZE.fullmatch(words):
        most = int(size[1]) * (1024 if size[3] else 1000) ** _POWERS[size[2].lower()]
        if most >= SMALLEST:
            return Rotation(most_bytes=most)
    raise UsageError(f"cannot read the rotation {text!r}: a time such as 00:00, or a size such as 100 MB")


@dataclass(frozen=True, slots=True, order=True)
class LogFile:
    """One file of a log: its day, its number within the day, where it is."""

    day: date
    number: int
    path: Path = field(compare=False)


def log_files(directory: Path, stem: str = STEM) -> list[LogFile]:
    """Give the files of a log, oldest first; other files of the folder are left alone."""
    try:
        paths = list(directory.iterdir())
    except FileNotFoundError:
        return []
    return sorted(_known(paths, stem))


def _known(paths: list[Path], stem: str) -> Iterator[LogFile]:
    for path in paths:
        name = _NAME.fullmatch(path.name)
        if name is None or name["stem"] != stem:
            continue
        with suppress(ValueError):  # the 31st of February is not ours
            yield LogFile(date.fromisoformat(name["day"]), int(name["number"] or 0), path)


@dataclass(slots=True)
class DailyFiles:
    """Appends lines to the file of their day, and removes files older than ``days``.

    Days are those of ``tz``.  A line that cannot be written is said on standard error, once for each reason:
    a full disk must not end a run.
    """

    directory: Path
    stem: str
    days: int
    tz: ZoneInfo
    rotation: Rotation = EACH_MIDNIGHT
    day: date | None = None
    number: int = 0
    complaint: str = ""

    def check(self) -> None:
        """Make the folder, and see that it can be written.

        :raises OSError: when it cannot.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        probe = self.directory / f".{self.stem}-{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)

    def write(self, line: str, at: datetime) -> None:
        """Append a line, without its end, that was said at a time."""
        try:
            self._turn_to((at.astimezone(self.tz) - self.rotation.at).date())
            self._append(line.encode("utf-8", "replace") + b"\n")
        except OSError as error:
            self._complain(f"the log below {self.directory} cannot be written: {error.strerror}")

    def _turn_to(self, day: date) -> None:
        if day == self.day:
            return
        files = log_files(self.directory, self.stem)
        self.day = day
        self.number = max((file.number for file in files if file.day == day), default=0)
        oldest = day - timedelta(days=self.days)
        for file in files:
            if file.day < oldest:
                file.path.unlink(missing_ok=True)  # another process may have been faster

    def _append(self, line: bytes) -> None:
        # Opened for each line: nothing is left open where a file is moved away or the process forks.
        handle = os.open(self._path(), os.O_RDWR | os.O_APPEND | os.O_CREAT, OWNER_AND_GROUP)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                line = b"\n" + line  # a line torn by a full disk or a power cut keeps to itself
            os.write(handle, line)
        finally:
            os.close(handle)
        most = self.rotation.most_bytes
        if most is not None and size + len(line) >= most:
            self.number += 1

    def _path(self) -> Path:
        number = f".{self.number}" if self.number else ""
        return self.directory / f"{self.stem}-{self.day}{number}.jsonl"

    def _complain(self, text: str) -> None:
        if text != self.complaint:
            self.complaint = text
            print(f"WARNING: {text}", file=sys.stderr)  # noqa: T201  # the log itself is what failed
