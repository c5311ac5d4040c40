"""The report formats, writing many runs, against the csv and json modules writing the same rows from memory.

Each is a process of its own.  The runs, of a simulated Dify, are in memory already and given again and again;
what their report holds of them is what the modules write.  It reports rows a second, the time against the
module's, the peak memory and how much of it came while writing, in MB.
"""

import argparse
import csv
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, repeat
from pathlib import Path

from race import Contender, compete, task_of
from results import add_json, at_least_one, report_figures
from simulated import simulated_dify

from flowledger import bootstrap
from flowledger.domain.figures import FiguresCounter
from flowledger.domain.history import RunQuery
from flowledger.domain.report_heading import Heading
from flowledger.domain.runs import Entry
from flowledger.domain.windows import Window
from flowledger.plugins import REPORT_FORMATS

DIFFERENT = 1000
HEAD_LINES = 3
"""What the pairs of the CSV report begin with."""


@dataclass(frozen=True)
class Outcome:
    """What one way to write took."""

    name: str
    rows: int
    seconds: float
    peak_mb: float
    grown_mb: float


Write = Callable[[Sequence[Entry], int, Path], object]


def report(name: str, entries: Sequence[Entry], times: int, folder: Path) -> None:
    """Write entries as a report of a format, so many times over."""
    (report_format,) = bootstrap.report_formats((name,))
    end = entries[0].run.listed_at
    heading = Heading("Bench", "custom", Window.between(end - timedelta(days=3), end), UTC, "en", end)
    counter = FiguresCounter(UTC, now=end)
    for entry in entries:
        counter.add(entry)
    with report_format.begin(heading, folder) as writer:
        for entry in over(entries, times):
            writer.add(entry)
        writer.finish(counter.figures())


def over(rows: Sequence[Entry], times: int) -> Iterator[Entry]:
    """Yield the rows again and again."""
    return chain.from_iterable(repeat(rows, times))


def csv_rows(entries: Sequence[Entry], folder: Path) -> Callable[[int], None]:
    """Prepare the rows of the CSV report of entries, for the csv module."""
    report("csv", entries, 1, folder)
    largest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    with largest.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))[HEAD_LINES:][: len(entries)]

    def write(times: int) -> None:
        with (folder / "bare.csv").open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            for _ in range(times):
                writer.writerows(rows)

    return write


def json_rows(entries: Sequence[Entry], folder: Path) -> Callable[[int], None]:
    """Prepare the runs of the JSON report of entries, for the json module."""
    report("json", entries, 1, folder)
    (made,) = folder.glob("*.json")
    rows = json.loads(made.read_text(encoding="utf-8"))["data"]

    def write(times: int) -> None:
        with (folder / "bare.json").open("w", encoding="utf-8") as file:
            for row in chain.from_iterable(repeat(rows, times)):
                file.write(json.dumps(row, ensure_ascii=False))

    return write


def collect(scratch: Path) -> None:
    """Collect the runs into a ledger."""
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    with simulated_dify("--runs", str(DIFFERENT), "--end", end.isoformat()) as settings:
        compete(Contender("Flowledger", "flowledger_run.py"), task_of(settings, end), scratch)


def measure(name: str, times: int, ledger: str) -> Outcome:
    """Write the different runs of a ledger so many times, in this process."""
    with bootstrap.open_ledger_at(ledger) as opened:
        entries = opened.history(RunQuery(), limit=DIFFERENT, with_details=True).entries
    with tempfile.TemporaryDirectory(prefix="formats-") as scratch:
        folder = Path(scratch) / "before"
        folder.mkdir()
        prepare = {"csv module": csv_rows, "json module": json_rows}.get(name)
        write = prepare(entries, folder) if prepare else partial(written, name, entries, Path(scratch))
        before, began = peak_mb(), time.perf_counter()
        write(times)
        seconds = time.perf_counter() - began
        return Outcome(name, times * len(entries), seconds, peak_mb(), peak_mb() - before)


def written(name: str, entries: Sequence[Entry], scratch: Path, times: int) -> None:
    """Write a report into a new folder."""
    folder = scratch / name
    folder.mkdir()
    report(name, entries, times, folder)


def peak_mb() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def main() -> None:
    """Measure each, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=at_least_one, default=100_000, help="in thousands whole (default: 100000)"
    )
    add_json(parser)
    options = parser.parse_args()
    names = ("csv module", "json module", *REPORT_FORMATS)
    times = max(1, options.runs // DIFFERENT)
    with (
        tempfile.TemporaryDirectory(prefix="formats-") as scratch,
        multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool,
    ):
        collect(Path(scratch))
        ledger = f"sqlite:///{scratch}/0/ledger.db"
        figures = [pool.apply(measure, (name, times, ledger)) for name in names]
    report_figures("formats", [asdict(each) for each in figures], table(figures), options.json)


def table(figures: Iterable[Outcome]) -> str:
    """Write a line for each, with its time against the module that writes nearest to it."""
    by_name = {each.name: each for each in figures}
    lines = [f"{'':<14}{'rows':>9}{'seconds':>9}{'rows/s':>10}{'× module':>10}{'MB':>8}{'MB grown':>10}"]
    for name, each in by_name.items():
        module = by_name["csv module" if name.startswith(("csv", "markdown")) else "json module"]
        lines.append(
            f"{name:<14}{each.rows:>9,}{each.seconds:>9.2f}{each.rows / each.seconds:>10,.0f}"
            f"{each.seconds / module.seconds:>10.2f}{each.peak_mb:>8.0f}{each.grown_mb:>10.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
