"""Flowledger against what people would use instead, on one simulated Dify, in one run.

Contenders: the bound (bare GETs of the least set of addresses, known beforehand, at the best concurrency),
dlt with 5 and 16 workers, the old sequential way, and Flowledger adapting by itself and at dlt's concurrency.
Each is a process of its own; told are seconds of work (imports not counted), processor seconds, peak memory
in MB, requests, and runs lost.  Prints a table or JSON; asserts nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr
from results import add_json, at_least_one, report_figures
from simulated import simulated_dify

from flowledger import bootstrap
from flowledger.dify.credentials import EmailPassword
from flowledger.dify.login import ConsoleLogin
from flowledger.dify.session import DifySession
from flowledger.domain.history import RunQuery

sys.path.insert(0, str(Path(__file__).parent / "contenders"))
from contender import Task

HERE = Path(__file__).parent
CONTENDERS = HERE / "contenders"
BENCH_PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
BOUND_AT = (2, 4, 8, 16, 32)
DLT_WORKERS = (5, 16)
OLD_WAY_AT_MOST = 2000
"""Runs that the old way is asked for: its time grows with them alone, and it is slow."""


@dataclass(frozen=True)
class Outcome:
    """What one contender did."""

    name: str
    seconds: float
    cpu_s: float
    peak_mb: float
    requests: int
    runs: int
    lost: int
    nodes: int


@dataclass(frozen=True)
class Contender:
    """A program, and how many requests it may have under way; 0 where it finds that out by itself."""

    name: str
    script: str
    concurrency: int = 0
    python: Path = Path(sys.executable)


def main() -> None:
    """Race at each size and latency, and print."""
    options = parse()
    races = [
        {
            "runs": runs,
            "latency_ms": latency,
            "outcomes": [asdict(each) for each in race(runs, latency, options)],
        }
        for runs in options.runs
        for latency in options.latency_ms
    ]
    report_figures("race", races, "\n\n".join(map(table, races)), options.json)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=at_least_one, nargs="+", default=[2000])
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0, 10, 100])
    parser.add_argument(
        "--bound-at", type=at_least_one, nargs="+", default=BOUND_AT, help="bare requests at once"
    )
    parser.add_argument(
        "--rounds", type=at_least_one, default=3, help="the best of so many is told (default: 3)"
    )
    parser.add_argument("--without", nargs="*", default=[], choices=["bound", "dlt", "old"])
    add_json(parser)
    return parser.parse_args()


def race(runs: int, latency_ms: float, options: argparse.Namespace) -> Iterator[Outcome]:
    """Let all contenders read one server, one after another."""
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    server_options = ("--runs", str(runs), "--latency-ms", str(latency_ms), "--end", end.isoformat())
    with simulated_dify(*server_options) as settings, tempfile.TemporaryDirectory(prefix="race-") as scratch:
        task = task_of(settings, end)
        for contender in contenders(runs, options):
            tries = [compete(contender, task, Path(scratch)) for _ in range(options.rounds)]
            outcome = min(tries, key=lambda each: each.seconds)
            if not task.run_ids:  # the first is Flowledger, whose certificate says how many there are
                task = replace(task, run_ids=run_ids(Path(scratch) / "0"))
            yield replace(outcome, lost=len(task.run_ids) - outcome.runs)
            print(f"{contender.name}: {outcome.seconds:.2f} s", file=sys.stderr, flush=True)


def contenders(runs: int, options: argparse.Namespace) -> Sequence[Contender]:
    """Choose who takes part; Flowledger is first, since it tells how many runs there are."""
    chosen = [Contender("Flowledger", "flowledger_run.py")]
    if "bound" not in options.without:
        chosen += [Contender(f"bound at {limit}", "bound.py", limit) for limit in options.bound_at]
    if "dlt" not in options.without:
        chosen += [
            each
            for workers in DLT_WORKERS
            for each in (
                Contender(f"Flowledger, at most {workers}", "flowledger_run.py", workers),
                Contender(f"dlt, {workers} workers", "dlt_pipeline.py", workers, BENCH_PYTHON),
            )
        ]
    if "old" not in options.without and runs <= OLD_WAY_AT_MOST:
        chosen.append(Contender("the old way", "sequential.py", 1))
    return chosen


def task_of(settings: Mapping[str, str], end: datetime) -> Task:
    """Return the task for a contender, with a log-in to the console."""
    email, password = settings["DIFY_CONSOLE_EMAIL"], settings["DIFY_CONSOLE_PASSWORD"]
    with DifySession(settings["DIFY_BASE_URL"]) as session:
        signed_in = ConsoleLogin(session, EmailPassword(email, SecretStr(password))).sign_in()
    return Task(
        base_url=settings["DIFY_BASE_URL"],
        token=settings["DIFY_API_TOKEN"],
        app=settings["DIFY_APP_ID"],
        email=email,
        password=password,
        console=dict(signed_in.headers()),
        after=(end - timedelta(days=3)).isoformat(),
        before=end.isoformat(),
        run_ids=[],
        concurrency=0,
        folder="",
    )


def compete(contender: Contender, task: Task, scratch: Path) -> Outcome:
    """Run one contender in a new folder, and see what it cost."""
    folder = scratch / str(len(list(scratch.iterdir())))
    folder.mkdir()
    own = replace(task, concurrency=contender.concurrency, folder=str(folder))
    with subprocess.Popen(
        [contender.python, CONTENDERS / contender.script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(own)))
        process.stdin.close()
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"race.py: {contender.name} ended with {process.returncode}")
    result = json.loads(output.splitlines()[-1])
    peak_mb = used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    return Outcome(contender.name, cpu_s=used.ru_utime + used.ru_stime, peak_mb=peak_mb, lost=0, **result)


def run_ids(folder: Path, most: int | None = None) -> list[str]:
    """Return the runs that a certified collection holds, the newest first."""
    with bootstrap.open_ledger_at(f"sqlite:///{folder}/ledger.db") as ledger:
        run_ids, after = [], None
        while True:
            page = ledger.history(RunQuery(), after=after, limit=1000)
            run_ids += [entry.run.run_id for entry in page.entries if not entry.run.gone]
            after = page.following
            if after is None or (most is not None and len(run_ids) >= most):
                return run_ids[:most]


def table(race: Mapping[str, object]) -> str:
    """Write a line for each contender, with its time against the best bound's and Flowledger's."""
    outcomes: list[dict[str, float]] = race["outcomes"]  # type: ignore[assignment]
    bounds = [each["seconds"] for each in outcomes if str(each["name"]).startswith("bound")]
    ours = outcomes[0]["seconds"]
    lines = [f"{race['runs']} runs, {race['latency_ms']:g} ms", HEADER]
    for each in outcomes:
        against = f"{each['seconds'] / min(bounds):.2f}" if bounds else "-"
        lines.append(
            f"{each['name']:<26}{each['seconds']:>9.2f}{against:>9}{each['seconds'] / ours:>9.2f}"
            f"{each['cpu_s']:>8.1f}{each['peak_mb']:>8.0f}{each['requests']:>10}{each['lost']:>6}"
        )
    return "\n".join(lines)


HEADER = f"{'':<26}{'seconds':>9}{'× bound':>9}{'× ours':>9}{'cpu s':>8}{'MB':>8}{'requests':>10}{'lost':>6}"

if __name__ == "__main__":
    main()
