"""Many scheduled runs in accelerated time while everything around them fails, and what must hold then.

Three apps, a deployment each on a process work pool, two workers, a Prefect server, one ledger in PostgreSQL.
The runs of the last days are created as a schedule creates them, only faster; while they are worked off, Dify
and the network to it fail, runs, workers and the server are killed, and the ledger's connections are cut.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from prefect.client.schemas.objects import FlowRun
from soak_checks import Check, all_checks
from soak_disruptions import Disruption, plan
from soak_place import POSTGRESQL, Place, soak_place, temporary_folder
from soak_programs import marked
from soak_runs import Story, let_all_end, work_off

APPS = 3
FEWEST = 12
QUIET_S = 60.0
NOTHING_MISSING = "nothing is missing"


@dataclass(frozen=True)
class Outcome:
    """What happened and what holds."""

    story: Story
    checks: Sequence[Check]


def soak(
    folder: Path,
    postgresql: str,
    days: Sequence[int],
    seed: int,
    disruptions: Sequence[Disruption],
    report: Callable[[str], None],
) -> Outcome:
    """Work off so many days of each app, let what is missing be caught up, and look at everything."""
    story = Story(report)
    with soak_place(folder, postgresql, days, seed) as place:
        for worker in place.workers:
            worker.start()
        work_off(place, disruptions, story)
        ended = _repair(place, report)
        _come_to_rest(place)
        killed = sum(each.kind in ("run killed", "machine gone") for each in story.disrupted) * 2
        return Outcome(story, all_checks(place, ended, story.samples, killed))


def _repair(place: Place, report: Callable[[str], None]) -> Sequence[FlowRun]:
    """Let the runs end that were caught up, do what a person does then, and give all runs there were."""
    ended = let_all_end(place)
    said = place.site.command("catch-up").strip()
    report(said)
    return ended if said == NOTHING_MISSING else let_all_end(place)


def _come_to_rest(place: Place) -> None:
    """Wait until no process of a run is left: hooks are still called when a run has ended."""
    ends = time.monotonic() + QUIET_S
    while any(run for _, run in marked(place.mark)) and time.monotonic() < ends:
        Event().wait(0.5)


def main() -> int:
    """Soak, print what happened, and give the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down
    wanted = arguments()
    days = [wanted.runs // APPS + (number < wanted.runs % APPS) for number in range(APPS)]
    disruptions = () if wanted.no_troubles else plan(wanted.runs, wanted.seed)
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    print(f"{wanted.runs} runs, seed {wanted.seed}", flush=True)
    with temporary_folder() as folder:
        outcome = soak(Path(folder), wanted.postgresql, days, wanted.seed, disruptions, report)
    print(table(outcome, time.monotonic() - began))
    return int(any(check.problems for check in outcome.checks))


def arguments() -> argparse.Namespace:
    """Read what is wanted."""
    parser = argparse.ArgumentParser(
        prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200, help="scheduled runs of all apps (default: 200)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of the troubles and the data"
    )
    parser.add_argument("--no-troubles", action="store_true", help="let nothing go wrong")
    parser.add_argument("--postgresql", default=POSTGRESQL, metavar="URL", help="makes databases")
    wanted = parser.parse_args()
    if wanted.runs < FEWEST:
        parser.error(f"argument --runs: at least {FEWEST}, so that growth can be told")
    return wanted


def table(outcome: Outcome, took_s: float) -> str:
    """Show what happened and what holds."""
    ends = Counter(state for _, state, _ in outcome.story.done)
    disrupted = Counter(each.kind for each in outcome.story.disrupted)
    lines = [f"\n{len(outcome.story.done)} scheduled runs in {took_s:.0f} s: {_counted(ends)}"]
    lines += [f"  {count:3} × {kind}" for kind, count in sorted(disrupted.items())]
    for check in outcome.checks:
        lines.append(f"{'FAILED' if check.problems else 'ok':6} {check.promise}: {check.figures}")
        lines += [f"         {problem}" for problem in check.problems]
    return "\n".join(lines)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
