"""Brings a database to the schema this program knows."""

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from flowledger.errors import LedgerError, LedgerVersionError
from flowledger.ledger.sql.workflow_schema import metadata

REVISION = "0008"
VERSION_TABLE = "flowledger_version"
SCRIPTS = "flowledger.ledger.sql:migrations"
_versions = sa.Table(
    VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True, nullable=False)
)


def migrate(engine: Engine, place: str) -> None:
    """Make or upgrade the tables; one look suffices where they are current.

    ``place`` names the ledger in errors.

    :raises LedgerVersionError: when the schema is newer than this program; LedgerError: when the database
        is another program's.
    """
    with engine.connect() as connection:
        if _revision(connection, place) == REVISION:
            return
    with engine.execution_options(writes=("schema",)).begin() as connection:
        # Another process may have been first while this one waited.
        stored = _revision(connection, place)
        if stored != REVISION:
            _upgrade(connection, stored, place)


def create_tables(connection: Connection) -> None:
    """Make all tables as they are now, in an empty database; a test holds the migrations to the same."""
    metadata.create_all(connection)
    connection.execute(sa.schema.CreateTable(_versions))
    connection.execute(sa.insert(_versions), {"version_num": REVISION})


def _revision(connection: Connection, place: str) -> str | None:
    inspector = sa.inspect(connection)
    if inspector.has_table(VERSION_TABLE):
        return connection.scalar(sa.select(_versions.c.version_num))
    if inspector.get_table_names():
        raise LedgerError(
            f"{place} is the database of another program: set LEDGER_URL to a place of its own for the ledger"
        )
    return None


def _upgrade(connection: Connection, stored: str | None, place: str) -> None:
    # Alembic takes a tenth of a second to import, which only a ledger that changes should cost.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    existing = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if stored is not None and stored not in existing:
        raise LedgerVersionError(
            f"{place} has schema {stored}, this program knows up to {REVISION}: a newer Flowledger wrote it;"
            " update this one, or restore the backup made before the other was updated"
        )
    command.upgrade(config, REVISION)
