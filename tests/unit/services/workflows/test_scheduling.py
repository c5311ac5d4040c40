"""Schedules of workflows: what is wrong with one is said before anything is kept."""

from collections.abc import Mapping
from typing import Any

import pytest
from workflow_place import NOW, KeptSchedules, document, node, place

from flowledger.errors import RecordNotFoundError, UsageError
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.scheduling import Scheduling, WorkflowSchedule, workflow_of
from flowledger.settings.schedules import check_cron

CHAIN = document(
    [node("start", "START", input_schema={"n": "integer"}), node("end", "END")], [("start", "end")]
)


@pytest.fixture
def scheduling() -> Scheduling:
    """Schedules of a store with one published workflow, number 1."""
    there = place()
    there.publish(CHAIN)
    return Scheduling(
        Authoring(there.store, lambda: NOW, dict, ()), KeptSchedules(), check_cron, "Asia/Shanghai"
    )


def test_a_workflow_has_one_schedule(scheduling: Scheduling) -> None:
    """In its own zone or that of the settings; a new one takes the place of the old."""
    scheduling.put(1, {"cron": "0 2 * * *", "input": {"n": 1}}, "ann")
    assert scheduling.get(1) == WorkflowSchedule(1, "w", "0 2 * * *", "Asia/Shanghai", {"n": 1})
    scheduling.put(1, {"cron": "0 3 * * *", "timezone": "UTC", "input": {"n": 2}}, "ann")
    assert (scheduling.get(1).cron, scheduling.get(1).timezone) == ("0 3 * * *", "UTC")
    scheduling.remove(1)
    for ask in (scheduling.get, scheduling.remove):
        with pytest.raises(RecordNotFoundError, match="the workflow 1 has no schedule"):
            ask(1)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "cron must be a text"),
        ({"cron": 5}, "cron must be a text"),
        ({"cron": "0 2 * *"}, "cron: '0 2 \\* \\*' is no cron"),
        ({"cron": "0 0 30 2 *"}, "is no cron"),
        ({"cron": "0 2 * * *", "timezone": "Nowhere/City"}, "unknown time zone"),
        ({"cron": "0 2 * * *", "input": [1]}, "input must be an object"),
        ({"cron": "0 2 * * *", "input": {"n": "x"}}, "input_data.n"),
        ({"cron": "0 2 * * *", "every": 5}, "unknown field 'every'"),
    ],
)
def test_what_is_wrong_is_said(scheduling: Scheduling, fields: Mapping[str, Any], reason: str) -> None:
    """A schedule that would fail at night is refused by day."""
    with pytest.raises(UsageError, match=reason):
        scheduling.put(1, fields, "ann")
    assert scheduling.scheduler.get(1) is None


def test_no_schedule_without_a_workflow(scheduling: Scheduling) -> None:
    """Nor is one asked for."""
    with pytest.raises(RecordNotFoundError):
        scheduling.put(7, {"cron": "0 2 * * *"}, "ann")
    with pytest.raises(RecordNotFoundError):
        scheduling.get(7)


def test_a_workflow_by_number_or_name() -> None:
    """Of several of one name the newest that is active."""
    there = place()
    there.publish({**CHAIN, "name": "night"})
    there.store.create_workflow({**CHAIN, "name": "night"}, NOW)
    assert workflow_of(there.store, "night").id == 1
    assert workflow_of(there.store, "2").id == 2
    for wrong in ("day", "", None, "99"):
        with pytest.raises(RecordNotFoundError, match="there is no workflow"):
            workflow_of(there.store, wrong)
