"""The program's own log as JSON lines, without secrets: daily files that processes may share."""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from loguru import logger

from flowledger.domain.texts import clip
from flowledger.errors import SettingsError, UsageError
from flowledger.services.secret_masking import redacted, redacted_value

if TYPE_CHECKING:
    from loguru import Message, Record


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
    """Return the files of a log, oldest first; other files of the folder are left alone."""
    try:
        paths = list(directory.iterdir())
    except FileNotFoundError:
        return []
    return sorted(_log_files_among(paths, stem))


def _log_files_among(paths: list[Path], stem: str) -> Iterator[LogFile]:
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


TARGETS = ("file", "stderr")
ALREADY_ON_CONSOLE = "_shown"
"""Marks a line that came from a run's own log: it is on the console and in Prefect already."""
LONGEST = 16_000
"""Characters of the longest message and the longest other text of a line."""
UTC_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class LogPlan:
    """Where lines go, from which level on, how long they are kept, and the zone of their times and days."""

    directory: Path
    level: str = "INFO"
    days: int = 30
    targets: tuple[str, ...] = ("file",)
    rotation: Rotation = EACH_MIDNIGHT
    tz: ZoneInfo = UTC_ZONE


@dataclass(slots=True)
class _OpenPlans:
    """The plans in use: the sinks of each, and how many contexts want them."""

    lock: Lock = field(default_factory=Lock)
    sinks: dict[LogPlan, list[int]] = field(default_factory=dict)
    uses: dict[LogPlan, int] = field(default_factory=dict)
    latest: LogPlan | None = None


_open_plans = _OpenPlans()


@contextmanager
def logging_to(plan: LogPlan) -> Iterator[None]:
    """Write what is logged where the plan says until the context ends; within itself it changes nothing.

    :raises SettingsError: when the folder cannot be written.
    """
    with _open_plans.lock:
        if plan not in _open_plans.sinks:
            _open_plans.sinks[plan] = _sinks_of(plan)
        _open_plans.uses[plan] = _open_plans.uses.get(plan, 0) + 1
        _open_plans.latest = plan
    try:
        yield
    finally:
        _release(plan)


def _release(plan: LogPlan) -> None:
    with _open_plans.lock:
        _open_plans.uses[plan] -= 1
        if _open_plans.uses[plan]:
            return
        del _open_plans.uses[plan]
        for sink in _open_plans.sinks.pop(plan):
            logger.remove(sink)


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Keep the log where it was kept last, if anywhere, for what is said after a stage has ended."""
    if _open_plans.latest is None:
        yield
        return
    with logging_to(_open_plans.latest):
        yield


def has_latest_plan() -> bool:
    """Return whether there is a place where ``logging_as_before`` keeps the log."""
    return _open_plans.latest is not None


@contextmanager
def log_context(**names: str) -> Iterator[None]:
    """Note what the lines are about, such as an app, until the context ends; as metadata of each."""
    with logger.contextualize(**names):
        yield


def on_stderr() -> bool:
    """Return whether the lines themselves go to standard error, so that nobody else needs to show them."""
    return any("stderr" in plan.targets for plan in list(_open_plans.sinks))


def _sinks_of(plan: LogPlan) -> list[int]:
    sinks = []
    if "file" in plan.targets:
        everything, errors = (
            DailyFiles(plan.directory, stem, plan.days, plan.tz, plan.rotation)
            for stem in (STEM, ERRORS_STEM)
        )
        _check(everything)
        level = max(logger.level(plan.level).no, logger.level("ERROR").no)
        sinks += [_add(_to_files(everything, plan), plan.level), _add(_to_files(errors, plan), level)]
    if "stderr" in plan.targets:
        sinks.append(_add(_to_stderr(plan), plan.level))
    return sinks


def _check(files: DailyFiles) -> None:
    try:
        files.check()
    except OSError as error:
        raise SettingsError(
            [f"LOG_DIR: {files.directory} cannot be written ({error.strerror}): name another folder"]
        ) from error


def _add(sink: "Callable[[Message], None]", level: str | int) -> int:
    # Neither variables nor frames: they could hold keys.
    return logger.add(sink, level=level, format="{message}", backtrace=False, diagnose=False)


def _to_files(files: DailyFiles, plan: LogPlan) -> "Callable[[Message], None]":
    def write(message: "Message") -> None:
        files.write(text_of(message.record, plan.tz), message.record["time"])

    return write


def _to_stderr(plan: LogPlan) -> "Callable[[Message], None]":
    def write(message: "Message") -> None:
        if not message.record["extra"].get(ALREADY_ON_CONSOLE):
            sys.stderr.write(text_of(message.record, plan.tz) + "\n")

    return write


def text_of(record: "Record", tz: ZoneInfo = UTC_ZONE) -> str:
    """Return a record as one line of JSON."""
    return json.dumps(line_of(record, tz), ensure_ascii=False)


def line_of(record: "Record", tz: ZoneInfo = UTC_ZONE) -> dict[str, Any]:
    """Return a record's line: time with offset, level, task and flow run (or None), message, metadata."""
    extra = {name: value for name, value in record["extra"].items() if name != ALREADY_ON_CONSOLE}
    task_id, flow_run_id = extra.pop("task_id", None), extra.pop("flow_run_id", None)
    return {
        "timestamp": record["time"].astimezone(tz).isoformat(),
        "level": record["level"].name,
        "task_id": task_id,
        "flow_run_id": flow_run_id,
        "message": clip(redacted(record["message"]), LONGEST),
        "metadata": {"module": record["name"], **_clipped(redacted_value(extra)), **_error_of(record)},
    }


def _clipped(values: dict[str, Any]) -> dict[str, Any]:
    return {name: clip(value, LONGEST) if isinstance(value, str) else value for name, value in values.items()}


def _error_of(record: "Record") -> dict[str, str]:
    error = record["exception"]
    if error is None or error.type is None or error.value is None:
        return {}
    trace = "".join(traceback.format_exception(error.type, error.value, error.traceback))
    return {
        "error": clip(redacted(f"{error.type.__name__}: {error.value}"), LONGEST),
        "traceback": redacted(trace)[-LONGEST:],
    }


def restrict_umask() -> None:
    """Let only owner and group write the files and folders of this process, whatever its umask says.

    What everybody may change proves nothing.  A stricter umask stays, and says who may read.
    """
    before = os.umask(0o077)  # to be asked it has to be set: to the strictest, for other threads
    os.umask(before | 0o002)
