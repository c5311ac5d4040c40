"""Prefect's own server reads our events as task runs: no document promises it, the locked version does it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.server.events.schemas.events import Event
from prefect.server.schemas.states import StateType
from prefect.server.services.task_run_recorder import db_recordable_task_run_from_event

from flowledger.domain.workflows.steps import StepStatus
from flowledger.flows.flow_runs import task_event, task_id
from flowledger.workflow_ports import Step

RUN = UUID(int=7)
BEGUN = datetime(2026, 11, 27, 2, 3, 4, tzinfo=UTC)
ENDED = BEGUN + timedelta(seconds=2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (StepStatus.RUNNING, StateType.RUNNING),
        (StepStatus.WAITING, StateType.PAUSED),
        (StepStatus.SUCCESS, StateType.COMPLETED),
        (StepStatus.FAILED, StateType.FAILED),
        (StepStatus.SKIPPED, StateType.COMPLETED),
        (StepStatus.CANCELLED, StateType.CANCELLED),
    ],
)
def test_a_try_is_a_task_run(status: StepStatus, kind: StateType) -> None:
    """Of its flow run, with its times and what went wrong."""
    step = Step(
        *("body", "body", "Body", 4, "API_CALL", 1, 1, status),
        error="HTTP 503: no",
        started_at=BEGUN,
        completed_at=ENDED if status.is_settled else None,
    )
    received = Event.model_validate(task_event(RUN, step)).receive()
    task_run, row = db_recordable_task_run_from_event(received)
    shown: dict[str, Any] = row
    assert (task_run.id, task_run.flow_run_id) == (task_id(RUN, step), RUN)
    assert (shown["state_type"], shown["start_time"]) == (kind, BEGUN)
    assert shown.get("end_time") == (ENDED if status.is_settled else None)
    assert shown["dynamic_key"] == "body:1:1"
    assert task_run.state is not None
    assert task_run.state.message == "HTTP 503: no"
