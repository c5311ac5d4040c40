"""Runs of one deployment take turns, the oldest period first, so that each report has the one before.

Of the runs that are due together (late ones, those that are caught up or back-filled) Prefect begins
whichever gets the deployment's slot: where a worker has several slots, that may be any of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import Abort
from prefect.states import Scheduled

from flowledger.flows.flow_retries import AWAITING_RETRY

AWAITING_TURN = "AwaitingTurn"
A_TURN = timedelta(seconds=20)
"""Between two runs that begin again: about as long as a short one takes."""
MOST_TURNS = 20
"""So often a run gives way: an older one that a dead worker had taken would hold all others up for ever."""


def take_turn() -> None:
    """Let an older run of the deployment that is still coming go first: all begin again in order.

    :raises Abort: Prefect's signal that this process has nothing more to do, as the run's state is set.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None or run.expected_start_time is None:
        return
    try:
        with get_client(sync_client=True) as client:
            older = _give_way(client, run)
    except Exception as error:  # noqa: BLE001  # named boundary: a report out of its order is better than none
        get_run_logger().warning("whether an older run comes first cannot be told: %s", type(error).__name__)
        return
    if older is not None:
        reason = f"{older.name} is older and comes first"
        get_run_logger().info("%s: this run begins again in its turn", reason)
        raise Abort(reason)


def _give_way(client: SyncPrefectClient, run: FlowRun) -> FlowRun | None:
    """Let all begin in their order where a run is older than this one, and return that run."""
    others = [each for each in _waiting(client, run) if each.id != run.id]
    older = [each for each in others if _due(each) < _due(run)]
    if not older or client.read_flow_run(run.id).run_count > MOST_TURNS:
        return None
    queue = sorted([*others, run], key=_due)
    # This one last: then it gives the slot back, for which only the first is to ask at once.
    for each in (*(each for each in others if each.state_type is StateType.SCHEDULED), run):
        begin = datetime.now(UTC) + queue.index(each) * A_TURN
        later: State[Any] = Scheduled(name=AWAITING_TURN, scheduled_time=begin)
        client.set_flow_run_state(each.id, later)
    return older[0]


def _waiting(client: SyncPrefectClient, run: FlowRun) -> Sequence[FlowRun]:
    """Return the runs of a run's deployment that are due and have not begun, the oldest first."""
    chosen = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[run.deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
    )
    found = client.read_flow_runs(flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
    # What awaits its next try has begun, and keeps its own time.
    return [each for each in found if each.state_name != AWAITING_RETRY]


def _due(run: FlowRun) -> datetime:
    return run.expected_start_time or datetime.max.replace(tzinfo=UTC)
