"""What the command line shows of the program's own log, and of defects."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING

from loguru import logger

from flowledger.services.log_files import on_stderr
from flowledger.services.redaction import redacted

if TYPE_CHECKING:
    from loguru import Message, Record

LOGURUS_OWN_SINK = 0


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Show warnings and errors on standard error, a line each, until the context ends."""
    with suppress(ValueError):
        logger.remove(LOGURUS_OWN_SINK)
    # Neither variables nor frames: they could hold keys.
    sink = logger.add(
        _show, level="WARNING", filter=_is_ours, format="{message}", backtrace=False, diagnose=False
    )
    try:
        yield
    finally:
        logger.remove(sink)


def show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what nobody raised on purpose, with its traceback but without secrets, as ``sys.excepthook``."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _show(message: "Message") -> None:
    record = message.record
    error = record["exception"]
    cause = f": {error.type.__name__}: {error.value}" if error is not None and error.type else ""
    sys.stderr.write(redacted(f"{record['level'].name}: {record['message']}{cause}") + "\n")


def _is_ours(record: "Record") -> bool:
    """Leave to others what Prefect shows, or the log itself."""
    return "flow_run_id" not in record["extra"] and not on_stderr()
