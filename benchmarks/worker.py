"""What does Flowledger cost on top of Prefect?

On one machine, with a Prefect server and a process worker of its own and a simulated Dify:

* a scheduled run over an empty window against a flow that does nothing, in pairs, from Pending to Completed;
* the worker's memory while it runs many such runs;
* how long registering many apps takes, the first time and once more.

Prints figures; asserts nothing.  Linux only (it reads /proc).
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import requests
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled
from results import at_least_one

import flowledger_simulator as simulator
from flowledger.cli.simulate import settings_for

POOL = "dify-workflow-pool"
LONG_AGO = datetime(2020, 1, 2, 18, 0, tzinfo=UTC)
"""Nothing ran on the day before it."""
BARE = '''from prefect import flow


@flow(name="bare")
def bare():
    """Do nothing."""
'''
MANY = """apps:
{apps}
"""
APP = """  - id: 00000000-0000-4000-8000-{number:012d}
    name: app-{number}
    base_url: http://127.0.0.1:9
    api_token: simulated-{number}
    schedules: [daily_report, weekly_report]
"""


@dataclass(frozen=True)
class Place:
    """A folder with settings, and the variables that programs get there."""

    folder: Path
    variables: Mapping[str, str]

    def command(self, *words: str) -> None:
        """Run one of our commands to its end."""
        subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env={**os.environ, **self.variables},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    @contextmanager
    def program(self, *words: str) -> Iterator[int]:
        """Run a program until the context ends, and give its process id."""
        with (
            (self.folder / f"{words[1]}.log").open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=self.folder,
                env={**os.environ, **self.variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield process.pid
            finally:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:  # a worker that waits for its runs
                    process.kill()


def main() -> None:
    """Measure everything and print it."""
    options = arguments()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowledger-")))
        world = simulator.make_world(simulator.Recipe(runs=1))
        dify = stack.enter_context(simulator.serve(world))
        place = make_place(folder, settings_for(dify.base_url, world))
        stack.enter_context(place.program("prefect", "server", "start"))
        api = place.variables["PREFECT_API_URL"]
        until(lambda: answers(f"{api}/ready"), 120)
        stack.enter_context(temporary_settings({PREFECT_API_URL: api}))
        place.command("flowledger", "deploy", "--setup", "--offline")
        client = stack.enter_context(get_client(sync_client=True))
        ours = client.read_deployment_by_name("fetch-workflow-logs/daily-workflow-report")
        bare = deploy_bare(client, folder)
        many = deploy_without_limit(client, ours)
        start = ("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "3")
        worker = stack.enter_context(place.program(*start))
        figures: dict[str, object] = {}
        for name, measure in (
            ("seconds from Pending to Completed", lambda: pairs(client, ours.id, bare, options.pairs)),
            ("worker RSS in MB after so many runs", lambda: memory(client, many, worker, options.runs)),
            ("seconds to register", lambda: registration(place, options.apps)),
        ):
            figures[name] = measure()
            print(f"{name}: {figures[name]}", file=sys.stderr, flush=True)
    print(json.dumps(figures, indent=2))


def arguments() -> argparse.Namespace:
    """Read how much is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=at_least_one, default=5, help="runs of each kind (default: 5)")
    parser.add_argument(
        "--runs", type=at_least_one, default=200, help="runs while memory is watched (default: 200)"
    )
    parser.add_argument(
        "--apps", type=at_least_one, default=50, help="apps to register, two schedules each (default: 50)"
    )
    return parser.parse_args()


