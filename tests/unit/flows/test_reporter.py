"""How much Prefect is told, and what people want there."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflow_place import document, node, place

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus, WaitKind
from flowledger.flows import flow_runs
from flowledger.flows.reporter import Allowance
from flowledger.workflow_ports import Execution, Step, Wait

NOW = datetime(2026, 11, 27, 2, 3, 4, tzinfo=UTC)
RUN = UUID(int=7)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 500)), max_size=50))
def test_never_more_than_the_allowance(asked: list[tuple[float, int]]) -> None:
    """Over any time: what was saved at most, and so much a second."""
    now = [0.0]
    allowance = Allowance(10.0, 100.0, lambda: now[0])
    granted = 0
    for seconds, most in asked:
        now[0] += seconds
        granted += allowance.take(most)
        assert granted <= 100 + 10 * now[0] + 1e-6


def test_what_is_owed_is_waited_for() -> None:
    """With a share of 0.15, a second of work beyond the burst costs some seconds of rest."""
    now = [0.0]
    allowance = Allowance(0.15, 1.0, lambda: now[0])
    assert allowance.use(1.0) == 0
    assert allowance.use(0.3) == pytest.approx(2.0)
    now[0] = 2.0
    assert allowance.use(0) == pytest.approx(0)


def execution(status: RunStatus, error: str | None = None) -> Execution:
    """An execution in its second attempt."""
    there = place()
    made = document([node("start", "START"), node("end", "END")], [("start", "end")])
    return replace(there.order(there.publish(made)), status=status, attempt=2, error=error)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (RunStatus.RUNNING, "Running"),
        (RunStatus.PAUSED, "Suspended"),
        (RunStatus.SUCCESS, "Completed"),
        (RunStatus.PARTIAL, "Partial"),
        (RunStatus.FAILED, "Failed"),
        (RunStatus.CANCELLED, "Cancelled"),
        (RunStatus.INTERRUPTED, "Crashed"),
    ],
)
def test_each_status_has_a_state(status: RunStatus, name: str) -> None:
    """All of them are known as ours, so that what people set is told apart."""
    state = flow_runs.state_of(execution(status, "no stock"))
    assert state.name == name
    assert flow_runs.is_ours(state)


def test_a_suspension_says_what_it_waits_for() -> None:
    """Its key is another one in each attempt."""
    wait = Wait("ask", "ask", 1, WaitKind.APPROVAL, NOW)
    state = flow_runs.state_of(execution(RunStatus.PAUSED), [wait])
    assert state.message == "Flowledger: waits for approval ask"
    assert (state.state_details.pause_key, state.state_details.pause_reschedule) == ("park-2", True)


def test_a_try_has_one_task_run() -> None:
    """The same id whenever it is told, another one for the next try."""
    step = Step("loop/3/body", "body", "Body", 4, "API_CALL", 1, 1, StepStatus.SUCCESS, started_at=NOW)
    assert flow_runs.task_id(RUN, step) == flow_runs.task_id(RUN, replace(step, status=StepStatus.FAILED))
    again = replace(step, try_no=2)
    assert flow_runs.task_id(RUN, step) != flow_runs.task_id(RUN, again)
    assert flow_runs.task_event(RUN, step)["resource"]["prefect.resource.name"] == "loop/3/body · Body"
    assert flow_runs.task_event(RUN, again)["payload"]["task_run"]["name"] == "loop/3/body · Body · try 2"
