"""Figures of workflows in every ledger: totals, what is open, the recent past, large values in lists."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.workflow_ports import (
    LEASE,
    Ended,
    ExecutionQuery,
    Order,
    Progressed,
    Step,
    WorkflowStore,
)

NOW = datetime(2026, 11, 27, 2, 3, 4, 567000, UTC)
DOCUMENT = {"name": "w", "version": "1.0", "nodes": []}
SECOND = timedelta(seconds=1)


@pytest.fixture
def store(ledger: Ledger) -> WorkflowStore:
    """A store without workflows."""
    return workflow_store(ledger)


@pytest.fixture
def workflow(store: WorkflowStore) -> int:
    """The number of a published workflow."""
    stored = store.create_workflow(DOCUMENT, NOW)
    store.publish(stored.id, 1, DOCUMENT, "d1", NOW, "ann")
    return stored.id


def order(workflow: int, execution_id: str, **changes: Any) -> Order:
    """An order of a workflow."""
    made = Order(
        execution_id=execution_id,
        workflow_id=workflow,
        workflow_name="w",
        version=1,
        version_text="1.0",
        name="nightly",
        input={"id": 7},
        variables={},
        config={},
        trigger="api",
        requested_by="ann",
        at=NOW,
    )
    return replace(made, **changes)


def end(store: WorkflowStore, status: RunStatus, seconds: float, **step: Any) -> None:
    """Take what is due and end it after so many seconds, with one step."""
    (claim,) = store.take("w1", NOW, LEASE, limit=1)
    at = NOW + timedelta(seconds=seconds)
    ended = Ended(status, error_type="Timeout" if status is RunStatus.FAILED else None)
    fields = {"alias": "a", "name": "取", "node_id": 1, "node_type": "API_CALL", "generation": 0, "try_no": 1}
    row = Step(**{"key": "a", "status": StepStatus.SUCCESS, **fields, **step})
    store.end(claim.lease, ended, Progressed(steps=[row]), at)


def test_totals_count_by_status_with_the_time_taken(store: WorkflowStore, workflow: int) -> None:
    """Of one workflow or all; what has not ended has taken no time."""
    for number, (status, seconds) in enumerate(
        [(RunStatus.SUCCESS, 1.5), (RunStatus.SUCCESS, 2.5), (RunStatus.FAILED, 10)]
    ):
        store.accept(order(workflow, f"e{number}"))
        end(store, status, seconds)
    store.accept(order(workflow, "waiting"))
    totals = {each.status: each for each in store.totals(workflow)}
    assert {status: each.executions for status, each in totals.items()} == {
        RunStatus.SUCCESS: 2,
        RunStatus.FAILED: 1,
        RunStatus.PENDING: 1,
    }
    assert totals[RunStatus.SUCCESS].seconds == pytest.approx(4.0, abs=0.01)
    assert (totals[RunStatus.SUCCESS].timed, totals[RunStatus.PENDING].timed) == (2, 0)
    assert sorted(store.totals()) == sorted(store.totals(workflow))
    assert store.totals(workflow + 1) == []


def test_a_moment_counts_what_is_open_and_what_came_since(store: WorkflowStore, workflow: int) -> None:
    """What ended is open no more, but was accepted."""
    store.accept(order(workflow, "old", at=NOW - timedelta(hours=1)))
    end(store, RunStatus.SUCCESS, 1)
    store.accept(order(workflow, "new", at=NOW))
    store.accept(order(workflow, "newer", at=NOW + SECOND))
    moment = store.moment(NOW - timedelta(minutes=1))
    assert (moment.open, moment.accepted) == ({RunStatus.PENDING: 2}, 2)


def test_the_recent_past_has_ends_and_steps_without_values(store: WorkflowStore, workflow: int) -> None:
    """Of so many of the newest executions, oldest first."""
    ids = []
    for number in range(3):
        ids.append(store.accept(order(workflow, f"e{number}")).id)
        end(store, RunStatus.FAILED, 1, output={"large": 1}, metrics={"rows": number})
    store.accept(order(workflow, "open"))
    past = store.recent_past(workflow, executions=3)
    assert [each.id for each in past.ended] == ids[1:]
    assert {(each.status, each.error_type) for each in past.ended} == {(RunStatus.FAILED, "Timeout")}
    assert [(number, step.metrics, step.output) for number, step in past.steps] == [
        (ids[1], {"rows": 1}, None),
        (ids[2], {"rows": 2}, None),
    ]
    assert [number for number, _ in store.recent_past(workflow, steps=1).steps] == ids[2:]


def test_several_statuses_are_one_list(store: WorkflowStore, workflow: int) -> None:
    """Newest first over all of them, page by page."""
    for number, status in enumerate([RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED] * 2):
        store.accept(order(workflow, f"e{number}"))
        end(store, status, 1)
    query = ExecutionQuery(statuses=(RunStatus.FAILED, RunStatus.SUCCESS))
    found: list[str] = []
    after: int | None = None
    while True:
        page = store.executions(query, after=after, limit=3)
        found += [each.execution_id for each in page.executions]
        after = page.following
        if after is None:
            break
    assert found == ["e4", "e3", "e1", "e0"]


def test_a_list_leaves_large_values_out(store: WorkflowStore, workflow: int) -> None:
    """And names them; by itself an execution is whole."""
    large = {"text": "x" * 20_000}
    store.accept(order(workflow, "e1", input=large))
    (listed,) = store.executions(ExecutionQuery()).executions
    assert (listed.input, listed.omitted, listed.config) == (None, ("input",), {})
    whole = store.execution("e1")
    assert whole is not None
    assert (whole.input, whole.omitted) == (large, ())


def test_lists_among_some_workflows(store: WorkflowStore, workflow: int) -> None:
    """Those of no workflow are none."""
    store.accept(order(workflow, "e1"))
    for among, number in (([workflow], 1), ([workflow + 1], 0), ([], 0), (None, 1)):
        assert len(store.executions(ExecutionQuery(among=among)).executions) == number
        assert len(store.workflows(among=among).workflows) == number
