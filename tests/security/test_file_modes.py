"""Who may read and write what is made, also where the umask forbids nothing."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from planted_secrets import API_TOKEN, app_variables
from simulated_dify import DAY, END, make_day
from workplace import FLOWLEDGER, bare_environment

import flowledger_simulator as simulator
from flowledger import bootstrap
from flowledger.domain.runs import Level
from flowledger.services.pipeline import Enriched
from flowledger.services.report_requests import RunOrder
from flowledger.settings import ConfigManager

OPEN = 0o000
"""The umask that forbids nothing."""
RUN = ("run", "--direct", "--after", DAY.isoformat(), "--before", END.isoformat(), "--save-data")
OLD = ("--api-token", simulator.credentials.API_TOKEN, "--fetch-all", "--base-url")
COMMANDS = {
    "run": (*FLOWLEDGER, *RUN, "--format", "csv,markdown,json"),
    "key": (*FLOWLEDGER, "secrets", "new-key", "--file", "flowledger.key"),
    "backup": (*FLOWLEDGER, "history", "backup", "all.zip"),
    "schema": (*FLOWLEDGER, "config", "schema", "--write"),
    "keys": (*FLOWLEDGER, "keys", "create", "someone", "--role", "viewer"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[simulator.SimulatedServer]:
    """A Dify of one day."""
    with simulator.serve(make_day(5)) as server:
        yield server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, server: simulator.SimulatedServer) -> Path:
    """A folder in which commands have run that write, one after the other, with the open umask."""
    folder = tmp_path_factory.mktemp("modes")
    folder.chmod(0o755)
    temporary = folder / "tmp"
    temporary.mkdir()
    settings = app_variables(server.base_url, DIFY_API_TOKEN=simulator.credentials.API_TOKEN, TIMEZONE="UTC")
    for words in COMMANDS.values():
        done = subprocess.run(
            words,
            cwd=folder,
            env=bare_environment() | settings | {"TMPDIR": str(temporary)},
            umask=OPEN,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return folder


def modes(folder: Path) -> dict[str, int]:
    """Give the permissions of all that is below a folder."""
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def test_nothing_may_be_written_by_everybody(made: Path) -> None:
    """No file and no folder: whoever may write a folder may put another file in a file's place."""
    found = modes(made)
    assert len(found) > 10
    assert {name: oct(mode) for name, mode in found.items() if mode & stat.S_IWOTH} == {}


@pytest.mark.parametrize(
    ("ending", "most"),
    [("ledger.db", 0o600), (".key", 0o600), (".zip", 0o600), (".jsonl", 0o640)],
)
def test_what_holds_secrets_or_runs_is_its_owners(made: Path, ending: str, most: int) -> None:
    """Ledger, keys and backups; the group may read the log."""
    found = {
        name: mode for name, mode in modes(made).items() if name.endswith(ending) and "/data/" not in name
    }
    assert found
    assert {name: oct(mode) for name, mode in found.items() if mode & ~most} == {}


def test_nothing_stays_in_the_temporary_folder(made: Path) -> None:
    """What is written there on its way is gone, whoever might have read it."""
    assert list((made / "tmp").iterdir()) == []


def test_a_scheduled_run_and_the_old_command_hold_it_too(
    tmp_path: Path, server: simulator.SimulatedServer
) -> None:
    """They do not begin at the command line of today."""
    settings = app_variables(server.base_url, DIFY_API_TOKEN=simulator.credentials.API_TOKEN, TIMEZONE="UTC")
    before = os.umask(OPEN)
    try:
        order = RunOrder(after=DAY.isoformat(), before=END.isoformat(), formats="json")
        with (
            bootstrap.configured(ConfigManager(tmp_path, settings)),
            bootstrap.open_pipeline(order, END) as (pipeline, request),
        ):
            pipeline.report(pipeline.collect(request), request, Enriched(Level.NONE, 0, 0), run_id="x")
    finally:
        os.umask(before)
    subprocess.run(
        (
            sys.executable,
            "-m",
            "flowledger.cli.fetch_workflow_logs",
            *OLD,
            server.base_url,
            "--output",
            "a/b.csv",
        ),
        cwd=tmp_path,
        env=bare_environment(),
        umask=OPEN,
        capture_output=True,
        timeout=60,
        check=False,
    )
    found = modes(tmp_path)
    assert len(found) > 5
    assert {name: oct(mode) for name, mode in found.items() if mode & stat.S_IWOTH} == {}
    assert API_TOKEN not in "".join(found)


def test_a_stricter_umask_stays(tmp_path: Path, server: simulator.SimulatedServer) -> None:
    """Who wants nobody to read sets 077, and gets it."""
    settings = app_variables(server.base_url, DIFY_API_TOKEN=simulator.credentials.API_TOKEN, TIMEZONE="UTC")
    subprocess.run(
        (*FLOWLEDGER, *RUN),
        cwd=tmp_path,
        env=bare_environment() | settings,
        umask=0o077,
        timeout=60,
        check=True,
    )
    assert {name: oct(mode) for name, mode in modes(tmp_path).items() if mode & 0o077} == {}
