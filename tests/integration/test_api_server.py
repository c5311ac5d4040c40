"""``flowledger serve`` as a program: a real server on loopback, a ledger in SQLite, keys by command."""

import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from api_server import PATIENCE_S, Place
from workplace import bare_environment

from flowledger.bootstrap import open_ledger_at
from flowledger.domain.certificates import Scope
from flowledger.domain.history import OperationQuery
from flowledger.domain.runs import AppKey, Run, RunStatus
from flowledger.domain.windows import Window

APP = AppKey("dify", "5ac73990-ee17-4aba-993c-a473e2fa2a90")
START = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
SETTINGS = {
    "DIFY_BASE_URL": "http://127.0.0.1:9",
    "DIFY_API_TOKEN": "app-simulated",
    "DIFY_APP_ID": APP.app_id,
    "DIFY_APP_NAME": "support",
    "LOG_TARGET": "file",
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with 120 runs."""
    found = Place(tmp_path, SETTINGS)
    (tmp_path / "outputs").mkdir()
    runs = [
        Run(
            app=APP,
            run_id=f"run-{number:04d}",
            listed_at=START + timedelta(minutes=number),
            status=RunStatus.SUCCESS,
            source_status="succeeded",
            log_id=f"log-{number:04d}",
            raw=b"{}",
        )
        for number in range(120)
    ]
    scope = Scope(APP, Window.between(START, START + timedelta(days=1)))
    with open_ledger_at(found.ledger_url) as ledger:
        ledger.save_runs(runs, scope=scope, at=START)
    return found


def test_a_server_serves_until_it_is_told_to_stop(place: Place) -> None:
    """Keys, lists, ETag, gzip, both forms of a path, figures; SIGTERM ends it well, with an empty stderr."""
    key = place.key("reader")
    with place.serving() as server:
        health = server.get("/health", {})
        assert health.json()["status"] == "ok"
        assert "server" not in health.headers
        assert server.get("/runs", {}).status_code == 401
        plain = server.get("/runs", key | {"Accept-Encoding": "identity"})
        zipped = server.get("/runs/", key | {"Accept-Encoding": "gzip"}, stream=True)
        assert gzip.decompress(zipped.raw.read()) == plain.content
        assert len(plain.json()["items"]) == 50
        again = server.get("/runs", key | {"If-None-Match": plain.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        cursor: str | None = ""
        seen = 0
        while cursor is not None:
            page = server.get(
                "/runs", key, params={"limit": 50, **({"cursor": cursor} if cursor else {})}
            ).json()
            seen, cursor = seen + len(page["items"]), page["next_cursor"]
        assert seen == 120
        assert server.get("/ready", key).json()["parts"] == {"ledger": "ok", "storage": "ok"}
        assert server.get("/stats?since=2026-11-20T00:00:00Z", key).json()["runs"] == 120
        figures = server.get("/metrics", key).text
        assert f'flowledger_runs{{app_id="{APP.app_id}",source="dify",status="success"}} 120.0' in figures
        assert 'route="/runs",status="200"' in figures
        server.process.send_signal(signal.SIGTERM)
        _, errors = server.process.communicate(timeout=PATIENCE_S)
        assert (server.process.returncode, errors) == (0, "")


def test_the_log_holds_no_key(place: Place) -> None:
    """Every request is a line with the key's name and path; no header and no query is in it."""
    key = place.key("reader")
    with place.serving() as server:
        server.get("/runs?text=private", key)
    (file,) = (place.folder / "outputs/logs").glob("flowledger-*.jsonl")
    text = file.read_text("utf-8")
    lines = [json.loads(line)["message"] for line in text.splitlines()]
    assert any(line.startswith("GET /runs 200 in") and "reader" in line for line in lines)
    assert key["Authorization"].split("_", 2)[2] not in text
    assert "private" not in text


def test_wrong_keys_and_haste_are_held_off(place: Place) -> None:
    """Pace by key, lock-out by address, both with Retry-After; refusals are in the audit trail."""
    slow = Place(place.folder, {**SETTINGS, "API_REQUESTS_PER_MINUTE": "20"})
    key = slow.key("hasty")
    with slow.serving() as server:
        statuses = [server.get("/runs?limit=1", key).status_code for _ in range(15)]
        assert (statuses[0], statuses[-1]) == (200, 429)
        wrong = {"X-API-Key": "flk_000000000000_wrong"}
        answers = [server.get("/runs", wrong) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert server.get("/health", {}).status_code == 200
    with open_ledger_at(place.ledger_url) as ledger:
        refusals = ledger.operations(OperationQuery(types=("REFUSAL",)))
    assert {each.data["address"] for each in refusals} == {"127.0.0.1"}
    assert 2 <= len(refusals) <= 4
    assert sum(int(str(each.data["count"])) for each in refusals) == 11 + statuses.count(429)


def test_a_key_that_is_revoked_is_refused_by_a_running_server(place: Place) -> None:
    """Within seconds, without a restart; its life is in the audit trail."""
    key = place.key("short", "--role", "operator")
    with place.serving() as server:
        assert server.get("/runs", key).status_code == 200
        assert place.run("keys", "revoke", "short").returncode == 0
        deadline = datetime.now(UTC) + timedelta(seconds=PATIENCE_S)
        while server.get("/runs", key).status_code == 200:
            assert datetime.now(UTC) < deadline
        assert server.get("/runs", key).status_code == 401
    (row,) = json.loads(place.run("keys", "list", "--json").stdout)
    assert (row["name"], row["role"], row["state"]) == ("short", "operator", "revoked")
    assert "key" not in row


def test_what_is_recorded_is_there_after_a_restart(place: Place) -> None:
    """Executions and operations go through the record services into the ledger."""
    key = place.key("writer", "--role", "operator")
    body = {"workflow_id": "wf-1", "execution_id": "e-1", "status": "completed"}
    with place.serving() as server:
        answers = [
            requests.post(
                f"{server.address}/logs/executions/",
                json=body,
                headers=key | {"Idempotency-Key": "once"},
                timeout=PATIENCE_S,
            )
            for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
    with place.serving("--workers", "2") as server:
        assert server.get("/logs/executions/e-1", key).json()["status"] == "completed"
        operations = server.get("/logs/operations?type=LOG_EXECUTION", key).json()["items"]
        assert [(each["user"], each["subject"]) for each in operations] == [("writer", "e-1")]


def test_without_keys_it_listens_here_only(place: Place) -> None:
    """--no-auth at another address than loopback's is a wrong word."""
    refused = place.run("serve", "--host", "0.0.0.0", "--no-auth")
    assert (refused.returncode, "--no-auth" in refused.stderr) == (2, True)
    with place.serving("--no-auth") as server:
        assert server.get("/runs", {}).status_code == 200
        assert server.get("/runs", {"Host": "evil.example.com"}).status_code == 403


def test_an_address_that_cannot_be_had_is_named(place: Place) -> None:
    """A taken port or a strange host: exit 2 with what to do."""
    with place.serving("--no-auth") as server:
        taken = place.run("serve", "--port", server.address.rpartition(":")[2])
        assert (taken.returncode, "choose another" in taken.stderr) == (2, True)
    strange = place.run("serve", "--host", "203.0.113.1")
    assert strange.returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        ("create", "x", "--app", "nobody"),
        ("create", "", "--role", "viewer"),
        ("create", "x", "--role", "root"),
        ("create", "x", "--days", "0"),
        ("revoke", "nobody"),
    ],
)
def test_wrong_words_about_keys_are_refused(place: Place, words: tuple[str, ...]) -> None:
    """Exit 2, and no key is made."""
    assert place.run("keys", *words).returncode == 2
    with open_ledger_at(place.ledger_url) as ledger:
        assert ledger.access_keys() == []


def test_a_scoped_key_is_made_by_the_name_of_an_app(place: Place) -> None:
    """Names of the settings and source:id both do."""
    made = place.run("keys", "create", "x", "--app", "support", "--app", "coze:7", "--days", "3", "--json")
    row = json.loads(made.stdout)
    assert row["apps"] == [str(APP), "coze:7"]
    assert row["expires_at"] > row["created_at"]
    assert os.environ.get("COLUMNS") != row["key"]


def test_answers_do_not_wait_for_a_program(place: Place) -> None:
    """Importing the command costs no web framework; the server's own import does."""
    program = "import sys; import flowledger.cli.serve, flowledger.cli.keys; print('fastapi' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout.strip() == "False"
