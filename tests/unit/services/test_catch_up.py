"""Which reports are due, and which of them the ledger cannot prove: over a ledger in memory and in a file."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from fake_source import decode
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.history import EVERY_OPERATION, OperationQuery, Place
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Level
from flowledger.domain.windows import Window, latest_period
from flowledger.errors import UsageError
from flowledger.ledger import open_ledger
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import Ledger
from flowledger.services.catch_up import (
    Cadence,
    Due,
    due_between,
    missing,
    over_by,
    owed_instant,
    unsettled,
)
from flowledger.services.report_requests import ReportContent

APP, OTHER = AppKey("dify", "support"), AppKey("dify", "sales")
SHANGHAI, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York")
FULL = ReportContent("support", ("csv", "markdown", "json"), Level.NODES)
DAILY = Cadence("daily_report", "yesterday", "0 2 * * *", content=FULL)
WEEKLY = Cadence("weekly_report", "last_week", "0 3 * * 1", content=FULL)
NOW = datetime.fromisoformat("2026-11-22T02:00:30+08:00")
"""A Sunday, half a minute after the daily schedule."""


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger of each kind that needs no server."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/ledger.db"
    opened = open_ledger(url, {"dify": decode})
    yield opened
    opened.close()


def certify(
    ledger: Ledger, window: Window, *, certified: bool = True, app: AppKey = APP, query: str = ""
) -> None:
    """Put a certificate into the ledger, and that the window was reported."""
    prove(ledger, window, certified=certified, app=app, query=query)
    report(ledger, window, certified=certified, app=app, filtered=bool(query))


def prove(
    ledger: Ledger, window: Window, *, certified: bool = True, app: AppKey = APP, query: str = ""
) -> None:
    """Put a certificate into the ledger."""
    scope = Scope(app, window, query)
    ledger.save_runs([], scope=scope, at=NOW, certificate=Certificate(scope, certified, "counted", 0, 0, NOW))


def report(  # all that the record of a report says
    ledger: Ledger,
    window: Window,
    *,
    certified: bool = True,
    app: AppKey = APP,
    filtered: bool = False,
    schedule: str | None = "daily_report",
    period: str = "yesterday",
    content: ReportContent = FULL,
) -> None:
    """Note that a report of a window was written, as the pipeline does."""
    data = {
        "window": str(window),
        "certified": certified,
        "figures": None if filtered else {},
        "schedule": schedule,
        **content.to_json(),
    }
    ledger.record(Operation(f"report-{uuid4()}", "REPORT", NOW, "somebody", app, period, data))


def is_reported(ledger: Ledger, app: AppKey, due: Due) -> bool:
    """Give whether the daily schedule owes a report no more."""
    return unsettled(ledger, app, DAILY, due) is None


def due(day: str, cadence: Cadence = DAILY, tz: ZoneInfo = SHANGHAI) -> Due:
    """Give the report that holds a day."""
    wanted = date.fromisoformat(day)
    return due_between(cadence, wanted, wanted, tz)[0]


def window(day: str, cadence: Cadence = DAILY) -> Window:
    """Give the window of the report that holds a day."""
    return due(day, cadence).period.window


def still_missing(
    ledger: Ledger, cadence: Cadence = DAILY, *, now: datetime = NOW, most: int = 7, tz: ZoneInfo = SHANGHAI
) -> list[str]:
    """Give the first days of what is missing."""
    found = missing(ledger, APP, cadence, tz=tz, now=now, most=most)
    return [each.period.days.first.isoformat() for each in found]


@pytest.mark.fault(34)
def test_the_days_of_an_outage_are_missing(ledger: Ledger) -> None:
    """Certified up to the 17th, then nothing: the 18th to the 21st are due and unproved."""
    for day in ("2026-11-15", "2026-11-16", "2026-11-17"):
        certify(ledger, window(day))
    assert still_missing(ledger) == ["2026-11-18", "2026-11-19", "2026-11-20", "2026-11-21"]


def test_what_was_never_begun_is_not_missing(ledger: Ledger) -> None:
    """The app's oldest certificate, proved or not, is where its history begins."""
    assert still_missing(ledger) == []
    certify(ledger, window("2026-11-20"), certified=False)
    certify(ledger, window("2026-11-01"), app=OTHER)
    assert still_missing(ledger) == ["2026-11-20", "2026-11-21"]


