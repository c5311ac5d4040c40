"""Filling due reports: keys that make twice once, failures that stop nothing, and the audit trail."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from flowledger.domain.runs import AppKey
from flowledger.errors import SourceUnreachableError, UsageError
from flowledger.services.catch_up import (
    BACKFILL,
    Cadence,
    Due,
    Filled,
    FillStatus,
    backfill_key,
    catch_up_key,
    check_days,
    describe,
    due_between,
    fill_each,
    filling_operation,
)

APP = AppKey("dify", "support")
SHANGHAI = ZoneInfo("Asia/Shanghai")
DAILY = Cadence("daily_report", "yesterday", "0 2 * * *")
DUES = due_between(DAILY, date(2026, 11, 18), date(2026, 11, 20), SHANGHAI)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_one_that_fails_does_not_stop_the_others() -> None:
    """The failure is told with its reason, and the rest goes on."""

    def fill(due: Due) -> Filled:
        if due is DUES[1]:
            raise SourceUnreachableError("dify.example.com does not answer")
        return Filled(due, FillStatus.DONE)

    filled = list(fill_each(DUES, fill))
    assert [each.status for each in filled] == [FillStatus.DONE, FillStatus.FAILED, FillStatus.DONE]
    assert filled[1].detail == "dify.example.com does not answer"


def test_wrong_words_stop_at_once() -> None:
    """They would be wrong for every period."""

    def fill(due: Due) -> Filled:
        raise UsageError("unknown report format")

    with pytest.raises(UsageError):
        list(fill_each(DUES, fill))


def test_a_back_filled_run_has_one_key() -> None:
    """The same app, schedule and period give the same run; asked for again on purpose, another one."""
    assert backfill_key(APP, DAILY, DUES[0]) == "backfill-support-daily_report-2026-11-18"
    assert backfill_key(APP, DAILY, DUES[0], NOW) != backfill_key(APP, DAILY, DUES[0])


def test_catching_up_has_one_key_a_day() -> None:
    """A period that failed is tried again tomorrow, not with every run of today."""
    keys = {catch_up_key(APP, DAILY, DUES[0], date(2026, 11, day)) for day in (21, 22, 22)}
    assert keys == {
        "catch-up-support-daily_report-2026-11-18-2026-11-21",
        "catch-up-support-daily_report-2026-11-18-2026-11-22",
    }


def test_the_audit_trail_says_who_filled_which_periods() -> None:
    """Each period with what became of it, and why where it failed."""
    filled = [Filled(DUES[0], FillStatus.CREATED, "run 1"), Filled(DUES[1], FillStatus.FAILED, "no answer")]
    operation = filling_operation(BACKFILL, APP, DAILY, filled, user="someone", at=NOW)
    assert (operation.operation_type, operation.user, operation.app) == (BACKFILL, "someone", APP)
    assert operation.subject == "daily_report"
    assert operation.data == {
        "periods": {"2026-11-18": "created", "2026-11-19": "FAILED"},
        "failures": {"2026-11-19": "no answer"},
    }


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        (date(2026, 11, 20), date(2026, 11, 19), "swap them"),
        (date(2026, 11, 20), date(2026, 11, 22), "2026-11-21 at most"),
        (date(2026, 11, 20), date(2027, 1, 1), "not over"),
        (date(2026, 1, 1), date(2026, 11, 21), "325 days.*--yes"),
    ],
)
def test_days_that_cannot_be_meant_are_refused(first: date, last: date, says: str) -> None:
    """With the way out."""
    with pytest.raises(UsageError, match=says):
        check_days(first, last, date(2026, 11, 22), most=100)


def test_many_days_can_be_wanted() -> None:
    """A year is fine for whoever says so, and refused to whoever does not."""
    year = (date(2026, 1, 1), date(2026, 11, 21), date(2026, 11, 22))
    with pytest.raises(UsageError):
        check_days(*year, most=100)
    assert check_days(*year, most=None) is None  # type: ignore[func-returns-value]  # it only refuses


def test_a_due_report_is_one_line() -> None:
    """Its window in UTC, and when its run is scheduled, in the zone."""
    assert describe(DUES[0], SHANGHAI) == (
        "2026-11-17T16:00:00Z/2026-11-18T15:59:59Z, scheduled for 2026-11-19T02:00:00+08:00"
    )
