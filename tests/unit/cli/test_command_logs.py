"""``flowledger logs query``, and what is shown of warnings and defects."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loguru import logger

from flowledger import bootstrap
from flowledger.cli.main import log_error, main, show_defect, warnings_on_stderr
from flowledger.errors import FlowledgerError
from flowledger.services.log_files import LogPlan, logging_to
from flowledger.services.secret_masking import register_secrets
from flowledger.settings import ConfigManager

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "open-sesame"


@dataclass(frozen=True)
class Said:
    """What a call printed, and its exit status."""

    out: str
    err: str
    status: int


Query = Callable[..., Said]


@pytest.fixture
def query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Query]:
    """Search the log of a folder that holds two lines."""
    said = [("WARNING", "slow", "11:00"), ("INFO", "客服: done", "10:00")]
    texts = [
        json.dumps(
            {
                "timestamp": f"2026-11-21T{at}:00+00:00",
                "level": level,
                "task_id": None,
                "flow_run_id": "f-1",
                "message": message,
                "metadata": {"app": "support"},
            },
            ensure_ascii=False,
        )
        for level, message, at in reversed(said)
    ]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "flowledger-2026-11-21.jsonl").write_text("\n".join([*texts, "torn", ""]), "utf-8")
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW)

    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as end:
            main(["logs", "query", *arguments])
        return Said(*capsys.readouterr(), int(end.value.code or 0))

    with bootstrap.configured(ConfigManager(tmp_path, {"LOG_DIR": "logs", "TIMEZONE": "Asia/Shanghai"})):
        yield run
    sys.excepthook = sys.__excepthook__


def test_lines_are_for_people_newest_last(query: Query) -> None:
    """What could not be read is said on standard error."""
    said = query()
    assert said.out.splitlines() == [
        "2026-11-21 18:00:00 INFO     [support] 客服: done",
        "2026-11-21 19:00:00 WARNING  [support] slow",
    ]
    assert said.err == "1 lines are torn or not Flowledger's: left out\n"
    assert said.status == 0


def test_json_gives_the_lines_as_they_stand(query: Query) -> None:
    """For programs, one object a line."""
    said = query("--json", "--level", "warning")
    assert json.loads(said.out)["message"] == "slow"


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (("--since", "90m"), ["slow"]),
        (("--until", "2026-11-21T18:00:00"), ["客服: done"]),
        (("--limit", "1"), ["slow"]),
        (("--grep", "do.e", "--app", "support", "--run", "f"), ["客服: done"]),
    ],
)
def test_options_narrow_the_search(query: Query, options: tuple[str, ...], messages: list[str]) -> None:
    """All of them at once."""
    said = query("--json", *options)
    assert [json.loads(line)["message"] for line in said.out.splitlines()] == messages


def test_nothing_found_exits_with_1(query: Query, tmp_path: Path) -> None:
    """As grep does; the folder is named."""
    said = query("--app", "other")
    assert (said.out, said.status) == ("", 1)
    assert f"nothing matches in {tmp_path / 'logs'}" in said.err


def test_another_folder_can_be_searched(query: Query, tmp_path: Path) -> None:
    """Such as one that was copied from another machine."""
    (tmp_path / "copy").mkdir()
    assert query("--dir", str(tmp_path / "copy")).status == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--level", "LOUD"), "LOUD"),
        (("--since", "soon"), "soon"),
        (("--grep", "("), "pattern"),
        (("--limit", "0"), "limit"),
        (("--since", "1h", "--until", "2h"), "exchange"),
        (("--dir", "/nowhere/at/all"), "/nowhere/at/all"),
    ],
)
def test_wrong_words_exit_with_2(query: Query, options: tuple[str, ...], word: str) -> None:
    """With what is wrong about them."""
    said = query(*options)
    assert (said.out, said.status) == ("", 2)
    assert word in said.err


def test_warnings_are_shown_without_secrets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A line each; not those that Prefect shows, and none where the log itself goes to standard error."""
    register_secrets([SECRET])
    with warnings_on_stderr():
        logger.info("too little")
        logger.warning("sent {}", SECRET)
        with logger.contextualize(flow_run_id="f"):
            logger.warning("Prefect shows it")
        with logging_to(LogPlan(tmp_path, targets=("stderr",))):
            logger.warning("as JSON")
    plain, line = capsys.readouterr().err.splitlines()
    assert (plain, json.loads(line)["message"]) == ("WARNING: sent [redacted]", "as JSON")


def test_a_defect_is_shown_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """With its traceback."""
    register_secrets([SECRET])
    error = ZeroDivisionError(SECRET)
    show_defect(type(error), error, None)
    assert "ZeroDivisionError: [redacted]" in capsys.readouterr().err


def test_why_a_command_failed_is_in_the_log(tmp_path: Path) -> None:
    """In the file of errors too, after the command has closed its log; without secrets."""
    register_secrets([SECRET])
    with logging_to(LogPlan(tmp_path)):
        pass
    log_error(FlowledgerError(f"refused {SECRET}"))
    (errors,) = tmp_path.glob("flowledger-errors-*")
    assert json.loads(errors.read_text())["message"] == "flowledger failed: refused [redacted]"
