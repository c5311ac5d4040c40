"""A full disk at any write: an error with status 1, nothing partial under a final name, the ledger intact."""

import errno
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from simulated_dify import DAY, END, FINAL_MIX, Access, at, make_day, opened, order, run_all, stored_entries

import flowledger
import flowledger_simulator as simulator
from flowledger.errors import StorageError
from flowledger_simulator import credentials

SOURCE = Path(flowledger.__file__).parents[1]
PROGRAM = "from flowledger.cli.main import main; main()"


def run_limited(base_url: str, folder: Path, most_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process none of whose files can grow beyond a size."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DIFY_BASE_URL": base_url,
        "DIFY_API_TOKEN": credentials.API_TOKEN,
        "DIFY_APP_ID": credentials.WORKFLOW_APP_ID,
        "DIFY_CONSOLE_EMAIL": credentials.EMAIL,
        "DIFY_CONSOLE_PASSWORD": credentials.PASSWORD,
        "TIMEZONE": "UTC",
    }
    words = ["run", "--direct", "--after", DAY.isoformat(), "--before", END.isoformat()]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, "--format", "csv,json,markdown"],
        cwd=folder,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def visible(folder: Path) -> list[str]:
    """Name the finished files below the outputs, the ledger's own left out."""
    below = folder / "outputs"
    return [
        path.name
        for path in below.rglob("*")
        if path.is_file()
        and not path.name.startswith("ledger.db")
        and ".incoming" not in path.relative_to(below).parts
        and path.parent.name != "logs"
    ]


@pytest.mark.fault(25)
@pytest.mark.parametrize("most_kb", [20, 260, 800])
def test_a_disk_that_fills_up_leaves_an_intact_ledger_and_no_partial_report(
    most_kb: int, tmp_path: Path
) -> None:
    """Whichever write fails, the message names the file, and the next run with room finishes the work."""
    with simulator.serve(make_day(60, mix=FINAL_MIX, nodes=6, node_kb=6)) as server:
        failed = run_limited(server.base_url, tmp_path, most_kb * 1024)
        assert failed.returncode == 1, failed.stderr
        assert "Traceback" not in failed.stderr
        assert str(tmp_path) in failed.stderr or "flowledger-" in failed.stderr
        assert visible(tmp_path) == []
        ledger = tmp_path / "outputs" / "ledger.db"
        with closing(sqlite3.connect(ledger)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        repaired = run_limited(server.base_url, tmp_path, resource.RLIM_INFINITY)
    assert repaired.returncode == 0, repaired.stderr
    assert len(visible(tmp_path)) > 3


@pytest.mark.fault(25)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_report_that_cannot_be_kept_is_named_and_stays_invisible(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has everything, so the next run writes the report without asking Dify again."""
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", _full)
    else:
        monkeypatch.setattr(Path, "replace", _full)
    with (
        simulator.serve(make_day(20, mix=FINAL_MIX), options=at()) as server,
        opened(server.base_url, tmp_path, Access(formats=("csv", "json"))) as pipeline,
    ):
        with pytest.raises(StorageError, match="No space left on device"):
            run_all(pipeline, order())
        assert [path for path in (tmp_path / "reports").rglob("*") if path.is_file()] == []
        monkeypatch.undo()
        result = run_all(pipeline, order())
    assert result["requests"] <= 2
    assert len(stored_entries(tmp_path)) == 20
    assert all(Path(path).is_file() for path in result["report_paths"])


def _full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
