"""A console password that Dify refuses, and the processes that share a ledger."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import bare_environment, command_here, forget_waits, move_to, settings_of

import flowledger_simulator as simulator
from flowledger_simulator import credentials

LOGIN = "/console/api/login"
PROCESSES = 6
LOG_IN = """
from flowledger import bootstrap
from flowledger.errors import AuthenticationError
settings = bootstrap.load_settings()
with bootstrap.open_source(settings.apps[0], settings=settings) as source:
    try:
        source.log_in()
    except AuthenticationError as error:
        print(error)
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[simulator.SimulatedServer]:
    """A Dify whose console password is another one than the settings have."""
    with simulator.serve(simulator.make_world(simulator.Recipe(runs=3))) as server:
        server.site.sessions.password = "another-password"
        move_to(tmp_path, monkeypatch, settings_of(server))
        forget_waits(monkeypatch)
        yield server


@pytest.mark.fault(15)
@pytest.mark.process
def test_six_processes_at_once_offer_a_wrong_password_once(
    server: simulator.SimulatedServer, tmp_path: Path
) -> None:
    """Six tries would lock the account for a day; five processes read in the ledger that it was refused."""
    environment = bare_environment() | settings_of(server)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOG_IN], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(PROCESSES)
    ]
    lines = [process.communicate(timeout=100)[0] for process in processes]
    assert server.requests.count(LOGIN) == 1
    assert all("flowledger doctor --log-in-again" in line for line in lines)
    assert not any(credentials.PASSWORD in line for line in lines)


@pytest.mark.fault(15)
def test_a_refused_password_is_tried_again_when_it_or_a_person_says_so(
    server: simulator.SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs and doctor leave it alone; another setting, or doctor's option, tries."""
    assert command_here("run", "--direct", "--period", "yesterday").returncode == 0
    assert server.requests.count(LOGIN) == 1
    server.site.sessions.password = credentials.PASSWORD
    refused = command_here("doctor")
    assert (refused.returncode, server.requests.count(LOGIN)) == (1, 1)
    assert f"has refused this console password of {credentials.EMAIL} at 20" in refused.stdout
    again = command_here("doctor", "--log-in-again")
    assert (again.returncode, server.requests.count(LOGIN)) == (0, 2)
    assert command_here("doctor").returncode == 0

    monkeypatch.setenv("DIFY_CONSOLE_PASSWORD", "a-third-password")
    assert command_here("doctor").returncode == 1
    assert server.requests.count(LOGIN) == 4
