"""Prefect servers as they really run: one that all tests of a session share, others for one test alone."""

import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from uuid import uuid4

import requests
from prefect import tags
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_records import send_what_waits
from workplace import bare_environment

DATABASE = "prefect.db"
LEAN = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Nobody opens its pages or chooses among its kinds of blocks, which each start registers for seconds.
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
}
"""What spares a server of tests work that no test looks at."""
START_S = 250
"""On a machine that has nothing else to do it takes ten."""
_left_running: list["subprocess.Popen[bytes]"] = []
"""Shared servers that this process has started: whoever ends the session ends them."""


@dataclass(frozen=True)
class PrefectServer:
    """Where a running server is, and where it keeps its database."""

    api: str
    home: Path

    def copy_database(self, home: Path) -> None:
        """Copy the database to another home: making the tables takes Prefect ten seconds."""
        home.mkdir(parents=True, exist_ok=True)
        _copy(self.home / DATABASE, home / DATABASE)


@dataclass(frozen=True)
class PrefectServers:
    """The Prefect servers of a test session, whose processes share a folder."""

    session: Path

    def shared(self) -> PrefectServer:
        """Return the server that all tests share, started by whoever asks first.

        Tests that use it name or tag what they create, and look for nothing else.
        """
        folder = self.session / "shared"
        with self._locked():
            server = PrefectServer(_read(folder / "api"), folder / "prefect")
            if server.api:
                return server
            folder.mkdir(exist_ok=True)
            server = PrefectServer(f"http://127.0.0.1:{_free_port()}/api", folder / "prefect")
            process = self._start(server, folder)
            _left_running.append(process)
            (folder / "pid").write_text(str(process.pid), "utf-8")
            (folder / "api").write_text(server.api, "utf-8")
            return server

    @contextmanager
    def own(self, folder: Path) -> Iterator[PrefectServer]:
        """Run a server on a free port of loopback, for a test that needs one for itself."""
        server = PrefectServer(f"http://127.0.0.1:{_free_port()}/api", folder / "prefect")
        with nullcontext() if self._template.exists() else self._locked():
            process = self._start(server, folder)
        with process:
            try:
                yield server
            finally:
                os.killpg(process.pid, signal.SIGTERM)

    @property
    def _template(self) -> Path:
        return self.session / DATABASE

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.session / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self, server: PrefectServer, folder: Path) -> "subprocess.Popen[bytes]":
        """Start a server and wait until it answers; the first one makes the tables, the others copy them."""
        server.home.mkdir(parents=True, exist_ok=True)
        if self._template.exists():
            shutil.copy(self._template, server.home / DATABASE)
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start"],
                cwd=folder,
                env=bare_environment() | _variables(server),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _await(server.api, process)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if not self._template.exists():
            _copy(server.home / DATABASE, self._template)
        return process


@contextmanager
def prefect_in_use(server: PrefectServer) -> Iterator[PrefectServer]:
    """Let flows of this process use a server, and tag their runs, so that ``last_flow_run`` finds them.

    Without the heartbeat, whose thread makes every run a second longer.
    """
    with (
        temporary_settings({PREFECT_API_URL: server.api, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        tags(f"tests-{uuid4().hex}"),
    ):
        yield server
        send_what_waits()


def _variables(server: PrefectServer) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(server.home),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": server.api.removesuffix("/api").rpartition(":")[2],
        "PREFECT_API_URL": server.api,
    } | LEAN


def _copy(database: Path, to: Path) -> None:
    """Copy a database that is in use."""
    with closing(sqlite3.connect(database)) as ours, closing(sqlite3.connect(to)) as theirs:
        ours.backup(theirs)


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _await(api: str, process: "subprocess.Popen[bytes]") -> None:
    ends = monotonic() + START_S
    while True:
        assert process.poll() is None, "the Prefect server has ended"
        assert monotonic() < ends, "the Prefect server does not answer"
        try:
            requests.get(f"{api}/health", timeout=5).raise_for_status()
        except requests.RequestException:
            # Nobody listens yet: what ends a wait here is the process or the clock.
            _pause(process)
            continue
        return


def _pause(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return
