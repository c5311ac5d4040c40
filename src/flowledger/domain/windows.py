"""Windows, and the periods of a calendar that become windows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flowledger.errors import UsageError

LATEST = 253_402_214_400
"""The last second (unix time) that every zone can still show: a day before the year 10000."""
ONE_SECOND = timedelta(seconds=1)
SETTLE = timedelta(seconds=2)
"""A source's list may round a row half a second into the future, so a window ends this long before now
(contract.md §1)."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A closed interval of whole UTC seconds, as unix times: ``after <= t <= before``."""

    after: int
    before: int

    def __post_init__(self) -> None:
        if self.after > self.before:
            raise UsageError(f"after ({iso(self.after)}) lies behind before ({iso(self.before)}): swap them")

    @classmethod
    def between(cls, after: datetime, before: datetime) -> Self:
        """Make a window of two aware datetimes: inward to whole seconds."""
        first, last = -int(-after.timestamp() // 1), int(before.timestamp() // 1)
        if first < 0 or last > LATEST:
            raise UsageError(f"a window lies between 1970 and 9999, not {after.year} to {before.year}")
        return cls(first, last)

    @property
    def after_at(self) -> datetime:
        """First second, aware UTC."""
        return datetime.fromtimestamp(self.after, UTC)

    @property
    def before_at(self) -> datetime:
        """Last second, aware UTC."""
        return datetime.fromtimestamp(self.before, UTC)

    @property
    def seconds(self) -> int:
        """How many whole seconds it holds."""
        return self.before - self.after + 1

    def __contains__(self, instant: datetime) -> bool:
        return self.after <= int(instant.timestamp()) <= self.before

    def covers(self, other: "Window") -> bool:
        """Whether the other window lies inside this one."""
        return self.after <= other.after and other.before <= self.before

    def __str__(self) -> str:
        return f"{iso(self.after)}/{iso(self.before)}"


def iso(second: int) -> str:
    """Write a unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Days:
    """Whole calendar days, both ends included."""

    first: date
    last: date


def _yesterday(today: date) -> Days:
    day = today - timedelta(days=1)
    return Days(day, day)


def _today(today: date) -> Days:
    return Days(today, today)


def _last_week(today: date) -> Days:
    monday = today - timedelta(days=today.weekday() + 7)
    return Days(monday, monday + timedelta(days=6))


def _last_month(today: date) -> Days:
    last = today.replace(day=1) - timedelta(days=1)
    return Days(last.replace(day=1), last)


CALENDAR_PERIODS: Mapping[str, Callable[[date], Days]] = {
    "yesterday": _yesterday,
    "today": _today,
    "last_week": _last_week,
    "last_month": _last_month,
}
LAST_24H = "last_24h"
CUSTOM = "custom"
PERIODS = (*CALENDAR_PERIODS, LAST_24H, CUSTOM)


def zone(name: str) -> ZoneInfo:
    """Look a time zone up by its IANA name; raise UsageError with examples for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"unknown time zone {name!r}: use an IANA name such as Asia/Shanghai, America/New_York or UTC"
        ) from None


def midnight(day: date, tz: ZoneInfo) -> int:
    """Give the unix time of the first whole second of a day in a zone.

    Where daylight saving skips midnight itself, that is the first second that exists; where it repeats
    midnight, the first of the two, so that neighbouring days neither overlap nor leave a second out.
    """
    return int(datetime.combine(day, time.min, tz).timestamp())


def resolve_period(
    period: str,
    *,
    instant: datetime,
    tz: ZoneInfo,
    after: datetime | None = None,
    before: datetime | None = None,
) -> Window:
    """Turn a period into a window, as seen from an instant in a zone.

    ``instant`` is the scheduled time, so that a late run reports the day it was meant for.  ``custom`` needs
    ``after``; ``before`` defaults to the instant.  The end is cut to ``SETTLE`` before the instant's second
    only by ``settle``; here it may lie in the future.

    :raises UsageError: for an unknown period, or bounds that the period does not take.
    """
    if period not in PERIODS:
        raise UsageError(f"unknown period {period!r}: one of {', '.join(PERIODS)}")
    if period == CUSTOM:
        if after is None:
            raise UsageError("period custom needs after (and may have before)")
        if before is None and after > instant:
            raise UsageError(f"after ({after.isoformat()}) lies in the future: nothing has happened yet")
        return Window.between(after, before or instant)
    if after is not None or before is not None:
        raise UsageError(f"period {period} has its own bounds: leave after and before out, or use custom")
    if period == LAST_24H:
        end = int(instant.timestamp()) - 1
        return Window(end - 24 * 3600 + 1, end)
    today = instant.astimezone(tz).date()
    first, end = _bounds(CALENDAR_PERIODS[period](today), tz)
    if first == end:
        # A day the zone left out of its calendar (Apia, 30 December 2011): yesterday is the day before it.
        first, end = _bounds(CALENDAR_PERIODS[period](today - timedelta(days=1)), tz)
    return Window(first, end - 1)


def _bounds(days: Days, tz: ZoneInfo) -> tuple[int, int]:
    return midnight(days.first, tz), midnight(days.last + timedelta(days=1), tz)


def settle(window: Window, now: datetime) -> Window:
    """Cut a window's end to ``SETTLE`` before now, where rows no longer arrive.

    :raises UsageError: when nothing of the window has happened yet.
    """
    latest = int((now - SETTLE).timestamp())
    if window.after > latest:
        raise UsageError(f"the window {window} has not begun yet (it is {iso(int(now.timestamp()))})")
    return window if window.before <= latest else Window(window.after, latest)


def parse_end(text: str, tz: ZoneInfo) -> datetime:
    """Read the end of a window: as ``parse_instant``, but a bare date means that day's last second.

    :raises UsageError: when it is not ISO 8601.
    """
    moment = parse_instant(text, tz)
    if len(text.strip()) > len("2026-11-21"):
        return moment
    return datetime.fromtimestamp(midnight(moment.date() + timedelta(days=1), tz) - 1, UTC)


def parse_instant(text: str, tz: ZoneInfo) -> datetime:
    """Read an ISO 8601 date or time; one without an offset is in ``tz``.

    :raises UsageError: when it is not ISO 8601.
    """
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"cannot read the time {text!r}: write ISO 8601, such as 2026-11-21T00:00:00+08:00 or 2026-11-21"
        ) from None
    return value if value.tzinfo else value.replace(tzinfo=tz)
