"""What a run leaves in the Prefect UI, as text."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.figures import Figures, ProblemRun
from flowledger.domain.runs import RunStatus
from flowledger.flows.notifications import (
    LONGEST_ERROR,
    artifact_key,
    failure_row,
    failure_table,
    markdown_of,
)
from flowledger.services.run_result import ResultCertificate, ResultWindow, RunResult

RESULT = RunResult(
    app="support | <b>",
    app_id="a-1",
    period="yesterday",
    window=ResultWindow("2026-11-21T00:00:00+08:00", "2026-11-21T23:59:59+08:00"),
    logs_count=3,
    report_paths=["/reports/a.csv"],
    certificate=ResultCertificate(
        certified=False, reason="rows moved", expected=None, distinct=3, retained=0, at="2026-11-22T00:00:09Z"
    ),
    detailed=2,
    missing=1,
    missing_reasons={"no console access": 1},
    by_status={"success": 2, "failed": 1},
    open=0,
    stuck=0,
    users=2,
    total_tokens=10,
    cost={},
    duration_p50_s=None,
    duration_p95_s=None,
    failures=[],
    filtered=True,
    kept_locally=False,
    notes=["keyword 'a|b': filtered on our side"],
    requests=5,
    duration=1.25,
)


@given(st.text())
def test_keys_are_what_prefect_takes(app: str) -> None:
    """Whatever an app is called, the key has lower-case letters, digits and dashes only."""
    assert re.fullmatch(r"report(-[a-z0-9]+)+", artifact_key("report", app))


@pytest.mark.parametrize(
    ("one", "other"), [("客服", "售后"), ("客服 A", "售后 A"), ("Support", "support"), ("a b", "a-b")]
)
def test_apps_do_not_share_a_key(one: str, other: str) -> None:
    """Names that differ only in what a key cannot hold still get keys of their own."""
    assert artifact_key("report", one) != artifact_key("report", other)


def test_plain_names_stay_readable() -> None:
    """A name that a key can hold is the key."""
    assert artifact_key("report", "support-bot") == "report-support-bot"


def test_the_report_says_when_nothing_is_proved() -> None:
    """An uncertified window is told first, an unknown total as such; cells keep to themselves."""
    text = markdown_of(RESULT)
    assert "NOT certified: rows moved (source no total, seen 3)" in text
    assert text.startswith("# support \\| &lt;b>: yesterday\n")
    assert "| Missing details | 1 no console access 1 |" in text
    assert "- `/reports/a.csv`" in text
    assert "- keyword 'a\\|b': filtered on our side" in text


def test_a_failure_is_one_short_line() -> None:
    """Long errors are cut, and the node that failed is named."""
    at = datetime(2026, 11, 21, tzinfo=UTC)
    row = failure_row(
        ProblemRun("run-1", "log-1", at, "failed", "x" * 1000, "http"), ZoneInfo("Asia/Shanghai")
    )
    assert len(row.pop("error")) <= LONGEST_ERROR + 1
    assert row == {"run": "run-1", "at": "2026-11-21 08:00:00+08:00", "status": "failed", "node": "http"}


def test_a_table_of_failures_that_is_cut_says_so() -> None:
    """The number is that of the message."""
    at = datetime(2026, 11, 21, tzinfo=UTC)
    listed = tuple(ProblemRun(f"run-{number}", None, at, "failed", "e") for number in range(50))
    figures = Figures(runs=60, by_status={RunStatus.FAILED: 60}, failures=listed)
    table = failure_table(figures, UTC)
    assert len(table) == 51
    assert table[-1] == {"run": "only the newest 50 of 60 are listed"}
    assert failure_table(Figures(), UTC) == [{"run": "none failed"}]


def test_artifacts_are_chinese_for_an_app_whose_reports_are() -> None:
    """Names, statuses, periods and reasons; not only the words around them."""
    text = markdown_of(RESULT, "zh")
    assert text.startswith("# support \\| &lt;b>: 昨天\n")
    assert "| 采集证明 | 未证明：rows moved（来源 无总数，读到 3） |" in text
    assert "| 状态 | 成功 2, 失败 1 |" in text
    assert "| 缺少详情 | 1 没有控制台权限 1 |" in text
    assert failure_table(Figures(), UTC, "zh") == [{"运行": "没有失败的运行"}]
