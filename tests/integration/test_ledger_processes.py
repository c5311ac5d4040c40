"""Several processes on one ledger, in SQLite, PostgreSQL or files, and processes that are killed."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import flowledger
from flowledger.domain.certificates import Scope
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.messages import Message, OutboxMessage
from flowledger.domain.record_kinds import KINDS, coze_detail, logged_detail, record_of
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window
from flowledger.ledger import open_ledger

pytestmark = pytest.mark.process

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


CLAIMER = """
import sys
from datetime import UTC, datetime, timedelta
from flowledger.ledger import open_ledger

ledger = open_ledger(sys.argv[1], {})
print("ready", flush=True)
sys.stdin.readline()
at = datetime(2026, 11, 2, tzinfo=UTC)
while taken := ledger.claim(at, timedelta(minutes=5), limit=3):
    print(*(letter.letter_id for letter in taken), flush=True)
ledger.close()
"""


RECORDER = """
import sys
from datetime import UTC, datetime, timedelta
from flowledger.domain.history import RunKey
from flowledger.domain.record_kinds import KINDS, coze_detail, logged_detail
from flowledger.ledger import open_ledger

url, source, name, writes = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
start = datetime(2026, 11, 1, tzinfo=UTC)
ledger = open_ledger(url, {"log": logged_detail, "coze": coze_detail})
print("ready", flush=True)
sys.stdin.readline()
for number in range(writes):
    at, run_id = start + timedelta(seconds=number), f"{name}-{number}"
    record = {"execution_id": run_id, "status": "success", "start_time": at.isoformat()}
    if source == "coze":
        at_ms = int(at.timestamp() * 1000)
        record = {"execute_id": run_id, "execute_status": "success", "create_time": at_ms}
    record |= {"workflow_id": "flow", "output": {"text": "x" * 300}}
    run, detail = KINDS[source].run_and_detail(record)
    ledger.amend(RunKey(run.app, run_id), lambda _: (run, detail))
    print(run_id, flush=True)
ledger.close()
"""
RIVAL = """
import sys
from datetime import UTC, datetime, timedelta
from flowledger.domain.history import RunKey
from flowledger.domain.record_kinds import KINDS, coze_detail, logged_detail
from flowledger.errors import RecordConflictError
from flowledger.ledger import open_ledger

url, source, workflow = sys.argv[1:]
ledger = open_ledger(url, {"log": logged_detail, "coze": coze_detail})
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    words = {"execution_id": f"e-{number}", "execute_id": f"e-{number}", "create_time": 1}
    record = words | {"workflow_id": workflow, "status": "running", "start_time": "2026-11-01T00:00:00Z"}
    run, detail = KINDS[source].run_and_detail(record)
    try:
        ledger.amend(RunKey(run.app, run.run_id), lambda _: (run, detail))
        print(run.run_id, flush=True)
    except RecordConflictError as error:
        assert workflow in str(error), error
