"""What the command line shows of the program's own log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Record

LOGURUS_OWN_SINK = 0


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Show warnings and errors on standard error, a line each, until the context ends."""
    with suppress(ValueError):
        logger.remove(LOGURUS_OWN_SINK)
    sink = logger.add(
        sys.stderr,
        level="WARNING",
        filter=_is_not_shown_by_prefect,
        format="{level.name}: {message}",
        # Neither variables nor frames: they could hold keys.
        backtrace=False,
        diagnose=False,
    )
    try:
        yield
    finally:
        logger.remove(sink)


def _is_not_shown_by_prefect(record: "Record") -> bool:
    return "flow_run_id" not in record["extra"]
