"""Runs for ``ledger.py``: made ones, finished rows of them, and very many plain ones."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import sqlalchemy as sa

from flowledger.domain.certificates import Scope
from flowledger.domain.record_kinds import KINDS, LOG
from flowledger.domain.runs import AppKey, Creator, Detailed, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger.sql.bulk import execute_columns
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.row_mapping import NEVER_READ, detail_row, node_columns, payload_row, run_row
from flowledger.ledger.sql.schema import node_executions, payloads, runs

NODES = 6
DAYS = 100
DETAILED = 10_000
START = datetime(2026, 11, 1, tzinfo=UTC)
APPS = tuple(AppKey("sample", f"{place:08x}-1111-4000-8000-000000000000") for place in range(10))
SCOPE = Scope(APPS[0], Window.between(START, START + timedelta(days=DAYS)))
WORDS = [
    "".join(chr(0x4E00 + place * 7919 % 3000 + more * 31) for more in range(1 + place % 3))
    for place in range(4000)
]
"""As many as a writer uses, the first ones oftener."""
RANKS = [1 / (5 + place) for place in range(4000)]
PROMPT = " ".join(WORDS[:120])
STATUSES = [RunStatus.SUCCESS.value] * 18 + [RunStatus.FAILED.value, RunStatus.CANCELLED.value]
Saved = Sequence[tuple[Run, Detailed]]
Table = tuple[str, Sequence[str], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True)
class Rows:
    """The finished rows of runs in pages of 500 runs, so that only the driver is measured."""

    tables: Sequence[Sequence[Table]]

    def pages(self) -> Iterator[Sequence[Table]]:
        """Return the tables of each page."""
        return iter(self.tables)


def make(number: int) -> tuple[Run, Detailed]:
    """Make a run of six nodes with some 24 KB of escaped Chinese JSON.

    Texts go from node to node, so that zlib makes an eighth of it; of real ones it made a tenth.
    """
    at = START + timedelta(seconds=number * 40)
    chance = random.Random(number)
    sentences = [" ".join(chance.choices(WORDS, RANKS, k=60)) for _ in range(NODES + 1)]
    texts = [
        {
            "id": f"{number:08x}-0000-4000-8000-{place:012x}",
            "inputs": {"text": sentences[place]},
            "process_data": {
                "prompts": [{"role": "system", "text": PROMPT}, {"role": "user", "text": sentences[place]}]
            },
            "outputs": {
                "text": sentences[place + 1],
                "usage": {"total_tokens": 50, "latency": chance.random()},
            },
        }
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
    body = {"nodes": json.dumps(texts).encode()}
    return _run(number, at), Detailed({"query": "你好"}, {"answer": sentences[-1]}, nodes, body)


def _run(number: int, at: datetime) -> Run:
    return Run(
        APPS[0],
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


def record(number: int) -> tuple[Run, Detailed]:
    """Make a record of another program, all of one workflow."""
    at = START + timedelta(seconds=number)
    fields = {
        "execution_id": f"record-{number}",
        "workflow_id": "benchmark",
        "status": "completed",
        "start_time": at.isoformat(),
        "end_time": (at + timedelta(seconds=2)).isoformat(),
        "context": {"question": "你好", "number": number},
        "messages": ["begun", "done"],
        "task_results": {"answer": f"第{number}个"},
    }
    return KINDS[LOG].run_and_detail(fields)


def decode(_run: Run, raws: Mapping[str, bytes], _why: str) -> Detailed:
    """Rebuild a detail as cheaply as can be."""
    return Detailed(None, None, (), raws)


def raw_bytes(saved: Saved) -> int:
    """Count the bytes of all JSON."""
    return sum(len(run.raw) + sum(map(len, detail.raw.values())) for run, detail in saved)


def page_of(saved: Saved, size: int) -> Iterator[Saved]:
    """Cut what is saved into pages."""
    rest = iter(saved)
    while page := list(islice(rest, size)):
        yield page


def finished_rows(saved: Saved) -> Rows:
    """Finish all rows beforehand."""
    numbered = list(enumerate(saved, 1))
    return Rows([_finished_page(numbered[first : first + 500]) for first in range(0, len(numbered), 500)])


def _finished_page(page: Sequence[tuple[int, tuple[Run, Detailed]]]) -> Sequence[Table]:
    listed = [
        {"id": key, **run_row(run), "collected_at": None, **detail_row(run, detail)}
        for key, (run, detail) in page
    ]
    bodies = [payload_row(key, name, body) for key, (_, detail) in page for name, body in detail.raw.items()]
    nodes = [(key, node) for key, (_, detail) in page for node in detail.nodes]  # type: ignore[union-attr]
    of_nodes = node_columns(*map(list, zip(*nodes, strict=True)))  # type: ignore[arg-type]
    return [
        ("runs", *_finished(runs, _columns(listed))),
        ("node_executions", *_finished(node_executions, of_nodes)),
        ("payloads", *_finished(payloads, _columns(bodies))),
    ]


def _finished(
    table: sa.Table, columns: Mapping[str, Sequence[Any]]
) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
    converted = [getattr(table.c[name].type, "column", list)(values) for name, values in columns.items()]
    return list(columns), list(zip(*converted, strict=True))


def _columns(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def fill(ledger: SqlLedger, number: int) -> None:
    """Write many runs of ten apps in a hundred days, the newest of them with details."""
    step = timedelta(days=DAYS) / number
    page = 20_000
    for first in range(0, number, page):
        last = min(first + page, number)
        template = run_row(_run(first, START)) | {"collected_at": None, **NEVER_READ}
        columns: dict[str, Sequence[Any]] = {name: [each] * (last - first) for name, each in template.items()}
        numbers = range(first, last)
        times = [START + number * step for number in numbers]
        columns |= {
            "id": [number + 1 for number in numbers],
            "app_id": [APPS[number % 10].app_id for number in numbers],
            "run_id": [f"{number:08x}-0000-4000-8000-000000000000" for number in numbers],
            "log_id": [f"{number:08x}-0000-4000-8000-000000000001" for number in numbers],
            "listed_at": times,
            "started_at": times,
            "status": [STATUSES[number * 7 // 10 % 20] for number in numbers],
            "creator_name": [f"用户{number % 500}" for number in numbers],
            "elapsed_s": [Decimal(number * 7919 % 90000) / 1000 for number in numbers],
            "total_tokens": [number * 31 % 5000 for number in numbers],
            "cost": [{"USD": Decimal(number * 31 % 5000) / 1_000_000} for number in numbers],
            "detail_settled": [True] * (last - first),
        }
        with ledger.engine.execution_options(writes=()).begin() as connection:
            execute_columns(connection, sa.insert(runs), columns)
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(
                    "SELECT setval(pg_get_serial_sequence('runs', 'id'), max(id)) FROM runs"
                )
    _detail(ledger, range(max(0, number - DETAILED), number), step)


def _detail(ledger: SqlLedger, numbers: range, step: timedelta) -> None:
    few = [make(number)[1] for number in range(min(500, len(numbers)))]
    saved = [
        (replace(_run(number, START + number * step), app=APPS[number % 10]), few[number % len(few)])
        for number in numbers
    ]
    for page in page_of(saved, 500):
        ledger.save_details(page)
