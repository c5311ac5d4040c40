"""An execution in this process alone: sub-workflows, timers and people."""

import asyncio
from datetime import timedelta
from typing import Any

from workflow_place import Place, document, node, place

from flowledger.domain.runs import RunStatus
from flowledger.services.workflows import running
from flowledger.services.workflows.running import LocalRun
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import Execution

PARTS = [("start", "middle"), ("middle", "end")]


def chain(middle: dict[str, Any]) -> dict[str, Any]:
    """A workflow with one node between its START and END."""
    return document([node("start", "START"), middle, node("end", "END")], PARTS)


def run(there: Place, execution: Execution) -> Execution:
    """Run an execution in this process until it is at rest."""
    return asyncio.run(LocalRun(Worker(there.engine, "local")).run(execution))


def test_sub_workflows_are_run_too() -> None:
    """To their end, and of theirs; the output comes up."""
    there = place(middle="deep")
    inner = there.publish(chain(node("middle")))
    outer = there.publish(chain(node("middle", "SUBWORKFLOW", workflow_id=inner)))
    outest = there.publish(chain(node("middle", "SUBWORKFLOW", workflow_id=outer)))
    ended = run(there, there.order(outest))
    assert (ended.status, ended.output) == (
        RunStatus.SUCCESS,
        {"middle": {"middle": {"middle": "deep"}}},
    )


def test_a_person_is_waited_for_outside() -> None:
    """Also where it is a sub-workflow that waits: the execution is returned as it is."""
    there = place()
    inner = there.publish(chain(node("middle", "APPROVAL", approvers=["bob"])))
    outer = there.publish(chain(node("middle", "SUBWORKFLOW", workflow_id=inner)))
    execution = run(there, there.order(outer))
    assert execution.status is RunStatus.PAUSED
    there.store.resolve(
        there.store.execution("e1.middle.1").id,  # type: ignore[union-attr]
        "middle",
        {"approved": True},
        there.now,
        by="bob",
    )
    assert run(there, execution).status is RunStatus.SUCCESS


def test_timers_are_waited_for(monkeypatch: Any) -> None:
    """A long delay parks the execution, and is over when its time has come."""
    monkeypatch.setattr(running, "LOOK_S", 0.001)
    there = place()
    execution = there.order(there.publish(chain(node("middle", "DELAY", seconds=90))))

    async def drive() -> Execution:
        task = asyncio.create_task(LocalRun(Worker(there.engine, "local")).run(execution))
        while True:
            current = await asyncio.to_thread(there.store.execution, execution.id)
            if current is not None and current.status is RunStatus.PAUSED:
                break
            await asyncio.sleep(0)
        there.now += timedelta(seconds=91)
        return await task

    assert asyncio.run(drive()).status is RunStatus.SUCCESS


def test_what_another_worker_took_is_waited_for() -> None:
    """It is driven by one of them only; one that died leaves it interrupted."""
    there = place()
    execution = there.order(there.publish(chain(node("middle"))))
    claim = there.store.take_one(execution.id, "other", there.now, timedelta(seconds=30))
    assert claim is not None
    there.now += timedelta(minutes=1)
    taken = there.store.execution(execution.id)
    assert taken is not None
    assert run(there, taken).status is RunStatus.INTERRUPTED
    assert there.api.called == []
