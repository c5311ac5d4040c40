"""Runs whose deployment is deleted on a real Prefect server: each of them ends, and people are told."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, FlowRun, State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Cancelling, Completed, Crashed, Paused, Pending, Running, Scheduled
from prefect_server import PrefectServer, prefect_in_use
from webhook_receiver import Receiver, receiver
from workplace import DATASET, legacy_server, move_to, settings_of

import flowledger_simulator as simulator
from flowledger.flows import orphans
from flowledger.flows.announcements import announce_dead_run_flow, end_orphaned_runs_flow
from flowledger.flows.fetch_workflow_logs import fetch_workflow_logs_flow

DAY = {"created_at_after": "2026-11-21T00:00:00+08:00", "created_at_before": "2026-11-21T23:59:59+08:00"}


@pytest.fixture(scope="module", autouse=True)
def prefect(shared_prefect: PrefectServer) -> Iterator[PrefectServer]:
    """One Prefect server for all."""
    with prefect_in_use(shared_prefect) as running:
        yield running


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect: PrefectServer) -> Iterator[Receiver]:
    """Somebody who is told, of an app with data."""
    dataset = simulator.load_dataset(DATASET)
    with (
        receiver() as told,
        simulator.serve(dataset, version="1.9.1", options=legacy_server()) as server,
    ):
        own = {"PREFECT_API_URL": prefect.api, "WEBHOOK_URL": told.url}
        move_to(tmp_path, monkeypatch, settings_of(server, **own))
        yield told


def deployment(runs_at_once: int = 1) -> UUID:
    """Register a deployment that nobody works off, with a limit as ours have it."""
    with get_client(sync_client=True) as client:
        return client.create_deployment(
            client.create_flow(fetch_workflow_logs_flow),
            name=f"orphans-{uuid4().hex[:6]}",
            parameters={"app": "support", **DAY},
            tags=["flowledger"],
            concurrency_limit=runs_at_once,
            concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        )


def begun(deployment_id: UUID, *states: State[object]) -> FlowRun:
    """Create a run that a worker has taken, and lead it through states."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployment_id, state=Scheduled())
        for state in (Pending(), *states):
            client.set_flow_run_state(run.id, state)
        return client.read_flow_run(run.id)


def delete(deployment_id: UUID) -> None:
    """Delete a deployment, as a person does in the UI."""
    with get_client(sync_client=True) as client:
        client.delete_deployment(deployment_id)


def now(run: FlowRun) -> tuple[str | None, str | None]:
    """Read the state of a run and its message."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
    return (state.name, state.message) if state else (None, None)


def test_prefect_lets_no_run_of_a_deleted_deployment_end() -> None:
    """Why all this is there; once Prefect itself gives the slot back, it can go."""
    where = deployment()
    run = begun(where, Running())
    delete(where)
    with get_client(sync_client=True) as client, pytest.raises(PrefectHTTPStatusError, match="500"):
        client.set_flow_run_state(run.id, Completed())
    with get_client(sync_client=True) as client:
        orphans.end_dead(client, run)


def test_a_run_whose_deployment_is_deleted_meanwhile_completes(robot: Receiver) -> None:
    """Its report is written, and it ends as it would have."""
    where = deployment()
    run = begun(where)
    delete(where)
    result = run_flow(fetch_workflow_logs_flow, flow_run=run, parameters=run.parameters)
    assert result["certificate"]["certified"]  # type: ignore[index]
    assert now(run)[0] == "Completed"
    assert [message["occasion"] for message in robot.messages] == ["success"]


@pytest.mark.fault(34)
def test_a_dead_run_of_a_deleted_deployment_is_ended_and_told_once(robot: Receiver) -> None:
    """The server refuses the worker's "Crashed"; whoever announces it sets it."""
    where = deployment()
    run = begun(where, Running())
    delete(where)
    assert announce_dead_run_flow(flow_run_id=run.id) is True
    assert now(run) == ("Crashed", "its process has ended, and its deployment was deleted")
    assert announce_dead_run_flow(flow_run_id=run.id) is True
    assert [message["occasion"] for message in robot.messages] == ["crash"]


def test_a_run_that_was_being_cancelled_is_cancelled(robot: Receiver) -> None:
    """It does not stay Cancelling, and is no crash."""
    where = deployment()
    run = begun(where, Running(), Cancelling())
    delete(where)
    announce_dead_run_flow(flow_run_id=run.id)
    assert now(run) == ("Cancelled", orphans.DELETED)
    (message,) = robot.messages
    assert message["error"] == f"the run was cancelled: {orphans.DELETED}"


def test_what_waits_of_a_deleted_deployment_is_cancelled_and_what_runs_goes_on() -> None:
    """Pending, paused, or awaiting its next try: nobody would begin it again."""
    where = deployment(runs_at_once=5)
    waiting = [begun(where), begun(where, Running(), Paused()), begun(where, Running(), AwaitingRetry())]
    running, ended = begun(where, Running()), begun(where, Running(), Crashed())
    delete(where)
    # As the event of the deletion names it.
    count = end_orphaned_runs_flow(f"prefect.deployment.{where}")
    assert [now(run) for run in waiting] == [("Cancelled", orphans.DELETED)] * len(waiting)
    assert (now(running)[0], now(ended)[0]) == ("Running", "Crashed")
    assert count == len(waiting)
    assert end_orphaned_runs_flow(f"prefect.deployment.{where}") == 0
    with get_client(sync_client=True) as client:
        orphans.end_dead(client, running)
