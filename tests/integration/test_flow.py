"""The flow on a real Prefect server: what it gives, leaves in the UI, and says when it fails."""

import asyncio
import csv
import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from prefect_records import artifacts_of, last_flow_run, logs_of, task_runs_of
from prefect_server import DATABASE, PrefectServer, prefect_in_use
from workplace import (
    DATASET,
    FLOWLEDGER,
    GOLDEN,
    LEGACY_NOW,
    bare_environment,
    legacy_server,
    move_to,
    settings_of,
)

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.errors import AuthenticationError, UsageError
from flowledger.flows.fetch_workflow_logs import (
    enrich_logs_task,
    fetch_logs_task,
    fetch_workflow_logs_flow,
    generate_reports_task,
    notify_completion_task,
)
from flowledger_simulator import credentials

TASKS = ["fetch-logs", "enrich-logs", "generate-reports", "notify-completion"]
WHOLE = {
    "created_at_after": "2026-11-18T00:00:00",
    "created_at_before": "2026-11-21T23:59:59",
}
DAY = {"created_at_after": "2026-11-21T12:00:00", "created_at_before": "2026-11-21T23:59:59"}
RESULT_KEYS = {"logs_count", "report_paths", "certificate", "detailed", "missing", "requests", "duration"}

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def prefect(shared_prefect: PrefectServer) -> Iterator[PrefectServer]:
    """One Prefect server for all."""
    with prefect_in_use(shared_prefect) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[simulator.SimulatedServer]:
    """A Dify 1.9.1 with the old script's data."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: simulator.SimulatedServer) -> Run:
    """Run the flow in an empty folder, on the day after the data."""
    move_to(tmp_path, monkeypatch, settings_of(server))
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: LEGACY_NOW.astimezone(UTC))
    return fetch_workflow_logs_flow


def by_name(paths: list[str]) -> dict[str, Path]:
    """Give report files by their names."""
    return {Path(path).name: Path(path) for path in paths}


def test_the_result_says_what_was_done(run: Run, server: simulator.SimulatedServer) -> None:
    """Counts, certificate, paths, requests and duration are plain JSON values."""
    before = server.requests.total
    result = run(**WHOLE, output_format="csv,markdown,json")
    assert result.keys() >= RESULT_KEYS
    assert json.loads(json.dumps(result)) == result
    assert (result["app"], result["period"], result["logs_count"]) == ("support", "custom", 40)
    assert (result["detailed"], result["missing"]) == (40, 0)
    certificate = result["certificate"]
    assert (certificate["certified"], certificate["expected"], certificate["distinct"]) == (True, 40, 40)
    assert result["window"]["after"] == "2026-11-18T00:00:00+08:00"
    assert result["requests"] == server.requests.total - before
    assert result["duration"] > 0
    assert all(Path(path).is_file() for path in result["report_paths"])


def cells(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file; days without runs, which the old script left out, are left out."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file) if len(row) != 2 or row[1] != "0"]


def test_its_csv_files_are_the_old_ones(run: Run) -> None:
    """Cell for cell; the totals have the window's days, the speed of output tokens, and the known cost."""
    written = by_name(run(**WHOLE)["report_paths"])
    for path in (GOLDEN / "csv").iterdir():
        expected = cells(path)
        if path.name.endswith("总览.csv"):
            cost = "≥ 0.1256（40 次运行中 39 次费用已知）"
            row = ["2026-11-18", *expected[1][1:6], "167.54 tokens/秒", expected[1][7], cost]
            expected = [expected[0], row]
        assert cells(written[path.name]) == expected, path.name


def test_a_second_run_asks_for_nothing_twice(run: Run) -> None:
    """An unchanged window costs one request for its count, and the open run's own; details stay."""
    run(**WHOLE)
    again = run(**WHOLE)
    assert (again["logs_count"], again["detailed"]) == (40, 40)
    assert again["requests"] <= 5


def test_the_outcome_is_in_the_ui(run: Run) -> None:
    """A Markdown artifact holds the figures, a table the failures; the run is named for app and period."""
    run(**WHOLE)
    flow_run = last_flow_run()
    assert flow_run.name == "support · custom"
    artifacts = artifacts_of(flow_run)
    assert sorted(artifacts) == ["failures-support", "report-support"]
    report = str(artifacts["report-support"].data)
    assert "| 运行 | 40 |" in report
    assert "已证明完整" in report
    failures = json.loads(str(artifacts["failures-support"].data))
    assert "失败" in {row["状态"] for row in failures}


def test_announcing_can_be_left_out(run: Run) -> None:
    """Without it there are neither artifacts nor a fourth task."""
    run(**DAY, notify_on_complete=False)
    flow_run = last_flow_run()
    assert artifacts_of(flow_run) == {}
    assert [name_of(task.name) for task in task_runs_of(flow_run, 3)] == TASKS[:3]


def name_of(task_run: str) -> str:
    """Give a task's name without the number of its run."""
    return task_run.rpartition("-")[0]


def test_every_stage_is_a_task_of_its_own(run: Run) -> None:
    """Four task runs under their names, each run once."""
    run(**DAY)
    task_runs = task_runs_of(last_flow_run(), 4)
    assert [name_of(task.name) for task in task_runs] == TASKS
    assert [task.run_count for task in task_runs] == [1, 1, 1, 1]


def test_prefect_never_tries_again() -> None:
    """Requests are repeated in one place, where Retry-After and log-ins are known."""
    tasks = (fetch_logs_task, enrich_logs_task, generate_reports_task, notify_completion_task)
    assert [task.name for task in tasks] == TASKS
    assert [task.retries for task in tasks] == [0, 0, 0, 0]
    assert fetch_workflow_logs_flow.retries == 0


