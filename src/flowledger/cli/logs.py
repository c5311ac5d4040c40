"""What the command line shows of the program's own log."""

import sys

from loguru import logger


def show_warnings() -> None:
    """Show warnings and errors on standard error, a line each, without variables that could hold keys."""
    logger.remove()
    logger.add(sys.stderr, level="WARNING", format="{level.name}: {message}", backtrace=False, diagnose=False)


def leave_to_prefect() -> None:
    """Show nothing here: a flow forwards it to its run log, which Prefect shows."""
    logger.remove()