def test_an_uncertified_day_is_missing_and_a_certified_one_is_not(ledger: Ledger) -> None:
    """What could not be proved is asked for again."""
    certify(ledger, window("2026-11-19"))
    certify(ledger, window("2026-11-20"), certified=False)
    certify(ledger, window("2026-11-21"))
    assert still_missing(ledger) == ["2026-11-20"]


@pytest.mark.fault(34)
def test_a_day_that_was_proved_but_never_reported_is_missing(ledger: Ledger) -> None:
    """Its run died between the two, or its report could not be kept; a filtered report is not the day's."""
    certify(ledger, window("2026-11-18"))
    for day in ("2026-11-19", "2026-11-20", "2026-11-21"):
        prove(ledger, window(day))
    report(ledger, window("2026-11-19"), certified=False)
    report(ledger, window("2026-11-20"), filtered=True)
    report(ledger, window("2026-11-21"), app=OTHER)
    assert still_missing(ledger) == ["2026-11-19", "2026-11-20", "2026-11-21"]
    assert not is_reported(ledger, APP, due("2026-11-20"))
    report(ledger, window("2026-11-20"))
    assert still_missing(ledger) == ["2026-11-19", "2026-11-21"]
    assert is_reported(ledger, APP, due("2026-11-20"))


def test_a_narrower_or_filtered_window_proves_no_day(ledger: Ledger) -> None:
    """Part of a day, or only its failed runs, prove nothing about it."""
    certify(ledger, window("2026-11-15"))
    whole = window("2026-11-16")
    certify(ledger, Window(whole.after, whole.before - 1))
    certify(ledger, window("2026-11-17"), query="status='failed'")
    later = datetime.fromisoformat("2026-11-18T02:00:00+08:00")
    assert still_missing(ledger, now=later) == ["2026-11-16", "2026-11-17"]


def settled_by(ledger: Ledger, **record: Any) -> Due | None:
    """Give what is still due of 20 November after one report of that day."""
    prove(ledger, window("2026-11-20"))
    report(ledger, window("2026-11-20"), **record)
    return unsettled(ledger, APP, DAILY, due("2026-11-20"))


LACKING = [
    ReportContent("support", FULL.formats, Level.NONE),
    ReportContent("support", FULL.formats, Level.RUN),
    ReportContent("support", ("csv",), Level.NODES),
    ReportContent("/tmp/elsewhere", FULL.formats, Level.NODES),
    ReportContent("other-prefix", FULL.formats, Level.NODES),
]


@pytest.mark.parametrize("content", LACKING)
@pytest.mark.parametrize("period", ["yesterday", "custom"])
def test_a_report_that_lacks_what_the_schedule_makes_settles_nothing(
    ledger: Ledger, content: ReportContent, period: str
) -> None:
    """A run without details, in fewer formats or in another storage leaves the daily report due."""
    open_due = settled_by(ledger, schedule=None, period=period, content=content)
    assert open_due is not None
    assert not open_due.covered_by


@pytest.mark.parametrize(
    ("schedule", "period"),
    [(None, "yesterday"), (None, "custom"), ("weekly_report", "yesterday"), ("daily_report", "custom")],
)
def test_what_another_report_of_the_same_content_covers_is_due_and_says_so(
    ledger: Ledger, schedule: str | None, period: str
) -> None:
    """It is not the schedule's own, which has its name, its date and its comparison."""
    open_due = settled_by(ledger, schedule=schedule, period=period)
    assert open_due is not None
    assert period in open_due.covered_by
    assert "2026-11-19T16:00:00Z" in open_due.covered_by


def test_only_the_schedules_own_report_settles_what_it_owes(ledger: Ledger) -> None:
    """With the schedule, period and storage; formats and details were compared when it was written."""
    assert settled_by(ledger) is None
    assert settled_by(ledger, content=ReportContent("support", ("csv",), Level.RUN)) is None


