"""How fast does the orchestrator accept, start and end executions, and what does a node cost?

One worker in this process over a SQLite file, and over ``--postgresql URL`` (an empty database, emptied
again); a Prefect task beside it as the peer.  Handlers do nothing, so that the engine is what is measured.
Prints; asserts nothing.  ``--listed`` fills a ledger with so many executions and asks for pages (minutes).
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

from results import add_json, at_least_one, report_figures

from flowledger.bootstrap.ledgers import decoders
from flowledger.cli.main import tune_garbage_collector
from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows import expressions
from flowledger.domain.workflows.expressions import MappingScope
from flowledger.ledger import open_ledger, workflow_store
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.migration import VERSION_TABLE
from flowledger.ledger.sql.schema import metadata
from flowledger.services.workflows.engine import Engine
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import (
    Execution,
    ExecutionQuery,
    NodeAnswer,
    NodeCall,
    Order,
    WorkflowStore,
    WorkflowVersion,
)

CONDITION = "{{input.age}} >= 18 and {{input.verified}} == true"
EVALUATIONS = 100_000
LOOK_S = 0.01


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--at-once", type=at_least_one, default=40, help="accepted at the same moment")
    parser.add_argument("--executions", type=at_least_one, default=1000, help="of three instant nodes")
    parser.add_argument("--nodes", type=at_least_one, default=200, help="of a chain")
    parser.add_argument("--branches", type=at_least_one, default=1000, help="in parallel")
    parser.add_argument("--listed", type=int, default=0, metavar="N", help="executions to list pages of")
    parser.add_argument("--postgresql", metavar="URL")
    parser.add_argument("--no-peer", action="store_true", help="leave Prefect's task out")
    add_json(parser)
    options = parser.parse_args()
    tune_garbage_collector()
    lines = list(measure(options))
    report_figures("orchestrate", lines, "\n".join(lines), options.json)


def measure(options: argparse.Namespace) -> Iterator[str]:
    """Measure what is wanted, and say it line by line."""
    yield expression_line()
    with tempfile.TemporaryDirectory() as scratch:
        urls = {"sqlite": f"sqlite:///{Path(scratch)}/ledger.db"}
        if options.postgresql:
            urls["postgresql"] = options.postgresql
        for name, url in urls.items():
            with opened(url) as place:
                yield f"{name}:"
                yield latency(place, options.at_once)
                yield throughput(place, options.executions)
                yield chain(place, options.nodes)
                yield branches(place, options.branches)
                if options.listed:
                    yield listing(place, options.listed)
    if not options.no_peer:
        yield peer()


class Instant:
    """A handler that does nothing, and notes when each execution's first node began."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Answer at once."""
        self.began.setdefault(call.execution.execution_id, time.perf_counter())
        return NodeAnswer(output=call.alias)


@dataclass
class Place:
    """A store, the handler of all its nodes, and an engine over both."""

    store: WorkflowStore
    handler: Instant = field(default_factory=Instant)

    def engine(self) -> Engine:
        """Return an engine of its own."""
        return Engine(self.store, lambda _type: self.handler, now)

    def publish(self, document: Mapping[str, Any]) -> WorkflowVersion:
        """Publish a document."""
        stored = self.store.create_workflow(document, now())
        digest = f"{stored.id:064x}"
        version = self.store.publish(stored.id, stored.revision, document, digest, now(), "benchmark")
        assert version is not None
        return version

    def accept(self, version: WorkflowVersion) -> Execution:
        """Accept an execution."""
        order = Order(
            execution_id=uuid4().hex,
            workflow_id=version.workflow_id,
            workflow_name=version.document["name"],
            version=version.number,
            version_text=version.version,
            name="benchmark",
            input={"age": 18},
            variables={},
            config={},
            trigger="api",
            requested_by="benchmark",
            at=now(),
        )
        return self.store.accept(order)


