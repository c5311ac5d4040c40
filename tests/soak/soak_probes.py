"""What server, workers and ledger take over the runs, and what is said of its growth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import psycopg
from soak_place import Place
from soak_programs import load_of

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a figure may grow from the second quarter of the runs to the last: once, and with each run."""

    once: float
    each_run: float = 0.0


LIMITS = {
    "server: memory in MB": Limit(25.0, 1.0),
    "server: files": Limit(30),
    "server: threads": Limit(10),
    "server: connections": Limit(25),
    "worker: memory in MB": Limit(20.0, 0.8),
    "worker: files": Limit(12),
    "worker: threads": Limit(8),
    "worker: connections": Limit(6),
    "ledger: connections": Limit(4),
}
"""Memory: Prefect's own programs grow with each run, some 0.4 MB (docs/operations.md, "Sizes")."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was taken after so many runs, by the words of ``LIMITS``."""

    runs: int
    figures: dict[str, float]


def sample(place: Place, runs: int) -> Sample:
    """Look at everything; of the workers the one that takes most counts."""
    figures: dict[str, float] = {"ledger: connections": float(connections(place))}
    for name, programs in (("server", [place.server]), ("worker", place.workers)):
        loads = [load for each in programs if each.lives and (load := load_of(each.pid))]
        if loads:
            figures[f"{name}: memory in MB"] = max(load.rss_mb for load in loads)
            figures[f"{name}: files"] = max(load.files for load in loads)
            figures[f"{name}: threads"] = max(load.threads for load in loads)
            figures[f"{name}: connections"] = max(load.connections for load in loads)
    return Sample(runs, figures)


def connections(place: Place) -> int:
    """Count the connections to the ledger's database."""
    with psycopg.connect(place.ledger_url, autocommit=True) as connection:
        row = connection.execute(OTHERS, (place.database,)).fetchone()
    assert row is not None
    return int(row[0])


def growth(samples: Sequence[Sample]) -> Iterator[tuple[str, float, float, float]]:
    """Give each figure's median in the second and last quarter of the runs, and the most it may be then."""
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    runs = median(each.runs for each in last) - median(each.runs for each in second)
    for name, limit in LIMITS.items():
        before = median(each.figures[name] for each in second if name in each.figures)
        after = median(each.figures[name] for each in last if name in each.figures)
        yield name, before, after, before + limit.once + limit.each_run * runs
