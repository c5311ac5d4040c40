"""Flat words become one checked request, or an error that names the right ones."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from flowledger.domain.runs import Level
from flowledger.errors import UsageError
from flowledger.services.report_requests import (
    ReportRequest,
    RunOrder,
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
