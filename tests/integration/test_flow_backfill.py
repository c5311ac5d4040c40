"""Back-filling and catching up on a real Prefect server: past-dated runs, each once, about the right day."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterIdempotencyKey,
)
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_PROFILES_PATH,
    temporary_settings,
)
from prefect.states import Completed, Pending, Running, Scheduled
from prefect_records import logs_of
from prefect_server import DATABASE, PrefectServer, prefect_in_use
from workplace import DATASET, LEGACY_NOW, forget_waits, legacy_server, move_to, settings_of

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.main import cli
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.history import OperationQuery
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window
from flowledger.errors import UsageError
from flowledger.flows import turns
from flowledger.flows.fetch_workflow_logs import fetch_workflow_logs_flow
from flowledger.flows.turns import AWAITING_TURN
from flowledger.services.catch_up import Cadence, Due, due_between

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAILY = Cadence("daily_report", "yesterday", "0 2 * * *")
NOW = LEGACY_NOW.astimezone(UTC)
"""22 November 2026, ten in the morning in Shanghai."""


@pytest.fixture(scope="module", autouse=True)
def prefect(shared_prefect: PrefectServer) -> Iterator[PrefectServer]:
    """One Prefect server for all."""
    with prefect_in_use(shared_prefect) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[simulator.SimulatedServer]:
    """A Dify 1.9.1 with the old script's data of 18 to 21 November."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        yield server


@pytest.fixture
def app(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: simulator.SimulatedServer,
    prefect: PrefectServer,
) -> AppKey:
    """The simulated app, in an empty folder with a new ledger, on the day after the data."""
    move_to(tmp_path, monkeypatch, settings_of(server, PREFECT_API_URL=prefect.api))
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW)
    return AppKey("dify", server.world.app.id)


@pytest.fixture
def deployment(app: AppKey) -> Iterator[UUID]:
    """The app's daily deployment, with the tags that registration gives it; nobody works it off."""
    with get_client(sync_client=True) as client:
        created = client.create_deployment(
            client.create_flow(fetch_workflow_logs_flow),
            name=f"daily-workflow-report-{uuid4().hex[:6]}",
            parameters={"app": app.app_id, "period": "yesterday"},
            tags=["flowledger", f"app:{app.app_id}", "schedule:daily_report"],
        )
        yield created
        client.delete_deployment(created)
        for run in runs_of(client, created):
            client.delete_flow_run(run.id)


def runs_of(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    """Give a deployment's runs, oldest first."""
    chosen = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    runs = client.read_flow_runs(flow_run_filter=chosen)
    return sorted(runs, key=lambda run: run.expected_start_time or NOW)


def planned(deployment: UUID) -> list[str]:
    """Give when the deployment's runs are scheduled, in Shanghai."""
    with get_client(sync_client=True) as client:
        return [
            run.expected_start_time.astimezone(SHANGHAI).isoformat()
            for run in runs_of(client, deployment)
            if run.expected_start_time
        ]


def schedule(deployment: UUID, text: str, parameters: Mapping[str, Any] | None = None) -> FlowRun:
    """Create a run as Prefect's scheduler does, at a time in Shanghai."""
    at = datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(
            deployment, state=Scheduled(scheduled_time=at), parameters=dict(parameters or {})
        )


def fire(server: PrefectServer, deployment: UUID, text: str) -> FlowRun:
    """Create a run and let it be one that Prefect's own scheduler has created, which no client can."""
    run = schedule(deployment, text)
    with closing(sqlite3.connect(server.home / DATABASE, timeout=60)) as database, database:
        marked = database.execute("UPDATE flow_run SET auto_scheduled = 1 WHERE name = ?", (run.name,))
        assert marked.rowcount == 1
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id)


def flowledger(*words: str) -> Result:
    """Call the command."""
    return CliRunner().invoke(cli, list(words), standalone_mode=False)