def test_one_wide_run_without_details_settles_none_of_six_daily_reports(ledger: Ledger) -> None:
    """Its certificate holds all six days, and its report has no details of them."""
    certify(ledger, window("2026-11-15"))
    six = Window(window("2026-11-16").after, window("2026-11-21").before)
    prove(ledger, six)
    without = ReportContent("support", FULL.formats, Level.NONE)
    report(ledger, six, schedule=None, period="custom", content=without)
    expected = [f"2026-11-{day}" for day in range(16, 22)]
    assert still_missing(ledger) == expected
    report(ledger, six, schedule=None, period="custom")
    owed = missing(ledger, APP, DAILY, tz=SHANGHAI, now=NOW, most=7)
    assert [str(each) for each in owed] == expected
    assert all(each.covered_by for each in owed)


def test_the_record_of_an_earlier_version_settles_its_own_period(ledger: Ledger) -> None:
    """It says neither schedule nor content; an update must not make last week's reports due again."""
    prove(ledger, window("2026-11-20"))
    for period, is_settled in (("custom", False), ("yesterday", True)):
        data = {"window": str(window("2026-11-20")), "certified": True, "figures": {}}
        ledger.record(Operation(f"report-{uuid4()}", "REPORT", NOW, "somebody", APP, period, data))
        assert is_reported(ledger, APP, due("2026-11-20")) is is_settled


def test_no_more_than_so_many_reports_back_are_looked_at(ledger: Ledger) -> None:
    """After a month away the newest ones are filled, and 0 switches it off."""
    certify(ledger, window("2026-09-01"))
    assert len(still_missing(ledger)) == 7
    assert still_missing(ledger, most=2) == ["2026-11-20", "2026-11-21"]
    assert still_missing(ledger, most=0) == []


def test_a_report_is_due_from_its_schedules_time_on(ledger: Ledger) -> None:
    """At one in the morning yesterday is not missing: its run comes at two."""
    certify(ledger, window("2026-11-19"))
    early = datetime.fromisoformat("2026-11-22T01:00:00+08:00")
    assert still_missing(ledger, now=early) == ["2026-11-20"]
    assert still_missing(ledger, now=early + timedelta(hours=1)) == ["2026-11-20", "2026-11-21"]


def test_days_that_a_schedule_never_reports_are_not_missing(ledger: Ledger) -> None:
    """Runs from Monday to Friday report Sunday to Thursday; Friday and Saturday are nobody's."""
    certify(ledger, window("2026-11-11"))
    workdays = Cadence("daily_report", "yesterday", "0 2 * * 1-5", content=FULL)
    found = still_missing(ledger, workdays)
    assert found == [f"2026-11-{day}" for day in (12, 15, 16, 17, 18, 19)]


def test_weeks_and_months_are_missed_like_days(ledger: Ledger) -> None:
    """Each schedule owes its own periods."""
    certify(ledger, window("2026-09-28"))
    assert still_missing(ledger, WEEKLY, most=2) == ["2026-11-02", "2026-11-09"]
    monthly = Cadence("monthly_report", "last_month", "0 4 1 * *")
    assert still_missing(ledger, monthly) == ["2026-09-01", "2026-10-01"]


@pytest.mark.parametrize("period", ["today", "last_24h", "custom"])
def test_a_period_that_moves_with_the_clock_is_never_missing(ledger: Ledger, period: str) -> None:
    """It has no window of its own to be certified."""
    certify(ledger, window("2026-11-01"))
    assert still_missing(ledger, Cadence("odd", period, "0 2 * * *")) == []


@pytest.mark.parametrize("parameters", [{"keyword": "refund"}, {"status": "failed"}])
def test_a_filtered_report_is_never_missing(ledger: Ledger, parameters: dict[str, str]) -> None:
    """Its runs prove nothing about whole days, so there would be no end to catching up."""
    certify(ledger, window("2026-11-01"))
    assert still_missing(ledger, Cadence("failures", "yesterday", "0 2 * * *", parameters)) == []


