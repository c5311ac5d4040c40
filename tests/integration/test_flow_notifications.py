"""Runs on a real Prefect server tell people how they ended: once each, whatever is down."""

from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Completed, Crashed
from prefect_records import last_flow_run, logs_of
from prefect_server import PrefectServer, prefect_in_use
from webhook_receiver import Receiver, receiver
from workplace import DATASET, LEGACY_NOW, forget_waits, legacy_server, move_to, settings_of

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.main import cli
from flowledger.errors import AuthenticationError, FlowledgerError
from flowledger.flows import flow_retries
from flowledger.flows.announcements import announce_dead_run_flow
from flowledger.flows.cleanup import cleanup_storage_flow
from flowledger.flows.fetch_workflow_logs import fetch_workflow_logs_flow
from flowledger.flows.notifications import announce_failure

DAY = {"created_at_after": "2026-11-21T00:00:00", "created_at_before": "2026-11-21T23:59:59"}
DAY_BEFORE = {"created_at_after": "2026-11-20T00:00:00", "created_at_before": "2026-11-20T23:59:59"}
NOW = LEGACY_NOW.astimezone(UTC)

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def prefect(shared_prefect: PrefectServer) -> Iterator[PrefectServer]:
    """One Prefect server for all."""
    with prefect_in_use(shared_prefect) as running:
        yield running


@pytest.fixture
def robot() -> Iterator[Receiver]:
    """Where messages arrive."""
    with receiver() as received:
        yield received


@pytest.fixture
def server() -> Iterator[simulator.SimulatedServer]:
    """A Dify 1.9.1 with the old script's data."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        yield server


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: simulator.SimulatedServer, robot: Receiver
) -> Run:
    """Run the flow in an empty folder, on the day after the data, with a webhook to tell."""
    variables = settings_of(server, NOTIFICATION_TYPE="webhook", WEBHOOK_URL=robot.url, REPORT_LANGUAGE="en")
    move_to(tmp_path, monkeypatch, variables)
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW)
    return fetch_workflow_logs_flow


def test_a_run_is_told_in_one_message(run: Run, robot: Receiver, prefect: PrefectServer) -> None:
    """Figures, certificate, reports and the run's page in Prefect stand in it."""
    result = run(**DAY)
    (message,) = robot.messages
    assert (message["occasion"], message["urgent"], message["app"]) == ("success", False, "support")
    assert message["result"]["logs_count"] == result["logs_count"] > 0
    assert f"Runs: {result['logs_count']}" in message["body"]
    assert "certified complete" in message["body"]
    assert message["run_url"] == f"{prefect.api.removesuffix('/api')}/runs/flow-run/{last_flow_run().id}"
    assert set(message["links"].values()) == set(result["report_paths"])


def test_the_change_against_the_day_before_is_told(run: Run, robot: Receiver) -> None:
    """The report whose window ends where this one begins is what it is compared with."""
    before = run(**DAY_BEFORE)
    run(**DAY)
    assert robot.messages[0]["previous"] == {}
    assert robot.messages[1]["previous"]["runs"] == before["logs_count"]
    assert f"(before {before['logs_count']}, " in robot.messages[1]["body"]


def test_a_filtered_run_is_compared_with_nothing(run: Run, robot: Receiver) -> None:
    """Neither is it what others are compared with."""
    run(**DAY_BEFORE, status="failed")
    run(**DAY)
    run(**DAY, status="failed")
    assert [message["previous"] for message in robot.messages] == [{}, {}, {}]


def test_good_news_can_be_left_out(run: Run, robot: Receiver) -> None:
    """``notify_on_complete=False`` keeps a success from being told."""
    run(**DAY, notify_on_complete=False)
    assert robot.asked == 0


