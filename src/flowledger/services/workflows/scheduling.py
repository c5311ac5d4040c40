"""Schedules of workflows: a cron and a time zone each, kept by what starts them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flowledger.domain.runs import Json
from flowledger.domain.windows import zone
from flowledger.domain.workflows.definition import WorkflowStatus
from flowledger.errors import RecordNotFoundError, UsageError
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.ordering import check_input
from flowledger.workflow_ports import StoredWorkflow, WorkflowStore

LONGEST_CRON = 100


@dataclass(frozen=True, slots=True)
class WorkflowSchedule:
    """When a workflow is executed, with which input; ``active`` False where somebody has switched it off."""

    workflow_id: int
    name: str
    cron: str
    timezone: str
    input: Mapping[str, Json]
    active: bool = True


class Scheduler(Protocol):
    """Starts executions by their schedules.  Every method raises ``SchedulerError`` where it is away."""

    def put(self, schedule: WorkflowSchedule) -> None:
        """Keep a workflow's schedule in place of the one it has."""

    def get(self, workflow_id: int) -> WorkflowSchedule | None:
        """Return a workflow's schedule, None where it has none."""

    def remove(self, workflow_id: int) -> bool:
        """Remove a workflow's schedule; return whether it had one."""


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Sets and removes schedules of workflows; ``check_cron`` raises ValueError with what is wrong."""

    authoring: Authoring
    scheduler: Scheduler
    check_cron: Any
    timezone: str

    def put(self, workflow_id: int, fields: Mapping[str, Any], by: str) -> WorkflowSchedule:
        """Let a workflow be executed by a cron.

        :raises RecordNotFoundError, InvalidWorkflowError, RecordConflictError: when it cannot be executed;
            UsageError: when cron, time zone or input are wrong; SchedulerError: when Prefect is away.
        """
        unknown = sorted(set(fields) - {"cron", "timezone", "input"})
        if unknown:
            raise UsageError(f"unknown field {unknown[0]!r:.80}; there are cron, timezone, input")
        cron, timezone = fields.get("cron"), fields.get("timezone") or self.timezone
        if not isinstance(cron, str) or len(cron) > LONGEST_CRON:
            raise UsageError('cron must be a text such as "0 2 * * *"')
        try:
            self.check_cron(cron)
        except ValueError as error:
            raise UsageError(f"cron: {error}") from None
        zone(str(timezone))
        input_data = {} if fields.get("input") is None else fields["input"]
        if not isinstance(input_data, Mapping):
            raise UsageError("input must be an object")
        check_input(self.authoring.runnable(workflow_id, by), input_data)
        name = str(self.authoring.get(workflow_id).document.get("name", ""))
        schedule = WorkflowSchedule(workflow_id, name, cron, str(timezone), input_data)
        self.scheduler.put(schedule)
        return schedule

    def get(self, workflow_id: int) -> WorkflowSchedule:
        """Return the schedule of a workflow.

        :raises RecordNotFoundError: when there is no such workflow, or it has none.
        """
        self.authoring.get(workflow_id)
        found = self.scheduler.get(workflow_id)
        if found is None:
            raise RecordNotFoundError(f"the workflow {workflow_id} has no schedule")
        return found

    def remove(self, workflow_id: int) -> None:
        """Remove the schedule of a workflow.

        :raises RecordNotFoundError: when it has none.
        """
        if not self.scheduler.remove(workflow_id):
            raise RecordNotFoundError(f"the workflow {workflow_id} has no schedule")


def workflow_of(store: WorkflowStore, which: object) -> StoredWorkflow:
    """Return the workflow of a number or a name: of several of one name the newest that is active.

    :raises RecordNotFoundError: when there is none.
    """
    text = str(which or "").strip()
    if text.isascii() and text.isdecimal() and len(text) < 19:
        found = store.workflow(int(text))
        if found is not None:
            return found
    named = store.workflows(name=text).workflows if text else ()
    if not named:
        raise RecordNotFoundError(f"there is no workflow {text!r:.80}")
    return next((each for each in named if each.status is WorkflowStatus.ACTIVE), named[0])
