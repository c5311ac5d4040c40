"""Reports ordered over HTTP: made by the server itself, or by a deployment of a real Prefect server."""

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import requests
from api_server import PATIENCE_S, Place, Server
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_PROFILES_PATH,
    Settings,
    temporary_settings,
)
from prefect_server import PrefectServer
from workplace import DATASET, legacy_server, settings_of

import flowledger_simulator as simulator

pytestmark = pytest.mark.timeout(300)

ORDER = {
    "app": "support",
    "after": "2026-11-18T00:00:00",
    "before": "2026-11-21T23:59:59",
    "formats": ["csv"],
}

ORDERED_APP = "5ac73990-ee17-4aba-993c-00000000a213"
"""On the Prefect server that all tests share, no other test has deployments of it."""


def ordered(server: Server, key: dict[str, str], **headers: str) -> requests.Response:
    """Order a report."""
    return requests.post(f"{server.address}/reports", json=ORDER, headers=key | headers, timeout=PATIENCE_S)


def ended(server: Server, key: dict[str, str], place: str) -> dict[str, Any]:
    """Ask until an order has ended, as often as a person would: a key may ask only so often."""
    until = time.monotonic() + PATIENCE_S
    while True:
        answer = server.get(place, key)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if found["state"] in ("done", "failed"):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.2)


def test_a_server_makes_reports_itself(tmp_path: Path) -> None:
    """Ordered, followed, listed and downloaded; sent twice it is made once."""
    data = simulator.load_dataset(DATASET)
    with simulator.serve(data, version="1.9.1", options=legacy_server()) as dify:
        place = Place(tmp_path, settings_of(dify))
        key = place.key("ops", "--role", "operator")
        with place.serving() as server:
            first, second = (ordered(server, key, **{"Idempotency-Key": "k-1"}) for _ in range(2))
            assert (first.status_code, second.content) == (202, first.content)
            found = ended(server, key, first.headers["Location"])
            assert (found["state"], found["result"]["logs_count"]) == ("done", 40)
            (report,) = server.get("/reports", key).json()["items"]
            at = f"/reports/{report['report_id']}/files"
            files = [server.get(f"{at}/{name}", key).content for name in report["files"]]
            assert sum(map(len, files)) == report["size_bytes"]
            assert server.get("/stats?since=2026-11-01T00:00:00Z", key).json()["runs"] == 40
            who = {
                row["operation_type"]: row["user"]
                for row in server.get("/logs/operations", key).json()["items"]
            }
            assert who["ORDER_REPORT"] == "ops"
            assert "REPORT" in who


def test_a_report_that_fails_says_why(tmp_path: Path) -> None:
    """Dify does not answer: failed, with the reason."""
    variables = {
        "DIFY_BASE_URL": "http://127.0.0.1:9",
        "DIFY_API_TOKEN": "app-simulated",
        "DIFY_APP_ID": "5ac73990-ee17-4aba-993c-a473e2fa2a90",
        "DIFY_APP_NAME": "support",
        "DIFY_REQUEST_DEADLINE_S": "1",
    }
    place = Place(tmp_path, variables)
    key = place.key("ops", "--role", "operator")
    with place.serving() as server:
        found = ordered(server, key)
        assert found.status_code == 202
        told = ended(server, key, found.headers["Location"])
        assert told["state"] == "failed"
        assert "127.0.0.1" in told["reason"]


def in_own_home(place: Place) -> AbstractContextManager[Settings]:
    """Let Prefect, in this process, take the server and the home that a place's variables name."""
    home = Path(place.variables["PREFECT_HOME"])
    return temporary_settings(
        {
            PREFECT_API_URL: place.variables["PREFECT_API_URL"],
            PREFECT_HOME: home,
            PREFECT_PROFILES_PATH: home / "profiles.toml",
        }
    )


def test_prefect_makes_reports_where_it_is_configured(tmp_path: Path, shared_prefect: PrefectServer) -> None:
    """The deployment of custom reports is started once for each key, and its run is followed."""
    variables = {
        "DIFY_BASE_URL": "http://127.0.0.1:9",
        "DIFY_API_TOKEN": "app-simulated",
        "DIFY_APP_ID": ORDERED_APP,
        "DIFY_APP_NAME": "support",
        "PREFECT_API_URL": shared_prefect.api,
        "PREFECT_HOME": str(tmp_path / "home"),
    }
    place = Place(tmp_path, variables)
    key = place.key("ops", "--role", "operator")
    with place.serving() as server:
        early = ordered(server, key)
        assert (early.status_code, "register" in early.json()["detail"]) == (422, True)
        with in_own_home(place):
            deployed = place.run("deploy", "--setup", "--offline")
        assert deployed.returncode == 0, deployed.stderr
        assert server.get("/ready", key).json()["parts"]["prefect"] == "ok"
        answers = [ordered(server, key, **{"Idempotency-Key": "k-1"}) for _ in range(2)]
        assert answers[0].content == answers[1].content
        told = server.get(answers[0].headers["Location"], key).json()
        assert told["state"] == "waiting"
        with (
            temporary_settings({PREFECT_API_URL: shared_prefect.api}),
            get_client(sync_client=True) as client,
        ):
            chosen = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"app:{ORDERED_APP}"]))
            runs = [run for run in client.read_flow_runs(flow_run_filter=chosen) if run.idempotency_key]
            (run,) = [run for run in runs if str(run.idempotency_key).startswith("order-")]
        assert str(run.id) == told["flow_run_id"]
        said = {name: run.parameters[name] for name in ("app", "created_at_after", "output_format")}
        assert said == {"app": "support", "created_at_after": ORDER["after"], "output_format": "csv"}
