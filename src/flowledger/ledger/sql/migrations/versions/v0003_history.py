"""The history of all runs: what they cost, large rows beside them, keys of the API.

The cost of runs that are held already is the sum of their nodes' prices without containers (iterations and
loops), which repeat the sum of their children's; a detail that is read again gives the exact one.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby, islice

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BATCH = 1000
PRICES = (
    "SELECT run, coalesce(currency, '') AS currency, total_price FROM node_executions"
    " WHERE run > :after AND run <= :last AND total_price IS NOT NULL"
    " AND node_type NOT IN ('iteration', 'loop') ORDER BY run"
)


def upgrade() -> None:
    """Make tables, columns and indices, and add up what held runs cost."""
    op.add_column("runs", sa.Column("cost", sa.Text()))
    op.add_column("payloads", sa.Column("digest", sa.LargeBinary()))
    op.create_table(
        "large_raws",
        sa.Column("run", KEY, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_large_raws"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_large_raws_run", ondelete="CASCADE"),
    )
    op.create_table(
        "access_keys",
        sa.Column("id", KEY, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("role", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("apps", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime()),
        sa.Column("revoked_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_access_keys"),
        sa.UniqueConstraint("key_id", name="uq_access_keys_key_id"),
    )
    _add_up()
    op.create_index("ix_runs_newest", "runs", ["listed_at", "id"])
    op.create_index("ix_runs_status", "runs", ["source", "app_id", "status", "listed_at"])
    op.create_index("ix_window_runs_run", "window_runs", ["run"])


def downgrade() -> None:
    """Remove all keys, and what runs cost; large rows go back into their runs."""
    op.execute(
        "UPDATE runs SET raw = (SELECT body FROM large_raws WHERE run = runs.id)"
        " WHERE id IN (SELECT run FROM large_raws)"
    )
    for index, table in (
        ("ix_window_runs_run", "window_runs"),
        ("ix_runs_status", "runs"),
        ("ix_runs_newest", "runs"),
    ):
        op.drop_index(index, table)
    op.drop_table("access_keys")
    op.drop_table("large_raws")
    op.drop_column("payloads", "digest")
    op.drop_column("runs", "cost")


def _add_up() -> None:
    connection = op.get_bind()
    last = connection.scalar(sa.text("SELECT coalesce(max(id), 0) FROM runs"))
    costs = (each for first in range(0, last, BATCH) for each in _costs(connection, first))
    while batch := list(islice(costs, BATCH)):
        connection.execute(sa.text("UPDATE runs SET cost = :cost WHERE id = :id"), batch)


def _costs(connection: sa.Connection, first: int) -> Iterator[dict[str, object]]:
    rows = connection.execute(sa.text(PRICES), {"after": first, "last": first + BATCH}).all()
    for run, nodes in groupby(rows, key=lambda row: row.run):
        amounts: dict[str, Decimal] = {}
        for node in nodes:
            amounts[node.currency] = amounts.get(node.currency, Decimal(0)) + Decimal(node.total_price)
        texts = {currency: str(amount) for currency, amount in amounts.items()}
        yield {"id": run, "cost": json.dumps(texts, separators=(",", ":"))}
