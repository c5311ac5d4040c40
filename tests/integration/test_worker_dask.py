"""A flow's tasks on Dask: executed by its processes, with the same result and log."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, runtime, task
from prefect_records import last_flow_run, logs_of, task_runs_of
from prefect_server import PrefectServer, prefect_in_use
from workplace import DATASET, legacy_server, move_to, settings_of

import flowledger_simulator as simulator
from flowledger.errors import AuthenticationError, SettingsError
from flowledger.flows.fetch_workflow_logs import fetch_workflow_logs_flow, stages_on

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),
    # Dask closes its own connections late.
    pytest.mark.filterwarnings("ignore"),
]
WHOLE: dict[str, Any] = {
    "created_at_after": "2026-11-18T00:00:00",
    "created_at_before": "2026-11-21T23:59:59",
}


@pytest.fixture(scope="module", autouse=True)
def prefect(shared_prefect: PrefectServer) -> Iterator[PrefectServer]:
    """One Prefect server for all."""
    with prefect_in_use(shared_prefect) as running:
        yield running


@task
def process_and_run() -> tuple[int, str]:
    """Tell where a task is executed, and as part of which flow run."""
    return os.getpid(), str(runtime.flow_run.id)


@flow
def asking(task_runner: str) -> tuple[int, str]:
    """Ask one task."""
    with stages_on(task_runner) as run_stage:
        found: tuple[int, str] = run_stage(process_and_run)
    return found


def test_threads_mean_this_process() -> None:
    """Nothing is handed over."""
    process, _ = asking("threads")
    assert process == os.getpid()


def test_dask_executes_tasks_in_other_processes() -> None:
    """They know their flow run all the same."""
    process, run_id = asking("dask")
    assert process != os.getpid()
    assert UUID(run_id) == last_flow_run().id


def test_a_report_on_dask_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage is a task run, the result is whole, and the run's log has what the stages said."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        move_to(tmp_path, monkeypatch, settings_of(server, TASK_RUNNER="dask"))
        result = fetch_workflow_logs_flow(**WHOLE)
    assert (result["logs_count"], result["detailed"], result["certificate"]["certified"]) == (40, 40, True)
    run = last_flow_run()
    # The fourth runs in this process, whose events reach the server when they please.
    names = [each.name.rpartition("-")[0] for each in task_runs_of(run, 3)]
    assert names[:3] == ["fetch-logs", "enrich-logs", "generate-reports"]
    assert any("written: " in line.message for line in logs_of(run.id))


def test_an_error_on_dask_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key fails the run with what to do."""
    with simulator.serve(simulator.load_dataset(DATASET), version="1.9.1", options=legacy_server()) as server:
        move_to(
            tmp_path, monkeypatch, settings_of(server, TASK_RUNNER="dask", DIFY_API_TOKEN="app-refused-token")
        )
        with pytest.raises(AuthenticationError, match="DIFY_API_TOKEN"):
            fetch_workflow_logs_flow(**WHOLE)


def test_a_missing_dask_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to install it."""
    monkeypatch.setitem(__import__("sys").modules, "prefect_dask", None)
    with pytest.raises(SettingsError, match="scripts/setup --all"), stages_on("dask"):
        pass