def due(day: str) -> Due:
    """Give the report of a day."""
    wanted = date.fromisoformat(day)
    return due_between(DAILY, wanted, wanted, SHANGHAI)[0]


def certify(app: AppKey, *days: str) -> None:
    """Put certificates of whole days into the ledger, and that they were reported."""
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        for day in days:
            scope = Scope(app, due(day).period.window)
            proof = Certificate(scope, True, "counted", 0, 0, NOW)
            ledger.save_runs([], scope=scope, at=NOW, certificate=proof)
            data = {"window": str(scope.window), "certified": True, "figures": {}}
            ledger.record(Operation(f"report-{day}", "REPORT", NOW, "somebody", app, "yesterday", data))


def cover(app: AppKey, first: str, last: str) -> None:
    """Put a report of several days into the ledger that has all that the daily ones would."""
    window = Window(due(first).period.window.after, due(last).period.window.before)
    scope = Scope(app, window)
    content = {"storage": "", "formats": ["csv"], "details": "nodes", "schedule": None}
    data: dict[str, Any] = {"window": str(window), "certified": True, "figures": {}, **content}
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        proof = Certificate(scope, True, "counted", 0, 0, NOW)
        ledger.save_runs([], scope=scope, at=NOW, certificate=proof)
        ledger.record(Operation(f"report-{first}-{last}", "REPORT", NOW, "somebody", app, "custom", data))


def operations(app: AppKey, kind: str) -> list[Operation]:
    """Give the operations of a type."""
    with bootstrap.opened_ledger(bootstrap.load_settings()) as ledger:
        return [
            each for each in ledger.operations(OperationQuery(apps=(app,))) if each.operation_type == kind
        ]


BACKFILL = ("backfill", "--from", "2026-11-18", "--to", "2026-11-20")


def test_a_back_fill_twice_is_once(app: AppKey, deployment: UUID) -> None:
    """One run for each day, at the schedule's own time; the second call finds them all."""
    first = flowledger(*BACKFILL)
    expected = [f"2026-11-{day}T02:00:00+08:00" for day in (19, 20, 21)]
    assert (first.return_value, planned(deployment)) == (0, expected)
    assert first.output.count("created") == 3
    second = flowledger(*BACKFILL)
    assert (second.return_value, planned(deployment)) == (0, expected)
    assert second.output.count("already there") == 3
    kept = operations(app, "BACKFILL")
    assert kept[0].data["periods"] == {f"2026-11-{day}": "created" for day in (18, 19, 20)}


def test_asked_for_again_on_purpose_there_are_new_runs(deployment: UUID, app: AppKey) -> None:
    """``--again`` is for a day that has to be written anew."""
    flowledger(*BACKFILL)
    assert flowledger(*BACKFILL, "--again").output.count("created") == 3
    assert len(planned(deployment)) == 6


def test_a_past_dated_run_reports_its_own_day(app: AppKey, deployment: UUID) -> None:
    """Days later, its yesterday is still the day it was created for, and its window is certified."""
    flowledger("backfill", "--from", "2026-11-19", "--to", "2026-11-19")
    with get_client(sync_client=True) as client:
        (run,) = runs_of(client, deployment)
        assert {"backfill", "flowledger"} <= set(run.tags)
    result: Any = run_flow(fetch_workflow_logs_flow, flow_run=run, parameters=run.parameters)
    assert result["window"] == {
        "after": "2026-11-19T00:00:00+08:00",
        "before": "2026-11-19T23:59:59+08:00",
    }
    assert result["certificate"]["certified"]
    again = flowledger("backfill", "--from", "2026-11-19", "--to", "2026-11-19", "--direct")
    assert "already there: certified" in again.output


