"""The simulator as a process of its own, as the command line runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from flowledger_simulator import credentials

pytestmark = pytest.mark.process

SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = """
from flowledger_simulator import Recipe, make_world, parse_faults, run
run(
    make_world(Recipe(runs=3)),
    announce=lambda address: print(address, flush=True),
    version="1.13.3",
    faults=parse_faults("503:#1"),
)
"""


def test_it_announces_its_address_and_serves_until_it_is_stopped() -> None:
    """The address comes first, faults strike, and an interrupt ends it."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        headers = {"Authorization": f"Bearer {credentials.API_TOKEN}"}
        answers = [
            requests.get(f"{address}/v1/workflows/logs", headers=headers, timeout=10) for _ in range(2)
        ]
        process.terminate()
    assert [answer.status_code for answer in answers] == [503, 200]
    assert (answers[1].json()["total"], answers[1].headers["x-version"]) == (3, "1.13.3")
