"""Record services over every ledger that needs no server, with settings and a clock of their own."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowledger.bootstrap import clock, configured
from flowledger.ledger import open_ledger
from flowledger.plugins import LEDGERS
from flowledger.records import ExecutionHistoryService, LogService
from flowledger.settings import ConfigManager

START = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
KINDS = sorted(LEDGERS.keys() - {"postgresql"})

Configure = Callable[..., dict[str, Any]]


class Ticking:
    """A clock that is a second later each time it is asked."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    """The program's clock, ticking."""
    made = Ticking()
    monkeypatch.setattr(clock, "utc_now", made)
    return made


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path) -> Iterator[None]:
    with configured(ConfigManager(tmp_path, {})):
        yield


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger's file: copying it is quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("blank") / "ledger.db"
    open_ledger(f"sqlite:///{path}", {}).close()
    return path


@pytest.fixture
def configure(tmp_path: Path, blank_database: Path) -> Configure:
    """Give the options that make a service keep in a ledger of a kind."""

    def options(kind: str, **more: Any) -> dict[str, Any]:
        places = {"memory": "memory://", "file": f"file://{tmp_path}/files"}
        if kind == "sqlite":
            shutil.copy(blank_database, tmp_path / "ledger.db")
        url = places.get(kind, f"sqlite:///{tmp_path}/ledger.db")
        return {"ledger_url": url, "log_dir": tmp_path / "files", "timezone": "UTC", **more}

    return options


@pytest.fixture(params=KINDS)
def service(request: pytest.FixtureRequest, configure: Configure) -> Iterator[LogService]:
    """A log service over each ledger."""
    with LogService("ledger", configure(request.param)) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def histories(request: pytest.FixtureRequest, configure: Configure) -> Iterator[ExecutionHistoryService]:
    """A history service over each ledger."""
    with ExecutionHistoryService(configure(request.param)) as opened:
        yield opened
