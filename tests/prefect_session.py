"""The Prefect servers of a test session: what its processes share, and the end of the shared server.

Prefect itself is imported only where a test asks for a server.
"""

import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prefect_server import PrefectServer, PrefectServers

FOLDER = "FLOWLEDGER_TESTS_SESSION"
"""The variable that tells the processes of pytest-xdist, which are started later, where the folder is."""


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that all processes of the session share."""
    if not _is_worker(config):
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="flowledger-tests-")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the shared server, once no process of the session needs it any more."""
    if _is_worker(config) or FOLDER not in os.environ:
        return
    folder = Path(os.environ.pop(FOLDER))
    leader = folder / "shared" / "pid"
    if leader.exists():
        with suppress(ProcessLookupError):
            os.killpg(int(leader.read_text("utf-8")), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)  # a server that ends may still write


@pytest.fixture(scope="session")
def prefect_servers() -> "PrefectServers":
    """Prefect servers: the one that the whole session shares, and such as a test has for itself."""
    from prefect_server import PrefectServers

    return PrefectServers(Path(os.environ[FOLDER]))


@pytest.fixture(scope="session")
def shared_prefect(prefect_servers: "PrefectServers") -> "PrefectServer":
    """The Prefect server that all tests of the session share."""
    return prefect_servers.shared()
