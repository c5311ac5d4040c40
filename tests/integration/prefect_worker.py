"""Process workers as they really run, in a folder with settings, against a real server."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from workplace import FLOWLEDGER, bare_environment

Found = TypeVar("Found")
STEP_S = 0.5


@dataclass(frozen=True)
class Site:
    """A folder with settings, and the variables that commands and workers get there."""

    folder: Path
    variables: Mapping[str, str]

    def command(self, *words: str) -> str:
        """Run a command of ours to its end and give what it printed."""
        done = subprocess.run(
            [*FLOWLEDGER, *words],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def worker(self, pool: str) -> Iterator[int]:
        """Run a worker, and give the id of its process group."""
        with (
            (self.folder / f"worker-{pool}.log").open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield process.pid
            finally:
                kill_group(process.pid)

    def _environment(self) -> dict[str, str]:
        return {**bare_environment(), **self.variables}


def kill_group(group: int) -> None:
    """End a worker and all it has started, as a machine that fails does."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def wait_for(
    read: Callable[[SyncPrefectClient], Found], enough: Callable[[Found], bool], most_s: float
) -> Found:
    """Ask the server again and again until an answer is enough."""
    ends, pause = monotonic() + most_s, Event()
    with get_client(sync_client=True) as client:
        while not enough(found := read(client)):
            assert monotonic() < ends, f"after {most_s} s still only {found}"
            pause.wait(STEP_S)
    return found


def ended(run_id: UUID, most_s: float) -> FlowRun:
    """Wait until a flow run is final."""
    return wait_for(
        lambda client: client.read_flow_run(run_id),
        lambda run: bool(run.state and run.state.is_final()),
        most_s,
    )


def in_state(run_id: UUID, name: str, most_s: float) -> FlowRun:
    """Wait until a flow run is in a state."""
    return wait_for(lambda client: client.read_flow_run(run_id), lambda run: run.state_name == name, most_s)