ledger.close()
"""
WRITES = int(os.environ.get("LEDGER_WRITES", "40"))
"""By each of eight processes; LEDGER_WRITES=500 is the whole of it."""


@pytest.fixture(params=["sqlite", "postgresql", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind where no ledger is yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/ledger.db"
    if request.param == "file":
        return f"file://{tmp_path}/new/ledger"
    made: str = request.getfixturevalue("new_postgresql")()
    return made


def start(program: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a process that does its work once it is let go."""
    environment = {**os.environ, "PYTHONPATH": str(Path(flowledger.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def work(url: str, first: int, batches: int) -> "subprocess.Popen[str]":
    """Start a process that writes batches of 20 runs; 0 batches means without end."""
    return start(WORKER, url, str(first), str(batches))


def let_go(*workers: "subprocess.Popen[str]") -> None:
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()


def test_processes_may_make_and_write_a_ledger_at_once(url: str) -> None:
    """Of processes that find no ledger, one makes it, all write to it, and nothing is lost or doubled."""
    workers = [work(url, first, 25) for first in (0, 15, 40)]
    let_go(*workers)
    for worker in workers:
        _, problems = worker.communicate(timeout=60)
        assert (worker.returncode, problems) == (0, "")
    ledger = open_ledger(url, {})
    assert ledger.count(SCOPE) == 65 * 20
    ledger.close()


def test_processes_never_claim_the_same_letter(url: str) -> None:
    """Of all that send at once, each letter is one process's, and none is left."""
    app, message = SCOPE.app, Message(message_id="m", subject="s", body="b")
    ids = [f"letter-{number}" for number in range(200)]
    ledger = open_ledger(url, {})
    ledger.enqueue(
        [
            OutboxMessage(
                letter_id=each, channel="mail", message=message, posted_at=START, not_before=START, app=app
            )
            for each in ids
        ]
    )
    claimers = [start(CLAIMER, url) for _ in range(3)]
    let_go(*claimers)
    taken: list[str] = []
    for claimer in claimers:
        said, problems = claimer.communicate(timeout=60)
        assert (claimer.returncode, problems) == (0, "")
        taken += said.split()
    ledger.close()
    assert sorted(taken) == sorted(ids)


def test_a_killed_writer_leaves_whole_transactions(url: str) -> None:
    """After kill -9 the ledger opens, holds what was acknowledged, and rows and certificate agree."""
    open_ledger(url, {}).close()
    worker = work(url, 0, 0)
    let_go(worker)
    assert worker.stdout is not None
    acknowledged = [worker.stdout.readline() for _ in range(30)]
    worker.kill()
    worker.communicate(timeout=60)
    ledger = open_ledger(url, {})
    held = ledger.count(SCOPE)
    certificate = ledger.certificate(SCOPE)
    ledger.save_runs([], scope=SCOPE, at=START)
    ledger.close()
    assert certificate is not None
    assert held == certificate.distinct >= 20 * len(acknowledged)
    if not url.startswith("sqlite"):
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def acknowledged_by(worker: "subprocess.Popen[str]", killed_after: int | None) -> list[str]:
    """Read what a process says was kept, and kill it once it has said so much."""
    assert worker.stdout is not None
    if killed_after is None:
        return worker.stdout.read().split()
    told = [worker.stdout.readline() for _ in range(killed_after)]
    worker.kill()
    told += worker.stdout.readlines()
    return [line.strip() for line in told if line.endswith("\n")]


@pytest.mark.parametrize("source", ["log", "coze"])
def test_what_eight_processes_were_told_is_kept_is_there(url: str, source: str, tmp_path: Path) -> None:
    """Half of them are killed while they write: each acknowledged record is held, whole, and none twice."""
    moments = random.Random(f"{source} {WRITES}")
    kills = [None if number % 2 else moments.randrange(1, WRITES) for number in range(8)]
    open_ledger(url, {}).close()
    workers = [start(RECORDER, url, source, f"p{number}", str(WRITES)) for number in range(8)]
    let_go(*workers)
    with ThreadPoolExecutor(8) as pool:
        acknowledged = [each for told in pool.map(acknowledged_by, workers, kills) for each in told]
    for worker, killed_after in zip(workers, kills, strict=True):
        _, problems = worker.communicate(timeout=60)
        assert killed_after is not None or (worker.returncode, problems) == (0, "")
    ledger = open_ledger(url, {"log": logged_detail, "coze": coze_detail})
    final, detail = KINDS[source].run_and_detail(LAST | {"workflow_id": "flow"})
    ledger.amend(RunKey(final.app, "last"), lambda _: (final, detail))
    ledger.compact()
    held = [entry.run for entry in ledger.history(RunQuery(), limit=10**6, with_details=True).entries]
    ledger.close()
    ids = [record_of(run)[KINDS[source].run_field] for run in held]
    assert len(ids) == len(set(ids))
    assert set(acknowledged) <= set(ids)
    assert len(ids) <= len(acknowledged) + 5, "of each killed process one record may be there unacknowledged"
    assert sum(kill is None for kill in kills) * WRITES <= len(acknowledged)
    if url.startswith("file"):
        check_files(tmp_path / "new/ledger", source, ids)


@pytest.mark.parametrize("source", ["log", "coze"])
def test_an_execution_id_belongs_to_one_workflow_whoever_records_it(url: str, source: str) -> None:
    """Of processes that record one id for different workflows at once, one succeeds; the others are told."""
    open_ledger(url, {}).close()
    workers = [start(RIVAL, url, source, f"workflow-{number}") for number in range(3)]
    let_go(*workers)
    accepted: list[str] = []
    for worker in workers:
        output, problems = worker.communicate(timeout=100)
        assert (worker.returncode, problems) == (0, "")
        accepted += output.split()
    assert sorted(accepted) == sorted(f"e-{number}" for number in range(100))
    ledger = open_ledger(url, {"log": logged_detail, "coze": coze_detail})
    held = [entry.run.run_id for entry in ledger.history(RunQuery(), limit=1000).entries]
    ledger.close()
    assert sorted(held) == sorted(accepted)


LAST = {"execution_id": "last", "execute_id": "last", "status": "success", "create_time": 0}


def check_files(folder: Path, source: str, ids: list[str]) -> None:
    """Every file parses, and the files for other programs say the same."""
    for file in folder.rglob("*.json"):
        json.loads(file.read_bytes())
    for file in folder.rglob("*.jsonl"):
        assert [json.loads(line) for line in file.read_bytes().splitlines()]
    assert list(folder.rglob("*.corrupt-*")) == []
    if source == "log":
        assert sorted(file.stem for file in (folder / "workflow_executions").glob("*.json")) == sorted(ids)
        return
    snapshot = json.loads((folder / "execution_history/flow.json").read_bytes())
    assert [record["execute_id"] for record in snapshot["histories"]] == ids
    assert snapshot["total"] == len(ids)


def test_opening_a_current_ledger_imports_no_migrations(url: str) -> None:
    """A command that only uses its ledger does not pay for Alembic."""
    open_ledger(url, {}).close()
    worker = work(url, 0, 1)
    let_go(worker)
    said, problems = worker.communicate(timeout=60)
    assert (said.splitlines()[-1], problems) == ("False", "")
