"""On a real Prefect server: every log line once on either side, and no secret anywhere."""

import json
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from echoing_server import echoing_server
from loguru import logger
from prefect_records import artifacts_of, last_flow_run, logs_of, task_runs_of
from prefect_server import PrefectServer, prefect_in_use
from process_list import arguments_of_group
from workplace import (
    DATASET,
    FLOWLEDGER,
    LEGACY_NOW,
    bare_environment,
    forget_waits,
    legacy_server,
    move_to,
    settings_of,
)

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.cli.main import main
from flowledger.errors import FlowledgerError
from flowledger.flows.fetch_workflow_logs import fetch_workflow_logs_flow
from flowledger_simulator import credentials

WHOLE = {"created_at_after": "2026-11-18T00:00:00", "created_at_before": "2026-11-21T23:59:59"}
run_flow: Callable[..., dict[str, Any]] = fetch_workflow_logs_flow
NOBODY = "http://127.0.0.1:9"
"""Where nobody listens."""
PLANTED = {
    "S3_BUCKET_NAME": "reports",
    "S3_ENDPOINT": NOBODY,
    "S3_ACCESS_KEY_ID": "planted-s3-key-id",
    "S3_SECRET_ACCESS_KEY": "planted/s3+secret",
    "OSS_BUCKET_NAME": "reports",
    "OSS_ENDPOINT": NOBODY,
    "OSS_ACCESS_KEY_ID": "planted-oss-key-id",
    "OSS_ACCESS_KEY_SECRET": "planted-oss-secret",
    "SMTP_HOST": "127.0.0.1",
    "SMTP_PORT": "9",
    "SMTP_TO": "ops@example.com",
    "SMTP_USER": "ops@example.com",
    "SMTP_PASSWORD": "planted mail päss",
    "DINGTALK_WEBHOOK": f"{NOBODY}/robot/send?access_token=planted-dingtalk-token",
    "DINGTALK_SECRET": "planted-dingtalk-secret",
    "WECHAT_WEBHOOK": f"{NOBODY}/cgi-bin/webhook/send?key=planted-wechat-key",
    "FEISHU_WEBHOOK": f"{NOBODY}/open-apis/bot/v2/hook/planted-feishu-hook",
    "FEISHU_SECRET": "planted-feishu-secret",
    "WEBHOOK_URL": f"{NOBODY}/in/planted-webhook-path",
    "WEBHOOK_SECRET": "planted-webhook-secret",
}
REFUSED_TOKEN = "app-planted-api-token"
SECRETS = (
    REFUSED_TOKEN,
    credentials.API_TOKEN,
    credentials.PASSWORD,
    *(PLANTED[name] for name in PLANTED if name.endswith(("_ID", "_KEY", "_SECRET", "_PASSWORD"))),
    *(PLANTED[name].rpartition(mark)[2] for name in PLANTED for mark in "=/" if "planted" in PLANTED[name]),
)
ECHOED = [("/v1", 401), ("/v1", 403), ("/v1", 500), ("/v1", 200), ("/console", 401), ("/console", 500)]


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
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: simulator.SimulatedServer) -> Path:
    """An empty folder, with a secret in every setting that can hold one, on the day after the data."""
    move_to(tmp_path, monkeypatch, settings_of(server, LOG_LEVEL="DEBUG", **PLANTED))
    monkeypatch.setattr(bootstrap.clock, "utc_now", lambda: LEGACY_NOW.astimezone(UTC))
    forget_waits(monkeypatch)
    return tmp_path