@pytest.mark.fault(33)
def test_figures_that_the_ui_does_not_take_keep_nobody_from_hearing(
    run: Run, robot: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is written: a server that takes no artifact must not make a failure of it."""

    def refuse(*_: object) -> None:
        raise RuntimeError("Failed to reach API")

    monkeypatch.setattr("flowledger.flows.fetch_workflow_logs.publish_artifacts", refuse)
    run(**DAY)
    assert [message["occasion"] for message in robot.messages] == ["success"]


@pytest.mark.parametrize("announce", [True, False])
def test_a_failed_run_is_told_once_urgently(
    run: Run, robot: Receiver, monkeypatch: pytest.MonkeyPatch, announce: bool
) -> None:
    """With its error, app and window, whether good news are told or not; no key is in it."""
    monkeypatch.setenv("DIFY_API_TOKEN", "app-refused-token")
    with pytest.raises(AuthenticationError):
        run(**DAY, notify_on_complete=announce)
    (message,) = robot.messages
    assert (message["occasion"], message["urgent"]) == ("failure", True)
    assert "DIFY_API_TOKEN" in message["error"]
    assert "Window: 2026-11-21 00:00:00 to 2026-11-21 23:59:59 (+0800)" in message["body"]
    assert "What to do" in message["body"]
    assert str(last_flow_run().id) in message["run_url"]
    assert "app-refused-token" not in str(message)


def run_of_deployment(flow: Any) -> tuple[FlowRun, list[str]]:
    """Run the flow as a deployment's run, which fails, and give it with the names of its states."""
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(flow), name=f"retried-{uuid4().hex[:6]}")
        created = client.create_flow_run_from_deployment(deployment, parameters=DAY)
        with pytest.raises(FlowledgerError):
            run_flow(flow, flow_run=created, parameters=DAY)
        states = client.read_flow_run_states(created.id)
        states.sort(key=lambda state: state.timestamp)
        return client.read_flow_run(created.id), [state.name or "" for state in states]


