"""From the program's own log to Prefect's run log."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger, LoggerAdapter
from typing import TYPE_CHECKING, Any

from loguru import logger as program_log
from prefect import runtime

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
        with program_log.contextualize(**run_ids()):
            yield
    finally:
        program_log.remove(sink)


def run_ids() -> dict[str, str]:
    """Give the ids of the flow run and task run under way, for the lines of the program's log."""
    ids = {"flow_run_id": runtime.flow_run.id, "task_id": runtime.task_run.id}
    return {name: str(value) for name, value in ids.items() if value}
