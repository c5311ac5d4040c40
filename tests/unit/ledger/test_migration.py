"""The schema's history: from nothing to what the program knows, and no further."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledger_samples import AT, SCOPE, run
from sqlalchemy import Engine, create_engine

from flowledger.errors import LedgerError, LedgerVersionError
from flowledger.ledger.sql import migration
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ledger.sql.schema import metadata


@pytest.fixture
def engine(sql_ledger: SqlLedger) -> Engine:
    return sql_ledger.engine


def tables(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def say_version(path: Path, version: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {migration.VERSION_TABLE} SET version_num = ?", (version,))


def scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", migration.SCRIPTS)
    config.set_main_option("path_separator", "os")
    return config


def test_the_newest_script_is_what_the_program_knows() -> None:
    """A new script needs the revision raised with it."""
    assert ScriptDirectory.from_config(scripts()).get_heads() == [migration.REVISION]


def test_the_scripts_make_the_tables_the_program_uses(engine: Engine) -> None:
    """Nothing in the metadata is missing from the migrations, or the other way round."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migration.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_scripts_make_the_same_indices(ledger_file: Path, tmp_path: Path) -> None:
    """Orders and conditions of indices, which the comparison does not see, are equal too."""
    direct = tmp_path / "direct.db"
    created = create_engine(f"sqlite:///{direct}")
    metadata.create_all(created)
    created.dispose()
    indices = {name: sql for name, sql in tables(direct).items() if name.startswith("ix_")}
    assert {name: sql for name, sql in tables(ledger_file).items() if name.startswith("ix_")} == indices
    assert len(indices) == 5


def test_going_down_leaves_nothing(engine: Engine, ledger_file: Path) -> None:
    """Every script can be undone, and done again."""
    for step, there in ((command.downgrade, False), (command.upgrade, True)):
        with engine.execution_options(writes=True).begin() as connection:
            config = scripts()
            config.attributes["connection"] = connection
            step(config, "base" if step is command.downgrade else "head")
        assert ("runs" in tables(ledger_file)) is there


def test_a_current_ledger_is_only_looked_at(ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening what is up to date does not start the migration machinery."""
    upgrades: list[object] = []
    monkeypatch.setattr(migration, "_upgrade", lambda *arguments: upgrades.append(arguments))
    SqlLedger.open(f"sqlite:///{ledger_file}", {}).close()
    assert upgrades == []


def test_a_newer_schema_is_refused(ledger_file: Path) -> None:
    """Older code does not touch what newer code wrote, and says both versions."""
    say_version(ledger_file, "9999")
    with pytest.raises(
        LedgerVersionError, match=rf"{ledger_file} has schema 9999.*up to {migration.REVISION}.*update"
    ):
        SqlLedger.open(f"sqlite:///{ledger_file}", {})


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    """A database of another program is left alone."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(LedgerError, match="another program"):
        SqlLedger.open(f"sqlite:///{path}", {})
    assert list(tables(path)) == ["theirs"]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that breaks off takes the whole migration back; the next opening makes it anew."""
    path = tmp_path / "ledger.db"
    upgrade = command.upgrade

    def break_off(config: Config, revision: str) -> None:
        upgrade(config, revision)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(command, "upgrade", break_off)
        with pytest.raises(KeyboardInterrupt):
            SqlLedger.open(f"sqlite:///{path}", {})
    assert tables(path) == {}
    ledger = SqlLedger.open(f"sqlite:///{path}", {})
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    assert ledger.count(SCOPE) == 1
    ledger.close()
