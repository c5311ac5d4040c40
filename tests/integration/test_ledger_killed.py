"""Processes that amend one ledger's runs at once, and are killed: nothing acknowledged is lost."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flowledger
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.runs import AppKey
from flowledger.ledger import open_ledger

pytestmark = pytest.mark.process

APP = AppKey("log", "flow")
SHARED = RunKey(APP, "shared")
AMENDER = """
import sys
from datetime import UTC, datetime
from flowledger.domain.history import RunKey
from flowledger.domain.record_kinds import KINDS
from flowledger.domain.runs import AppKey
from flowledger.ledger import open_ledger

url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
kind = KINDS["log"]
ledger = open_ledger(url, {"log": kind.to_detail})
print("ready", flush=True)
sys.stdin.readline()

def amended(held, run_id, word):
    words = [] if held is None else list(held.detail.outputs["words"])
    at = datetime(2026, 11, 1, tzinfo=UTC).isoformat()
    return kind.run_and_detail({
        "execution_id": run_id, "workflow_id": "flow", "status": "running", "start_time": at,
        "task_results": {"words": [*words, word]},
    })

number = 0
while number != count:
    word = f"{name}-{number}"
    for run_id in ("shared", f"own-{word}"):
        key = RunKey(AppKey("log", "flow"), run_id)
        ledger.amend(key, lambda held: amended(held, run_id, word))
    print(word, flush=True)
    number += 1
ledger.close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger of each kind, made already."""
    made: str = f"sqlite:///{tmp_path}/ledger.db"
    if request.param == "postgresql":
        made = request.getfixturevalue("new_postgresql")()
    open_ledger(made, {}).close()
    return made


def amend(url: str, name: str, count: int) -> "subprocess.Popen[str]":
    """Start a process that amends the shared run and one of its own by turns; -1 means without end."""
    started = subprocess.Popen(
        [sys.executable, "-c", AMENDER, url, name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(flowledger.__file__).parent.parent)},
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def held_words(url: str) -> tuple[list[str], set[str]]:
    """Give the words of the shared run, and of all others."""
    from flowledger.domain.record_kinds import KINDS

    ledger = open_ledger(url, {"log": KINDS["log"].to_detail})
    shared = ledger.entry(SHARED)
    found = ledger.history(RunQuery(), limit=100_000)
    ledger.close()
    words: Any = shared.detail.outputs["words"] if shared else []  # type: ignore[union-attr,index]
    return list(words), {entry.run.run_id.removeprefix("own-") for entry in found.entries} - {"shared"}


def test_processes_that_amend_the_same_run_lose_nothing(url: str) -> None:
    """Each sees all that was before it."""
    workers = [amend(url, name, 15) for name in "abc"]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        _, problems = worker.communicate(timeout=120)
        assert (worker.returncode, problems) == (0, "")
    words, own = held_words(url)
    expected = {f"{name}-{number}" for name in "abc" for number in range(15)}
    assert (set(words), len(words), own) == (expected, 45, expected)
    for name in "abc":
        assert [word for word in words if word[0] == name] == [f"{name}-{number}" for number in range(15)]


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    """After kill -9 at any moment every acknowledged record is there, and the others go on."""
    chance = random.Random(4)
    workers = [amend(url, name, -1) for name in "abc"]
    acknowledged: set[str] = set()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        assert worker.stdout is not None
        for _ in range(chance.randint(3, 12)):
            acknowledged.add(worker.stdout.readline().strip())
        worker.kill()
        rest, _ = worker.communicate(timeout=60)
        acknowledged |= {line for line in rest.splitlines() if line.count("-") == 1}
    words, own = held_words(url)
    whole = {word for word in acknowledged if word in own}
    assert len(words) == len(set(words))
    assert set(words) >= whole >= acknowledged - {""}
    survivor = amend(url, "d", 2)
    survivor.communicate("\n", timeout=60)
    assert set(held_words(url)[0]) == {*words, "d-0", "d-1"}
