"""The flows that automations start: for a run that has crashed, and for a deployment that was deleted.

No process of their own may be left to announce the one, or to end what the other leaves behind.
"""

from typing import Annotated
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from pydantic import Field

from flowledger.flows import orphans
from flowledger.flows.logs import forwarded_to
from flowledger.flows.notifications import notify_trouble, occasion_of, reason_of

ENDED = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)
FINE = (StateType.COMPLETED, StateType.RUNNING, StateType.SCHEDULED, StateType.PENDING)


@flow(name="announce-dead-run", flow_run_name="dead run {flow_run_id}", log_prints=False)
def announce_dead_run_flow(
    flow_run_id: Annotated[UUID, Field(title="Flow run", description="Id of the run that is dead")],
) -> bool:
    """Announce that a flow run died with its worker, unless that was done or the run goes on after all."""
    logger = get_run_logger()
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        flow_name = client.read_flow(flow_run.flow_id).name
        if flow_run.state_type not in ENDED and orphans.is_orphaned(client, flow_run):
            # Somebody found it dead, and the server could not set its state.
            flow_run = orphans.end_dead(client, flow_run)
    if flow_run.state is None or flow_run.state.type in FINE:
        logger.info("%s is %s: nothing to announce", flow_run.name, flow_run.state_name)
        return True
    with forwarded_to(logger):
        notified = notify_trouble(occasion_of(flow_run.state), flow_name, flow_run, reason_of(flow_run.state))
    logger.info(
        "%s: %s",
        flow_run.name,
        "announced" if notified else "not announced to everyone; what can be sent later waits",
    )
    return notified


@flow(name="end-orphaned-runs", flow_run_name="runs of {deployment}", log_prints=False)
def end_orphaned_runs_flow(
    deployment: Annotated[
        str, Field(title="Deployment", description="As events name it: prefect.deployment.ID")
    ],
) -> int:
    """Cancel what still waits of a deleted deployment, and return how many; each is announced."""
    logger = get_run_logger()
    with get_client(sync_client=True) as client:
        ended = orphans.end_waiting(client, UUID(deployment.removeprefix("prefect.deployment.")))
    for flow_run in ended:
        logger.warning("%s was %s and is cancelled: %s", flow_run.name, flow_run.state_name, orphans.DELETED)
    return len(ended)
