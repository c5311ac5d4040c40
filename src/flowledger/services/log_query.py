"""Reading the program's own log: the lines that are asked for, oldest first, one at a time."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import Any

from flowledger.domain.texts import show_controls
from flowledger.domain.windows import parse_instant, zone
from flowledger.errors import UsageError
from flowledger.services.log_files import log_files

LEVELS: Mapping[str, int] = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "SUCCESS": 25,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
}
LONGEST_LINE = 1_000_000
"""Bytes; a longer line is none of ours, and is never held whole."""
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_YEARS = range(1970, 9999)
_FILE_MARGIN = timedelta(days=2)
"""A file's day is that of its zone and rotation when it was written, which may differ from today's."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What is asked for; ``level`` means at least, times are aware and inclusive, ``run`` begins an id."""

    level: str = "TRACE"
    since: datetime | None = None
    until: datetime | None = None
    run: str | None = None
    app: str | None = None
    pattern: re.Pattern[str] | None = None

    def matches(self, line: "LogLine") -> bool:
        """Return whether a line is asked for."""
        return (
            LEVELS.get(line.level, 0) >= LEVELS[self.level]
            and (self.since is None or line.at >= self.since)
            and (self.until is None or line.at <= self.until)
            and (self.run is None or any(each.startswith(self.run) for each in line.runs))
            and (self.app is None or self.app in line.apps)
            and (self.pattern is None or self.pattern.search(line.text) is not None)
        )

    def matches_day(self, day: date) -> bool:
        """Return whether the file of a day can hold what is asked for."""
        return (self.since is None or day >= (self.since - _FILE_MARGIN).date()) and (
            self.until is None or day <= (self.until + _FILE_MARGIN).date()
        )


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that was read: its time, its level, what it says, and as it stands in the file."""

    at: datetime
    level: str
    message: str
    runs: tuple[str, ...]
    apps: tuple[str, ...]
    error: str
    raw: str

    @property
    def text(self) -> str:
        """What a pattern is searched in: the message and the error."""
        return f"{self.message}\n{self.error}" if self.error else self.message


@dataclass(slots=True)
class LogReader:
    """Reads the files of a folder; ``unreadable`` counts the lines that were torn or are not ours."""

    directory: Path
    unreadable: int = 0

    def read(self, query: LogQuery) -> Iterator[LogLine]:
        """Yield the lines that are asked for, in the order of the files."""
        for file in log_files(self.directory):
            if query.matches_day(file.day):
                yield from filter(query.matches, self._lines(file.path))

    def _lines(self, path: Path) -> Iterator[LogLine]:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return  # removed as too old, since the folder was listed
        with file:
            while raw := file.readline(LONGEST_LINE):
                line = parse_line(raw) if _is_whole(raw, file) else None
                if line is not None:
                    yield line
                elif raw.strip():
                    self.unreadable += 1


def _is_whole(raw: bytes, file: BufferedReader) -> bool:
    """Return whether a line is no longer than ours can be; the rest of a longer one is passed over."""
    if len(raw) < LONGEST_LINE or raw.endswith(b"\n"):
        return True
    while (more := file.readline(LONGEST_LINE)) and not more.endswith(b"\n"):
        pass
    return False


def parse_line(raw: bytes) -> LogLine | None:
    """Read a line; None where it is not one of ours."""
    try:
        document = json.loads(raw)
        at = datetime.fromisoformat(document["timestamp"])
        metadata = document["metadata"]
        level_and_message = (str(document["level"]), str(document["message"]))
        runs = _texts(document["flow_run_id"], document["task_id"])
        apps = _texts(metadata.get("app"), metadata.get("app_id"))
        error = str(metadata.get("error", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if at.tzinfo is None:
        return None
    return LogLine(at, *level_and_message, runs, apps, error, raw.decode("utf-8", "replace").rstrip("\n"))


def _texts(*values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values if value)


def instant_of(words: str, now: datetime, tz: str, *, is_end: bool = False) -> datetime:
    """Read a time: ISO 8601, in the zone where it has no offset, or how long ago: ``30m``, ``2h``, ``3d``.

    A bare date means its first second, or its last one where ``is_end``.

    :raises UsageError: when it is neither.
    """
    text = words.strip()
    try:
        at = _instant(text, now, tz, is_end=is_end)
    except OverflowError:
        at = None
    if at is None or at.year not in _YEARS:
        raise UsageError(f"the time {words!r} lies outside of the years {_YEARS[0]} to {_YEARS[-1]}")
    return at


def _instant(text: str, now: datetime, tz: str, *, is_end: bool) -> datetime:
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    at = parse_instant(text, zone(tz))
    is_date = re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text) is not None
    return (at + timedelta(days=1, microseconds=-1) if is_end and is_date else at).astimezone(UTC)


def pattern_of(text: str) -> re.Pattern[str]:
    """Read a regular expression.

    :raises UsageError: when it is none.
    """
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(
            f"cannot read the pattern {text!r}: {error}; escape characters such as ( by \\"
        ) from None


def format_line(line: LogLine, tz: str) -> str:
    """Write a line for people: time in a zone, level, app, message; controls are made visible."""
    at = f"{line.at.astimezone(zone(tz)):%Y-%m-%d %H:%M:%S}"
    app = f"[{line.apps[0]}] " if line.apps else ""
    error = f" ({line.error})" if line.error else ""
    text = show_controls(f"{app}{line.message}{error}").replace("\r", "␍")
    return f"{at} {show_controls(line.level):<8} " + text.replace("\n", "\n    ")
