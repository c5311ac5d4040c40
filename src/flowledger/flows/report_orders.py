"""Reports that somebody orders, as runs of the app's deployment for custom reports."""

from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from flowledger.domain.runs import AppKey
from flowledger.errors import SchedulerError
from flowledger.flows.backfill_runs import deployment_of, prefect_api
from flowledger.services.catch_up import Cadence
from flowledger.services.report_requests import RunOrder, parameters_of

CUSTOM = Cadence("custom_report", "custom")
TAG = "ordered"
STATES = {
    StateType.RUNNING: "running",
    StateType.CANCELLING: "running",
    StateType.COMPLETED: "done",
    StateType.FAILED: "failed",
    StateType.CRASHED: "failed",
    StateType.CANCELLED: "failed",
}
"""Prefect's word → ours; with any other one a run still waits."""


def place_order(app: AppKey, order: RunOrder, key: str) -> str:
    """Start the deployment with what is ordered, once for each key, and return the id of the run.

    :raises SchedulerError: where Prefect cannot be had; UsageError: where it has no such deployment.
    """
    with prefect_api() as client:
        deployment = deployment_of(client, app, CUSTOM)
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters=parameters_of(order), idempotency_key=key, tags=[TAG]
        )
    return str(run.id)


def state_of_order(flow_run_id: str) -> dict[str, Any]:
    """Return the state of a run: waiting, running, done or failed, and the reason."""
    with prefect_api() as client:
        try:
            run = client.read_flow_run(UUID(flow_run_id))
        except ObjectNotFound:
            return {"state": "failed", "reason": "Prefect no longer has this run"}
    state = STATES.get(run.state_type, "waiting") if run.state_type else "waiting"
    return {"state": state, "reason": run.state.message if run.state and state == "failed" else None}


def check_scheduler() -> None:
    """Check that Prefect answers.

    :raises SchedulerError: when it does not.
    """
    with prefect_api() as client:
        error = client.api_healthcheck()
    if error is not None:
        raise SchedulerError(f"Prefect does not answer: {error}: is PREFECT_API_URL right?")
