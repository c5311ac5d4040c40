"""Which instant the period of a flow run is seen from, without a Prefect server."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flowledger.domain.windows import resolve_period
from flowledger.flows.backfill_runs import report_instant

APP_ID = "9d6e8f3c-1111-4222-8333-444455556666"
TAGS = ["auto-scheduled", "flowledger", f"app:{APP_ID}", "schedule:daily_report"]
SANTIAGO = ZoneInfo("America/Santiago")
EVENING = datetime(2026, 9, 5, 23, tzinfo=SANTIAGO)
"""When some schedulers start the run of 6 September 00:00, which Santiago skips."""


@pytest.fixture(autouse=True)
def _midnight_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a folder with one app, whose daily report is scheduled at midnight."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "deployments.yaml").write_text(
        'daily_report:\n  name: daily\n  schedule: "0 0 * * *"\n  period: yesterday\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFY_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("DIFY_API_TOKEN", "app-0000000000000000")
    monkeypatch.setenv("DIFY_APP_ID", APP_ID)
    monkeypatch.setenv("TIMEZONE", "America/Santiago")


def reported_day(tags: list[str], scheduled: datetime) -> str:
    """Give the day that a run reports."""
    window = resolve_period("yesterday", instant=report_instant(tags, scheduled), tz=SANTIAGO)
    return str(window.after_at.astimezone(SANTIAGO).date())


@pytest.mark.fault(20)
def test_the_run_of_a_midnight_that_does_not_exist_reports_the_day_before_it() -> None:
    """Started an hour early it still owes 5 September, and the next midnight owes the 6th."""
    assert reported_day(TAGS, EVENING) == "2026-09-05"
    assert reported_day(TAGS, datetime(2026, 9, 6, 1, tzinfo=SANTIAGO)) == "2026-09-05"
    assert reported_day(TAGS, datetime(2026, 9, 7, 0, tzinfo=SANTIAGO)) == "2026-09-06"


@pytest.mark.parametrize(
    "tags", [[], TAGS[1:], ["auto-scheduled"], [*TAGS[:3], "schedule:gone"], ["auto-scheduled", "app:x"]]
)
def test_a_run_that_no_schedule_of_ours_started_has_its_own_time(tags: list[str]) -> None:
    """Started by a person, past-dated, or by what the settings no longer have."""
    assert report_instant(tags, EVENING) == EVENING.astimezone(UTC)
