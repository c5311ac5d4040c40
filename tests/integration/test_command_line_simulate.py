"""``flowledger simulate`` as a process: it prints how to reach it, serves, and stops when it is told."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from workplace import DATASET, FLOWLEDGER, bare_environment, move_to

from flowledger.cli.main import main

FAST = ("--runs", "7", "--end", "2025-03-01T00:00:00Z")


@contextmanager
def simulated(folder: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """Run the command and give its process and the settings it prints."""
    with subprocess.Popen(
        [*FLOWLEDGER, "simulate", *options],
        cwd=folder,
        env=bare_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().rstrip("\n") for _ in range(7)]
            assert lines[0].startswith("# simulated Dify ")
            yield process, dict(line.split("=", 1) for line in lines[1:])
        finally:
            process.kill()


def listed(settings: dict[str, str], page: int = 1) -> requests.Response:
    """Ask for a page of the log list as the settings say."""
    return requests.get(
        f"{settings['DIFY_BASE_URL']}/v1/workflows/logs?page={page}",
        headers={"Authorization": f"Bearer {settings['DIFY_API_TOKEN']}"},
        timeout=10,
    )


def test_its_lines_are_the_settings_that_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept as .env they let a report be made; a second process does so here."""
    with simulated(tmp_path, *FAST, "--version", "1.13.3") as (_, settings):
        (tmp_path / ".env").write_text("".join(f"{k}={v}\n" for k, v in settings.items()), "utf-8")
        move_to(tmp_path, monkeypatch, {})
        with pytest.raises(SystemExit) as end:
            main(["run", "--direct", "--after", "2025-02-20T00:00:00", "--before", "2025-03-02T00:00:00"])
        answer = listed(settings)
    assert end.value.code == 0
    assert (answer.json()["total"], answer.headers["x-version"]) == (7, "1.13.3")


def test_an_interrupt_ends_it_quietly(tmp_path: Path) -> None:
    """Ctrl+C is how it is meant to end: exit status 0, no traceback."""
    with simulated(tmp_path, *FAST) as (process, settings):
        assert listed(settings).status_code == 200
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_data_sets_faults_and_arrivals_are_served(tmp_path: Path) -> None:
    """The options reach the server."""
    with simulated(tmp_path, "--dataset", str(DATASET), "--faults", "503:#1") as (_, settings):
        assert [listed(settings).status_code for _ in range(2)] == [503, 200]
        assert listed(settings).json()["total"] == 40
    with simulated(tmp_path, *FAST, "--arrivals", "3") as (_, settings):
        assert [listed(settings).json()["total"] for _ in range(2)] == [10, 13]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--version", "newest"), "newest"),
        (("--faults", "flood:0.5"), "flood"),
        (("--runs", "-1"), "--runs"),
        (("--end", "someday"), "someday"),
        (("--dataset", "missing.json"), "missing.json"),
    ],
)
def test_wrong_words_exit_with_2(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], word: str
) -> None:
    """Nothing is served."""
    with pytest.raises(SystemExit) as end:
        main(["simulate", *options])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert word in err
