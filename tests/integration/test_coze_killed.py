"""A process that is killed while it streams: the next one ends what it left, and nothing of the living."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from coze_proxy import Proxy, events_in

from flowledger_simulator.coze_server import Act, Script, SimulatedCoze, message, serve_coze

pytestmark = pytest.mark.process

SRC = Path(__file__).parents[2] / "src"


@contextmanager
def api_process(folder: Path, coze: SimulatedCoze) -> Iterator[tuple[Proxy, "subprocess.Popen[str]"]]:
    """Start a process that serves the API over the folder's ledger, and kill it at the end."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("coze_proxy.py")),
        f"sqlite:///{folder}/ledger.db",
    ]
    with (
        (folder / "api.log").open("a") as log,
        subprocess.Popen(
            [*command, coze.base_url, str(folder)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={"PYTHONPATH": str(SRC), "PATH": ""},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            proxy = Proxy(process.stdout.readline().strip())
            # The listener takes connections before the server answers them.
            assert httpx.get(f"{proxy.base_url}/health", timeout=60, verify=False).status_code == 200
            yield proxy, process
        finally:
            process.kill()


@pytest.fixture
def coze() -> Iterator[SimulatedCoze]:
    """Serve a Coze whose workflow falls silent."""
    script = Script((message("a" * 200), message("b" * 70_000), message("c"), Act.SILENCE))
    with serve_coze({"w": script}) as server:
        yield server


def test_a_killed_process_leaves_no_run_open(coze: SimulatedCoze, tmp_path: Path) -> None:
    """The next start ends it as interrupted, with the output that was kept on the way."""
    with api_process(tmp_path, coze) as (proxy, process):
        with pytest.raises(httpx.HTTPError), proxy.streamed() as answer:  # noqa: PT012
            events = events_in(answer)
            execute_id = next(events)["data"]["execute_id"]
            for _ in range(3):
                next(events)
            while not proxy.record("w", execute_id)["output"]:
                pass
            process.kill()
            next(events)
        process.wait()
    with api_process(tmp_path, coze) as (proxy, _):
        record = proxy.ended("w", execute_id)
    assert (record["execute_status"], record["error_code"]) == ("interrupted", "process_gone")
    assert len(record["output"]["Output"]) >= 70_000
    assert len(coze.requests) == 1, "nothing is run again"


def test_a_start_leaves_the_runs_of_another_living_process_alone(coze: SimulatedCoze, tmp_path: Path) -> None:
    """Its lease is renewed, so that any number of processes may share a ledger."""
    with (
        api_process(tmp_path, coze) as (first, _),
        first.streamed() as answer,
    ):
        events = events_in(answer)
        execute_id = next(events)["data"]["execute_id"]
        before = first.record("w", execute_id)
        with api_process(tmp_path, coze) as (second, _):
            # Longer than a lease: it was renewed several times meanwhile.
            while (now := second.record("w", execute_id))["metadata"]["lease"] < before["metadata"][
                "lease"
            ] + 900:
                assert now["execute_status"] == "running"
        assert first.record("w", execute_id)["execute_status"] == "running"


def test_the_log_of_a_process_holds_no_token(coze: SimulatedCoze, tmp_path: Path) -> None:
    """Not even where its connection to Coze is refused."""
    coze.token = "another"
    with api_process(tmp_path, coze) as (proxy, _), proxy.streamed() as answer:
        assert answer.status_code == 502
        text = answer.read().decode()
    text += (tmp_path / "api.log").read_text()
    assert "pat_simulated" not in text
    assert "Bearer" not in text
