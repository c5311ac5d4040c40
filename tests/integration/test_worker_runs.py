"""Deployments on a real server, run by real workers: what fires, comes late, dies and is tried again.

All that takes its time is started at once, by one fixture; each test then waits for its own part.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterTags
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Paused, Scheduled
from prefect_records import artifacts_of
from prefect_server import PrefectServers
from prefect_worker import Site, ended, in_state, kill_group, wait_for
from webhook_receiver import Receiver, receiver
from workplace import settings_of

import flowledger_simulator as simulator

PATIENCE_S = 300
"""A busy machine takes minutes for what takes seconds on a quiet one."""

pytestmark = [pytest.mark.process, pytest.mark.timeout(3 * PATIENCE_S)]

FLOW = "fetch-workflow-logs"
POOL = "dify-workflow-pool"
LATE = datetime(2026, 3, 9, 18, 0, tzinfo=UTC)
"""02:00 of 10 March in Shanghai."""
DEPLOYMENTS = """
daily_report: {schedule: "0 2 * * *"}
minutely: {name: minutely, schedule: "* * * * *", period: last_week}
custom_report: {}
doomed: {name: doomed}
"""
SETTINGS = """
apps:
  - id: 00000000-0000-4000-8000-00000000510e
    name: slow
    base_url: %(address)s
    api_token: %(token)s
    schedules: [custom_report, daily_report, doomed]
"""


@dataclass(frozen=True)
class Day:
    """What was started: the runs under way, by what becomes of them."""

    late: UUID
    plain: UUID
    crashing: UUID
    dead: UUID
    orphan: UUID
    paused: UUID
    dify: simulator.SimulatedServer
    told: Receiver


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, prefect_servers: PrefectServers) -> Iterator[Day]:
    """A server, a worker that is dead already, one that works, and one run of every kind."""
    folder = tmp_path_factory.mktemp("worker")
    recipe = simulator.Recipe(runs=5, start=LATE - timedelta(days=1), end=LATE)
    with ExitStack() as stack:
        server = stack.enter_context(prefect_servers.own(folder))
        stack.enter_context(temporary_settings({PREFECT_API_URL: server.api}))
        dify = stack.enter_context(simulator.serve(simulator.make_world(recipe)))
        # It answers so slowly that a run is still under way when its process is killed.
        slow = stack.enter_context(simulator.serve(simulator.make_world(recipe), latency_ms=50_000))
        told = stack.enter_context(receiver())
        home = {"PREFECT_API_URL": server.api, "PREFECT_HOME": str(folder / "home"), "WEBHOOK_URL": told.url}
        site = make_site(folder / "site", settings_of(dify, **home), slow)
        site.command("deploy", "--setup")
        dead = start_and_lose(site)
        late = create("daily-workflow-report-support", LATE)
        stack.enter_context(site.worker(POOL))
        crashing, orphan = create("custom-workflow-report-slow"), create("doomed-slow")
        plain = create("custom-workflow-report-support")
        paused = create("doomed-slow", state=Paused())
        yield Day(late, plain, crashing, dead, orphan, paused, dify, told)


def make_site(folder: Path, variables: dict[str, str], slow: simulator.SimulatedServer) -> Site:
    """Write a site's files."""
    (folder / "config").mkdir(parents=True)
    (folder / "config/deployments.yaml").write_text(DEPLOYMENTS, "utf-8")
    app = {"address": slow.base_url, "token": slow.world.app.api_token}
    (folder / "config/settings.yaml").write_text(SETTINGS % app, "utf-8")
    return Site(folder, variables)


def create(deployment: str, at: datetime | None = None, state: Any = None) -> UUID:
    """Create a run of a deployment, now or for a time, or in a state."""
    state = Scheduled(scheduled_time=at) if at else state
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(f"{FLOW}/{deployment}")
        return client.create_flow_run_from_deployment(found.id, state=state).id


def start_and_lose(site: Site) -> UUID:
    """Let a worker begin a run, and kill both at once, as a machine that fails does."""
    run_id = create("daily-workflow-report-slow")
    with site.worker(POOL) as group:
        in_state(run_id, "Running", PATIENCE_S)
        process = process_of(run_id)
        kill_group(group)
        os.kill(process, signal.SIGKILL)
    return run_id


def process_of(run_id: UUID) -> int:
    """Give the id of a run's process, which is not one of its worker's group."""
    run = wait_for(
        lambda client: client.read_flow_run(run_id), lambda found: bool(found.infrastructure_pid), PATIENCE_S
    )
    return int(str(run.infrastructure_pid).rpartition(":")[2])


def text_of(run_id: UUID) -> str:
    """Give the figures that a run left in the UI."""
    with get_client(sync_client=True) as client:
        artifacts = artifacts_of(client.read_flow_run(run_id))
    return str(artifacts["report-support"].data)


def told_about(day: Day, run_id: UUID) -> list[dict[str, Any]]:
    """Give the messages that speak of a run."""
    return [message for message in day.told.messages if str(run_id) in str(message)]


@pytest.mark.fault(34)
def test_a_killed_process_is_a_crash_that_is_announced(day: Day) -> None:
    """The worker notices, marks the run Crashed, and people are told.

    The first test, since the run is slow but not endless.
    """
    in_state(day.crashing, "Running", PATIENCE_S)
    os.kill(process_of(day.crashing), signal.SIGKILL)
    assert ended(day.crashing, PATIENCE_S).state_name == "Crashed"
    wait_for(lambda _: told_about(day, day.crashing), bool, PATIENCE_S)


