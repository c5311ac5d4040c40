"""The program's log file is JSON lines that a person and a program can read."""

import json
from pathlib import Path

import pytest
from loguru import logger

from flowledger.errors import SettingsError
from flowledger.services.log_lines import kept_in


def test_each_line_says_when_how_bad_where_and_what(tmp_path: Path) -> None:
    """Time with offset, level, task and flow run, message, the rest; below the level nothing."""
    logger.remove()
    with kept_in(tmp_path, level="INFO", days=3):
        logger.debug("too much")
        with logger.contextualize(flow_run_id="f", task_id="t", app="客服"):
            logger.warning("try {} failed:\n{{}}", 1)
        try:
            int("bad")
        except ValueError:
            logger.exception("it broke")
    (file,) = tmp_path.iterdir()
    first, second = map(json.loads, file.read_text("utf-8").splitlines())
    assert (first["level"], first["task_id"], first["flow_run_id"]) == ("WARNING", "t", "f")
    assert first["message"] == "try 1 failed:\n{}"
    assert first["metadata"]["app"] == "客服"
    assert first["timestamp"][-6] in "+-"
    assert (second["task_id"], second["metadata"]["error"]) == (
        None,
        "ValueError: invalid literal for int() with base 10: 'bad'",
    )


def test_a_folder_that_cannot_be_written_is_a_setting_to_mend(tmp_path: Path) -> None:
    """The message names the variable and the folder."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(SettingsError, match=r"LOG_DIR: .*file"),
        kept_in(tmp_path / "file", level="INFO", days=3),
    ):
        pass
