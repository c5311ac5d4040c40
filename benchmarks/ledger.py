"""How much slower than the bare driver is the ledger, in a file and in PostgreSQL?

Everything in one run on one machine: the same runs with their details, first through the ledger, then their
finished rows through ``executemany`` (SQLite) or ``COPY`` (PostgreSQL) into equal tables, then read back,
then runs one at a time.  Prints ratios and bytes per run; asserts nothing.

``--postgresql URL`` names an empty database, which is emptied again at the end.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from statistics import quantiles
from typing import Any

import sqlalchemy as sa

from flowledger.cli.main import spare_collector
from flowledger.domain.certificates import Scope
from flowledger.domain.runs import AppKey, Creator, Detail, Detailed, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger.details import summarise
from flowledger.ledger.sql.bodies import pack
from flowledger.ledger.sql.bulk import execute_many
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.migration import VERSION_TABLE
from flowledger.ledger.sql.rows import detail_row, node_row, run_row
from flowledger.ledger.sql.schema import metadata, node_executions, payloads, runs

PAGE = 100
NODES = 6
START = datetime(2026, 11, 1, tzinfo=UTC)
APP = AppKey("sample", "benchmark")
SCOPE = Scope(APP, Window.between(START, START + timedelta(days=30)))
Saved = Sequence[tuple[Run, Detail]]


@dataclass(frozen=True)
class Rows:
    """The finished rows of the same runs, so that only the driver is measured."""

    runs: Sequence[Mapping[str, Any]]
    nodes: Sequence[Mapping[str, Any]]
    bodies: Sequence[Mapping[str, Any]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--singles", type=int, default=300)
    parser.add_argument("--postgresql", metavar="URL")
    options = parser.parse_args()
    spare_collector()
    saved = [make(number) for number in range(options.runs)]
    with tempfile.TemporaryDirectory() as scratch:
        measure("SQLite, executemany", f"sqlite:///{scratch}/ledger.db", saved, options.singles)
    if options.postgresql:
        measure("PostgreSQL, COPY", options.postgresql, saved, options.singles)


def make(number: int) -> tuple[Run, Detail]:
    """Make a run of six nodes with some 20 KB of escaped Chinese JSON."""
    at = START + timedelta(seconds=number * 40)
    run = Run(
        APP,
        f"{number:08x}-0000-4000-8000-000000000000",
        at,
        RunStatus.SUCCESS,
        "succeeded",
        log_id=f"{number:08x}-0000-4000-8000-000000000001",
        workflow_version="2026-11-22 00:41:00.163542",
        created_from="service-api",
        creator=Creator("end_user", "user", f"用户{number}", None, f"session-{number}"),
        elapsed_s=Decimal("1.230"),
        total_tokens=333,
        total_steps=NODES,
        exceptions_count=0,
        started_at=at,
        finished_at=at + timedelta(seconds=1.23),
        raw=json.dumps({"id": number, "workflow_run": {"id": number, "status": "succeeded"}}).encode() * 8,
    )
    texts = [
        f"第{number}次运行的第{place}个节点：" + "答复内容各不相同" * 60 + str(number)
        for place in range(NODES)
    ]
    nodes = [
        NodeExecution(
            place,
            f"{number}-{place}",
            f"node-{place}",
            "llm",
            "回答",
            "succeeded",
            index=place + 1,
            elapsed_s=Decimal("0.2"),
            total_tokens=50,
            total_price=Decimal("0.0041700"),
            currency="USD",
            started_at=at,
            finished_at=at,
        )
        for place in range(NODES)
    ]
    return run, Detailed(
        {"query": "你好"}, {"answer": texts[-1]}, nodes, {"nodes": json.dumps(texts).encode()}
    )


def measure(name: str, url: str, saved: Saved, singles: int) -> None:
    """Measure one database."""
    ledger = SqlLedger.open(url, {"sample": read})
    try:
        through = timed(lambda: save(ledger, saved))
        reading = timed(lambda: sum(1 for _ in ledger.entries(SCOPE)))
        again = timed(lambda: list_pages(ledger, saved))
        size = stored(ledger)
        one_by_one = [timed(lambda each=each: create(ledger, each)) for each in more(len(saved), singles)]
        empty(ledger)
        rows = rows_of(saved)
        bare = timed(lambda: insert(ledger, rows))
        print(f"{name}: {len(saved)} runs of {NODES} nodes")
        print(f"  through the ledger {through:.2f} s, bare {bare:.2f} s: {through / bare:.1f} times")
        print(f"  {len(saved) / through:,.0f} runs/s; read back {len(saved) / reading:,.0f} runs/s;")
        print(f"  listed again unchanged {len(saved) / again:,.0f} runs/s")
        print(f"  one run at a time: p95 {quantiles(one_by_one, n=20)[-1] * 1000:.1f} ms")
        print(f"  {size / len(saved):,.0f} bytes per run, indices included")
    finally:
        with ledger.engine.execution_options(writes=()).begin() as connection:
            metadata.drop_all(connection)
            connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
        ledger.close()


def read(_run: Run, raws: Mapping[str, bytes], _why: str) -> Detailed:
    """Rebuild a detail as cheaply as can be."""
    return Detailed(None, None, (), raws)


def timed(work: Callable[[], object]) -> float:
    """Give how long work takes, in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def pages(saved: Saved) -> Iterator[Saved]:
    """Cut what is saved into pages, as a source gives them."""
    rest = iter(saved)
    while page := list(islice(rest, PAGE)):
        yield page