@pytest.mark.fault(34)
def test_a_deleted_deployment_leaves_no_run_behind(day: Day) -> None:
    """Its process is killed, the server refuses the worker's "Crashed": it is ended and told all the same.

    So is what waited: the deletion itself starts the cancelling.
    """
    in_state(day.orphan, "Running", PATIENCE_S)
    with get_client(sync_client=True) as client:
        client.delete_deployment(client.read_deployment_by_name(f"{FLOW}/doomed-slow").id)
    os.kill(process_of(day.orphan), signal.SIGKILL)
    assert ended(day.orphan, PATIENCE_S).state_name == "Crashed"
    assert ended(day.paused, PATIENCE_S).state_name == "Cancelled"
    for run_id in (day.orphan, day.paused):
        wait_for(lambda _, run_id=run_id: told_about(day, run_id), bool, PATIENCE_S)  # type: ignore[misc]


def test_a_run_that_is_cancelled_before_it_begins_is_told(day: Day) -> None:
    """It has no process that could call a hook."""
    run_id = create("custom-workflow-report-support", datetime.now(UTC) + timedelta(days=1))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling())
    assert ended(run_id, PATIENCE_S).state_name == "Cancelled"
    (message,) = wait_for(lambda _: told_about(day, run_id), bool, PATIENCE_S)
    assert message["error"].startswith("the run was cancelled")


def test_a_triggered_run_completes(day: Day) -> None:
    """A worker takes it, and it has the app and period of its deployment."""
    run = ended(day.plain, PATIENCE_S)
    assert run.state_name == "Completed", run.state
    assert run.name.startswith("support · yesterday 20")
    assert (run.parameters["app"], run.parameters["period"]) == ("support", "yesterday")
    assert {"flowledger", "schedule:custom_report", "report"} <= set(run.tags)


def test_a_late_run_reports_the_day_it_was_scheduled_for(day: Day) -> None:
    """Nobody was there at its time; what it reports is the day before that, in the app's zone."""
    run = ended(day.late, PATIENCE_S)
    assert run.state_name == "Completed", run.state
    assert run.name == "support · yesterday 2026-03-09"
    assert "2026-03-09T00:00:00+08:00 – 2026-03-09T23:59:59+08:00" in text_of(day.late)


def test_a_retry_from_the_api_does_not_repeat_finished_work(day: Day) -> None:
    """The same run, started again, asks Dify for a count and nothing more."""
    runs = ended(day.late, PATIENCE_S).run_count
    before = text_of(day.late)
    asked = day.dify.requests.total
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(day.late, Scheduled(name="AwaitingRetry"), force=True)
    run = wait_for(
        lambda client: client.read_flow_run(day.late),
        lambda run: run.run_count > runs and bool(run.state and run.state.is_final()),
        PATIENCE_S,
    )
    assert run.state_name == "Completed", run.state
    assert line_of(before, "采集证明") == line_of(text_of(day.late), "采集证明")
    assert day.dify.requests.total - asked <= 12


def line_of(text: str, name: str) -> str:
    """Give one row of the figures."""
    return next(line for line in text.splitlines() if line.startswith(f"| {name}"))


def test_a_cron_fires(day: Day) -> None:
    """A schedule of every minute makes the scheduler create a run, which completes.

    A minute that has a run already (its report was owed) is left out: that run completes, too, but proves
    nothing.
    """
    chosen = FlowRunFilter(tags=FlowRunFilterTags(all_=["schedule:minutely"]))
    runs = wait_for(
        lambda client: client.read_flow_runs(flow_run_filter=chosen),
        lambda runs: any(run.auto_scheduled and run.state_name == "Completed" for run in runs),
        PATIENCE_S,
    )
    done = next(run for run in runs if run.auto_scheduled and run.state_name == "Completed")
    assert done.parameters["period"] == "last_week"


@pytest.mark.fault(34)
def test_a_run_whose_worker_died_is_found_and_announced(day: Day) -> None:
    """Its heartbeats stop; the automation marks it Crashed and has it announced."""
    run = ended(day.dead, PATIENCE_S)
    assert run.state is not None
    assert run.state.name == "Crashed"
    assert "No heartbeat for 75 s" in str(run.state.message)
    wait_for(lambda _: told_about(day, day.dead), bool, PATIENCE_S)


def test_every_alarm_is_for_a_run_that_ended_badly_and_told_once(day: Day) -> None:
    """After all others: no healthy run had one, and whoever was killed is told of in one message."""
    with get_client(sync_client=True) as client:
        chosen = FlowFilter(name=FlowFilterName(any_=["announce-dead-run"]))
        alarms = client.read_flow_runs(flow_filter=chosen)
        about = {UUID(str(alarm.parameters["flow_run_id"])) for alarm in alarms}
        states = {client.read_flow_run(run_id).state_name for run_id in about}
    assert {day.crashing, day.dead, day.orphan, day.paused} <= about
    assert states <= {"Crashed", "Cancelled"}
    told = [len(told_about(day, run_id)) for run_id in about]
    assert told == [1] * len(told)
