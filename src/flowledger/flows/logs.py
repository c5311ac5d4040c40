"""From the program's own log to Prefect's run log."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger, LoggerAdapter
from typing import TYPE_CHECKING, Any

from loguru import logger as program_log

if TYPE_CHECKING:
    from loguru import Message

RunLog = Logger | LoggerAdapter[Any]
"""A task's or flow's log, as Prefect gives it."""


@contextmanager
def forwarded_to(run_log: RunLog) -> Iterator[None]:
    """Write what the program logs, threads included, to a run's log as well, until the context ends."""

    def write(message: "Message") -> None:
        run_log.log(message.record["level"].no, "%s", message.record["message"])

    # Neither variables nor frames: they could hold keys.
    sink = program_log.add(write, level="INFO", format="{message}", backtrace=False, diagnose=False)
    try:
        yield
    finally:
        program_log.remove(sink)