def lines(folder: Path, begin: str = "flowledger-2") -> list[dict[str, Any]]:
    """Give the lines of the program's log."""
    files = sorted((folder / "outputs" / "logs").glob(f"{begin}*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_every_line_is_once_in_the_file_and_once_in_prefect(place: Path) -> None:
    """With the same ids on either side, from the threads of a stage too; and with the app it is about."""
    run_flow(**WHOLE)
    flow_run = last_flow_run()
    shown = Counter((line.message, str(line.task_run_id)) for line in logs_of(flow_run.id))
    kept = Counter(
        (line["message"], str(line["task_id"]))
        for line in lines(place)
        if line["flow_run_id"] == str(flow_run.id) and line["level"] != "DEBUG"
    )
    assert set(kept.values()) == {1}
    assert {message: n for message, n in shown.items() if n > 1} == {}
    assert kept.keys() <= shown.keys()
    # Before the settings are read there is no log: only Prefect's own greeting is missing.
    assert all(
        "Beginning flow run" in message or "View at" in message for message, _ in shown.keys() - kept.keys()
    )
    ours = [line for line in lines(place) if str(line["metadata"]["module"]).startswith("flowledger")]
    assert {line["metadata"]["app"] for line in ours} == {"support"}


@pytest.mark.parametrize("asked", [None, "support"])
def test_a_failure_is_found_by_its_app_and_said_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: str | None
) -> None:
    """What failed, and that the run did; Prefect's own lines name the app, asked for by name or not."""
    monkeypatch.setenv("DIFY_BASE_URL", NOBODY)
    with pytest.raises(FlowledgerError):
        run_flow(**WHOLE, app=asked)
    flow_run = str(last_flow_run().id)
    kept = [line for line in lines(place) if line["flow_run_id"] == flow_run]
    assert {line["metadata"].get("app") for line in kept} == {"support"}
    with pytest.raises(SystemExit) as ended:
        main(["logs", "query", "--app", "support", "--level", "error", "--run", flow_run, "--json"])
    found = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert ended.value.code == 0
    assert [message.partition(" exception")[0] for message in found] == [
        "Task run failed with",
        "Encountered",
    ]
    assert not any("Finished in state Failed" in line["message"] for line in kept)


ALONE = """
from loguru import logger
from prefect import flow, get_run_logger, task
from flowledger.flows.fetch_workflow_logs import fetch_workflow_logs_flow
from flowledger.flows.logs import forwarded_to
@task
def telling():
    with forwarded_to(get_run_logger()):
        logger.warning("said in a task")
@flow
def calling():
    telling()
logger.error("said in no run")
calling()
"""


def test_loguru_itself_shows_nothing_in_a_workers_process(tmp_path: Path, prefect: PrefectServer) -> None:
    """It would show each line besides Prefect, and variables of tracebacks; Prefect shows a task's once."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path,
        env=bare_environment() | {"PREFECT_API_URL": prefect.api},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    shown = done.stdout + done.stderr
    assert (shown.count("said in no run"), shown.count("said in a task")) == (0, 1)


def test_a_line_from_any_thread_reaches_its_task(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that read details carry their task's context."""
    from flowledger.dify.fetcher import WorkflowLogFetcher

    read = WorkflowLogFetcher.detail

    def reading(*args: Any, **words: Any) -> Any:
        logger.info("read in a thread")
        return read(*args, **words)

    monkeypatch.setattr(WorkflowLogFetcher, "detail", reading)
    run_flow(**WHOLE)
    flow_run = last_flow_run()
    (enriching,) = {run.id for run in task_runs_of(flow_run, 4) if run.name.startswith("enrich-logs")}
    shown = [line for line in logs_of(flow_run.id) if line.message == "read in a thread"]
    kept = [line for line in lines(place) if line["message"] == "read in a thread"]
    assert len(shown) == len(kept) > 0
    assert {line.task_run_id for line in shown} == {enriching}
    assert {line["task_id"] for line in kept} == {str(enriching)}


def spellings(secret: str) -> set[bytes]:
    """Give the ways a secret could stand in a file."""
    texts = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    return {text.encode() for text in texts} | {b64encode(secret.encode()).rstrip(b"=")}


def assert_no_secret_in(texts: dict[str, bytes]) -> None:
    """See that no text holds any secret in any spelling."""
    forms = {form: secret for secret in SECRETS for form in spellings(secret)}
    found = [
        (place, secret) for place, text in texts.items() for form, secret in forms.items() if form in text
    ]
    assert found == []


def files_below(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    found = {}
    for path in folder.rglob("*"):
        # A server that is in use makes and removes files meanwhile.
        with suppress(FileNotFoundError, IsADirectoryError):
            found[str(path)] = path.read_bytes()
    return found


def kept_by_prefect(prefect: PrefectServer, name: str | None = None) -> dict[str, bytes]:
    """Return what Prefect's interface tells of the last run, and its whole home: database and log."""
    flow_run = last_flow_run(name)
    told = [flow_run, *task_runs_of(flow_run, 1), *logs_of(flow_run.id), *artifacts_of(flow_run).values()]
    texts = {f"api {n}": each.model_dump_json().encode() for n, each in enumerate(told)}
    return texts | files_below(prefect.home.parent)


def test_a_run_that_succeeds_tells_no_secret(
    place: Path, prefect: PrefectServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Logs, reports, raw data, ledger, what Prefect holds, and both outputs."""
    run_flow(**WHOLE, output_format="csv,markdown,json", save_data=True)
    texts = files_below(place) | kept_by_prefect(prefect)
    out, err = capfd.readouterr()
    assert_no_secret_in(texts | {"out": out.encode(), "err": err.encode()})


@pytest.mark.parametrize(("path", "status"), [*ECHOED, ("", 0)])
def test_a_run_that_fails_tells_no_secret(
    place: Path,
    prefect: PrefectServer,
    server: simulator.SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: str,
    status: int,
) -> None:
    """A server may answer with what it was sent, or not at all; the error says what to do all the same."""
    echo: AbstractContextManager[str] = (
        echoing_server(server.base_url.removesuffix("/v1"), path, status) if path else nullcontext(NOBODY)
    )
    if path == "/v1":
        monkeypatch.setenv("DIFY_API_TOKEN", REFUSED_TOKEN)
    with echo as address:
        monkeypatch.setenv("DIFY_BASE_URL", address)
        try:
            result: dict[str, Any] = run_flow(**WHOLE, output_format="csv,markdown,json")
        except FlowledgerError as error:
            result = {"error": repr(error), "shown": str(error), "body": getattr(error, "body", "")}
    texts = files_below(place) | kept_by_prefect(prefect) | {"result": json.dumps(result).encode()}
    out, err = capfd.readouterr()
    assert_no_secret_in(texts | {"out": out.encode(), "err": err.encode()})
    if path != "/console":
        assert lines(place, "flowledger-errors")[-1]["flow_run_id"] == str(last_flow_run().id)
        assert "Traceback" not in err


def test_the_command_fails_with_one_clear_line(
    tmp_path: Path, prefect: PrefectServer, server: simulator.SimulatedServer
) -> None:
    """No traceback, no secret in the outputs, the files or any process's arguments."""
    variables = settings_of(server, PREFECT_API_URL=prefect.api, **PLANTED) | {
        "DIFY_API_TOKEN": REFUSED_TOKEN,
        "DIFY_APP_NAME": "refused",
    }
    arguments = b""
    with (
        (tmp_path / "stderr").open("wb") as shown,
        subprocess.Popen(
            (*FLOWLEDGER, "run", "--after", "2026-11-18", "--before", "2026-11-21"),
            cwd=tmp_path,
            env=bare_environment() | variables,
            stdout=subprocess.PIPE,
            stderr=shown,
            start_new_session=True,
        ) as process,
    ):
        while process.poll() is None:
            arguments += arguments_of_group(process.pid)
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
        out = process.stdout.read() if process.stdout else b""
    said = (tmp_path / "stderr").read_text("utf-8")
    assert process.returncode == 1, said
    assert said.splitlines()[-1].startswith("error: ")
    assert "DIFY_API_TOKEN" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert b"flowledger" in arguments
    assert_no_secret_in(
        files_below(tmp_path)
        | {"out": out, "arguments": arguments}
        | kept_by_prefect(prefect, "refused · custom")
    )
