"""Kills a worker at each point of an execution, lets another one go on, and prints what was done as JSON.

Started by ``test_workflow_kills``: one program that loads everything once and forks for each point.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowledger.bootstrap.ledgers import decoders
from flowledger.ledger import open_ledger, workflow_store
from flowledger.services.workflows.engine import Engine
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import NodeAnswer, NodeCall, Order, WorkflowStore

NOW = datetime(2026, 11, 27, 2, 3, 4, tzinfo=UTC)
STEPS = 10
WATCHED = ("take_one", "write", "end")


def workflow() -> dict[str, Any]:
    """Ten calls, one after the other."""
    names = ["start", *(f"n{number}" for number in range(STEPS)), "end"]
    kinds = ["START", *["API_CALL"] * STEPS, "END"]
    nodes = [
        {"id": number, "alias": name, "name": name, "node_type": kind, "config": {}}
        for number, (name, kind) in enumerate(zip(names, kinds, strict=True), 1)
    ]
    connections = [
        {"id": number, "from_node_id": number, "to_node_id": number + 1} for number in range(1, len(nodes))
    ]
    return {"name": "ten", "version": "1", "config": {}, "nodes": nodes, "connections": connections}


class Points:
    """Counts the points that are passed, and kills this process at one of them."""

    def __init__(self, fatal: int) -> None:
        self.passed = 0
        self.fatal = fatal

    def passing(self) -> None:
        """Pass a point."""
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class Api:
    """A handler with an effect: a line in a file that outlives the process."""

    def __init__(self, effects: Path, points: Points) -> None:
        self.effects = effects
        self.points = points

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Have the effect."""
        self.points.passing()
        with self.effects.open("a") as file:
            file.write(call.idempotency_key + "\n")
        self.points.passing()
        return NodeAnswer(output=call.alias)


class Watched:
    """A store whose writes are points: just before, and just after."""

    def __init__(self, store: WorkflowStore, points: Points) -> None:
        self._store = store
        self._points = points

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return self._around(method) if name in WATCHED else method

    def _around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self._points.passing()
            result = method(*args, **named)
            self._points.passing()
            return result

        return call


def drive(url: str, effects: Path, at: datetime, owner: str, fatal: int) -> int:
    """Drive the execution in this process; return how many points there were."""
    points = Points(fatal)
    ledger = open_ledger(url, decoders())
    store: Any = Watched(workflow_store(ledger), points)
    api = Api(effects, points)
    engine = Engine(store, lambda _type: api, lambda: at)
    asyncio.run(Worker(engine, owner).run_one(1))
    ledger.close()
    return points.passed


def in_child(work: Callable[[], object]) -> None:
    """Do work in a process of its own, however that ends."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def accept(url: str) -> None:
    """Store the workflow and one execution that goes on by itself."""
    ledger = open_ledger(url, decoders())
    store = workflow_store(ledger)
    made = workflow()
    stored = store.create_workflow(made, NOW)
    store.publish(stored.id, 1, made, "digest", NOW, "ann")
    config = {"auto_resume": True}
    store.accept(Order("e1", stored.id, "ten", 1, "1", "ten", {}, {}, config, "api", "ann", NOW))
    ledger.close()


def main(folder: Path, stride: int) -> None:
    """Kill at every so manyth point in turn; print a line for each."""
    fatal, total = 0, 1
    while fatal <= total:
        url, effects = f"sqlite:///{folder}/{fatal}.db", folder / f"{fatal}.txt"
        effects.touch()
        accept(url)
        if fatal == 0:
            total = drive(url, effects, NOW, "w0", 0)
        else:
            in_child(lambda: drive(url, effects, NOW, "w1", fatal))  # noqa: B023  it is called at once
            in_child(lambda: drive(url, effects, NOW + timedelta(seconds=31), "w2", 0))  # noqa: B023
        ledger = open_ledger(url, decoders())
        execution = workflow_store(ledger).execution(1)
        assert execution is not None
        row = {"fatal": fatal, "status": execution.status, "effects": effects.read_text().split()}
        print(json.dumps(row), flush=True)
        ledger.close()
        fatal += stride


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
