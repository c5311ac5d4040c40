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
from flowledger.ledger.sql.schema import metadata
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


@pytest.fixture(scope="session")
def kept_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlLedger]:
    """One file for all conformance tests: SQLAlchemy compiles each statement once, not once per test."""
    opened = SqlLedger.open(f"sqlite:///{tmp_path_factory.mktemp('kept')}/ledger.db", DECODERS)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_ledger(kept_sqlite: SqlLedger) -> Iterator[Ledger]:
    """A ledger in a SQLite file, emptied."""
    yield kept_sqlite
    with kept_sqlite.engine.execution_options(writes=("schema",)).begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture(scope="session")
def kept_postgresql(postgresql_database: str) -> Iterator[SqlLedger]:
    """One database for all conformance tests, migrated once."""
    opened = SqlLedger.open(postgresql_database, DECODERS)
    yield opened
    opened.close()


@pytest.fixture
def postgresql_ledger(kept_postgresql: SqlLedger) -> Iterator[SqlLedger]:
    """A ledger in a PostgreSQL database, emptied."""
    yield kept_postgresql
    with kept_postgresql.engine.execution_options(writes=()).begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def memory_ledger() -> Ledger:
    """A ledger in memory."""
    return open_ledger("memory://", DECODERS)


@pytest.fixture
def file_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger in JSON files."""
    opened = open_ledger(f"file://{tmp_path}/files", DECODERS)
    yield opened
    opened.close()


@pytest.fixture(params=sorted(LEDGERS))
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """An empty ledger of each registered kind; a kind without a fixture of its own fails."""
    empty: Ledger = request.getfixturevalue(f"{request.param}_ledger")
    return empty