@pytest.mark.fault(34)
def test_an_outage_of_three_days_is_caught_up_once(app: AppKey, deployment: UUID) -> None:
    """Exactly three runs are created, and the next look finds them on their way."""
    certify(app, "2026-11-17", "2026-11-18")
    caught = flowledger("catch-up")
    expected = [f"2026-11-{day}T02:00:00+08:00" for day in (20, 21, 22)]
    assert (caught.return_value, planned(deployment)) == (0, expected)
    assert "2026-11-19: created" in caught.output
    again = flowledger("catch-up")
    assert (again.return_value, planned(deployment)) == (0, expected)
    assert again.output.count("on its way") == 3
    (kept,) = operations(app, "CATCH_UP")
    assert kept.data["periods"] == {f"2026-11-{day}": "created" for day in (19, 20, 21)}


@pytest.mark.fault(34)
def test_runs_that_are_due_together_begin_with_the_oldest(app: AppKey, deployment: UUID) -> None:
    """A worker with several slots takes them in any order; here it is the worst one."""
    certify(app, "2026-11-18")
    flowledger("catch-up")
    with get_client(sync_client=True) as client:
        oldest_first = runs_of(client, deployment)
    worst = oldest_first[::-1] * len(oldest_first)
    begun = [(run.id, work_off(run)) for run in worst]
    assert [state for _, state in begun[:3]] == [AWAITING_TURN, AWAITING_TURN, "Completed"]
    completed = [run_id for run_id, state in begun if state == "Completed"]
    assert completed == [run.id for run in oldest_first]


def work_off(run: FlowRun) -> str | None:
    """Let a worker begin a run, unless it has ended, and return the state it is in then."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
        if state and state.is_final():
            return None
        client.set_flow_run_state(run.id, Pending(), force=True)
        with suppress(Abort):
            run_flow(
                fetch_workflow_logs_flow, flow_run=client.read_flow_run(run.id), parameters=run.parameters
            )
        return client.read_flow_run(run.id).state_name


def test_a_run_gives_way_a_bounded_number_of_times(
    app: AppKey, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older run that a dead worker had taken holds the others up for a while, and not for ever."""
    monkeypatch.setattr(turns, "MOST_TURNS", 1)
    schedule(deployment, "2026-11-20T02:00:00")
    newer = schedule(deployment, "2026-11-21T02:00:00")
    assert [work_off(newer), work_off(newer)] == [AWAITING_TURN, "Completed"]


COVERED = "covered elsewhere: a run of its own: custom, 2026-11-18T16:00:00Z/2026-11-20T15:59:59Z"


def test_what_another_report_covers_is_said_and_made_all_the_same_when_asked(
    app: AppKey, deployment: UUID
) -> None:
    """The day after it is caught up at once, those two only with ``--covered``."""
    certify(app, "2026-11-18")
    cover(app, "2026-11-19", "2026-11-20")
    said = flowledger("catch-up").output
    assert said.count(f"{COVERED}; --covered makes it all the same") == 2
    assert [text[:10] for text in planned(deployment)] == ["2026-11-22"]
    made = flowledger("catch-up", "--covered")
    assert (made.return_value, made.output.count(": created")) == (0, 2)
    assert [text[:10] for text in planned(deployment)] == ["2026-11-20", "2026-11-21", "2026-11-22"]


def test_directly_too_what_is_covered_is_made_when_asked(app: AppKey) -> None:
    """Afterwards it is the schedule's own report that is there, and nothing is missing."""
    certify(app, "2026-11-19")
    cover(app, "2026-11-20", "2026-11-21")
    said = flowledger("catch-up", "--direct").output
    assert (said.count("covered elsewhere"), said.count(": done")) == (2, 0)
    assert flowledger("catch-up", "--direct", "--covered").output.count(": done") == 2
    assert flowledger("catch-up", "--direct").output == "nothing is missing\n"
    days = [each.data["window"] for each in operations(app, "REPORT") if each.data.get("schedule")]
    assert set(days) == {str(due(day).period.window) for day in ("2026-11-20", "2026-11-21")}


