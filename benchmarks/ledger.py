"""How fast is the ledger, in a file and in PostgreSQL, beside the bare driver, and with a million runs?

Everything in one run on one machine.  Prints; asserts nothing.  ``--postgresql URL`` names an empty database,
which is emptied again at the end.  ``--million`` asks a ledger of a million runs (minutes; 1 GB of disk).
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import orjson
from ledger_runs import (
    APPS,
    DAYS,
    NODES,
    SCOPE,
    START,
    Rows,
    Saved,
    decode,
    fill,
    finished_rows,
    make,
    page_of,
    raw_bytes,
    record,
)
from results import add_json, at_least_one, report_figures

from flowledger.cli.main import tune_garbage_collector
from flowledger.domain.history import Place, RunKey, RunQuery
from flowledger.domain.runs import AppKey, RunStatus
from flowledger.ledger import bodies, open_ledger
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.migration import VERSION_TABLE
from flowledger.ledger.sql.postgresql import copy_rows
from flowledger.ledger.sql.schema import metadata
from flowledger.plugins import LEDGERS
from flowledger.ports import Ledger

DECODERS = {"sample": decode, "log": decode}
ROUNDS = 3
"""Of what is compared, the quickest of so many is: other programs only ever add."""
EXPORTED = 100_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=at_least_one, default=2000, help="written at once")
    parser.add_argument(
        "--records", type=at_least_one, nargs="*", default=[1000, 10_000], help="held by one workflow"
    )
    parser.add_argument("--creates", type=at_least_one, default=200, help="timed at each of these")
    parser.add_argument("--history", type=int, default=0, metavar="RUNS", help="asked for pages and facts")
    parser.add_argument("--million", action="store_true", help="the same as --history 1000000")
    parser.add_argument("--postgresql", metavar="URL")
    add_json(parser)
    options = parser.parse_args()
    tune_garbage_collector()
    lines = list(measure(options))
    report_figures("ledger", lines, "\n".join(lines), options.json)


def measure(options: argparse.Namespace) -> Iterator[str]:
    """Measure what is wanted, and say it line by line."""
    with tempfile.TemporaryDirectory() as scratch:
        places = Places(Path(scratch), options.postgresql)
        for name in places.databases():
            if options.runs:
                yield from bulk(name, places, options.runs)
        for size in options.records:
            for name in places.all():
                yield from creates(name, places, size, options.creates)
        runs = 1_000_000 if options.million else options.history
        for name in places.databases() if runs else ():
            yield from history(name, places, runs)


class Places:
    """Where ledgers are made: new ones, and gone afterwards."""

    def __init__(self, scratch: Path, postgresql: str | None) -> None:
        self._scratch = scratch
        self._postgresql = postgresql
        self._numbers = count()

    def databases(self) -> Sequence[str]:
        """Name the kinds of databases."""
        return ["sqlite", "postgresql"] if self._postgresql else ["sqlite"]

    def all(self) -> Sequence[str]:
        """Name all kinds of ledgers."""
        return [name for name in LEDGERS if name != "postgresql" or self._postgresql]

    @contextmanager
    def new(self, name: str) -> Iterator[Any]:
        """Make a ledger of a kind."""
        place = f"{self._scratch}/{next(self._numbers)}"
        urls = {"sqlite": f"sqlite:///{place}.db", "postgresql": self._postgresql, "memory": "memory://"}
        ledger = open_ledger(urls.get(name) or f"{name}://{place}", DECODERS)
        try:
            yield ledger
        finally:
            if name == "postgresql" and isinstance(ledger, SqlLedger):
                with ledger.engine.execution_options(writes=()).begin() as connection:
                    metadata.drop_all(connection)
                    connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
            ledger.close()
            for left in self._scratch.glob(f"{Path(place).name}.db*"):
                left.unlink()


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def p95(times: Sequence[float]) -> str:
    """Return the 95th percentile and the median as text."""
    return f"p95 {quantiles(times, n=20)[-1] * 1000:.1f} ms, median {median(times) * 1000:.1f} ms"


def bulk(name: str, places: Places, number: int) -> Iterator[str]:
    """Compare writing new runs with details to the driver's own way of inserting their finished rows."""
    saved = [make(each) for each in range(number)]
    rows = finished_rows(saved)
    taken: dict[str, list[float]] = {}
    size = 0
    for _ in range(ROUNDS):
        with places.new(name) as ledger:
            taken.setdefault("ledger", []).append(timed(lambda: save(ledger, saved)))
            size = stored(ledger)
            taken.setdefault("read", []).append(timed(lambda: sum(1 for _ in ledger.entries(SCOPE))))
            again = timed(lambda: ledger.save_runs([run for run, _ in saved], scope=SCOPE, at=START))
            taken.setdefault("again", []).append(again)
        with places.new(name) as ledger:
            taken.setdefault("bare", []).append(timed(lambda: insert(ledger, rows)))
        with places.new(name) as ledger:
            taken.setdefault("two steps", []).append(timed(lambda: save_in_steps(ledger, saved)))
        taken.setdefault("packing", []).append(timed(lambda: compress(saved)))
    best = {what: min(times) for what, times in taken.items()}
    through, bare, packing = best["ledger"], best["bare"], best["packing"]
    yield f"{name}: {number} new runs of {NODES} nodes, {raw_bytes(saved) // number:,} bytes of JSON each"
    yield f"  through the ledger {through:.2f} s, bare {bare:.2f} s: {through / bare:.1f} times"
    yield f"  compressing alone {packing:.2f} s; bare with it: {through / (bare + packing):.1f} times"
    yield f"  {number / through:,.0f} runs/s; listed first, then detailed {number / best['two steps']:,.0f};"
    yield f"  read back {number / best['read']:,.0f}, listed again unchanged {number / best['again']:,.0f}"
    yield f"  {size / number:,.0f} bytes a run on disk, {size / raw_bytes(saved):.2f} of its JSON"