@contextmanager
def opened(url: str) -> Iterator[Place]:
    """Open a new ledger; a server's is emptied at the end."""
    ledger = open_ledger(url, decoders())
    try:
        yield Place(workflow_store(ledger))
    finally:
        if url.startswith("postgresql") and isinstance(ledger, SqlLedger):
            with ledger.engine.execution_options(writes=()).begin() as connection:
                metadata.drop_all(connection)
                connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
        ledger.close()


def now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


def document(steps: Sequence[tuple[str, str, dict[str, Any]]], ways: Sequence[Any]) -> dict[str, Any]:
    """Return a document of steps (alias, type, config) and ways (from, to, type)."""
    numbers = {alias: number for number, (alias, _, _) in enumerate(steps, 1)}
    nodes = [
        {"id": numbers[alias], "alias": alias, "name": alias, "node_type": kind, "config": config}
        for alias, kind, config in steps
    ]
    connections = [
        {
            "id": number,
            "from_node_id": numbers[source],
            "to_node_id": numbers[target],
            "connection_type": kind,
        }
        for number, (source, target, kind) in enumerate(ways, 1)
    ]
    return {"name": "benchmark", "version": "1", "nodes": nodes, "connections": connections}


def line_of(steps: Sequence[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """Return a document of steps one after the other."""
    aliases = [alias for alias, _, _ in steps]
    return document(steps, [(*pair, "SEQUENCE") for pair in pairwise(aliases)])


INSTANT = line_of(
    [("start", "START", {}), ("age", "TRANSFORM", {"template": "{{input.age}}"}), ("end", "END", {})]
)
ONE_CALL = line_of([("start", "START", {}), ("call", "API_CALL", {}), ("end", "END", {})])


def latency(place: Place, at_once: int) -> str:
    """Time from the moment an execution is accepted to its first node, many at once, worker warm."""
    version = place.publish(ONE_CALL)

    async def work(worker: Worker) -> list[float]:
        await asyncio.to_thread(place.accept, version)
        await settled(worker, place, 1)
        with ThreadPoolExecutor(8) as pool:
            accepted = list(pool.map(lambda _: (place.accept(version), time.perf_counter()), range(at_once)))
        await settled(worker, place, at_once)
        # The first node may begin before the call that accepted it has returned.
        return [max(place.handler.began[each.execution_id] - at, 0.0) for each, at in accepted]

    times = with_worker(place, work)
    return f"  accepted to first node, {at_once} at once: {spread(times)}"


def throughput(place: Place, number: int) -> str:
    """Accept and end executions of three instant nodes, both durable."""
    version = place.publish(INSTANT)
    count = {"cpu": 0.0}

    async def work(worker: Worker) -> float:
        begun, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(8) as pool:
            accepting = [
                asyncio.get_running_loop().run_in_executor(pool, place.accept, version) for _ in range(number)
            ]
            await asyncio.gather(*accepting)
        await settled(worker, place, number)
        count["cpu"] = time.process_time() - cpu
        return time.perf_counter() - begun

    seconds = with_worker(place, work)
    each_ms = count["cpu"] * 1000 / number
    return f"  {number / seconds:.0f} executions/s of three instant nodes ({each_ms:.1f} ms of CPU each)"


def chain(place: Place, nodes: int) -> str:
    """Run a chain of calls."""
    calls = [(f"n{number}", "API_CALL", {}) for number in range(nodes)]
    version = place.publish(line_of([("start", "START", {}), *calls, ("end", "END", {})]))
    seconds, cpu = one(place, version)
    return f"  a chain of {nodes} calls: {seconds:.2f} s, {cpu * 1000 / nodes:.2f} ms of CPU a node"


def branches(place: Place, number: int) -> str:
    """Run many parallel calls."""
    calls = [(f"b{each}", "API_CALL", {}) for each in range(number)]
    steps = [("start", "START", {}), ("fork", "PARALLEL", {"max_concurrent": 0}), *calls, ("end", "END", {})]
    ways = [("start", "fork", "SEQUENCE"), *(("fork", alias, "PARALLEL") for alias, _, _ in calls)]
    version = place.publish(document(steps, [*ways, ("fork", "end", "SEQUENCE")]))
    seconds, cpu = one(place, version)
    recorded = len(place.store.steps(newest(place).id))
    return (
        f"  {number} parallel calls: {seconds:.2f} s, {cpu * 1000 / number:.2f} ms of CPU a node,"
        f" {recorded} steps recorded"
    )


def listing(place: Place, number: int) -> str:
    """Ask for pages of a long list of executions, and for what the monitor shows."""
    version = place.publish(INSTANT)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: place.accept(version), range(number)))
    store, workflow = place.store, version.workflow_id
    deep = newest(place).id - number // 2
    several = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED)
    questions: Mapping[str, Callable[[], object]] = {
        "first page": lambda: store.executions(ExecutionQuery()),
        "deep page": lambda: store.executions(ExecutionQuery(), after=deep),
        "of a workflow and status": lambda: store.executions(
            ExecutionQuery(workflow_id=workflow, statuses=(RunStatus.FAILED,))
        ),
        "of several statuses": lambda: store.executions(ExecutionQuery(statuses=several)),
        "totals of a workflow": lambda: store.totals(workflow),
        "what goes on now": lambda: store.moment(now()),
        "recent past of a workflow": lambda: store.recent_past(workflow),
    }
    lines = [f"  {name} of {number} executions: {spread(timed(ask))}" for name, ask in questions.items()]
    return "\n".join(lines)


