"""The program's own log as JSON lines: one file a day, kept for so many days."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from flowledger.errors import SettingsError

if TYPE_CHECKING:
    from loguru import Record

FILE_NAME = "flowledger-{time:YYYY-MM-DD}.jsonl"
_LINE = "_line"


@contextmanager
def kept_in(directory: Path, *, level: str, days: int) -> Iterator[None]:
    """Write what is logged from ``level`` on to a directory until the context ends.

    :raises SettingsError: when the directory cannot be written.
    """
    try:
        sink = logger.add(
            directory / FILE_NAME,
            level=level,
            format=_formatted,
            rotation="00:00",
            retention=f"{days} days",
            encoding="utf-8",
            # Neither variables nor frames: they could hold keys.
            backtrace=False,
            diagnose=False,
        )
    except OSError as error:
        raise SettingsError(
            [f"LOG_DIR: {directory} cannot be written ({error.strerror}): name another folder"]
        ) from error
    try:
        yield
    finally:
        logger.remove(sink)


def line_of(record: "Record") -> dict[str, Any]:
    """Give a record's line: time with offset, level, task and flow run (None outside), message, the rest."""
    extra = {name: value for name, value in record["extra"].items() if name != _LINE}
    error = record["exception"]
    if error is not None and error.type is not None:
        extra["error"] = f"{error.type.__name__}: {error.value}"
    return {
        "timestamp": record["time"].isoformat(),
        "level": record["level"].name,
        "task_id": extra.pop("task_id", None),
        "flow_run_id": extra.pop("flow_run_id", None),
        "message": record["message"],
        "metadata": {"module": record["name"], **extra},
    }


def _formatted(record: "Record") -> str:
    record["extra"][_LINE] = json.dumps(line_of(record), ensure_ascii=False, default=str)
    return f"{{extra[{_LINE}]}}\n"
