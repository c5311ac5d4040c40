"""What the program logs reaches the run's log, and the other way round: once, without secrets."""

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from loguru import logger
from prefect.logging.loggers import PrefectLogAdapter

from flowledger.errors import FlowledgerError
from flowledger.flows import logs
from flowledger.flows.logs import MOST_REMEMBERED, app_names, forwarded_to, note_app
from flowledger.services import log_files
from flowledger.services.log_files import LogPlan, logging_to
from flowledger.services.secret_masking import register_secrets

SECRET = "open-sesame"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """No other sink, and one known secret."""
    logger.remove()
    register_secrets([SECRET])
    yield
    register_secrets([])


@pytest.fixture
def task_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> PrefectLogAdapter:
    """The log of a task run, as Prefect gives it, whose lines caplog sees."""
    log = logging.getLogger("prefect.task_runs")
    caplog.set_level(logging.INFO, "prefect.task_runs")
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    return adapted("t-1")


def adapted(task: str) -> PrefectLogAdapter:
    """Give a log with what Prefect notes of a task run."""
    noted = {"task_run_id": task, "flow_run_id": "f-1", "task_run_name": f"task-{task}"}
    return PrefectLogAdapter(logging.getLogger("prefect.task_runs"), extra=noted)


def under(monkeypatch: pytest.MonkeyPatch, flow_run: str, task: str) -> None:
    """Pretend to be in a task run."""
    monkeypatch.setattr(logs, "run_ids", lambda: {"flow_run_id": flow_run, "task_id": task})