def timed(ask: Callable[[], object], times: int = 50) -> list[float]:
    """Return the seconds of each of several calls."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begun)
    return seconds


def expression_line() -> str:
    """Evaluate a typical condition again and again."""
    expression = expressions.parse(CONDITION)
    scope = MappingScope({"input": {"age": 18, "verified": True}})
    begun = time.process_time()
    for _ in range(EVALUATIONS):
        expression.evaluate(scope)
    return f"{EVALUATIONS / (time.process_time() - begun):,.0f} evaluations/s of {CONDITION}"


def peer() -> str:
    """Run tasks of Prefect that do nothing, in one flow, beside its own temporary server."""
    from prefect import flow, task

    @task
    def nothing() -> None:
        return None

    @flow
    def tasks(number: int) -> None:
        for _ in range(number):
            nothing()

    number = 100
    tasks(1)
    begun = time.process_time()
    tasks(number)
    each_ms = (time.process_time() - begun) * 1000 / number
    return f"peer: a Prefect task that does nothing: {each_ms:.1f} ms of CPU in the client alone"


def one(place: Place, version: WorkflowVersion) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of one execution, from its acceptance to its end."""

    async def work(worker: Worker) -> tuple[float, float]:
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.to_thread(place.accept, version)
        await settled(worker, place, 1)
        return time.perf_counter() - begun, time.process_time() - cpu

    return with_worker(place, work)


async def settled(worker: Worker, place: Place, number: int) -> None:
    """Wait until nothing runs or waits any more, by looks that cost next to nothing."""
    while True:
        if not worker.busy and not await asyncio.to_thread(place.store.is_due, now()):
            page = await asyncio.to_thread(place.store.executions, ExecutionQuery(), limit=number)
            if all(not each.status.is_open for each in page.executions):
                return
        await asyncio.sleep(LOOK_S)


def newest(place: Place) -> Execution:
    """Return the newest execution."""
    return place.store.executions(ExecutionQuery(), limit=1).executions[0]


def with_worker(place: Place, work: Callable[[Worker], Any]) -> Any:
    """Do work beside a warm worker."""

    async def run() -> Any:
        stop = asyncio.Event()
        worker = Worker(place.engine(), "benchmark")
        running = asyncio.create_task(worker.run(stop))
        try:
            return await work(worker)
        finally:
            stop.set()
            await running

    return asyncio.run(run())


def spread(times: Sequence[float]) -> str:
    """Return median and 95th percentile as text."""
    return f"p50 {median(times) * 1000:.1f} ms, p95 {quantiles(times, n=20)[-1] * 1000:.1f} ms"


if __name__ == "__main__":
    main()
