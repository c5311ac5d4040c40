"""Runs whose deployment was deleted, which Prefect then neither starts nor lets end.

With a deployment its concurrency limit goes.  A run that holds a slot of it cannot reach a final state any
more: the server answers 500 to each attempt, so that it stays Running, Pending or Cancelling for ever,
whatever becomes of its process.  Once the lease of the slot is given back, the state can be set.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from loguru import logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from flowledger.services.deploy import MARK

WAITING = [StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING]
"""Of these nobody works on; what is Running goes on to its end."""
DELETED = "its deployment was deleted"


def is_orphaned(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Return whether the deployment of a run has been deleted."""
    if run.deployment_id is None:
        return False
    try:
        client.read_deployment(run.deployment_id)
    except ObjectNotFound:
        return True
    return False


def end_dead(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """End a run of a deleted deployment whose process is dead; return it as it is then."""
    is_cancelling = run.state_type is StateType.CANCELLING
    _end(client, run, Cancelled(message=DELETED) if is_cancelling else Crashed(message=DEAD))
    return client.read_flow_run(run.id)


DEAD = f"its process has ended, and {DELETED}"


def end_waiting(client: SyncPrefectClient, deployment_id: UUID, mark: str = MARK) -> Sequence[FlowRun]:
    """Cancel the runs of a deleted deployment that nobody works on, and return them."""
    chosen = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=WAITING)),
        tags=FlowRunFilterTags(all_=[mark]),
    )
    ended: dict[UUID, FlowRun] = {}
    # Each of them leaves these states, so that the next page is the first one again.
    while page := [run for run in client.read_flow_runs(flow_run_filter=chosen) if run.id not in ended]:
        for run in page:
            _end(client, run, Cancelled(message=DELETED))
            ended[run.id] = run
    return list(ended.values())


def _end(client: SyncPrefectClient, run: FlowRun, state: State[Any]) -> None:
    _give_slot_back(client, run)
    client.set_flow_run_state(run.id, state, force=True)


def _give_slot_back(client: SyncPrefectClient, run: FlowRun) -> None:
    lease = run.state.state_details.deployment_concurrency_lease_id if run.state else None
    if lease is not None:
        client.release_concurrency_slots_with_lease(lease)


@contextmanager
def ends_without_deployment() -> Iterator[None]:
    """Let the flow run inside end as it does, although its deployment may have been deleted meanwhile."""
    try:
        yield
    finally:
        context = FlowRunContext.get()
        if context and context.flow_run and context.flow_run.deployment_id:
            _free(context.flow_run.id)


def _free(run_id: UUID) -> None:
    try:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(run_id)
            if is_orphaned(client, run):
                logger.warning("{}; what this run has done is done all the same", DELETED)
                _give_slot_back(client, run)
    except Exception as error:  # noqa: BLE001  # named boundary: the run's own end is the one to report
        logger.warning("whether the deployment still exists cannot be told: {}", type(error).__name__)
