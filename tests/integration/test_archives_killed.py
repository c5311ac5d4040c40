"""A real process that archives is killed at many moments; every run is in the ledger or in an archive."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowledger import bootstrap
from flowledger.domain.certificates import Scope
from flowledger.domain.history import RunQuery
from flowledger.domain.retention import Retention
from flowledger.domain.runs import AppKey, Entry, Missing, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ports import Ledger
from flowledger.services.archive_store import ArchiveStore
from flowledger.services.archiving import AppRuns, Archiver
from flowledger.storage.local import LocalStorage

pytestmark = pytest.mark.process

APP = AppKey("log", "orders")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
RUNS = 400
PROGRAM = """
import sys
from datetime import UTC, datetime
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_archives_killed import APP, archive
from flowledger import wiring
from flowledger.services import archiving
archiving.BATCH = 20
with wiring.open_ledger_at(sys.argv[2]) as ledger:
    print("begun", flush=True)
    archive(ledger, Path(sys.argv[3]))
"""


def archive(ledger: Ledger, folder: Path) -> None:
    """Archive everything but the newest run, fifty at a time."""
    store = ArchiveStore(LocalStorage(folder), {})
    holding = AppRuns(APP, "orders", Retention(count=1), store)
    Archiver(ledger, lambda: NOW, "operator", archive_runs=50).archive([holding])


def everything(ledger: Ledger, folder: Path) -> dict[str, set[bytes]]:
    """Give every run that is held or archived, with its rows."""
    store = ArchiveStore(LocalStorage(folder), {})
    held: list[Entry] = list(ledger.history(RunQuery(apps=(APP,)), limit=RUNS, with_details=True).entries)
    entries = [*held, *(entry for each in store.manifests() for entry in store.entries(each))]
    rows: dict[str, set[bytes]] = {}
    for entry in entries:
        rows.setdefault(entry.run.run_id, set()).add(entry.run.raw)
    return rows


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """After each kill all runs are there, unchanged; in the end each is archived once, but for one."""
    url, folder = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "storage"
    runs = [
        Run(APP, f"run-{n}", NOW - timedelta(hours=n), RunStatus.SUCCESS, "ok", raw=b'{"n": %d}' % n)
        for n in range(RUNS)
    ]
    with bootstrap.open_ledger_at(url) as ledger:
        ledger.save_runs(runs, scope=Scope(APP, Window(0, 0)), at=NOW)
        ledger.save_details([(run, Missing("gone", permanent=True)) for run in runs[::2]])
        wanted = {run.run_id: {run.raw} for run in runs}
        for kill in range(3):
            words = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), url, str(folder)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                assert process.stdout is not None
                process.stdout.readline()
                wait_for_manifests(folder, kill * 3)
                os.kill(process.pid, signal.SIGKILL)
            assert everything(ledger, folder) == wanted
        archive(ledger, folder)
        assert everything(ledger, folder) == wanted
        assert len(ledger.history(RunQuery(apps=(APP,))).entries) == 1
    manifests = ArchiveStore(LocalStorage(folder), {}).manifests()
    assert sum(each.runs for each in manifests) == RUNS - 1


def wait_for_manifests(folder: Path, count: int) -> None:
    """Wait until so many archives are there, ten seconds at most."""
    until = time.monotonic() + 10
    while _manifests(folder) < count and time.monotonic() < until:
        os.sched_yield()


def _manifests(folder: Path) -> int:
    # os.walk, unlike glob, does not mind a folder that goes while it looks.
    return sum("manifest.json" in names for _, _, names in os.walk(folder))
