"""The days, weeks and months of a calendar one after another, and from when each of them is the last one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from flowledger.domain.windows import Days, Window, midnight
from flowledger.errors import UsageError

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


HOLDING: Mapping[str, Callable[[date], Days]] = {
    "yesterday": _day_of,
    "last_week": _week_of,
    "last_month": _month_of,
}
"""Period that ends before the instant it is seen from → the days of the one that holds a day."""


@dataclass(frozen=True, slots=True)
class CalendarPeriod:
    """One day, week or month of a zone's calendar.

    ``name`` is the period's word as seen from any second of ``seen_during``, the one that follows it.
    """

    name: str
    days: Days
    window: Window
    seen_during: Window

    def usual_instant(self, tz: ZoneInfo) -> datetime:
        """Give 02:00 of the first day the period is seen from, aware UTC.

        Where daylight saving skips that time, it is the one an hour later; where it repeats it, the first.
        """
        first = self.seen_during.after_at.astimezone(tz).date()
        return datetime.combine(first, USUAL_TIME, tz).astimezone(UTC)

    def __str__(self) -> str:
        first, last = self.days.first.isoformat(), self.days.last.isoformat()
        return first if first == last else f"{first} to {last}"


def periods_between(name: str, first: date, last: date, tz: ZoneInfo) -> Iterator[CalendarPeriod]:
    """Give every period that holds a day from the first to the last, oldest first.

    A day that a zone left out of its calendar (Apia, 30 December 2011) is none.

    :raises UsageError: for a period that is not of the calendar, or days outside of 1970 to 9999.
    """
    if name not in HOLDING:
        raise UsageError(f"the period {name} is not one of a calendar: one of {', '.join(HOLDING)}")
    if first < FIRST_DAY or last > LAST_DAY:
        raise UsageError(f"days lie between {FIRST_DAY} and {LAST_DAY}, not {first} to {last}")
    held: tuple[Days, Window] | None = None
    for days, window in _existing(name, first, tz):
        if held:
            yield CalendarPeriod(name, *held, seen_during=window)
        if days.first > last:
            return
        held = days, window


def _existing(name: str, day: date, tz: ZoneInfo) -> Iterator[tuple[Days, Window]]:
    while True:
        days = HOLDING[name](day)
        day = days.last + A_DAY
        begins, ends = midnight(days.first, tz), midnight(day, tz)
        if begins < ends:
            yield days, Window(begins, ends - 1)


def latest_period(name: str, instant: datetime, tz: ZoneInfo) -> CalendarPeriod:
    """Give the newest period that is over at an instant: the one its name means then.

    :raises UsageError: as ``periods_between``.
    """
    today = instant.astimezone(tz).date()
    second = int(instant.timestamp())
    # Two months back there is one of every kind, whatever days a zone has left out.
    around = periods_between(name, today - timedelta(days=63), today, tz)
    return next(period for period in around if second in _seconds(period.seen_during))


def _seconds(window: Window) -> range:
    return range(window.after, window.before + 1)
