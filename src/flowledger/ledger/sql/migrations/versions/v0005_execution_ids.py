"""An execution's id belongs to one workflow: the database itself refuses it to a second one.

Where two workflows share an id already, both executions stay; the newest keeps the id, the others are marked.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEX = "uq_runs_execution"
OWN = sa.text("source IN ('coze', 'log') AND id_is_shared IS NULL")
NEWEST_FIRST = "PARTITION BY source, run_id ORDER BY listed_at DESC, id DESC"


def upgrade() -> None:
    """Mark what shares an id with a newer execution, and make the rest unique."""
    op.add_column("runs", sa.Column("id_is_shared", sa.Boolean()))
    op.execute(
        "UPDATE runs SET id_is_shared = true WHERE id IN (SELECT id FROM ("  # noqa: S608  constants
        f"SELECT id, row_number() OVER ({NEWEST_FIRST}) AS place FROM runs WHERE source IN ('coze', 'log')"
        ") AS executions WHERE place > 1)"
    )
    op.create_index(INDEX, "runs", ["source", "run_id"], unique=True, sqlite_where=OWN, postgresql_where=OWN)


def downgrade() -> None:
    """Let several workflows use one id again."""
    op.drop_index(INDEX, "runs")
    op.drop_column("runs", "id_is_shared")
