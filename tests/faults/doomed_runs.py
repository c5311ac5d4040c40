"""Runs in folders of their own that end at a chosen point, and what they leave behind."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from simulated_dify import DAY, END, NOW, stored_entries
from workplace import PROJECT, bare_environment, settings_of

import flowledger_simulator as simulator
from flowledger.domain.runs import Entry

WORDS = ("run", "--direct", "--after", DAY.isoformat(), "--before", END.isoformat(), "--format", "csv,json")
_RUN_ID = re.compile(rb"_[0-9a-f]{8}(?=[./\"])")
_FOLDERS = ("src", "tests/integration", "tests/faults")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: exit status (negative for a signal), what it said, the points it passed."""

    status: int
    said: str
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DoomedRuns:
    """A process that forks one child for each run."""

    process: "subprocess.Popen[str]"

    def run(self, folder: Path, mode: str = "", at: int = 0) -> Ended:
        """Run once in a folder, through point ``at`` in a mode of ``fault_points``."""
        folder.mkdir(exist_ok=True)
        order = {"folder": str(folder), "mode": mode, "at": at, "now": NOW.isoformat(), "words": WORDS}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        points = folder / "points.json"
        seen = tuple(json.loads(points.read_text())) if points.exists() else ()
        points.unlink(missing_ok=True)
        return Ended(status, (folder / "said.txt").read_text(errors="replace"), seen)


@contextmanager
def doomed_runs(server: simulator.SimulatedServer) -> Iterator[DoomedRuns]:
    """Start the process that runs against a server."""
    environment = bare_environment() | settings_of(server, TIMEZONE="UTC")
    environment["PYTHONPATH"] = ":".join(str(PROJECT / folder) for folder in _FOLDERS)
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("doomed_process.py"))],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield DoomedRuns(process)
        process.communicate(timeout=60)


def visible(folder: Path) -> frozenset[tuple[str, bytes]]:
    """Give all stored files, name and content, without the ids of their runs and the folder they are in."""
    outputs = folder / "outputs"
    here = str(folder).encode()
    return frozenset(
        (
            _RUN_ID.sub(b"_run", name.encode()).decode(),
            _RUN_ID.sub(b"_run", path.read_bytes().replace(here, b"")),
        )
        for path in outputs.rglob("*")
        if path.is_file() and (name := path.relative_to(outputs).as_posix()).startswith("reports/")
    )


def unfinished(folder: Path) -> list[str]:
    """Name what is still on its way into the storage or was forgotten in the temporary folder."""
    places = (folder / "outputs" / ".incoming", folder / "tmp")
    return [path.name for place in places if place.exists() for path in place.iterdir()]


def entries(folder: Path) -> list[Entry]:
    """Give what the ledger holds; none where there is no ledger yet."""
    return stored_entries(folder / "outputs") if (folder / "outputs" / "ledger.db").exists() else []
