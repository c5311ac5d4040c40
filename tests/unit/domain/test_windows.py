"""Periods and windows, whatever the zone, the day and the hour."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.windows import (
    PERIODS,
    Window,
    cut_to_now,
    midnight,
    parse_end,
    parse_instant,
    resolve_period,
    zone,
)
from flowledger.errors import UsageError

ZONES = ["Asia/Shanghai", "America/New_York", "UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu"]
SHANGHAI = ZoneInfo("Asia/Shanghai")
FIRST, LAST = datetime(2023, 1, 1, tzinfo=UTC), datetime(2028, 12, 31, tzinfo=UTC)
instants = st.integers(int(FIRST.timestamp()), int(LAST.timestamp())).map(
    lambda second: datetime.fromtimestamp(second, UTC)
)


def at(text: str) -> datetime:
    """Read an aware time."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("period", "instant", "after", "before"),
    [
        ("yesterday", "2026-11-21T18:00:00Z", "2026-11-20T16:00:00Z", "2026-11-21T15:59:59Z"),
        ("today", "2026-11-21T18:00:00Z", "2026-11-21T16:00:00Z", "2026-11-22T15:59:59Z"),
        ("last_week", "2026-11-22T19:00:00Z", "2026-11-15T16:00:00Z", "2026-11-22T15:59:59Z"),
        ("last_month", "2026-02-28T16:00:00Z", "2026-01-31T16:00:00Z", "2026-02-28T15:59:59Z"),
        ("last_24h", "2026-11-21T18:00:00Z", "2026-11-20T18:00:00Z", "2026-11-21T17:59:59Z"),
    ],
)
def test_periods_are_those_of_the_zone(period: str, instant: str, after: str, before: str) -> None:
    """02:00 in Shanghai is still the day before in UTC; the report is about Shanghai's yesterday."""
    window = resolve_period(period, instant=at(instant), tz=SHANGHAI)
    assert (window.after_at, window.before_at) == (at(after), at(before))


@pytest.mark.fault(20)
@given(instants, st.sampled_from(ZONES))
def test_neighbouring_days_neither_overlap_nor_leave_a_second_out(instant: datetime, name: str) -> None:
    """Today's yesterday ends one second before today begins, over daylight saving and leap days."""
    tz = ZoneInfo(name)
    yesterday = resolve_period("yesterday", instant=instant, tz=tz)
    today = resolve_period("today", instant=instant, tz=tz)
    assert yesterday.before + 1 == today.after
    assert today.after <= int(instant.timestamp()) <= today.before


@given(instants, st.sampled_from(ZONES))
def test_a_week_is_its_seven_days(instant: datetime, name: str) -> None:
    """Last week is the union of seven yesterdays."""
    tz = ZoneInfo(name)
    week = resolve_period("last_week", instant=instant, tz=tz)
    monday = week.after_at.astimezone(tz).date()
    days = [Window(midnight(d, tz), midnight(d + timedelta(days=1), tz) - 1) for d in _days(monday, 7)]
    assert days[0].after == week.after
    assert days[-1].before == week.before
    assert sum(day.seconds for day in days) == week.seconds
    assert monday.weekday() == 0


def _days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


@pytest.mark.fault(20)
def test_a_day_that_begins_at_one_o_clock_begins_at_its_first_second() -> None:
    """Where daylight saving skips midnight (Santiago, 6 September 2026) the day is 23 hours long."""
    tz = ZoneInfo("America/Santiago")
    assert midnight(date(2026, 9, 7), tz) - midnight(date(2026, 9, 6), tz) == 23 * 3600


def test_custom_takes_its_bounds_inward_to_whole_seconds() -> None:
    """Bounds are inclusive; fractions never reach beyond what was asked."""
    window = resolve_period(
        "custom",
        instant=at("2026-11-22T00:00:00Z"),
        tz=SHANGHAI,
        after=at("2026-11-21T00:00:00.2Z"),
        before=at("2026-11-21T00:00:09.9Z"),
    )
    assert (window.after_at, window.before_at) == (at("2026-11-21T00:00:01Z"), at("2026-11-21T00:00:09Z"))


@pytest.mark.parametrize(
    ("period", "bounds", "says"),
    [
        ("fortnight", {}, "yesterday, today, last_week, last_month, last_24h, custom"),
        ("custom", {}, "needs after"),
        ("today", {"after": at("2026-11-21T00:00:00Z")}, "use custom"),
        ("custom", {"after": at("2026-11-23T00:00:00Z")}, "future"),
        ("custom", {"after": at("2026-11-21T00:00:00Z"), "before": at("2026-11-20T00:00:00Z")}, "swap them"),
    ],
)
def test_wrong_periods_say_what_is_right(period: str, bounds: dict[str, datetime], says: str) -> None:
    """A caller's mistake names the way out."""
    with pytest.raises(UsageError, match=says):
        resolve_period(period, instant=at("2026-11-22T00:00:00Z"), tz=SHANGHAI, **bounds)


def test_a_window_ends_two_seconds_before_now() -> None:
    """Rows are filed up to half a second into the future, so the last seconds are not asked for."""
    now = at("2026-11-22T12:00:00Z")
    today = resolve_period("today", instant=now, tz=SHANGHAI)
    assert cut_to_now(today, now).before_at == at("2026-11-22T11:59:58Z")
    yesterday = resolve_period("yesterday", instant=now, tz=SHANGHAI)
    assert cut_to_now(yesterday, now) == yesterday


def test_a_window_of_the_future_is_refused() -> None:
    """There is nothing to collect yet."""
    with pytest.raises(UsageError, match="not begun"):
        cut_to_now(Window(2_000_000_000, 2_000_000_009), at("2026-11-22T12:00:00Z"))


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "Asia"])
def test_unknown_zones_are_refused_with_examples(name: str) -> None:
    """A zone is an IANA name."""
    with pytest.raises(UsageError, match="Asia/Shanghai"):
        zone(name)


def test_times_without_an_offset_are_in_the_zone_of_the_app() -> None:
    """A day written bare is the operator's day."""
    assert parse_instant("2026-11-21", SHANGHAI) == at("2026-11-20T16:00:00Z")
    assert parse_instant("2026-11-21T00:00:00Z", SHANGHAI) == at("2026-11-21T00:00:00Z")
    with pytest.raises(UsageError, match="ISO 8601"):
        parse_instant("yesterday", SHANGHAI)


def test_a_bare_date_ends_a_window_with_its_last_second() -> None:
    """From the 20th to the 20th is a day, not a second; a time of day stays as it is."""
    assert parse_end("2026-11-20", SHANGHAI) == at("2026-11-20T15:59:59Z")
    assert parse_end("2026-11-20T00:00:00+08:00", SHANGHAI) == at("2026-11-19T16:00:00Z")


def test_every_period_is_known() -> None:
    """The list callers are shown is the list there is."""
    assert PERIODS == ("yesterday", "today", "last_week", "last_month", "last_24h", "custom")
