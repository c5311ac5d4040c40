"""Workers that go on for long: beside a server, and after a defect."""

import asyncio
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from workflow_place import document, node, place

from flowledger.bootstrap import open_ledger_at
from flowledger.bootstrap.worker_thread import worker_thread
from flowledger.bootstrap.workflows import workflow_services
from flowledger.services.workflows.worker import Worker, WorkerOptions
from flowledger.settings import ConfigManager

PATIENCE_S = 30


def test_a_server_with_a_worker_executes_until_it_stops(tmp_path: Path) -> None:
    """Nothing of it is left then."""
    settings = ConfigManager(tmp_path, {"OUTPUT_BASE_DIR": str(tmp_path)}).load(need_app=False)
    with open_ledger_at("memory://") as ledger:
        services = workflow_services(settings, ledger)
        made = document(
            [node("start", "START"), node("end", "END", output="{{input.a}}")], [("start", "end")]
        )
        workflow = services.store.create_workflow(made, services.authoring.clock())
        with worker_thread(settings, ledger):
            accepted = services.ordering.execute(workflow.id, input_data={"a": 7}, by="ann")
            ended = services.ordering.wait(accepted, PATIENCE_S)
            assert (ended.status, ended.output) == ("success", 7)
        assert not [each for each in threading.enumerate() if each.name == "workflow worker"]
        late = services.ordering.execute(workflow.id, input_data={"a": 8}, by="ann")
        assert services.ordering.get(late.id).status == "pending"


def test_a_worker_that_was_just_started_stops_at_once(tmp_path: Path) -> None:
    """However soon."""
    settings = ConfigManager(tmp_path, {"OUTPUT_BASE_DIR": str(tmp_path)}).load(need_app=False)
    began = time.monotonic()
    with open_ledger_at("memory://") as ledger, worker_thread(settings, ledger):
        pass
    assert time.monotonic() - began < PATIENCE_S


def test_a_defect_does_not_end_the_polling() -> None:
    """It is logged, and what is due is taken the next time."""
    there = place()
    made = document([node("start", "START"), node("end", "END")], [("start", "end")])
    execution = there.order(there.publish(made))
    failures = [ValueError("a defect")]

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(there.store, name)

        def is_due(self, at: datetime) -> bool:
            if failures:
                raise failures.pop()
            return there.store.is_due(at)

    async def run() -> None:
        store: Any = Failing()
        stop = asyncio.Event()
        worker = Worker(replace(there.engine, store=store), "w1", WorkerOptions(after_error_s=0.0))
        running = asyncio.create_task(worker.run(stop))
        async with asyncio.timeout(PATIENCE_S):
            while there.store.execution(execution.id).status.is_open:  # type: ignore[union-attr]  # it is there
                await asyncio.sleep(0.01)
        stop.set()
        await running

    asyncio.run(run())
    assert failures == []
