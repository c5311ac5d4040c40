"""What the next report of a month costs when little of it has changed since the last one.

One ledger and one simulated Dify, in processes of their own: first everything is collected, then shares of it
change in one way at a time (open runs end; new runs come after the newest; runs all over the month are gone
with their rows), and each time the month so far is collected and enriched once more.  It reports the requests
and the seconds of each, against all that the first collection took; every one must be certified.
"""

import argparse
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

from loguru import logger
from results import add_json, at_least_one, report_figures

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.main import tune_garbage_collector
from flowledger.cli.simulate import settings_for
from flowledger.domain.runs import Level
from flowledger.services.report_requests import RunOrder

SHARES = (0.1, 0.01, 0.001)
"""The largest first: each has about as many open runs to end as it needs, and few are left over."""
MONTH = timedelta(days=30)
UNTIL_NOW = timedelta(hours=3)
SECOND = timedelta(seconds=1)
Change = tuple[str, int, range]
"""A way to change, how many runs, and the seconds (unix time) in which new ones may come."""


@dataclass(frozen=True)
class Step:
    """What one collection came to; ``changed`` is how many runs had changed before it."""

    change: str
    changed: int
    runs: int
    requests: int
    collect_requests: int
    seconds: float
    certified: bool
    complete: bool


def main() -> None:
    """Measure each step, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=at_least_one, default=100_000)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--by-day", action="store_true", help="the month was collected day by day")
    add_json(parser)
    options = parser.parse_args()
    logger.remove()
    tune_garbage_collector()
    figures = list(steps(options))
    report_figures("incremental", [asdict(each) for each in figures], table(figures), options.json)


def steps(options: argparse.Namespace) -> Iterator[Step]:
    """Collect the month, then once more after each change."""
    shares = sorted(options.shares, reverse=True)
    now = datetime.now(UTC).replace(microsecond=0) - UNTIL_NOW
    end = now - MONTH * sum(shares)
    start = end - MONTH
    recipe = simulator.Recipe(runs=options.runs, start=start, end=end, mix=mix(sum(shares)))
    with changing_dify(recipe, options.latency_ms) as change, tempfile.TemporaryDirectory() as scratch:
        os.environ |= {**change(("settings", 0, range(0))), "OUTPUT_BASE_DIR": scratch, "TIMEZONE": "UTC"}
        midnights = [start + timedelta(days=day) for day in range(1, 30)] if options.by_day else []
        bounds = [start, *midnights, end + SECOND]
        parts = [collect(after, following - SECOND) for after, following in pairwise(bounds)]
        yield Step("all", options.runs, *added(parts))
        yield Step("nothing", 0, *added([collect(start, end)]))
        for share in shares:
            number = round(options.runs * share)
            for way in ("ended", "new", "gone"):
                fresh = range(0)
                if way == "new":
                    began, end = end, end + MONTH * share
                    fresh = range(int(began.timestamp()) + 1, int(end.timestamp()) + 1)
                changed = change((way, number, fresh))
                yield Step(way, changed, *added([collect(start, end)]))
                print(f"{way}, {number} runs: done", file=sys.stderr, flush=True)


def mix(still_open: float) -> dict[str, float]:
    """Make so large a share of the runs open, and a few more."""
    still_open = min(0.5, 1.05 * still_open)
    return {"succeeded": 0.95 - still_open, "failed": 0.05, "running": still_open}


Collected = tuple[int, int, int, float, bool, bool]


def added(parts: Sequence[Collected]) -> Collected:
    """Add up what several collections took."""
    runs, requests, listing, seconds, certified, complete = zip(*parts, strict=True)
    return sum(runs), sum(requests), sum(listing), sum(seconds), all(certified), all(complete)


def collect(start: datetime, before: datetime) -> Collected:
    """Bring the ledger up to date for a window, as a report does; then look whether it is."""
    order = RunOrder(period="custom", after=start.isoformat(), before=before.isoformat())
    with bootstrap.open_pipeline(order, before + UNTIL_NOW) as (pipeline, request):
        began = time.perf_counter()
        collected = pipeline.collect(request)
        enriched = pipeline.enrich(collected, request)
        seconds = time.perf_counter() - began
        certificate = collected.certificate
        # No open run is newer than that: what is left lacks its nodes.
        left = pipeline.ledger.pending(certificate.scope, Level.NODES, open_since=before + MONTH)
        complete = next(iter(left), None) is None
    return (
        certificate.distinct,
        collected.requests + enriched.requests,
        collected.requests,
        seconds,
        certificate.certified,
        complete,
    )


@contextmanager
def changing_dify(recipe: simulator.Recipe, latency_ms: float) -> Iterator[Callable[[Change], Any]]:
    """Serve a made-up world in a process of its own; give what changes it."""
    here, there = multiprocessing.Pipe()
    spawning = multiprocessing.get_context("spawn")
    process = spawning.Process(target=serve, args=(recipe, latency_ms, there), daemon=True)
    process.start()

    def change(requested: Change) -> Any:
        here.send(requested)
        return here.recv()

    try:
        yield change
    finally:
        process.terminate()
        process.join()


def serve(recipe: simulator.Recipe, latency_ms: float, orders: Connection) -> None:
    """Serve in this process, and change what is served when told to."""
    logging.disable()
    world, chance = simulator.make_world(recipe), random.Random(recipe.seed)
    ways = {"ended": end_runs, "new": begin_runs, "gone": lose_runs}
    with simulator.serve(world, latency_ms=latency_ms) as server:
        while True:
            way, number, fresh = orders.recv()
            if way == "settings":
                orders.send(settings_for(server.base_url, world))
            else:
                orders.send(ways[way](world, chance, number, fresh))


def end_runs(world: simulator.World, chance: random.Random, number: int, _: range) -> int:
    """Let open runs succeed, as many as there are at most; give how many."""
    still_open = [run for run in world.runs() if run.status == "running" and not run.gone]
    for run in chance.sample(still_open, min(number, len(still_open))):
        world.change(run.id, status="succeeded", finished_at=run.created_at + 5, elapsed_time=5.0)
    return min(number, len(still_open))


def begin_runs(world: simulator.World, chance: random.Random, number: int, fresh: range) -> int:
    """Let new runs come."""
    for _ in range(number):
        world.add_runs(1, chance.choice(fresh))
    return number


def lose_runs(world: simulator.World, chance: random.Random, number: int, _: range) -> int:
    """Let runs be deleted, rows and all."""
    for run in chance.sample(world.runs(), number):
        world.remove(run.id)
    return number


def table(figures: Sequence[Step]) -> str:
    """Write a line for each step, and what was not proved or not whole."""
    whole = figures[0]
    lines = [
        f"{'':<9}{'changed':>9}{'runs':>9}{'requests':>10}{'of all':>9}{'of list':>9}"
        f"{'seconds':>9}{'of all':>9}"
    ]
    for step in figures:
        lines.append(
            f"{step.change:<9}{step.changed:>9,}{step.runs:>9,}{step.requests:>10,}"
            f"{step.requests / whole.requests:>9.2%}{step.collect_requests:>9,}"
            f"{step.seconds:>9.2f}{step.seconds / whole.seconds:>9.2%}"
        )
    lines += [
        f"misses: {step.change}, {step.changed:,} changed:"
        f" {'not certified' if step.complete else 'not all detailed'}"
        for step in figures
        if not (step.certified and step.complete)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
