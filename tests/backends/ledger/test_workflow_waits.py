"""Waits and tries of steps, across executions, as people ask for them, in every ledger."""

from datetime import UTC, datetime, timedelta

import pytest

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus, WaitKind
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.workflow_ports import (
    LEASE,
    Ended,
    Order,
    Progressed,
    Resumption,
    Step,
    Wait,
    WaitQuery,
    WorkflowStore,
)

NOW = datetime(2026, 11, 27, 2, 3, 4, 567000, UTC)
DOCUMENT = {"name": "w", "version": "1.0", "nodes": []}


@pytest.fixture
def store(ledger: Ledger) -> WorkflowStore:
    """Two workflows, with two and one executions that wait for approval; one of them is resolved."""
    store = workflow_store(ledger)
    one, other = (store.create_workflow(DOCUMENT, NOW).id for _ in range(2))
    for workflow, execution_id in ((one, "e1"), (other, "e2"), (one, "e3")):
        store.publish(workflow, 1, DOCUMENT, f"d{workflow}", NOW, "ann")
        park(store, workflow, execution_id)
    resolved = store.execution("e1")
    assert resolved is not None
    store.resolve(resolved.id, "ask", {"approved": True}, NOW, by="bob")
    return store


def park(store: WorkflowStore, workflow: int, execution_id: str) -> None:
    """Order an execution, and park it with an approval and a timer."""
    store.accept(
        Order(
            execution_id=execution_id,
            workflow_id=workflow,
            workflow_name="w",
            version=1,
            version_text="1.0",
            name="nightly",
            input={},
            variables={},
            config={"timeout": 5},
            trigger="api",
            requested_by="ann",
            at=NOW,
        )
    )
    (claim,) = store.take("w1", NOW, LEASE, limit=1)
    waits = [
        Wait("ask", "ask", 1, WaitKind.APPROVAL, NOW, facts={"approvers": ["ann"]}),
        Wait("nap", "nap", 1, WaitKind.DELAY, NOW, NOW + timedelta(days=1)),
    ]
    step = Step("ask", "ask", "问", 1, "APPROVAL", 1, 1, StepStatus.WAITING)
    store.end(claim.lease, Ended(RunStatus.PAUSED), Progressed([step], waits=waits), NOW)


def test_waits_are_read_newest_first_with_their_executions(store: WorkflowStore) -> None:
    """By kind, workflow, execution, whether they are open, and those before a number."""

    def ids(query: WaitQuery, **page: int) -> list[str]:
        found = store.newest_waits(query, **page)
        assert [wait.execution_id for wait, _ in found] == [each.execution_id for _, each in found]
        return [each.execution_id for _, each in found]

    asked = WaitKind.APPROVAL
    other, one = (each.id for each in store.workflows().workflows)  # ledgers use no number twice
    assert ids(WaitQuery(asked)) == ["e3", "e2", "e1"]
    assert ids(WaitQuery(asked, is_open=True)) == ["e3", "e2"]
    assert ids(WaitQuery(asked, is_open=False)) == ["e1"]
    assert ids(WaitQuery(asked, workflow_id=one)) == ["e3", "e1"]
    assert ids(WaitQuery(asked, among=[other])) == ["e2"]
    assert ids(WaitQuery(asked, among=[])) == []
    assert len(ids(WaitQuery())) == 6
    newest, _ = store.newest_waits(WaitQuery(asked), limit=1)[0]
    assert ids(WaitQuery(asked), after=newest.id, limit=1) == ["e2"]
    assert ids(WaitQuery(asked, execution=store.newest_waits(WaitQuery(asked))[2][1].id)) == ["e1"]


def test_one_wait_and_one_try_are_read_by_number(store: WorkflowStore) -> None:
    """None where there is none."""
    wait, execution = store.newest_waits(WaitQuery(WaitKind.APPROVAL))[0]
    assert store.wait(wait.id) == wait
    assert store.wait(wait.id + 100) is None
    (step,) = store.steps(execution.id)
    found = store.step(step.id)
    assert found is not None
    assert (found.execution, found.step) == (execution.id, step)
    assert store.step(step.id + 100) is None


def test_a_resumption_may_change_the_config(store: WorkflowStore) -> None:
    """Without one it stays."""
    execution = store.execution("e3")
    assert execution is not None
    changed = store.resume(execution.id, Resumption(1, "ann", config={"timeout": 9}), NOW)
    assert changed.config == {"timeout": 9}
    (claim,) = store.take("w1", NOW, LEASE, limit=5)[:1]
    assert claim.execution.config in ({"timeout": 9}, {"timeout": 5})
    again = store.execution("e3")
    assert again is not None
    assert again.config == {"timeout": 9}
