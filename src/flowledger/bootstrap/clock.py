"""The one clock of the program."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Give the present, aware UTC; the one clock of the program."""
    return datetime.now(UTC)
