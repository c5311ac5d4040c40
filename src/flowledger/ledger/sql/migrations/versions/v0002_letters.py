"""Letters: messages to be sent, and what became of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "letters",
        sa.Column("id", KEY, nullable=False),
        sa.Column("letter_id", TEXT, nullable=False),
        sa.Column("channel", TEXT, nullable=False),
        sa.Column("source", TEXT),
        sa.Column("app_id", TEXT),
        sa.Column("posted_at", sa.DateTime(), nullable=False),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("problem", TEXT, nullable=False),
        sa.Column("sent_at", sa.DateTime()),
        sa.Column("given_up", sa.Boolean(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_letters"),
        sa.UniqueConstraint("letter_id", name="uq_letters_letter_id"),
    )
    not_given_up = sa.column("given_up", sa.Boolean) == sa.false()
    waiting = sa.and_(sa.column("sent_at", sa.DateTime).is_(None), not_given_up)
    op.create_index("ix_letters_posted", "letters", ["posted_at"])
    op.create_index(
        "ix_letters_waiting", "letters", ["posted_at"], sqlite_where=waiting, postgresql_where=waiting
    )


def downgrade() -> None:
    """Remove the table with all letters, sent or not."""
    op.drop_table("letters")
