"""A worker that is killed at any point of an execution costs no step, and repeats one under the same key."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kill_workers.py")
KEYS = [f"e1:n{number}:1" for number in range(10)]


@pytest.mark.process
def test_a_killed_worker_costs_nothing(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Before and after each write and each effect of ten steps: the next worker ends the execution.

    The short form takes every fifth point, which is each kind of them somewhere in the chain.
    """
    stride = 1 if pytestconfig.getoption("whole") else 5
    command = [sys.executable, str(PROGRAM), str(tmp_path), str(stride)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 40 // stride
    for row in rows:
        counts = Counter(row["effects"])
        assert row["status"] == "success", row
        assert sorted(counts) == KEYS, row
        assert sum(count - 1 for count in counts.values()) <= 1, row
