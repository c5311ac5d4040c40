"""Progress as lines of a run log."""

import logging

import pytest

from flowledger.flows.logs import STEP, LogProgress


def test_a_run_log_gets_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each stage, each note and every so many steps."""
    logger = logging.getLogger("flow-progress")
    progress = LogProgress(logger)
    with caplog.at_level(logging.INFO, "flow-progress"):
        progress.stage("collect", None)
        progress.advance(STEP - 1)
        progress.advance(2)
        progress.stage("report", 40)
        progress.advance(40)
        progress.note("100% of it")
    assert caplog.messages == ["collect", f"collect: {STEP + 1} so far", "report: 40 runs", "100% of it"]
