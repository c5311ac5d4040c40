"""Schedules of workflows as deployments, one a workflow, beside those of config/deployments.yaml."""

from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound

from flowledger.errors import UsageError
from flowledger.flows.backfill_runs import prefect_api
from flowledger.flows.orphans import end_waiting
from flowledger.flows.registration import FLOWS, Infrastructure, flow_of, infrastructure_of
from flowledger.services.deploy import WORKFLOW, WORKFLOW_MARK
from flowledger.services.workflows.scheduling import WorkflowSchedule
from flowledger.settings import Settings

NAMED = "workflow-"
"""A deployment is called after the number of its workflow, which keeps it when it is renamed."""
SLUG = "cron"


class PrefectScheduler:
    """Starts executions by Prefect's schedules."""

    def __init__(self, settings: Settings) -> None:
        self._infrastructure = infrastructure_of(settings)

    def put(self, schedule: WorkflowSchedule) -> None:
        """Create or replace the deployment of a workflow.

        :raises UsageError: for a cron that Prefect does not understand; SchedulerError: where it is away.
        """
        flow = flow_of(WORKFLOW)
        try:
            cron = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
        except ValueError as error:
            raise UsageError(f"cron: Prefect does not understand {schedule.cron!r}: {error}") from None
        with prefect_api() as client:
            pool = _pool(client, self._infrastructure)
            client.create_deployment(
                client.create_flow_from_name(flow.name),
                f"{NAMED}{schedule.workflow_id}",
                description=f"Executes the workflow {schedule.name}.",
                tags=[WORKFLOW_MARK],
                parameters={"workflow": str(schedule.workflow_id), "input": dict(schedule.input)},
                schedules=[DeploymentScheduleCreate(schedule=cron, slug=SLUG, active=schedule.active)],
                entrypoint=FLOWS[WORKFLOW],
                work_pool_name=pool,
                job_variables=self._infrastructure.job_variables_of(WORKFLOW) if pool else None,
                parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
                pull_steps=[],
            )

    def get(self, workflow_id: int) -> WorkflowSchedule | None:
        """Return the schedule of a workflow.

        :raises SchedulerError: where Prefect is away.
        """
        with prefect_api() as client:
            deployment = _deployment(client, workflow_id)
        if deployment is None or not deployment.schedules:
            return None
        first = deployment.schedules[0]
        cron: Any = first.schedule
        name = (deployment.description or "").removeprefix("Executes the workflow ").removesuffix(".")
        return WorkflowSchedule(
            workflow_id,
            name,
            str(getattr(cron, "cron", "")),
            str(getattr(cron, "timezone", None) or "UTC"),
            dict(deployment.parameters.get("input") or {}),
            active=first.active and not deployment.paused,
        )

    def remove(self, workflow_id: int) -> bool:
        """Delete the deployment of a workflow, and cancel its runs that have not begun.

        :raises SchedulerError: where Prefect is away.
        """
        with prefect_api() as client:
            deployment = _deployment(client, workflow_id)
            if deployment is None:
                return False
            client.delete_deployment(deployment.id)
            end_waiting(client, deployment.id, WORKFLOW_MARK)
        return True


def _deployment(client: SyncPrefectClient, workflow_id: int) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{flow_of(WORKFLOW).name}/{NAMED}{workflow_id}")
    except ObjectNotFound:
        return None


def _pool(client: SyncPrefectClient, infrastructure: Infrastructure) -> str | None:
    try:
        return client.read_work_pool(infrastructure.pool).name
    except ObjectNotFound:
        return None