def test_what_may_pass_is_tried_again_and_told_after_the_last_try(
    run: Run, robot: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect shows AwaitingRetry between; one message says how often it was tried, and why it failed."""
    monkeypatch.setenv("DIFY_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RETRY_MINUTES", "1,5")
    monkeypatch.setattr(flow_retries, "A_MINUTE", timedelta(0.0001))
    forget_waits(monkeypatch)
    flow_run, states = run_of_deployment(run)
    assert states.count("AwaitingRetry") == 2
    assert (states[-1], flow_run.run_count) == ("Failed", 3)
    (message,) = robot.messages
    assert message["occasion"] == "failure"
    assert len(message["result"]["tries"]) == 2
    assert "3 times, all failed" in message["body"]


def test_a_refused_key_is_not_tried_again(run: Run, robot: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told at once."""
    monkeypatch.setenv("DIFY_API_TOKEN", "app-00000000000000000000wrong")
    flow_run, states = run_of_deployment(run)
    assert "AwaitingRetry" not in states
    assert (states[-1], flow_run.run_count) == ("Failed", 1)
    assert len(robot.messages) == 1


def test_what_is_not_certified_is_told_urgently(
    run: Run, robot: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason stands in the message, even where good news are left out."""
    forget_waits(monkeypatch)
    with simulator.serve(
        simulator.load_dataset(DATASET),
        version="1.9.1",
        options=legacy_server(),
        faults=simulator.parse_faults("repeat:1.0@/v1/workflows/logs"),
    ) as lying:
        for name, value in settings_of(lying).items():
            monkeypatch.setenv(name, value)
        result = run(**DAY, notify_on_complete=False)
    assert not result["certificate"]["certified"]
    (message,) = robot.messages
    assert (message["occasion"], message["urgent"]) == ("uncertified", True)
    assert result["certificate"]["reason"] in message["body"]


def test_a_message_that_cannot_be_sent_goes_with_the_next_run(
    run: Run, robot: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that is down fails no run; its message waits in the ledger."""
    robot.status = 503
    first = run(**DAY)
    assert (robot.asked, robot.messages) == (1, [])
    listed = CliRunner().invoke(cli, ["notify", "list"], catch_exceptions=False).output
    assert "waiting: 1" in listed
    assert "webhook" in listed
    assert "503" in listed
    robot.status = 200
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW + timedelta(hours=1))
    second = run(**DAY_BEFORE)
    told = [message["result"]["logs_count"] for message in robot.messages]
    assert told == [first["logs_count"], second["logs_count"]]
    assert "waiting: none" in CliRunner().invoke(cli, ["notify", "list"], catch_exceptions=False).output


def test_a_message_that_waits_goes_with_the_cleanup_too(
    run: Run, robot: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one report a day is all there is, bad news would else wait for a day."""
    robot.status = 503
    run(**DAY)
    robot.status = 200
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW + timedelta(hours=1))
    cleanup_storage_flow()
    assert [message["occasion"] for message in robot.messages] == ["success"]


def test_a_refused_message_is_given_up_and_fails_no_run(run: Run, robot: Receiver) -> None:
    """The reason is in the run's log in Prefect, and is listed."""
    robot.status = 404
    run(**DAY)
    flow_run = last_flow_run()
    assert flow_run.state_name == "Completed"
    assert any("given up" in line.message for line in logs_of(flow_run.id))
    assert "given up: 1" in CliRunner().invoke(cli, ["notify", "list"], catch_exceptions=False).output


def ended(flow_run: FlowRun, state: State[Any]) -> FlowRun:
    """Give a flow run as it is after it ended in a state."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, state, force=True)
        return client.read_flow_run(flow_run.id)


@pytest.fixture
def begun(run: Run) -> FlowRun:
    """A flow run that nobody works on."""
    with get_client(sync_client=True) as client:
        return client.create_flow_run(fetch_workflow_logs_flow, parameters=DAY)


def test_hook_and_automation_tell_a_crash_once(begun: FlowRun, robot: Receiver) -> None:
    """Whoever comes second finds it told."""
    crashed = ended(begun, Crashed(message="killed by signal 9"))
    assert crashed.state is not None
    announce_failure(flow=fetch_workflow_logs_flow, flow_run=begun, state=crashed.state)
    assert announce_dead_run_flow(flow_run_id=begun.id) is True
    (message,) = robot.messages
    assert (message["occasion"], message["app"], message["urgent"]) == ("crash", "support", True)
    assert message["error"] == "killed by signal 9"


def test_a_dead_worker_is_told_by_the_automation_alone(begun: FlowRun, robot: Receiver) -> None:
    """No hook ran; the flow that the automation starts says what happened, to which window."""
    ended(begun, Crashed(message="No heartbeat for 90 s"))
    announce_dead_run_flow(flow_run_id=str(begun.id))  # type: ignore[call-overload]  # as the automation gives it
    (message,) = robot.messages
    assert message["error"] == "No heartbeat for 90 s"
    assert message["result"]["window"]["after"] == "2026-11-21T00:00:00+08:00"


def test_a_run_that_is_fine_after_all_is_not_told(begun: FlowRun, robot: Receiver) -> None:
    """It may have ended between the automation's look and its own."""
    ended(begun, Completed())
    assert announce_dead_run_flow(flow_run_id=begun.id) is True
    assert robot.asked == 0


def test_a_cancelled_run_is_told(begun: FlowRun, robot: Receiver) -> None:
    """Nobody else would learn that a report is missing."""
    cancelled = ended(begun, Cancelled(message="by hand"))
    assert cancelled.state is not None
    announce_failure(flow=fetch_workflow_logs_flow, flow_run=begun, state=cancelled.state)
    assert robot.messages[0]["error"] == "the run was cancelled: by hand"


def test_a_cleanup_that_fails_is_told_as_what_it_is(run: Run, robot: Receiver) -> None:
    """It has neither a period nor a window, and its hooks are those of the reports."""
    assert run.on_failure_hooks == cleanup_storage_flow.on_failure_hooks  # type: ignore[attr-defined]
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(cleanup_storage_flow, parameters={"app": "support"})
    state: State[Any] = Crashed(message="no bucket")
    announce_failure(flow=cleanup_storage_flow, flow_run=flow_run, state=state)
    (message,) = robot.messages
    assert (message["error"], message["app"]) == ("no bucket", "support")
    assert (message["period"], message["result"]) == ("", {})
    assert "flowledger run" not in message["body"]


@pytest.mark.parametrize(
    "parameters",
    [{"app": "gone"}, {"period": "someday"}, {"created_at_after": "never"}, {"app": 7, "period": ["x"]}],
)
def test_a_run_with_bad_parameters_is_told(run: Run, robot: Receiver, parameters: dict[str, Any]) -> None:
    """They may be why it failed: everyone who is told of any app hears of it."""
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(fetch_workflow_logs_flow, parameters=parameters)
    state: State[Any] = Crashed(message="bad words")
    announce_failure(flow=fetch_workflow_logs_flow, flow_run=flow_run, state=state)
    assert [message["error"] for message in robot.messages] == ["bad words"]


def test_with_broken_settings_people_are_told_all_the_same(
    begun: FlowRun, robot: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken settings may be why the run failed; what is wrong stands in the run's log."""
    monkeypatch.setenv("TIMEZONE", "Mars/Olympus")
    announce_failure(flow=fetch_workflow_logs_flow, flow_run=begun, state=Crashed(message="killed"))
    assert [message["error"] for message in robot.messages] == ["killed"]
    assert any("Mars/Olympus" in line.message for line in logs_of(begun.id))


def test_without_a_ledger_people_are_told_all_the_same(
    begun: FlowRun, robot: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A ledger that cannot be opened may be why the run failed."""
    (tmp_path / "no-ledger").write_text("not a database, but long enough to look at" * 100)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path / 'no-ledger'}")
    announce_failure(flow=fetch_workflow_logs_flow, flow_run=begun, state=Crashed(message="killed"))
    assert [message["error"] for message in robot.messages] == ["killed"]
