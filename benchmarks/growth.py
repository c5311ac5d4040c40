"""What a run costs as runs become more: time and peak memory of collecting, enriching, keeping and reporting.

Each size has a simulated Dify and a process of its own; told are milliseconds a run (on the clock and of the
processor) and MB, also against the smallest size.  The simulated Dify is told apart, lest its growth be taken
for ours: its processor time for each request that was collected with, and milliseconds for a page of the log
list (the oldest rows of the window, then all of it) and for the nodes of a run, asked one by one afterwards.
Linux only (it reads /proc).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from race import Contender, Task, compete, run_ids, task_of
from results import add_json, at_least_one, report_figures
from simulated import simulated_server

PROBES = 100
FLAT, MOST_MB = 1.15, 500


@dataclass(frozen=True)
class Probe:
    """What the server alone takes, in ms of the clock for a request."""

    nodes_ms: float
    short_page_ms: float
    long_page_ms: float


@dataclass(frozen=True)
class Size:
    """What so many runs took, us and the server."""

    runs: int
    seconds: float
    cpu_s: float
    peak_mb: float
    requests: int
    server_cpu_ms: float
    server_mb: float
    server: Probe

    @property
    def run_ms(self) -> float:
        """Milliseconds of the clock for one run."""
        return 1000 * self.seconds / self.runs

    @property
    def run_cpu_ms(self) -> float:
        """Milliseconds of the processor for one run."""
        return 1000 * self.cpu_s / self.runs


def main() -> None:
    """Measure each size, and print."""
    options = parse()
    sizes = []
    for runs in options.runs:
        sizes.append(measure(runs, options.rounds, options.latency_ms))
        print(f"{runs} runs: {sizes[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    figures = {"sizes": [asdict(size) for size in sizes], "misses": list(misses(sizes))}
    report_figures("growth", figures, table(sizes), options.json)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=at_least_one, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument(
        "--rounds", type=at_least_one, default=1, help="the best of so many is told (default: 1)"
    )
    parser.add_argument("--latency-ms", type=float, default=0.0)
    add_json(parser)
    return parser.parse_args()


def measure(runs: int, rounds: int, latency_ms: float) -> Size:
    """Collect, enrich, keep and report so many runs."""
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    arguments = ("--runs", str(runs), "--latency-ms", str(latency_ms), "--end", end.isoformat())
    with (
        simulated_server(*arguments) as (settings, server),
        tempfile.TemporaryDirectory(prefix="growth-") as scratch,
    ):
        task = task_of(settings, end)
        flowledger = Contender("Flowledger", "flowledger_run.py")
        before = cpu_s(server)
        tries = [compete(flowledger, task, Path(scratch)) for _ in range(rounds)]
        server_s = cpu_s(server) - before
        best = min(tries, key=lambda each: each.seconds)
        return Size(
            runs=best.runs,
            seconds=best.seconds,
            cpu_s=best.cpu_s,
            peak_mb=max(each.peak_mb for each in tries),
            requests=best.requests,
            server_cpu_ms=1000 * server_s / sum(each.requests for each in tries),
            server_mb=peak_mb(server),
            server=probe(task, run_ids(Path(scratch) / "0", most=PROBES)),
        )


def probe(task: Task, ids: Sequence[str]) -> Probe:
    """Ask the server alone, one by one."""
    newest = {"limit": "100", "created_at__after": task.after}
    oldest = datetime.fromisoformat(task.before) - timedelta(hours=47)
    with requests.Session() as session:

        def response_ms(address: str, headers: Mapping[str, str], query: Mapping[str, str]) -> float:
            began = time.perf_counter()
            session.get(address, headers=headers, params=query, timeout=60).raise_for_status()
            return 1000 * (time.perf_counter() - began)

        def page_ms(before: str) -> float:
            query = {**newest, "created_at__before": before}
            return sum(response_ms(task.logs, task.key, query) for _ in ids) / len(ids)

        nodes_ms = sum(response_ms(task.nodes(run_id), task.console, {}) for run_id in ids) / len(ids)
        return Probe(nodes_ms, page_ms(oldest.isoformat()), page_ms(task.before))


def cpu_s(process: int) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(process: int) -> float:
    """Return the peak memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def misses(sizes: Sequence[Size]) -> Iterator[str]:
    """Return the figures that grow more than they may."""
    measures: Mapping[str, Callable[[Size], float]] = {
        "time a run": lambda size: size.run_ms,
        "processor time a run": lambda size: size.run_cpu_ms,
        "the server's processor time a request": lambda size: size.server_cpu_ms,
    }
    for number, size in enumerate(sizes):
        for what, of in measures.items():
            # Not the smallest: what a program costs at all is spread over few runs there, and hides growth.
            least = min(sizes[: number + 1], key=of)
            if of(size) > FLAT * of(least):
                yield f"{size.runs:,} runs: {what} is {of(size) / of(least):.2f} × that of {least.runs:,}"
        if size.peak_mb > MOST_MB:
            yield f"{size.runs:,} runs: {size.peak_mb:.0f} MB"


def table(sizes: Sequence[Size]) -> str:
    """Write a line for each size, and what misses."""
    first = sizes[0]
    lines = [
        f"{'':>72}{'  the simulated Dify: ms of a request':>41}",
        f"{'runs':>9}{'seconds':>9}{'ms a run':>10}{'× first':>9}{'cpu ms':>8}{'× first':>9}{'MB':>9}"
        f"{'× first':>9}{'cpu':>9}{'nodes':>8}{'page':>8}{'of all':>8}{'MB':>8}",
    ]
    for size in sizes:
        lines.append(
            f"{size.runs:>9,}{size.seconds:>9.1f}{size.run_ms:>10.2f}{size.run_ms / first.run_ms:>9.2f}"
            f"{size.run_cpu_ms:>8.2f}{size.run_cpu_ms / first.run_cpu_ms:>9.2f}"
            f"{size.peak_mb:>9.0f}{size.peak_mb / first.peak_mb:>9.2f}"
            f"{size.server_cpu_ms:>9.2f}{size.server.nodes_ms:>8.2f}{size.server.short_page_ms:>8.2f}"
            f"{size.server.long_page_ms:>8.2f}{size.server_mb:>8.0f}"
        )
    lines += [f"misses: {each}" for each in misses(sizes)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
