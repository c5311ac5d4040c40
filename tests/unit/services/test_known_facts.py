"""What is known of a run before its result, and of the period before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window, zone
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.services.report_requests import RunOrder, figures_before, partial_result, request_of

APP = AppKey("dify", "app-1")
AT = datetime(2026, 1, 6, 2, tzinfo=UTC)
SHANGHAI = zone("Asia/Shanghai")
RESULT = {
    "period": "yesterday",
    "window": {"after": "2026-01-05T00:00:00+08:00", "before": "2026-01-05T23:59:59+08:00"},
}


def report(day: int, runs: int, **changed: Any) -> Operation:
    """Give the operation of a day's report."""
    window = Window.between(
        datetime(2026, 1, day, tzinfo=SHANGHAI), datetime(2026, 1, day, 23, 59, 59, tzinfo=SHANGHAI)
    )
    operation = Operation(
        operation_id=f"report-{day}-{runs}",
        operation_type="REPORT",
        at=AT + timedelta(minutes=runs),
        user="ops",
        app=APP,
        subject="yesterday",
        data={"window": str(window), "certified": True, "figures": {"runs": runs}},
    )
    return replace(operation, **changed)


def before(*operations: Operation, result: dict[str, Any] = RESULT) -> dict[str, Any]:
    """Find what a result is compared with."""
    ledger = SqlLedger.open("memory://", {})
    for operation in operations:
        ledger.record(operation)
    return dict(figures_before(ledger, APP, result))


def test_the_newest_report_of_the_day_before_counts() -> None:
    """A day that was reported twice is compared with what was known last."""
    assert before(report(3, 7), report(4, 8), report(4, 9), report(5, 10)) == {"runs": 9}


@pytest.mark.parametrize(
    "other",
    [
        report(3, 1),
        report(5, 1),
        report(4, 1, subject="custom"),
        report(4, 1, app=AppKey("dify", "app-2")),
        report(4, 1, operation_type="EXPORT"),
        report(4, 1, data={"window": str(Window(0, 1))}),
        report(4, 1, data={**report(4, 1).data, "figures": None}),
        report(4, 1, data={**report(4, 1).data, "certified": False}),
        report(4, 1, data={}),
    ],
)
def test_nothing_else_is_compared_with(other: Operation) -> None:
    """Another day, period, app or act, a filtered report, or one that may lack runs, would mislead."""
    assert before(other) == {}


def test_a_chosen_window_is_compared_with_one_as_long() -> None:
    """A month that ends where a day begins says nothing about that day."""
    month = Window.between(
        datetime(2025, 12, 5, tzinfo=SHANGHAI), datetime(2026, 1, 4, 23, 59, 59, tzinfo=SHANGHAI)
    )
    long = report(4, 900, data={**report(4, 900).data, "window": str(month)}, subject="custom")
    custom = {**RESULT, "period": "custom"}
    assert before(long, result=custom) == {}
    assert before(report(4, 8, subject="custom"), long, result=custom) == {"runs": 8}


@pytest.mark.parametrize("result", [{**RESULT, "filtered": True}, {**RESULT, "window": None}, {}])
def test_what_is_no_whole_period_is_not_compared(result: dict[str, Any]) -> None:
    """A filtered result, or one without a window."""
    assert before(report(4, 8), result=result) == {}


def test_an_order_becomes_period_and_window() -> None:
    """As the result would show them, in the app's zone."""
    order = RunOrder(app="sales")
    known = partial_result(order, request_of(order, instant=AT, tz=SHANGHAI, formats=("csv",)))
    assert known == RESULT


@pytest.mark.parametrize(
    ("order", "period"),
    [(RunOrder(after="x"), "custom"), (RunOrder(period="someday"), "someday"), (RunOrder(), "")],
)
def test_an_order_that_cannot_be_read_has_no_window(order: RunOrder, period: str) -> None:
    """Its words are told as they are."""
    assert partial_result(order, None) == {"period": period}
