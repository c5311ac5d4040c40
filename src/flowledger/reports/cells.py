"""Single values as reports show them."""

import math
from datetime import UTC, datetime, tzinfo
from typing import Any

ABSENT = "N/A"


def moment(value: Any, tz: tzinfo | None) -> str:
    """Show epoch seconds in a zone (None: the machine's); None is N/A, anything else is shown as it is."""
    if value is None:
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    try:
        return at(datetime.fromtimestamp(value, UTC), tz)
    except (ValueError, OverflowError, OSError):
        return str(value)


def at(instant: datetime, tz: tzinfo | None) -> str:
    """Show an aware time in a zone (None: the machine's), to the second."""
    return instant.astimezone(tz).replace(tzinfo=None).isoformat(" ", "seconds")


def number(value: Any) -> float:
    """Read a number or a text that is one; anything else, NaN and infinity count as 0."""
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return read if math.isfinite(read) else 0.0


def as_mapping(value: Any) -> dict[str, Any]:
    """Give an object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def creator_of(row: dict[str, Any]) -> tuple[str | None, str]:
    """Give the kind (``account``, ``end_user`` or None) and the name of who started a run."""
    if account := as_mapping(row.get("created_by_account")):
        return "account", str(account.get("email", ABSENT))
    if user := as_mapping(row.get("created_by_end_user")):
        return "end_user", str(user.get("session_id", ABSENT))
    return None, ABSENT