def make_place(folder: Path, dify: Mapping[str, str]) -> Place:
    """Return a folder with a port for its Prefect server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    prefect = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
    }
    return Place(folder, {**dify, **prefect})


def deploy_bare(client: SyncPrefectClient, folder: Path) -> UUID:
    """Deploy a flow that does nothing, with the heartbeat that ours has."""
    (folder / "bare.py").write_text(BARE, "utf-8")
    return client.create_deployment(
        flow_id=client.create_flow_from_name("bare"),
        name="bare",
        entrypoint="bare.py:bare",
        path=str(folder),
        work_pool_name=POOL,
        job_variables={
            "working_dir": str(folder),
            "env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"},
        },
    )


def deploy_without_limit(client: SyncPrefectClient, ours: DeploymentResponse) -> UUID:
    """Deploy ours once more, so that several runs of it go at once: its own limit is one."""
    return client.create_deployment(
        flow_id=ours.flow_id,
        name="without-limit",
        entrypoint=ours.entrypoint,
        parameters=ours.parameters,
        work_pool_name=POOL,
        job_variables=ours.job_variables,
        pull_steps=[],
    )


def pairs(client: SyncPrefectClient, ours: UUID, bare: UUID, count: int) -> Mapping[str, object]:
    """Run both kinds in turns, each alone."""
    seconds: dict[str, list[float]] = {"a bare flow": [], "an empty window": []}
    for index in range(count):
        for name, deployment in (("a bare flow", bare), ("an empty window", ours)):
            run = start(client, deployment, LONG_AGO + timedelta(days=index))
            seconds[name].append(round(duration_s(client, finished(client, [run])[0]), 2))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {**seconds, "more (medians)": round(medians["an empty window"] - medians["a bare flow"], 2)}


def memory(client: SyncPrefectClient, deployment: UUID, worker: int, count: int) -> Mapping[int, float]:
    """Run many, and look at the worker now and then."""
    times, begun = {0: resident_mb(worker)}, 0
    while begun < count:
        batch = min(10, count - begun)
        days = range(begun, begun + batch)
        finished(client, [start(client, deployment, LONG_AGO + timedelta(days=100 + day)) for day in days])
        begun += batch
        if begun in (20, 50, 100, 150) or begun == count:
            times[begun] = resident_mb(worker)
    return times


def registration(place: Place, count: int) -> Mapping[str, float]:
    """Register many apps in a folder of their own, twice."""
    (place.folder / "many" / "config").mkdir(parents=True)
    apps = "".join(APP.format(number=number) for number in range(count))
    (place.folder / "many/config/settings.yaml").write_text(MANY.format(apps=apps), "utf-8")
    bare = {name: value for name, value in place.variables.items() if not name.startswith("DIFY_")}
    many = Place(place.folder / "many", bare)
    return {
        name: timed(lambda: many.command("flowledger", "deploy", "--offline")) for name in ("first", "again")
    }


def timed(act: Callable[[], None]) -> float:
    """Return the seconds that something takes."""
    began = time.monotonic()
    act()
    return round(time.monotonic() - began, 1)


def start(client: SyncPrefectClient, deployment: UUID, at: datetime) -> UUID:
    """Create a late run."""
    return client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=at)).id


def finished(client: SyncPrefectClient, run_ids: Sequence[UUID]) -> list[FlowRun]:
    """Wait until all runs are final."""

    def final(run: FlowRun) -> bool:
        return run.state is not None and run.state.is_final()

    until(lambda: all(final(client.read_flow_run(run_id)) for run_id in run_ids), 600)
    return [client.read_flow_run(run_id) for run_id in run_ids]


def duration_s(client: SyncPrefectClient, run: FlowRun) -> float:
    """Return the seconds from Pending to Completed, the start of the process included."""
    states = {state.type: state.timestamp for state in client.read_flow_run_states(run.id)}
    if StateType.COMPLETED not in states:
        sys.exit(f"worker.py: {run.name} ended as {run.state_name}: {run.state and run.state.message}")
    return (states[StateType.COMPLETED] - states[StateType.PENDING]).total_seconds()


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
    return round(int(kilobytes) / 1024, 1)


def answers(address: str) -> bool:
    """Whether a server answers yet."""
    try:
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False


def until(done: Callable[[], bool], most_s: float) -> None:
    """Wait until a condition holds; gives up loudly."""
    ends = time.monotonic() + most_s
    while not done():
        if time.monotonic() > ends:
            sys.exit(f"worker.py: still waiting after {most_s} s")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
