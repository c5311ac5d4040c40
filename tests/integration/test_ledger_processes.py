"""Several processes on one ledger file, and processes that are killed."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import flowledger
from flowledger.domain.certificates import Scope
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window
from flowledger.ledger import open_ledger

START = datetime(2026, 11, 1, tzinfo=UTC)
SCOPE = Scope(AppKey("sample", "app"), Window.between(START, START + timedelta(days=30)))
WORKER = """
import sys
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.runs import AppKey, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger import open_ledger

url, first, batches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
start = datetime(2026, 11, 1, tzinfo=UTC)
scope = Scope(AppKey("sample", "app"), Window.between(start, start + timedelta(days=30)))
import flowledger.ledger.sql.ledger
print("ready", flush=True)
sys.stdin.readline()
ledger = open_ledger(url, {})
for number in islice(count(first), batches or None):
    at = start + timedelta(seconds=number)
    runs = [Run(scope.app, f"{number}-{n}", at, RunStatus.SUCCESS, "ok", raw=b"x" * 500) for n in range(20)]
    proof = Certificate(scope, True, "", None, (number + 1) * 20, at)
    ledger.save_runs(runs, scope=scope, at=at, certificate=proof)
    print(number, flush=True)
ledger.close()
print("alembic" in sys.modules, flush=True)
"""


def work(url: str, first: int, batches: int) -> "subprocess.Popen[str]":
    """Start a process that writes batches of 20 runs once it is let go; 0 batches means without end."""
    environment = {**os.environ, "PYTHONPATH": str(Path(flowledger.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, url, str(first), str(batches)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def let_go(*workers: "subprocess.Popen[str]") -> None:
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()


def test_processes_may_make_and_write_a_ledger_at_once(tmp_path: Path) -> None:
    """Of processes that find no ledger, one makes it, all write to it, and nothing is lost or doubled."""
    url = f"sqlite:///{tmp_path}/new/ledger.db"
    workers = [work(url, first, 25) for first in (0, 15, 40)]
    let_go(*workers)
    for worker in workers:
        _, problems = worker.communicate(timeout=60)
        assert (worker.returncode, problems) == (0, "")
    ledger = open_ledger(url, {})
    assert ledger.count(SCOPE) == 65 * 20
    ledger.close()


def test_a_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    """After kill -9 the ledger opens, holds what was acknowledged, and rows and certificate agree."""
    path = tmp_path / "ledger.db"
    open_ledger(f"sqlite:///{path}", {}).close()
    worker = work(f"sqlite:///{path}", 0, 0)
    let_go(worker)
    assert worker.stdout is not None
    acknowledged = [worker.stdout.readline() for _ in range(30)]
    worker.kill()
    worker.communicate(timeout=60)
    ledger = open_ledger(f"sqlite:///{path}", {})
    held = ledger.count(SCOPE)
    certificate = ledger.certificate(SCOPE)
    ledger.close()
    assert certificate is not None
    assert held == certificate.distinct >= 20 * len(acknowledged)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_opening_a_current_ledger_imports_no_migrations(tmp_path: Path) -> None:
    """A command that only uses its ledger does not pay for Alembic."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    open_ledger(url, {}).close()
    worker = work(url, 0, 1)
    let_go(worker)
    said, problems = worker.communicate(timeout=60)
    assert (said.splitlines()[-1], problems) == ("False", "")
