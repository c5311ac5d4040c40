"""The program's log is JSON lines that a person and a program can read, without secrets."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from loguru import logger

from flowledger.errors import SettingsError
from flowledger.services.log_files import (
    ALREADY_ON_CONSOLE,
    LONGEST,
    LogPlan,
    log_context,
    logging_as_before,
    logging_to,
    on_stderr,
)
from flowledger.services.secret_masking import register_secrets

SECRET = "open-sesame"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """No other sink, and one known secret."""
    logger.remove()
    register_secrets([SECRET])
    yield
    register_secrets([])


def lines(folder: Path, begin: str = "flowledger-2") -> list[dict[str, Any]]:
    """Give the lines of a folder's log."""
    found = (path.read_text("utf-8").splitlines() for path in sorted(folder.glob(f"{begin}*.jsonl")))
    return [json.loads(line) for file in found for line in file]


def test_each_line_says_when_how_bad_where_and_what(tmp_path: Path) -> None:
    """Time with offset, level, task and flow run, message, the rest; below the level nothing."""
    with logging_to(LogPlan(tmp_path, tz=ZoneInfo("Asia/Shanghai"))):
        logger.debug("too much")
        with logger.contextualize(flow_run_id="f", task_id="t"), log_context(app="客服"):
            logger.warning("try {} failed:\n{{}}", 1)
        logger.info("done")
    first, second = lines(tmp_path)
    assert list(first) == ["timestamp", "level", "task_id", "flow_run_id", "message", "metadata"]
    assert (first["level"], first["task_id"], first["flow_run_id"]) == ("WARNING", "t", "f")
    assert first["message"] == "try 1 failed:\n{}"
    assert first["metadata"] == {"module": __name__, "app": "客服"}
    assert first["timestamp"].endswith("+08:00")
    assert (second["task_id"], second["flow_run_id"], second["metadata"]) == (
        None,
        None,
        {"module": __name__},
    )


def test_errors_have_a_file_of_their_own_too(tmp_path: Path) -> None:
    """An exception keeps its kind, its text and its traceback; no variables."""
    with logging_to(LogPlan(tmp_path)):
        logger.warning("not bad enough")
        try:
            int("bad")
        except ValueError:
            logger.exception("it broke")
    (error,) = lines(tmp_path, "flowledger-errors")
    assert error == lines(tmp_path)[1]
    assert error["metadata"]["error"] == "ValueError: invalid literal for int() with base 10: 'bad'"
    assert 'int("bad")' in error["metadata"]["traceback"]


def test_no_secret_is_kept(tmp_path: Path) -> None:
    """Neither in messages, nor metadata, nor exceptions; and a line stays JSON."""
    with logging_to(LogPlan(tmp_path)):
        logger.bind(header=f'"{SECRET}"', deep={"x": [SECRET]}, password="pw").error("sent {}", SECRET)
        try:
            raise OSError(2, "gone", f"/{SECRET}")  # noqa: TRY301  # what is logged is under test
        except OSError:
            logger.exception("lost {}", SECRET)
    assert SECRET not in "".join(path.read_text() for path in tmp_path.iterdir())
    first, second = lines(tmp_path)
    assert first["message"] == "sent [redacted]"
    assert first["metadata"]["deep"] == {"x": ["[redacted]"]}
    assert first["metadata"]["password"] == "[redacted]"
    assert second["metadata"]["error"].endswith("'/[redacted]'")


def test_the_same_plan_twice_writes_each_line_once(tmp_path: Path) -> None:
    """A stage inside of a run, or two threads: the log ends with the last of them."""
    plan = LogPlan(tmp_path)
    with logging_to(plan):
        with logging_to(plan):
            logger.info("one")
        logger.info("two")
        thread = Thread(target=lambda: logger.info("three"))
        thread.start()
        thread.join()
    logger.info("after")
    assert [line["message"] for line in lines(tmp_path)] == ["one", "two", "three"]


def test_what_is_said_afterwards_goes_where_the_last_did(tmp_path: Path) -> None:
    """A run's last words come when its stages have closed their log."""
    with logging_to(LogPlan(tmp_path)):
        logger.info("during")
    with logging_as_before():
        logger.info("after")
    assert [line["message"] for line in lines(tmp_path)] == ["during", "after"]


def test_lines_can_go_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, or beside the files; what a console shows already is left out."""
    assert not on_stderr()
    with logging_to(LogPlan(tmp_path / "none", targets=("stderr",))):
        assert on_stderr()
        logger.info("here {}", SECRET)
        logger.bind(**{ALREADY_ON_CONSOLE: True}).info("there")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "here [redacted]"
    assert not (tmp_path / "none").exists()
    with logging_to(LogPlan(tmp_path, targets=("file", "stderr"))):
        logger.bind(**{ALREADY_ON_CONSOLE: True}).info("there")
    assert (lines(tmp_path)[0]["message"], capsys.readouterr().err) == ("there", "")
    assert lines(tmp_path)[0]["metadata"] == {"module": __name__}


def test_endless_texts_are_cut(tmp_path: Path) -> None:
    """A line stays one that can be read."""
    with logging_to(LogPlan(tmp_path)):
        logger.bind(body="x" * 10 * LONGEST).info("y" * 10 * LONGEST)
    (line,) = lines(tmp_path)
    assert (len(line["message"]), len(line["metadata"]["body"])) == (LONGEST, LONGEST)


def test_a_folder_that_cannot_be_written_is_a_setting_to_mend(tmp_path: Path) -> None:
    """The message names the variable and the folder."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"LOG_DIR: .*file"), logging_to(LogPlan(tmp_path / "file")):
        pass
