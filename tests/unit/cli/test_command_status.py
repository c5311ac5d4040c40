"""How errors become messages and exit statuses."""

from collections.abc import Callable

import click
import pytest

from flowledger.cli import main as group
from flowledger.errors import AuthenticationError, SourceUnreachableError, UsageError


def failing(error: BaseException | None, status: int = 0) -> click.Command:
    """Make a command that raises, or gives a status."""

    @click.command("stand-in")
    def stand_in() -> int:
        if error is not None:
            raise error
        return status

    return stand_in


@pytest.fixture
def end_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the group with one command in the place of all, and give the exit status."""

    def run(command: click.Command) -> int:
        monkeypatch.setattr(type(group.cli), "get_command", lambda *_: command)
        with pytest.raises(SystemExit) as end:
            group.main(["stand-in"])
        return int(end.value.code or 0)

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("unknown word"), 2, "error: unknown word"),
        (AuthenticationError("refused"), 1, "error: refused"),
        (SourceUnreachableError("no connection"), 1, "error: no connection"),
        (click.UsageError("no such option"), 2, "no such option"),
        (KeyboardInterrupt(), 130, "stopped; what was read so far is in the ledger"),
    ],
)
def test_errors_become_a_line_and_a_status(
    end_of: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    """Never a traceback, never anything on standard output."""
    assert end_of(failing(error)) == status
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert said in err


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_command_gives_its_own_status(end_of: Callable[..., int], status: int) -> None:
    """What a command returns is what the process exits with."""
    assert end_of(failing(None, status)) == status


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not raised on purpose keeps its traceback."""
    monkeypatch.setattr(type(group.cli), "get_command", lambda *_: failing(ZeroDivisionError("defect")))
    with pytest.raises(ZeroDivisionError):
        group.main(["stand-in"])
