"""Errors of Prefect, in a sentence, at one place for all commands."""

import click
import httpx
import pytest
from prefect.exceptions import PrefectException

from flowledger.cli import main as command_line
from flowledger.cli.main import prefect_problem


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("All connection attempts failed"),
        PrefectException("no such work pool"),
        RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server."),
    ],
)
def test_every_command_tells_them_in_a_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, exit 1, and what to do."""

    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(command_line, "cli", failing)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    with pytest.raises(SystemExit) as ended:
        command_line.main([])
    text = capsys.readouterr().err
    assert ended.value.code == 1
    assert text.startswith("error: Prefect's server (http://127.0.0.1:4200/api) does not do as asked: ")
    assert "flowledger run --direct" in text


def test_a_defect_of_our_own_is_none_of_them() -> None:
    """It keeps its traceback."""
    assert prefect_problem(ValueError("a bug")) is None