def save(ledger: Ledger, saved: Saved) -> None:
    """Save new runs with their details."""
    for page in page_of(saved, 500):
        ledger.save_details(page)


def save_in_steps(ledger: Ledger, saved: Saved) -> None:
    """Save as a collection does: pages of runs, then their details."""
    for page in page_of(saved, 100):
        ledger.save_runs([run for run, _ in page], scope=SCOPE, at=START)
    for page in page_of(saved, 100):
        ledger.save_details(page)


def compress(saved: Saved) -> None:
    """Compress all that is compressed."""
    for run, detail in saved:
        for body in (run.raw, *detail.raw.values()):
            bodies.compress(body)


def insert(ledger: SqlLedger, rows: Rows) -> None:
    """Insert finished rows by the driver alone, as many in one transaction as through the ledger."""
    if ledger.engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(ledger.place), isolation_level=None)) as bare:
            for pragma in ("synchronous = NORMAL", "foreign_keys = ON", "cache_size = -16384"):
                bare.execute(f"PRAGMA {pragma}")
            for tables in rows.pages():
                bare.execute("BEGIN IMMEDIATE")
                for table, columns, values in tables:
                    marks = ", ".join("?" * len(columns))
                    bare.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
                bare.execute("COMMIT")
        return
    for tables in rows.pages():
        with ledger.engine.execution_options(writes=()).begin() as connection:
            for table, columns, values in tables:
                copy_rows(connection, table, columns, values)


def stored(ledger: SqlLedger) -> int:
    """Return the size of the tables with their indices, in bytes."""
    names = ", ".join(f"'{table}'" for table in metadata.tables)
    question = f"SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(ARRAY[{names}]) AS name"
    if ledger.engine.dialect.name == "sqlite":
        question = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    with ledger.engine.connect() as connection:
        return int(connection.exec_driver_sql(question).scalar_one())


