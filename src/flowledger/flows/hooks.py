"""What happens when a flow run fails, crashes or is cancelled: people are told, once, urgently.

Prefect calls hooks with keyword arguments; of a crashed or cancelled run it does so in another process.
"""

from typing import Any

from loguru import logger
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.logging.loggers import flow_run_logger

from flowledger.domain.messages import Occasion
from flowledger.flows.logs import forwarded_to
from flowledger.flows.run_apps import note_app
from flowledger.flows.telling import order_of, tell_trouble

NO_REASON = "no reason is known"


def announce_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell that a flow run failed, crashed or was cancelled."""
    note_app(str(flow_run.id), order_of(flow_run.parameters).app)
    with forwarded_to(flow_run_logger(flow_run, flow)):
        tell_trouble(occasion_of(state), flow.name, current(flow_run), reason_of(state))


def occasion_of(state: State[Any]) -> Occasion:
    """Choose how an end is told: a process that died left no error of its own."""
    return Occasion.CRASH if state.type is StateType.CRASHED else Occasion.FAILURE


def reason_of(state: State[Any]) -> str:
    """Say why a run did not finish, as its state does."""
    message = (state.message or "").removeprefix("Flow run encountered an exception: ").strip()
    if state.type in (StateType.CANCELLED, StateType.CANCELLING):
        return f"the run was cancelled: {message}" if message else "the run was cancelled"
    return message or NO_REASON


def current(flow_run: FlowRun) -> FlowRun:
    """Read a flow run anew: a hook's own copy may be older than its last try."""
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run.id)
    except Exception as error:  # noqa: BLE001  # named boundary: what the hook was given must do then
        logger.warning("flow run {} cannot be read anew: {}", flow_run.id, type(error).__name__)
        return flow_run
