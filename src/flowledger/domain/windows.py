"""Windows, the periods of a calendar that become windows, and those periods one after another."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flowledger.errors import UsageError

LATEST = 253_402_214_400
"""The last second (unix time) that every zone can still show: a day before the year 10000."""
ONE_SECOND = timedelta(seconds=1)
LIST_DELAY = timedelta(seconds=2)
"""A source's list may round a row half a second into the future, so a window ends this long before now
(docs/dify-api.md "The log list")."""


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

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the window that ``str`` wrote.

        :raises ValueError: for any other text.
        """
        first, _, last = text.partition("/")
        return cls.between(datetime.fromisoformat(first), datetime.fromisoformat(last))

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
        """Return whether the other window lies inside this one."""
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
    """Return the unix time of the first whole second of a day in a zone.

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
    ``after``; ``before`` defaults to the instant.  Here the end may lie in the future; ``cut_to_now``
    cuts it.

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


def cut_to_now(window: Window, now: datetime) -> Window:
    """Return a window whose end is at least ``LIST_DELAY`` before now, where rows no longer arrive.

    :raises UsageError: when nothing of the window has happened yet.
    """
    latest = int((now - LIST_DELAY).timestamp())
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


A_DAY = timedelta(days=1)
FIRST_DAY, LAST_DAY = date(1970, 1, 2), date(9999, 12, 1)
"""Between these every zone can show every period and the one after it."""
USUAL_TIME = time(2)
"""When a period is looked at where no schedule says otherwise."""


def _day_of(day: date) -> Days:
    return Days(day, day)


def _week_of(day: date) -> Days:
    monday = day - timedelta(days=day.weekday())
    return Days(monday, monday + timedelta(days=6))


def _month_of(day: date) -> Days:
    first = day.replace(day=1)
    return Days(first, (first + timedelta(days=31)).replace(day=1) - A_DAY)


CALENDAR_DAYS: Mapping[str, Callable[[date], Days]] = {
    "yesterday": _day_of,
    "last_week": _week_of,
    "last_month": _month_of,
}
"""Period that ends before the instant it is seen from → the days of the one that holds a day."""


@dataclass(frozen=True, slots=True)
class CalendarPeriod:
    """One day, week or month of a zone's calendar.

    ``name`` is the period's word as seen from any second of ``current_during``, the one that follows it.
    """

    name: str
    days: Days
    window: Window
    current_during: Window

    def usual_instant(self, tz: ZoneInfo) -> datetime:
        """Return 02:00 of the first day the period is seen from, aware UTC.

        Where daylight saving skips that time, it is the one an hour later; where it repeats it, the first.
        """
        first = self.current_during.after_at.astimezone(tz).date()
        return datetime.combine(first, USUAL_TIME, tz).astimezone(UTC)

    def __str__(self) -> str:
        first, last = self.days.first.isoformat(), self.days.last.isoformat()
        return first if first == last else f"{first} to {last}"


def periods_between(name: str, first: date, last: date, tz: ZoneInfo) -> Iterator[CalendarPeriod]:
    """Yield every period that holds a day from the first to the last, oldest first.

    A day that a zone left out of its calendar (Apia, 30 December 2011) is none.

    :raises UsageError: for a period that is not of the calendar, or days outside of 1970 to 9999.
    """
    if name not in CALENDAR_DAYS:
        raise UsageError(f"the period {name} is not one of a calendar: one of {', '.join(CALENDAR_DAYS)}")
    if first < FIRST_DAY or last > LAST_DAY:
        raise UsageError(f"days lie between {FIRST_DAY} and {LAST_DAY}, not {first} to {last}")
    previous: tuple[Days, Window] | None = None
    for days, window in _existing(name, first, tz):
        if previous:
            yield CalendarPeriod(name, *previous, current_during=window)
        if days.first > last:
            return
        previous = days, window


def _existing(name: str, day: date, tz: ZoneInfo) -> Iterator[tuple[Days, Window]]:
    while True:
        days = CALENDAR_DAYS[name](day)
        day = days.last + A_DAY
        begins, ends = midnight(days.first, tz), midnight(day, tz)
        if begins < ends:
            yield days, Window(begins, ends - 1)


def latest_period(name: str, instant: datetime, tz: ZoneInfo) -> CalendarPeriod:
    """Return the newest period that is over at an instant: the one its name means then.

    :raises UsageError: as ``periods_between``.
    """
    today = instant.astimezone(tz).date()
    second = int(instant.timestamp())
    # Two months back there is one of every kind, whatever days a zone has left out.
    around = periods_between(name, today - timedelta(days=63), today, tz)
    return next(period for period in around if second in _seconds(period.current_during))


def _seconds(window: Window) -> range:
    return range(window.after, window.before + 1)