def test_a_run_that_prefect_holds_as_late_is_not_created_twice(app: AppKey, deployment: UUID) -> None:
    """What was planned before the worker died will still be worked off; a custom run will not do."""
    certify(app, "2026-11-18")
    schedule(deployment, "2026-11-20T02:00:00")
    schedule(deployment, "2026-11-21T02:00:00", {"period": "custom", "created_at_after": "2026-11-01"})
    running = schedule(deployment, "2026-11-22T02:00:00")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(running.id, Running(), force=True)
    flowledger("catch-up")
    days = [text[:10] for text in planned(deployment)]
    assert days == ["2026-11-20", "2026-11-21", "2026-11-21", "2026-11-22"]


def test_one_try_a_day(app: AppKey, deployment: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ended without a proof is not repeated today, and tomorrow it is."""
    certify(app, "2026-11-20")
    flowledger("catch-up")
    with get_client(sync_client=True) as client:
        (run,) = runs_of(client, deployment)
        client.set_flow_run_state(run.id, Completed(), force=True)
    assert "already there" in flowledger("catch-up").output
    assert len(planned(deployment)) == 1
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: NOW + timedelta(days=1))
    flowledger("catch-up")
    assert [text[:10] for text in planned(deployment)] == ["2026-11-22", "2026-11-22", "2026-11-23"]


def test_nothing_missing_asks_nobody(app: AppKey, deployment: UUID) -> None:
    """A new app has missed nothing."""
    assert flowledger("catch-up").output == "nothing is missing\n"
    certify(app, "2026-11-20", "2026-11-21")
    assert flowledger("catch-up").output == "nothing is missing\n"


@pytest.mark.fault(34)
def test_a_scheduled_run_catches_up_what_was_missed(
    app: AppKey, deployment: UUID, prefect: PrefectServer
) -> None:
    """At its end it creates what is missing of its own schedule, but for its own day, and says so."""
    certify(app, "2026-11-18")
    run = fire(prefect, deployment, "2026-11-22T02:00:00")
    result: Any = run_flow(fetch_workflow_logs_flow, flow_run=run, parameters=run.parameters)
    assert result["certificate"]["certified"]
    assert (result["caught_up"], result["late"]) == (2, False)
    assert [text[:10] for text in planned(deployment)] == ["2026-11-20", "2026-11-21", "2026-11-22"]
    (kept,) = operations(app, "CATCH_UP")
    assert kept.user == f"flow run {run.name}"
    assert sum("caught up: 2026-11-" in line.message for line in logs_of(run.id)) == 2


def test_a_past_dated_run_catches_up_nothing(app: AppKey, deployment: UUID) -> None:
    """Runs that were caught up, back-filled or started by a person begin no cascade."""
    certify(app, "2026-11-17")
    run = schedule(deployment, "2026-11-22T02:00:00")
    run_flow(fetch_workflow_logs_flow, flow_run=run, parameters=run.parameters)
    assert len(planned(deployment)) == 1


@pytest.mark.fault(33)
def test_a_failed_catch_up_never_fails_the_run(app: AppKey, deployment: UUID, prefect: PrefectServer) -> None:
    """The report is written; that the schedule is no longer in the settings is a warning."""
    certify(app, "2026-11-18")
    run = fire(prefect, deployment, "2026-11-22T02:00:00")
    Path("config").mkdir()
    Path("config/deployments.yaml").write_text("weekly_report: {schedule: 0 3 * * 1}\n", "utf-8")
    result: Any = run_flow(fetch_workflow_logs_flow, flow_run=run, parameters=run.parameters)
    assert result["certificate"]["certified"]
    assert any("no schedule 'daily_report'" in line.message for line in logs_of(run.id))


def test_a_dry_run_creates_nothing(app: AppKey, deployment: UUID) -> None:
    """Each period with its window and time; neither a run nor an operation is left behind."""
    shown = flowledger(*BACKFILL, "--dry-run")
    assert shown.output.count("would run") == 3
    assert (
        "2026-11-17T16:00:00Z/2026-11-18T15:59:59Z, scheduled for 2026-11-19T02:00:00+08:00" in shown.output
    )
    assert (planned(deployment), operations(app, "BACKFILL")) == ([], [])


def test_directly_each_day_is_collected_here(app: AppKey) -> None:
    """Without Prefect: each day's report is written, and what is certified is left alone."""
    first = flowledger(*BACKFILL, "--direct")
    assert (first.return_value, first.output.count("certified")) == (0, 3)
    second = flowledger(*BACKFILL, "--direct")
    assert second.output.count("already there: certified") == 3
    assert flowledger(*BACKFILL, "--direct", "--again").output.count("done") == 3


def test_directly_missed_days_are_caught_up(app: AppKey) -> None:
    """Afterwards nothing is missing."""
    certify(app, "2026-11-19")
    assert flowledger("catch-up", "--direct").output.count("done") == 2
    assert flowledger("catch-up", "--direct").output == "nothing is missing\n"


@pytest.mark.fault(16)
def test_a_day_that_fails_is_told_and_the_others_go_on(app: AppKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers: every day says so, and the exit status is 1."""
    monkeypatch.setenv("DIFY_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("DIFY_CONSOLE_EMAIL", "")
    monkeypatch.setenv("DIFY_CONSOLE_PASSWORD", "")
    forget_waits(monkeypatch)
    failed = flowledger(*BACKFILL, "--direct")
    assert (failed.return_value, failed.output.count("FAILED")) == (1, 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("backfill", "--from", "yesterday", "--to", "2026-11-20"), "--from.*2026-11-21"),
        (("backfill", "--from", "2026-11-21", "--to", "2026-11-20"), "swap them"),
        (("backfill", "--from", "2026-11-21", "--to", "2026-11-22"), "not over"),
        (("backfill", "--from", "2020-01-01", "--to", "2026-11-20"), "--yes"),
        (("backfill", "--from", "1960-01-01", "--to", "2026-11-20", "--yes"), "1970"),
        ((*BACKFILL, "--app", "nobody"), "unknown app"),
        ((*BACKFILL, "--app", "support", "--all-apps"), "contradict"),
        ((*BACKFILL, "--schedule", "hourly"), "daily_report"),
        ((*BACKFILL, "--schedule", "weekly_report"), "over yet"),
        (BACKFILL, "no deployment of the schedule daily_report"),
        (("catch-up", "--app", "nobody"), "unknown app"),
    ],
)
def test_wrong_words_are_refused(app: AppKey, words: tuple[str, ...], says: str) -> None:
    """Before anything is created, with the way out."""
    with pytest.raises(UsageError, match=says):
        raise flowledger(*words).exception or AssertionError("not refused")


@pytest.mark.fault(33)
def test_without_a_server_past_dated_runs_are_refused(
    app: AppKey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A temporary server would forget them, and no profile of Prefect names another."""
    monkeypatch.delenv("PREFECT_API_URL")
    nobody = temporary_settings({PREFECT_PROFILES_PATH: tmp_path / "profiles.toml"})
    with nobody, pytest.raises(UsageError, match=r"PREFECT_API_URL.*--direct"):
        raise flowledger(*BACKFILL).exception or AssertionError("not refused")


@pytest.mark.fault(27)
def test_two_at_once_create_each_run_once(app: AppKey, deployment: UUID) -> None:
    """Prefect itself keeps one run for each key, whoever asks first."""
    key = f"backfill-{app.app_id}-daily_report-2026-11-18"
    flowledger("backfill", "--from", "2026-11-18", "--to", "2026-11-18")
    with get_client(sync_client=True) as client:
        again = client.create_flow_run_from_deployment(deployment, idempotency_key=key)
        chosen = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
        assert [run.id for run in client.read_flow_runs(flow_run_filter=chosen)] == [again.id]
