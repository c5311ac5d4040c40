"""On a real Prefect server: nothing of what it was given, keeps or answers holds a secret."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from planted_secrets import (
    API_TOKEN,
    CONSOLE_PASSWORD,
    NOBODY,
    app_variables,
    files_below,
    leaked_secrets,
    variables,
)
from prefect_server import PrefectServer, PrefectServers
from simulated_dify import DAY, END, make_day
from test_secrets import call
from workplace import FLOWLEDGER

import flowledger_simulator as simulator

pytestmark = pytest.mark.timeout(600)
RUN = ("run", "--after", DAY.isoformat(), "--before", END.isoformat(), "--format", "csv,markdown,json")
LISTS = (
    "flow_runs",
    "task_runs",
    "deployments",
    "flows",
    "logs",
    "artifacts",
    "variables",
    "automations",
    "block_documents",
    "work_pools",
    "concurrency_limits",
    "v2/concurrency_limits",
)
"""What Prefect answers anybody who asks: it has no keys of its own."""


@pytest.fixture(scope="module")
def prefect(
    tmp_path_factory: pytest.TempPathFactory, prefect_servers: PrefectServers
) -> Iterator[PrefectServer]:
    """A server of its own."""
    with prefect_servers.own(tmp_path_factory.mktemp("prefect")) as running:
        yield running


def answers_of(prefect: PrefectServer) -> dict[str, bytes]:
    """Give all that its interface tells of everything, page by page."""
    found = {
        f"api {name}": requests.post(f"{prefect.api}/{name}/filter", json={}, timeout=30) for name in LISTS
    }
    events = requests.post(f"{prefect.api}/events/filter", json={}, timeout=30)
    for name, answer in found.items():
        assert answer.status_code == 200, f"{name}: {answer.text}"
    return {name: answer.content for name, answer in found.items()} | {"api events": events.content}


def test_prefect_is_told_no_secret(tmp_path: Path, prefect: PrefectServer) -> None:
    """Deployments with their pool and automations, one run whose console log-in and all notices fail."""
    world = make_day(6)
    world.apps[world.app.id] = replace(world.app, api_token=API_TOKEN)
    with simulator.serve(world) as server:
        settings = variables(bots=NOBODY) | app_variables(
            server.base_url,
            DIFY_CONSOLE_PASSWORD=CONSOLE_PASSWORD,
            PREFECT_API_URL=prefect.api,
            PREFECT_HOME=str(tmp_path / "home"),
        )
        deployed = call(tmp_path, settings, *FLOWLEDGER, "deploy", "--setup", "--offline")
        done = call(tmp_path, settings, *FLOWLEDGER, *RUN)
    assert deployed.status == 0, deployed.err
    assert done.status == 0, done.err
    assert b"console login refused" in done.out + done.err
    told = answers_of(prefect)
    for name in ("flow_runs", "deployments", "logs", "artifacts", "automations", "work_pools"):
        assert len(told[f"api {name}"]) > 100, name
    assert server.base_url.encode() not in told["api deployments"]
    kept = files_below(tmp_path) | files_below(prefect.home.parent)
    assert any(name.endswith("prefect.db") for name in kept)
    said = {f"deploy {name}": text for name, text in deployed.texts.items()} | done.texts
    assert leaked_secrets(told | kept | said) == []