def list_pages(ledger: SqlLedger, saved: Saved) -> None:
    """Save pages of the list."""
    for page in pages(saved):
        ledger.save_runs([run for run, _ in page], scope=SCOPE, at=START)


def save(ledger: SqlLedger, saved: Saved) -> None:
    """Save as a collection does: pages of runs, then their details."""
    list_pages(ledger, saved)
    for page in pages(saved):
        ledger.save_details(page)


def more(first: int, count: int) -> Saved:
    """Make further runs."""
    return [make(number) for number in range(first, first + count)]


def create(ledger: SqlLedger, each: tuple[Run, Detail]) -> None:
    """Save one run with its detail, in a transaction."""
    ledger.save_details([each])


def rows_of(saved: Saved) -> Rows:
    """Finish all rows beforehand."""
    listed, nodes, bodies = [], [], []
    for key, (run, detail) in enumerate(saved, 1):
        assert isinstance(detail, Detailed)
        assert isinstance(detail.nodes, Sequence)
        listed.append(
            {"id": key, **run_row(run), "collected_at": START, **detail_row(summarise(run, detail))}
        )
        nodes += [node_row(key, node) for node in detail.nodes]
        bodies += [{"run": key, "name": name, "body": pack(body)} for name, body in detail.raw.items()]
    return Rows(listed, nodes, bodies)


def insert(ledger: SqlLedger, rows: Rows) -> None:
    """Insert finished rows in one transaction."""
    with ledger.engine.execution_options(writes=()).begin() as connection:
        execute_many(connection, sa.insert(runs), rows.runs)
        execute_many(connection, sa.insert(node_executions), rows.nodes)
        execute_many(connection, sa.insert(payloads), rows.bodies)


def empty(ledger: SqlLedger) -> None:
    """Remove all rows."""
    with ledger.engine.execution_options(writes=()).begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


def stored(ledger: SqlLedger) -> int:
    """Give the size of the tables with their indices, in bytes."""
    names = ", ".join(f"'{table}'" for table in metadata.tables)
    question = f"SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(ARRAY[{names}]) AS name"
    if ledger.engine.dialect.name == "sqlite":
        question = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    with ledger.engine.connect() as connection:
        return int(connection.exec_driver_sql(question).scalar_one())


if __name__ == "__main__":
    main()
