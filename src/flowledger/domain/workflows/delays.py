"""How long a DELAY waits: ``seconds``, a ``duration`` in ISO 8601, or ``until`` a time."""

import re
from collections.abc import Mapping
from datetime import datetime

from flowledger.domain.runs import Json
from flowledger.errors import UsageError

LONGEST_IN_PROCESS_S = 60.0
"""A longer delay is a wait: it holds no process and survives restarts."""
LONGEST_S = 10 * 366 * 86_400.0
_DURATION = re.compile(
    r"P(?:(?P<w>\d{1,9})W)?(?:(?P<d>\d{1,9})D)?(?:T(?:(?P<h>\d{1,9})H)?(?:(?P<m>\d{1,9})M)?(?:(?P<s>\d{1,9}(?:\.\d{1,9})?)S)?)?",
    re.ASCII,
)
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def delay_of(config: Mapping[str, Json]) -> float | datetime:
    """Return a delay in seconds, or the aware time that ends it.

    :raises UsageError: when there is none, more than one, or one that cannot be read.
    """
    values = {name: config[name] for name in ("seconds", "duration", "until") if config.get(name) is not None}
    if len(values) != 1:
        raise UsageError("a DELAY needs one of seconds, duration and until")
    name, value = values.popitem()
    if name == "until":
        return _time(value)
    seconds = value if name == "seconds" else _duration(value)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_S:
        raise UsageError(f"{name} must be a number from 0 to {LONGEST_S:,.0f}, not {value!r:.80}")
    return float(seconds)


def _duration(value: Json) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value[-1:] not in ("P", "T") else None
    if match is None:
        raise UsageError(f"duration must be written as in ISO 8601 (PT90S, PT1H30M, P1D), not {value!r:.80}")
    return sum(float(number) * _UNITS[unit] for unit, number in match.groupdict().items() if number)


def _time(value: Json) -> datetime:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise UsageError(f"until must be a time with its zone (2026-01-31T08:00:00+08:00), not {value!r:.80}")
    return time