def test_parameters_decide_what_is_read(run: Run, tmp_path: Path) -> None:
    """Status, depth, formats and folder reach the report."""
    result = run(
        **WHOLE,
        status="failed",
        output_format="json",
        output_dir=str(tmp_path / "elsewhere"),
        with_node_executions=False,
        save_data=True,
    )
    assert result["by_status"] == {"failed": 1}
    assert {Path(path).relative_to(tmp_path).parts[0] for path in result["report_paths"]} == {"elsewhere"}
    assert {Path(path).suffix for path in result["report_paths"]} >= {".json"}


def test_a_late_run_reports_the_day_it_was_meant_for(run: Run) -> None:
    """02:30 in Shanghai is still the day before in UTC: yesterday is seen from the zone's own date."""
    planned = datetime(2025, 2, 28, 18, 30, tzinfo=UTC)
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(fetch_workflow_logs_flow, state=Scheduled(scheduled_time=planned))
    result: Any = run_flow(fetch_workflow_logs_flow, flow_run=flow_run)
    assert result["period"] == "yesterday"
    assert result["window"] == {
        "after": "2025-02-28T00:00:00+08:00",
        "before": "2025-02-28T23:59:59+08:00",
    }


def test_a_refused_key_fails_the_run_and_stays_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state says which setting is wrong; nothing that Prefect keeps holds a key or password."""
    monkeypatch.setenv("DIFY_API_TOKEN", "app-refused-token")
    with pytest.raises(AuthenticationError, match="DIFY_API_TOKEN"):
        run(**DAY)
    flow_run = last_flow_run()
    assert flow_run.state is not None
    assert (flow_run.state.name, "DIFY_API_TOKEN" in str(flow_run.state.message)) == ("Failed", True)
    task_runs = task_runs_of(flow_run, 1)
    assert [(name_of(task.name), task.run_count) for task in task_runs] == [("fetch-logs", 1)]
    logs = logs_of(flow_run.id)
    assert any("DIFY_API_TOKEN" in line.message for line in logs)
    kept = [flow_run, *task_runs, *logs, *artifacts_of(flow_run).values()]
    texts = [each.model_dump_json() for each in kept]
    for secret in ("app-refused-token", credentials.PASSWORD):
        assert not any(secret in text for text in texts)


@pytest.mark.parametrize("words", [{"period": "custom"}, {"period": "today", **DAY}])
def test_words_that_contradict_fail_the_run(
    run: Run, server: simulator.SimulatedServer, words: dict[str, Any]
) -> None:
    """A custom period without bounds, or bounds with another period, are refused before anything is asked."""
    before = server.requests.total
    with pytest.raises(UsageError, match="custom"):
        run(**words)
    assert last_flow_run().name == "support · custom"
    assert server.requests.total == before


def test_every_parameter_is_described() -> None:
    """The form in the UI has a title for each, and what it means where the title does not say it."""
    properties = fetch_workflow_logs_flow.parameters.properties
    assert [name for name, schema in properties.items() if "title" not in schema] == []
    assert properties["period"]["enum"][0] == "yesterday"
    assert "scheduled time" in str(fetch_workflow_logs_flow.description)


COMMAND = (*FLOWLEDGER, "run", "--json", "--after", "2026-11-18T00:00:00", "--before", "2026-11-21T23:59:59")


def execute(folder: Path, variables: dict[str, str]) -> dict[str, Any]:
    """Run the command in a process of its own and give its result object, which must stand alone."""
    done = subprocess.run(
        COMMAND,
        cwd=folder,
        env=bare_environment() | variables,
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_command_line_runs_on_a_server(
    tmp_path: Path, server: simulator.SimulatedServer, prefect: PrefectServer
) -> None:
    """``PREFECT_API_URL`` names it, and the run is recorded there."""
    result = execute(tmp_path, settings_of(server, PREFECT_API_URL=prefect.api, DIFY_APP_NAME="from-outside"))
    assert (result["logs_count"], result["certificate"]["certified"]) == (40, True)
    flow_run = last_flow_run("from-outside · custom")
    assert flow_run.state_name == "Completed"
    assert sorted(artifacts_of(flow_run)) == ["failures-from-outside", "report-from-outside"]
    assert not (tmp_path / "outputs" / ".prefect").exists()


@pytest.mark.fault(33)
def test_the_command_line_runs_without_a_server(
    tmp_path: Path, server: simulator.SimulatedServer, prefect: PrefectServer
) -> None:
    """A temporary one is started for the run, in a home of its own below the output folder."""
    home = tmp_path / "outputs" / ".prefect"
    prefect.copy_database(home)
    names = flow_run_names(home)
    assert execute(tmp_path, settings_of(server, DIFY_APP_NAME="alone"))["logs_count"] == 40
    assert flow_run_names(home) - names == {"alone · custom"}


def flow_run_names(home: Path) -> set[str]:
    """Read the names of all flow runs from a server's database."""
    with closing(sqlite3.connect(home / DATABASE)) as database:
        return {name for (name,) in database.execute("SELECT name FROM flow_run")}


def test_the_prefect_server_can_be_imported() -> None:
    """Some FastAPI releases break it, so the locked ones are tried."""
    from prefect.server.api.server import create_app

    assert "/api" in {getattr(route, "path", "") for route in create_app().routes}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai"])
def test_prefect_knows_when_a_cron_fires(zone: str) -> None:
    """With some releases of what Prefect needs its scheduler fails at each round, and no cron ever fires."""
    from prefect.server.schemas.schedules import CronSchedule

    start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    dates = asyncio.run(CronSchedule(cron="0 2 * * *", timezone=zone).get_dates(2, start=start))
    assert [(date.hour, str(date.tzinfo)) for date in dates] == [(2, zone)] * 2
