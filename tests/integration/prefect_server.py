"""A Prefect server as it really runs, in a home of its own."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import requests
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_records import send_what_waits
from workplace import bare_environment

DATABASE = "prefect.db"
START_S = 100


@dataclass(frozen=True)
class PrefectServer:
    """Where a running server is, and where it keeps its database."""

    api: str
    home: Path

    def copy_database(self, home: Path) -> None:
        """Give another home a database that has its tables already, which takes Prefect ten seconds."""
        home.mkdir(parents=True)
        with (
            closing(sqlite3.connect(self.home / DATABASE)) as ours,
            closing(sqlite3.connect(home / DATABASE)) as theirs,
        ):
            ours.backup(theirs)


@contextmanager
def prefect_server(folder: Path) -> Iterator[PrefectServer]:
    """Run ``prefect server start`` on a free port of loopback until it is no longer needed."""
    port = _free_port()
    server = PrefectServer(f"http://127.0.0.1:{port}/api", folder / "prefect")
    variables = {
        "PREFECT_HOME": str(server.home),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": server.api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start"],
            cwd=folder,
            env=bare_environment() | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            _await(server.api, process)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@contextmanager
def prefect_in_use(folder: Path) -> Iterator[PrefectServer]:
    """Run a server and let flows of this process use it.

    Without the heartbeat, whose thread makes every run a second longer.
    """
    with (
        prefect_server(folder) as running,
        temporary_settings({PREFECT_API_URL: running.api, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield running
        send_what_waits()


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
