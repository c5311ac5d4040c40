"""Facts that are no acts in a table of their own; what the audit log has of them stays there, too."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table, and copy what was recorded as operations before."""
    op.create_table(
        "key_values",
        sa.Column("id", KEY, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("stored_at", sa.DateTime(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_values"),
        sa.UniqueConstraint("key", name="uq_key_values_key"),
    )
    op.execute(
        "INSERT INTO key_values (key, stored_at, value) SELECT operation_id, at, data FROM operations"
        " WHERE operation_type IN ('REQUEST', 'ANSWER', 'ORDER_ENDED')"
    )


def downgrade() -> None:
    """Remove the table; what came after the upgrade is lost: such requests may be repeated."""
    op.drop_table("key_values")
