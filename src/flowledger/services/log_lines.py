"""The program's own log as JSON lines: daily files, a file of errors, standard error; without secrets."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from loguru import logger

from flowledger.domain.texts import clip
from flowledger.errors import SettingsError
from flowledger.services.log_files import EACH_MIDNIGHT, ERRORS_STEM, STEM, DailyFiles, Rotation
from flowledger.services.redaction import redacted, redacted_value

if TYPE_CHECKING:
    from loguru import Message, Record

TARGETS = ("file", "stderr")
SHOWN = "_shown"
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
class _Kept:
    """The plans in use: the sinks of each, and how many contexts want them."""

    lock: Lock = field(default_factory=Lock)
    sinks: dict[LogPlan, list[int]] = field(default_factory=dict)
    uses: dict[LogPlan, int] = field(default_factory=dict)
    latest: LogPlan | None = None


_kept = _Kept()


@contextmanager
def kept(plan: LogPlan) -> Iterator[None]:
    """Write what is logged where the plan says until the context ends; within itself it changes nothing.

    :raises SettingsError: when the folder cannot be written.
    """
    with _kept.lock:
        if plan not in _kept.sinks:
            _kept.sinks[plan] = _sinks_of(plan)
        _kept.uses[plan] = _kept.uses.get(plan, 0) + 1
        _kept.latest = plan
    try:
        yield
    finally:
        _release(plan)


def _release(plan: LogPlan) -> None:
    with _kept.lock:
        _kept.uses[plan] -= 1
        if _kept.uses[plan]:
            return
        del _kept.uses[plan]
        for sink in _kept.sinks.pop(plan):
            logger.remove(sink)


@contextmanager
def kept_as_before() -> Iterator[None]:
    """Keep the log where it was kept last, if anywhere, for what is said after a stage has ended."""
    if _kept.latest is None:
        yield
        return
    with kept(_kept.latest):
        yield


def is_kept() -> bool:
    """Tell whether there is a place where ``kept_as_before`` keeps the log."""
    return _kept.latest is not None


@contextmanager
def said_of(**names: str) -> Iterator[None]:
    """Note what the lines are about, such as an app, until the context ends; as metadata of each."""
    with logger.contextualize(**names):
        yield


def on_stderr() -> bool:
    """Tell whether the lines themselves go to standard error, so that nobody else needs to show them."""
    return any("stderr" in plan.targets for plan in list(_kept.sinks))


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
        if not message.record["extra"].get(SHOWN):
            sys.stderr.write(text_of(message.record, plan.tz) + "\n")

    return write


def text_of(record: "Record", tz: ZoneInfo = UTC_ZONE) -> str:
    """Give a record as one line of JSON."""
    return json.dumps(line_of(record, tz), ensure_ascii=False)


def line_of(record: "Record", tz: ZoneInfo = UTC_ZONE) -> dict[str, Any]:
    """Give a record's line: time with offset, level, task and flow run (None outside), message, the rest."""
    extra = {name: value for name, value in record["extra"].items() if name != SHOWN}
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
