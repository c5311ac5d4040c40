"""The examples of workflows run against the bundled API, in the command itself and by a worker."""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from workplace import FLOWLEDGER, PROJECT, bare_environment, forget_waits, move_to, settings_of

import flowledger_simulator as simulator
from flowledger.cli.main import main
from flowledger.io.yaml_text import read_document
from flowledger.services.workflows.files import read_text
from flowledger_simulator.example_api import PASSWORD, ExampleApi, serve_example_api

FOLDER = PROJECT / "examples" / "workflows"
SCHEMA = json.loads((PROJECT / "config" / "workflow.schema.json").read_text("utf-8"))
Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def api() -> Iterator[ExampleApi]:
    """The bundled API."""
    with serve_example_api() as served:
        yield served


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The settings that the examples need."""
    return {
        "LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db",
        "WORKFLOWS_ALLOWED_HOSTS": "127.0.0.1",
        "WORKFLOW_SECRETS": f"EXAMPLE_PASSWORD={PASSWORD}",
    }


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    api: ExampleApi,
    variables: dict[str, str],
) -> Run:
    """Run an example in this process; give the exit status and the execution."""
    move_to(tmp_path, monkeypatch, variables)

    def run_example(name: str, **input_data: Any) -> tuple[int, dict[str, Any]]:
        words = ("workflow", "run", "--direct", str(FOLDER / f"{name}.yaml"), "--json")
        with pytest.raises(SystemExit) as end:
            main([*words, "--input", json.dumps({"api": api.base_url, **input_data})])
        return int(end.value.code or 0), json.loads(capsys.readouterr().out)

    return run_example


def test_the_schema_takes_every_example() -> None:
    """An editor marks nothing in them."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    files = sorted(FOLDER.glob("*.yaml"))
    assert len(files) == 4
    for file in files:
        value = read_document(file.read_text("utf-8")).value
        assert [error.message for error in validator.iter_errors(value)] == [], file.name


def test_the_schema_takes_the_example_of_the_document() -> None:
    """And the reader takes it for a workflow."""
    text = (PROJECT / "docs" / "orchestration.md").read_text("utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (example,) = (block for block in blocks if "format: workflow/1" in block)
    (file,) = read_text(example, "example")
    file.check()
    assert [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(file.form)] == []


def test_log_in_get_decide_update(run: Run, api: ExampleApi) -> None:
    """Who has the score is changed once, who has not is left, and who is not there fails with a sentence."""
    status, execution = run("update-user", user_id=7)
    assert (status, execution["output_data"]) == (0, {"name": "张三", "score": 82, "level": "gold"})
    assert api.users["7"]["level"] == "gold"
    status, execution = run("update-user", user_id=8)
    assert (status, execution["output_data"]) == (0, {"name": "李四", "score": 40, "level": None})
    assert api.effects == ["user 7 changed"]
    status, execution = run("update-user", user_id=9)
    assert status == 1
    assert execution["error_message"].startswith("the user 9 cannot be read: HTTP 404: ")
    assert PASSWORD not in json.dumps(execution)


def test_fan_out_with_fail_fast(run: Run) -> None:
    """All are added up, or the first failure ends the others."""
    status, execution = run("count-stock")
    assert (status, execution["output_data"]["total"]) == (0, 8)
    status, execution = run("count-stock", fail="south")
    assert status == 1
    assert "the warehouse south is closed" in execution["error_message"]


def test_poll_until_done(run: Run, api: ExampleApi) -> None:
    """It asks until the job says so, and starts it once."""
    status, execution = run("wait-for-job", seconds=0.01)
    assert (status, execution["output_data"]) == (0, {"job": 1, "asked": 3})
    assert api.effects == ["job 1 started"]


def test_the_daily_report(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str]
) -> None:
    """The report's files are there, and its certificate decides."""
    forget_waits(monkeypatch)
    with simulator.serve(simulator.make_world(simulator.Recipe(runs=4))) as server:
        move_to(tmp_path, monkeypatch, {**settings_of(server), **variables})
        window = {"after": "2026-11-01", "before": "2026-11-29"}
        status, execution = run("daily-report", period="custom", **window)
    assert status == 0, execution
    assert execution["output_data"]["reports"]
    assert all(Path(each).exists() for each in execution["output_data"]["reports"])


@pytest.mark.process
def test_a_worker_executes_what_is_ordered(
    tmp_path: Path, variables: dict[str, str], api: ExampleApi
) -> None:
    """Another process takes the order; stopped by SIGTERM it ends with status 0."""
    environment = {**bare_environment(), **variables}
    worker = subprocess.Popen(
        [*FLOWLEDGER, "worker"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert worker.stderr is not None
        assert "executions at once" in worker.stderr.readline()
        words = ("workflow", "run", str(FOLDER / "count-stock.yaml"))
        ordered = subprocess.run(
            [*FLOWLEDGER, *words, "--input", json.dumps({"api": api.base_url})],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ordered.returncode == 0, ordered.stderr
        assert '"total": 8' in ordered.stdout
    finally:
        worker.send_signal(signal.SIGTERM)
        _, rest = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert "Traceback" not in rest
