"""Every ledger there is, each new and empty."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_samples import DECODERS

from flowledger.ledger import open_ledger
from flowledger.ledger.sql import ledger as sql_ledger_module
from flowledger.ledger.sql import writing
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.plugins import LEDGERS
from flowledger.ports import Ledger


@pytest.fixture(scope="session")
def blank_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger's file: copying it is quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("blank") / "ledger.db"
    open_ledger(f"sqlite:///{path}", {}).close()
    return path


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few runs fill several pages and batches."""
    for module, name in (
        (sql_ledger_module, "PAGE"),
        (sql_ledger_module, "PAGE_WITH_DETAILS"),
        (writing, "BATCH"),
    ):
        monkeypatch.setattr(module, name, 7)


@pytest.fixture
def ledger_file(blank_file: Path, tmp_path: Path) -> Path:
    """The file of ``sql_ledger``."""
    return Path(shutil.copy(blank_file, tmp_path))


@pytest.fixture
def sql_ledger(ledger_file: Path) -> Iterator[SqlLedger]:
    """A new ledger in a SQLite file."""
    opened = SqlLedger.open(f"sqlite:///{ledger_file}", DECODERS)
    yield opened
    opened.close()


@pytest.fixture(params=sorted(LEDGERS))
def ledger(request: pytest.FixtureRequest, ledger_file: Path) -> Iterator[Ledger]:
    """A new ledger of each registered kind; a kind without a URL here fails."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{ledger_file}"}
    opened = open_ledger(urls[request.param], DECODERS)
    yield opened
    opened.close()