def test_missing_costs_few_queries() -> None:
    """A run that has missed nothing hardly notices: certificates once, the newest reports once."""

    class Counting(SqlLedger):
        def certificates(self, app: AppKey, within: Window, query: str | None = "") -> list[Certificate]:
            asked.append("certificates")
            return list(super().certificates(app, within, query))

        def operations(
            self, query: OperationQuery = EVERY_OPERATION, *, after: Place | None = None, limit: int = 1000
        ) -> list[Operation]:
            asked.append("operations")
            return list(super().operations(query, after=after, limit=limit))

    asked: list[str] = []
    ledger = Counting.open("memory://", {"dify": decode})
    certify(ledger, window("2026-11-21"))
    assert still_missing(ledger) == []
    assert asked == ["certificates", "operations"]


@pytest.mark.parametrize(
    ("day", "cron", "tz", "instant"),
    [
        ("2026-11-20", "0 2 * * *", SHANGHAI, "2026-11-21T02:00:00+08:00"),
        ("2026-11-20", "0 0 * * *", SHANGHAI, "2026-11-21T00:00:00+08:00"),
        ("2026-11-20", "30 6,18 * * *", SHANGHAI, "2026-11-21T06:30:00+08:00"),
        ("2026-03-07", "30 2 * * *", NEW_YORK, "2026-03-08T03:00:00-04:00"),
        ("2026-10-31", "30 1 * * *", NEW_YORK, "2026-11-01T01:30:00-04:00"),
        ("2026-11-20", None, SHANGHAI, "2026-11-21T02:00:00+08:00"),
        ("2026-11-20", "@daily of another dialect", SHANGHAI, "2026-11-21T02:00:00+08:00"),
        ("2026-11-20", "0 2 * * 1-5", SHANGHAI, "2026-11-21T02:00:00+08:00"),
    ],
)
def test_a_past_dated_run_has_the_schedules_own_time(
    day: str, cron: str | None, tz: ZoneInfo, instant: str
) -> None:
    """As if the schedule had fired then, over daylight saving too; without one, at two in the morning."""
    found = due(day, Cadence("daily_report", "yesterday", cron), tz)
    assert found.instant == datetime.fromisoformat(instant)
    assert found.instant.tzinfo is UTC


@given(
    st.dates(date(2000, 1, 1), date(2035, 12, 31)),
    st.sampled_from(["Asia/Shanghai", "America/New_York", "America/Sao_Paulo", "Pacific/Apia", "UTC"]),
    st.sampled_from(["0 0 * * *", "0 2 * * *", "30 1 * * *", "59 23 * * *", "0 3 * * 1", "15 4 1 * *"]),
    st.sampled_from(["yesterday", "last_week", "last_month"]),
)
def test_every_due_run_sees_its_own_period(day: date, zone: str, cron: str, period: str) -> None:
    """Whatever the cron and the zone, the run's instant lies where its period is the last one."""
    tz = ZoneInfo(zone)
    for found in due_between(Cadence("any", period, cron), day, day, tz):
        assert found.instant in found.period.current_during


def test_only_what_is_over_can_be_reported() -> None:
    """A week asked for on its Wednesday is left for later."""
    dues = due_between(WEEKLY, date(2026, 11, 9), date(2026, 11, 21), SHANGHAI)
    assert [str(each) for each in dues] == ["2026-11-09 to 2026-11-15", "2026-11-16 to 2026-11-22"]
    assert over_by(dues, NOW) == dues[:1]


def test_a_schedule_without_calendar_cannot_be_filled_by_days() -> None:
    """The message names the periods that can."""
    with pytest.raises(UsageError, match="yesterday, last_week, last_month"):
        due_between(Cadence("odd", "today"), date(2026, 11, 9), date(2026, 11, 9), SHANGHAI)


def test_certified_is_told_for_one_report(ledger: Ledger) -> None:
    """Only a whole certified window counts."""
    certify(ledger, window("2026-11-20"))
    certify(ledger, window("2026-11-21"), certified=False)
    assert is_reported(ledger, APP, due("2026-11-20"))
    assert not is_reported(ledger, APP, due("2026-11-21"))


