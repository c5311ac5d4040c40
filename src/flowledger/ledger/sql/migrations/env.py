"""Runs the scripts on the connection it is handed, inside that connection's transaction."""

from alembic import context

from flowledger.ledger.sql.migration import VERSION_TABLE
from flowledger.ledger.sql.workflow_schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
