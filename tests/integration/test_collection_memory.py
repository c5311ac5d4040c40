"""Memory does not grow with the number of runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from simulated_dify import DAY, END

import flowledger
from flowledger_simulator import credentials

pytestmark = pytest.mark.process

SOURCE = Path(flowledger.__file__).parents[1]
SERVER = """
import sys
from simulated_dify import FINAL_MIX, make_day
from flowledger_simulator import run
run(
    make_day(int(sys.argv[1]), mix=FINAL_MIX, nodes=2, node_kb=1.0),
    announce=lambda address: print(address, flush=True),
)
"""
CLIENT = """
import resource
import sys
from flowledger.cli.main import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
WINDOW = ("--after", DAY.isoformat(), "--before", END.isoformat())


@contextmanager
def served(runs: int) -> Iterator[str]:
    """Serve a day of so many runs from a process of its own."""
    path = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", SERVER, str(runs)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def peak_kb(runs: int, folder: Path) -> int:
    """Collect, enrich and report a day, and give the most memory the process ever held, in kB."""
    folder.mkdir()
    with served(runs) as base_url:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "DIFY_BASE_URL": base_url,
            "DIFY_API_TOKEN": credentials.API_TOKEN,
            "DIFY_APP_ID": credentials.WORKFLOW_APP_ID,
            "DIFY_CONSOLE_EMAIL": credentials.EMAIL,
            "DIFY_CONSOLE_PASSWORD": credentials.PASSWORD,
            "TIMEZONE": "UTC",
        }
        words = ["run", "--direct", "--strict", *WINDOW, "--format", "csv,json,markdown"]
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


@pytest.mark.fault(29)
def test_ten_times_the_runs_take_no_more_than_a_third_more_memory(tmp_path: Path) -> None:
    """Collecting, enriching and three reports of 2,000 runs stay near what 200 take."""
    small, large = peak_kb(200, tmp_path / "small"), peak_kb(2_000, tmp_path / "large")
    assert large <= 1.3 * small, f"{small} kB for 200 runs, {large} kB for 2,000"