def creates(name: str, places: Places, existing: int, creates: int) -> Iterator[str]:
    """Time acknowledged records, one at a time, where a workflow has many."""
    with places.new(name) as ledger:
        records = [record(number) for number in range(existing + creates)]
        if isinstance(ledger, SqlLedger):
            for page in page_of(records[:existing], 500):
                ledger.save_details(page)
        else:
            for saved in records[:existing]:
                ledger.amend(RunKey(saved[0].app, saved[0].run_id), lambda _, saved=saved: saved)
        times = [
            timed(lambda saved=saved: ledger.amend(RunKey(saved[0].app, saved[0].run_id), lambda _: saved))
            for saved in records[existing:]
        ]
        yield f"{name}: create where a workflow has {existing:,} records: {p95(times)}"


def history(name: str, places: Places, number: int) -> Iterator[str]:
    """Ask a ledger of many runs for pages, facts and rows."""
    with places.new(name) as ledger:
        yield f"{name}: {number:,} runs, written in {timed(lambda: fill(ledger, number)):.0f} s"
        ledger.compact()
        every, day = RunQuery(), timedelta(days=1)
        middle = ledger.history(RunQuery(listed_before=START + DAYS * day / 3), limit=1).following
        of_app = [
            RunQuery(
                apps=(APPS[place % len(APPS)],),
                statuses=(RunStatus.FAILED,),
                listed_from=START + place % DAYS * day,
                listed_before=START + (place % DAYS + 1) * day,
            )
            for place in range(60)
        ]
        questions: dict[str, Callable[[int], object]] = {
            "first page": lambda _: ledger.history(every),
            "deep page by cursor": lambda _: ledger.history(every, after=middle),
            "first page of an app": lambda n: ledger.history(RunQuery(apps=(APPS[n % 10],))),
            "deep page of an app": lambda n: ledger.history(RunQuery(apps=(APPS[n % 10],)), after=middle),
            "first page of a source": lambda _: ledger.history(RunQuery(sources=("sample",))),
            "app + status + day": lambda n: ledger.history(of_app[n]),
            "status": lambda _: ledger.history(RunQuery(statuses=(RunStatus.PARTIAL,))),
            "one run": lambda n: ledger.entry(RunKey(APPS[n % 10], f"{n:08x}-0000-4000-8000-000000000000")),
            "locate": lambda n: ledger.locate("sample", f"{n:08x}-0000-4000-8000-000000000000"),
        }
        for what, ask in questions.items():
            times = [timed(lambda n=n, ask=ask: ask(n)) for n in range(60)]
            yield f"  {what}: {p95(times)}"
        month = RunQuery(apps=APPS[:1], listed_from=START + 30 * day, listed_before=START + 60 * day)
        counted = min(timed(lambda: statistics(ledger, month)) for _ in range(ROUNDS))
        yield f"  statistics of a month of an app: {counted:.3f} s"
        yield f"  all apps with counts: {min(timed(ledger.apps) for _ in range(3)):.3f} s"
        rows = min(number, EXPORTED)
        yield f"  export: {rows / min(timed(lambda: export(ledger, rows)) for _ in range(2)):,.0f} rows/s"


def statistics(ledger: Ledger, query: RunQuery) -> dict[AppKey, dict[str, Any]]:
    """Count as a page of statistics does: by app, status and day, with percentiles, tokens and cost."""
    days: dict[Any, int] = {}
    lasted = []
    tokens, cost = 0, Decimal(0)
    for facts in ledger.facts(query):
        key = (facts.app, facts.status, facts.listed_at.date())
        days[key] = days.get(key, 0) + 1
        tokens += facts.total_tokens or 0
        if facts.elapsed_s is not None:
            lasted.append(facts.elapsed_s)
        for amount in facts.cost.values():
            cost += amount
    lasted.sort()
    return {APPS[0]: {"days": days, "p95": lasted[-len(lasted) // 20], "tokens": tokens, "cost": cost}}


def export(ledger: Ledger, rows: int) -> None:
    """Write rows of runs as JSON lines, page by page."""
    after: Place | None = None
    with tempfile.TemporaryFile() as file:
        while rows > 0:
            page = ledger.history(RunQuery(), after=after, limit=1000)
            file.writelines(
                orjson.dumps(entry.run, default=str, option=orjson.OPT_APPEND_NEWLINE)
                for entry in page.entries
            )
            rows -= len(page.entries)
            after = page.following


if __name__ == "__main__":
    main()
