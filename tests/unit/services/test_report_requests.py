"""Flat words become one checked request, or an error that names the right ones."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from flowledger.domain.runs import Level
from flowledger.errors import UsageError
from flowledger.services.report_requests import (
    ReportRequest,
    RunOrder,
    order_from,
    parameters_of,
    parse_formats,
    parse_status,
    request_of,
)

INSTANT = datetime(2026, 11, 21, 18, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


def request(**words: str) -> ReportRequest:
    """Fold words into a request of an app in Shanghai that wants CSV."""
    return request_of(RunOrder(**words), instant=INSTANT, tz=SHANGHAI, formats=("csv",))  # type: ignore[arg-type]


def test_nothing_said_means_yesterday_in_the_apps_zone() -> None:
    """02:00 on the 22nd in Shanghai reports the 21st."""
    window = request().window
    assert window.after_at == datetime(2026, 11, 20, 16, tzinfo=UTC)
    assert request().formats == ("csv",)


def test_bounds_alone_mean_custom() -> None:
    """Times without an offset are in the zone of the order, else of the app."""
    assert request(after="2026-11-20").period == "custom"
    assert request(after="2026-11-20", timezone="UTC").window.after_at == datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"period": "fortnight"}, "last_week"),
        ({"period": "today", "after": "2026-11-20"}, "custom"),
        ({"after": "2026-11-20", "before": "2026-11-19"}, "swap"),
        ({"before": "2026-11-19"}, "needs after"),
        ({"timezone": "Mars/Base"}, "Asia/Shanghai"),
        ({"formats": "csv,pdf"}, "csv, markdown, json"),
        ({"formats": " , "}, "no report format"),
        ({"status": "great"}, "partial-succeeded"),
        ({"after": "soon"}, "ISO 8601"),
    ],
)
def test_wrong_words_are_refused_with_the_right_ones(words: dict[str, str], says: str) -> None:
    """Before anything is asked."""
    with pytest.raises(UsageError, match=says):
        request(**words)


def test_statuses_are_the_sources_words_or_the_ledgers() -> None:
    """An operator may use either."""
    assert parse_status("partial") == parse_status("partial-succeeded") == "partial-succeeded"
    assert parse_status("success") == "succeeded"
    assert parse_status(None) is None


def test_formats_are_kept_once_in_order() -> None:
    """Spaces, case and repetition do no harm."""
    assert parse_formats(" JSON,csv,json") == ("json", "csv")


@pytest.mark.parametrize(
    ("details", "nodes", "level"),
    [(True, True, Level.NODES), (True, False, Level.RUN), (False, True, Level.NONE)],
)
def test_the_level_of_detail_is_what_was_not_switched_off(details: bool, nodes: bool, level: Level) -> None:
    """--no-details leaves out everything, --no-node-executions the nodes only."""
    order = RunOrder(with_details=details, with_node_executions=nodes)
    assert request_of(order, instant=INSTANT, tz=SHANGHAI, formats=("csv",)).level is level


ORDERS = [
    RunOrder(),
    RunOrder(app="sales", period="last_week", timezone="UTC", formats="csv,json", output_dir="out"),
    RunOrder(after="2026-01-01", before="2026-01-02", status="failed", keyword="x", save_data=True),
    RunOrder(after="2026-01-01", with_details=False, with_node_executions=False),
]


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_comes_back_from_the_parameters_of_the_flow(order: RunOrder) -> None:
    """So the command line, the API and a hook of the flow mean the same; open periods are yesterday."""
    meant = order if order.period or order.after else replace(order, period="yesterday")
    assert order_from(parameters_of(order)) == meant


def test_the_form_of_the_flow_fills_in_a_period_that_bounds_overrule() -> None:
    """The form always sends one; a period that somebody chose stands, and is refused beside bounds."""
    bounds = {"created_at_after": "2026-01-01", "created_at_before": None}
    assert order_from({"period": "yesterday", **bounds}).period is None
    assert order_from({"period": "last_week", **bounds}).period == "last_week"


def test_what_an_order_leaves_open_is_left_to_the_deployment() -> None:
    """Its own parameters count then, such as the raw data that it always keeps."""
    assert parameters_of(RunOrder(app="sales")) == {
        "app": "sales",
        "with_details": True,
        "with_node_executions": True,
    }


def test_parameters_that_nobody_can_use_still_make_an_order() -> None:
    """They may be why a run failed; its app and bounds are announced all the same."""
    order = order_from({"app": 7, "created_at_after": ["x"], "status": "odd", "unknown": object()})
    assert (order.app, order.after, order.period, order.status) == ("7", "['x']", None, "odd")
