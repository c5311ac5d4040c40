"""What the command line shows: the table at the end, progress on the way."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress

from flowledger.cli.run import PLAIN_STEP, STAGES, LineProgress, progress_on_stderr
from flowledger.cli.terminal import TerminalProgress, show_summary, summary_rows
from flowledger.services.run_result import ResultCertificate, ResultWindow, RunResult

PROOF = ResultCertificate(
    certified=True, reason="complete", expected=3, distinct=3, retained=0, at="2026-11-22T00:00:09+00:00"
)
RESULT = RunResult(
    app="support",
    app_id="a-1",
    period="yesterday",
    window=ResultWindow("2026-11-21T00:00:00+08:00", "2026-11-21T23:59:59+08:00"),
    logs_count=3,
    report_paths=["/reports/[a].csv"],
    certificate=PROOF,
    detailed=2,
    missing=1,
    missing_reasons={"no console access": 1},
    by_status={"success": 2, "failed": 1},
    open=1,
    stuck=0,
    users=2,
    total_tokens=10,
    cost={"USD": "0.0024"},
    duration_p50_s=None,
    duration_p95_s=None,
    failures=[],
    filtered=True,
    kept_locally=False,
    notes=["keyword filtered on our side"],
    requests=5,
    duration=1.25,
)


def test_the_table_has_a_row_for_each_figure() -> None:
    """Reasons and notes have rows of their own."""
    assert dict(summary_rows(RESULT)) == {
        "window": "2026-11-21T00:00:00+08:00 to 2026-11-21T23:59:59+08:00",
        "runs": "3 (success 2, failed 1)",
        "certified": "yes: complete",
        "source counts, seen": "3, 3",
        "detailed, missing": "2, 1",
        "missing because": "no console access (1)",
        "open, of which stuck": "1, 0",
        "users": "2",
        "tokens": "10",
        "cost": "0.0024 USD",
        "requests, seconds": "5, 1.25",
        "note": "keyword filtered on our side",
    }


def test_an_unproved_window_stands_out() -> None:
    """So does a source that gives no total, and a day without runs."""
    certificate = replace(PROOF, certified=False, reason="rows moved", expected=None, distinct=0)
    rows = dict(summary_rows(replace(RESULT, certificate=certificate, logs_count=0, by_status={}, cost=None)))
    assert (rows["certified"], rows["source counts, seen"]) == ("NO: rows moved", "no total, 0")
    assert (rows["runs"], rows["cost"]) == ("0 (none)", "unknown")


def test_paths_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Long ones are not wrapped, brackets are no markup."""
    path = "/reports/" + "long/" * 60 + "[bold]a.csv"
    show_summary(replace(RESULT, report_paths=[path]))
    assert f"\n  {path}\n" in capsys.readouterr().out


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """One at the begin of a stage, one after every so many steps; brackets are no markup."""
    progress = LineProgress()
    progress.stage("enrich", 2 * PLAIN_STEP)
    for _ in range(PLAIN_STEP + 10):
        progress.advance()
    progress.note("[red] note")
    assert capsys.readouterr().err.splitlines() == [
        f"reading details ({2 * PLAIN_STEP})",
        f"reading details: {PLAIN_STEP} of {2 * PLAIN_STEP}",
        "[red] note",
    ]


def test_a_terminal_gets_a_bar_for_each_stage() -> None:
    """A new stage stops the one before."""
    with Progress(console=Console(file=StringIO()), auto_refresh=False) as bars:
        progress = TerminalProgress(bars, STAGES)
        progress.advance()
        progress.stage("collect", None)
        progress.advance(5)
        progress.stage("report", 7)
        progress.advance(2)
        progress.note("[red] note")
        shown = [(task.description, task.completed, task.total) for task in bars.tasks]
    assert shown == [("collecting runs", 5, None), ("writing reports", 2, 7)]


def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error is no terminal here, and standard output stays empty."""
    with progress_on_stderr() as progress:
        progress.stage("collect", None)
    assert capsys.readouterr() == ("", "collecting runs\n")