SKIPPED_MIDNIGHTS = [
    ("America/Santiago", date(2026, 9, 6)),
    ("Africa/Cairo", date(2027, 4, 30)),
    ("Asia/Beirut", date(2027, 3, 28)),
    ("America/Havana", date(2027, 3, 14)),
]
CHANGES = [
    *SKIPPED_MIDNIGHTS,
    ("America/Santiago", date(2027, 4, 4)),
    ("Africa/Cairo", date(2026, 10, 30)),
    ("Asia/Beirut", date(2026, 10, 25)),
    ("America/Havana", date(2026, 11, 1)),
    ("America/New_York", date(2027, 3, 14)),
    ("America/New_York", date(2026, 11, 1)),
    ("Europe/London", date(2027, 3, 28)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Africa/Casablanca", date(2027, 2, 7)),
    ("Asia/Shanghai", date(2026, 11, 21)),
]


def started_by(cron: str, first: datetime, last: datetime, tz: ZoneInfo, *, early: bool) -> list[datetime]:
    """Give when a scheduler starts runs: a skipped time becomes the same span before or after the change."""
    fold = 1 if early else 0
    walls = CronSim(cron, first.astimezone(tz).replace(tzinfo=None))
    times: list[datetime] = []
    for wall in walls:
        instant = wall.replace(tzinfo=tz).astimezone(UTC)
        if instant.astimezone(tz).replace(tzinfo=None) != wall:
            instant = wall.replace(tzinfo=tz, fold=fold).astimezone(UTC)
        if instant > last:
            return times
        times.append(instant)
    return times


@pytest.mark.fault(20)
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_each_day_is_reported_once_by_its_own_run(zone: str, day: date, early: bool) -> None:
    """Around both changes, whatever the cron's time, and wherever a scheduler puts a time that is skipped."""
    tz = ZoneInfo(zone)
    first = datetime(day.year, day.month, day.day, 12, tzinfo=tz) - timedelta(days=4)
    for cron in ("0 0 * * *", "30 0 * * *", "0 1 * * *", "30 1 * * *", "30 2 * * *", "0 23 * * *"):
        started = started_by(cron, first, first + timedelta(days=8), tz, early=early)
        days = [latest_period("yesterday", owed_instant(cron, at, tz), tz).days.first for at in started]
        assert days == [days[0] + timedelta(days=n) for n in range(len(started))], cron


@given(
    st.sampled_from(CHANGES),
    st.integers(0, 59),
    st.integers(0, 23),
    st.booleans(),
    st.sampled_from(["* * *", "* * 0", "1 * *"]),
)
def test_every_scheduled_run_has_the_newest_period_that_its_schedule_owes(
    change: tuple[str, date], minute: int, hour: int, early: bool, days: str
) -> None:
    """No period twice and none left to a later run, for days, weeks and months."""
    tz = ZoneInfo(change[0])
    name = {"* * *": "yesterday", "* * 0": "last_week", "1 * *": "last_month"}[days]
    cron = f"{minute} {hour} {days}"
    first = datetime.combine(change[1], datetime.min.time(), tz) - timedelta(days=40)
    started = started_by(cron, first, first + timedelta(days=80), tz, early=early)
    periods = [latest_period(name, owed_instant(cron, at, tz), tz) for at in started]
    for before, after in pairwise(periods):
        assert before.current_during == after.window


@pytest.mark.parametrize(("zone", "day"), SKIPPED_MIDNIGHTS)
def test_a_run_that_is_meant_for_the_evening_before_stays_there(zone: str, day: date) -> None:
    """At 23:00 of the day before a schedule of 23:00 owes the day before that."""
    tz = ZoneInfo(zone)
    evening = datetime(day.year, day.month, day.day, 23, tzinfo=tz) - timedelta(days=1)
    assert owed_instant("0 23 * * *", evening, tz) == evening
    assert owed_instant("0 0,23 * * *", evening, tz) == evening
    assert owed_instant("not a cron", evening, tz) == evening
    midnight = owed_instant("0 0 * * *", evening, tz).astimezone(tz)
    assert (midnight.date(), midnight.hour) == (day, 1)