def lines(folder: Path) -> list[dict[str, Any]]:
    """Give the lines of the program's log."""
    files = sorted(folder.glob("flowledger-2*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def in_thread(message: str) -> None:
    """Log in a thread that knows nothing of the run."""
    thread = Thread(target=lambda: logger.info(message))
    thread.start()
    thread.join()


def test_what_is_logged_meanwhile_is_forwarded(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, at its own level, without what came before and after."""
    caplog.set_level(logging.INFO)
    logger.warning("before")
    with forwarded_to(logging.getLogger("run")):
        logger.warning("try {} failed: 50 % of {{all}}", 1)
        in_thread("from a thread")
        logger.debug("too much")
    logger.warning("after")
    shown = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert shown == [("WARNING", "try 1 failed: 50 % of {all}"), ("INFO", "from a thread")]


def test_a_forwarded_line_belongs_to_its_task(
    task_log: PrefectLogAdapter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ids and names are Prefect's own, in a thread without context too; secrets and errors as texts."""
    under(monkeypatch, "f-1", "t-1")
    with forwarded_to(task_log):
        in_thread(f"sent {SECRET}")
        try:
            int("bad")
        except ValueError:
            logger.exception("it broke")
    sent, broke = caplog.records
    noted = vars(sent)
    assert [noted[name] for name in ("flow_run_id", "task_run_id", "task_run_name")] == [
        "f-1",
        "t-1",
        "task-t-1",
    ]
    assert sent.getMessage() == "sent [redacted]"
    assert broke.getMessage().startswith("it broke\nValueError: invalid literal")
    assert broke.exc_info is None


def test_tasks_at_once_get_their_own_lines_only(
    task_log: PrefectLogAdapter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line goes to the task whose context it was said in, and to no other."""
    under(monkeypatch, "f-1", "t-1")
    with forwarded_to(task_log):
        first = copy_context()
        under(monkeypatch, "f-1", "t-2")
        with forwarded_to(adapted("t-2")):
            logger.info("second")
            first.run(logger.info, "first")
    assert [(vars(each)["task_run_id"], each.getMessage()) for each in caplog.records] == [
        ("t-2", "second"),
        ("t-1", "first"),
    ]


def test_a_line_of_nobody_goes_to_no_other_run(
    task_log: PrefectLogAdapter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two flow runs share a process, a thread without context is kept out of both run logs."""
    under(monkeypatch, "f-1", "t-1")
    with forwarded_to(task_log):
        under(monkeypatch, "f-2", "t-2")
        with forwarded_to(adapted("t-2")):
            in_thread("whose?")
    assert caplog.records == []


def test_a_runs_own_lines_are_kept_too(
    task_log: PrefectLogAdapter,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once on either side, with the run's ids; also what Prefect says when the stage has ended."""
    under(monkeypatch, "f-1", "t-1")
    with logging_to(LogPlan(tmp_path)), forwarded_to(task_log):
        task_log.info("by %s with %s", "Prefect", SECRET)
        logger.info("by the program")
    task_log.warning("Finished")
    expected = ["by Prefect with [redacted]", "by the program", "Finished"]
    assert [record.getMessage() for record in caplog.records] == expected
    kept_lines = lines(tmp_path)
    assert [line["message"] for line in kept_lines] == expected
    assert {(line["flow_run_id"], line["task_id"]) for line in kept_lines} == {("f-1", "t-1")}
    assert kept_lines[0]["metadata"] == {"module": "prefect.task_runs"}


@pytest.mark.parametrize(
    ("error", "has_trace"), [(FlowledgerError(f"no {SECRET}"), False), (ValueError(f"no {SECRET}"), True)]
)
def test_only_defects_have_a_traceback(
    task_log: PrefectLogAdapter, caplog: pytest.LogCaptureFixture, error: Exception, has_trace: bool
) -> None:
    """An error raised on purpose says what to do; neither shows a secret."""
    task_log.error("failed: %r", error, exc_info=error)
    (record,) = caplog.records
    text = logging.Formatter().format(record)
    assert ("ValueError: no [redacted]" in text) is has_trace
    assert SECRET not in text


def test_a_badly_formatted_line_does_not_end_a_run(
    task_log: PrefectLogAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    """It is shown with its values beside it."""
    task_log.info("%d runs", "many")
    assert "many" in caplog.records[0].getMessage()


def test_a_runs_lines_name_its_app(
    task_log: PrefectLogAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's and the program's own; what was noted first stays, and other runs' lines have no app."""
    note_app("f-1", "chat", "id-1")
    note_app("f-1", "id-1")
    under(monkeypatch, "f-1", "t-1")
    with logging_to(LogPlan(tmp_path)), forwarded_to(task_log):
        logger.error("by the program")
    task_log.error("by Prefect")
    task_log.logger.error("by nobody")
    about = [(line["metadata"].get("app"), line["metadata"].get("app_id")) for line in lines(tmp_path)]
    assert about == [("chat", "id-1"), ("chat", "id-1"), (None, None)]


def test_only_so_many_runs_apps_are_remembered() -> None:
    """A process that serves runs for months does not grow; no id and no app are nothing to note."""
    for number in range(MOST_REMEMBERED + 1):
        note_app(f"many-{number}", "chat")
    note_app(None, "chat")
    note_app("nameless", None)
    assert (app_names("many-0"), app_names("nameless"), app_names(None)) == ({}, {}, {})
    assert app_names(f"many-{MOST_REMEMBERED}") == {"app": "chat"}


def test_a_hook_in_another_process_keeps_the_runs_id(
    tmp_path: Path, task_log: PrefectLogAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that tells of a crash is in no run: the log it writes to knows whose it is."""
    with logging_to(LogPlan(tmp_path)), forwarded_to(task_log):
        logger.warning("told")
    assert [(line["flow_run_id"], line["task_id"]) for line in lines(tmp_path)] == [("f-1", "t-1")]
    assert [record.getMessage() for record in caplog.records] == ["told"]


def test_a_failure_is_kept_once_for_each_run(
    tmp_path: Path, task_log: PrefectLogAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    """The state that only repeats it is Prefect's alone; every other end is kept."""
    with logging_to(LogPlan(tmp_path)):
        task_log.error("Task run failed with exception: Boom('why')")
        task_log.error("Finished in state Failed('Task run encountered an exception Boom: why')")
        task_log.info("Finished in state Completed()")
        adapted("t-2").error("Finished in state Failed('said nowhere else')")
    assert [line["message"].partition(":")[0] for line in lines(tmp_path)] == [
        "Task run failed with exception",
        "Finished in state Completed()",
        "Finished in state Failed('said nowhere else')",
    ]
    assert len(caplog.records) == 4


@pytest.mark.usefixtures("task_log")
def test_an_end_is_kept_where_the_error_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may be read only after a run failed: then its state is all that the file has."""
    monkeypatch.setattr(log_files, "_open_plans", log_files._OpenPlans())
    task_log = adapted("t-3")
    task_log.error("Encountered exception during execution: Boom('why')")
    with logging_to(LogPlan(tmp_path)):
        task_log.info("Finished in state Failed('Boom: why')")
    assert [line["message"] for line in lines(tmp_path)] == ["Finished in state Failed('Boom: why')"]
