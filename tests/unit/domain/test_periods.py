"""Days, weeks and months in a row, whatever the zone: nothing twice, nothing left out."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowledger.domain.windows import (
    CALENDAR_DAYS,
    CalendarPeriod,
    latest_period,
    periods_between,
    resolve_period,
)
from flowledger.errors import UsageError

NAMES = [
    "Asia/Shanghai",
    "America/New_York",
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Havana",
    "Asia/Kathmandu",
    "Africa/Casablanca",
]
zones = st.sampled_from(NAMES)
names = st.sampled_from(sorted(CALENDAR_DAYS))
days = st.dates(date(1995, 1, 1), date(2035, 12, 31))
NEW_YORK, SHANGHAI, APIA = ZoneInfo("America/New_York"), ZoneInfo("Asia/Shanghai"), ZoneInfo("Pacific/Apia")


def row(name: str, first: date, tz: ZoneInfo, count: int = 5) -> list[CalendarPeriod]:
    """Give so many periods from the one that holds a day."""
    return list(islice(periods_between(name, first, first + timedelta(days=40 * count), tz), count))


def at(text: str) -> datetime:
    """Read an aware time."""
    return datetime.fromisoformat(text)


@pytest.mark.fault(20)
@given(names, days, zones)
@example("yesterday", date(2011, 12, 28), "Pacific/Apia")
@example("yesterday", date(2018, 11, 2), "America/Sao_Paulo")
@example("yesterday", date(2026, 3, 7), "America/New_York")
@example("yesterday", date(2026, 4, 4), "Australia/Lord_Howe")
def test_neighbours_neither_overlap_nor_leave_a_second_out(name: str, first: date, zone: str) -> None:
    """Each begins in the second after the one before, and is seen exactly while the next one lasts."""
    found = row(name, first, ZoneInfo(zone))
    assert len(found) == 5
    for period, following in pairwise(found):
        assert period.window.before + 1 == following.window.after
        assert period.current_during == following.window
    whole = found[-1].window.before - found[0].window.after + 1
    assert sum(period.window.seconds for period in found) == whole


@given(names, days, zones, st.floats(0, 1))
@example("yesterday", date(2011, 12, 29), "Pacific/Apia", 0.0)
@example("yesterday", date(2018, 11, 3), "America/Sao_Paulo", 0.0)
def test_a_run_reports_the_period_it_was_scheduled_for(
    name: str, first: date, zone: str, moment: float
) -> None:
    """Seen from any second of the period that follows, its name means this one and no other."""
    tz = ZoneInfo(zone)
    period = row(name, first, tz, 1)[0]
    second = period.current_during.after + int((period.current_during.seconds - 1) * moment)
    for instant in (datetime.fromtimestamp(second, UTC), period.usual_instant(tz)):
        assert resolve_period(name, instant=instant, tz=tz) == period.window
        assert latest_period(name, instant, tz) == period


@given(names, days, zones)
def test_the_usual_instant_lies_where_the_period_is_seen(name: str, first: date, zone: str) -> None:
    """Two in the morning of the day after, whether that hour exists once, twice or not at all."""
    tz = ZoneInfo(zone)
    period = row(name, first, tz, 1)[0]
    instant = period.usual_instant(tz)
    assert instant in period.current_during
    assert instant.astimezone(tz).hour in (2, 3)


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    ("tz", "first", "hours"),
    [
        (NEW_YORK, date(2026, 3, 8), 23),
        (NEW_YORK, date(2026, 11, 1), 25),
        (SHANGHAI, date(2026, 3, 8), 24),
        (ZoneInfo("Australia/Lord_Howe"), date(2026, 10, 4), 23.5),
        (ZoneInfo("America/Sao_Paulo"), date(2018, 11, 4), 23),
    ],
)
def test_days_are_as_long_as_their_zone_makes_them(tz: ZoneInfo, first: date, hours: float) -> None:
    """Daylight saving makes days of 23, 25 or 23½ hours, and Shanghai has none."""
    assert row("yesterday", first, tz, 1)[0].window.seconds == hours * 3600


def test_a_day_that_never_was_is_left_out() -> None:
    """Apia went from the 29th to the 31st of December 2011: the 29th is the 31st's yesterday."""
    found = row("yesterday", date(2011, 12, 28), APIA, 3)
    assert [str(period) for period in found] == ["2011-12-28", "2011-12-29", "2011-12-31"]
    assert resolve_period("yesterday", instant=at("2011-12-31T02:00:00+14:00"), tz=APIA) == found[1].window
    assert list(periods_between("yesterday", date(2011, 12, 30), date(2011, 12, 30), APIA)) == []


@pytest.mark.parametrize(
    ("day", "instant"),
    [
        (date(2026, 3, 7), "2026-03-08T03:00:00-04:00"),
        (date(2026, 10, 31), "2026-11-01T02:00:00-05:00"),
        (date(2026, 7, 1), "2026-07-02T02:00:00-04:00"),
    ],
)
def test_two_o_clock_that_does_not_exist_is_three(day: date, instant: str) -> None:
    """On 8 March 2026 New York has no two o'clock; the report is about the 7th all the same."""
    seen_from = row("yesterday", day, NEW_YORK, 1)[0].usual_instant(NEW_YORK)
    assert seen_from.astimezone(NEW_YORK).isoformat() == instant


def test_both_times_of_a_repeated_hour_mean_the_same_day() -> None:
    """01:30 on 1 November 2026 comes twice in New York; both see the 31st of October."""
    period = row("yesterday", date(2026, 10, 31), NEW_YORK, 1)[0]
    for offset in ("-04:00", "-05:00"):
        instant = at(f"2026-11-01T01:30:00{offset}")
        assert resolve_period("yesterday", instant=instant, tz=NEW_YORK) == period.window


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    """Any day names the whole week or month that holds it."""
    weeks = list(periods_between("last_week", date(2026, 11, 18), date(2026, 11, 23), SHANGHAI))
    assert [str(week) for week in weeks] == ["2026-11-16 to 2026-11-22", "2026-11-23 to 2026-11-29"]
    months = list(periods_between("last_month", date(2028, 1, 31), date(2028, 2, 29), SHANGHAI))
    assert [str(month) for month in months] == ["2028-01-01 to 2028-01-31", "2028-02-01 to 2028-02-29"]


@pytest.mark.parametrize(
    ("name", "first", "says"),
    [
        ("today", date(2026, 1, 1), "yesterday, last_week, last_month"),
        ("last_24h", date(2026, 1, 1), "not one of a calendar"),
        ("yesterday", date(1, 1, 1), "1970"),
        ("yesterday", date(9999, 12, 31), "9999"),
    ],
)
def test_what_is_not_of_the_calendar_is_refused(name: str, first: date, says: str) -> None:
    """A period that moves with the clock has no neighbours to be told apart from."""
    with pytest.raises(UsageError, match=says):
        list(periods_between(name, first, first, SHANGHAI))
