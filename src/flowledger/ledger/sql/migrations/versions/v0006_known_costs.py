"""Whether the cost of a run is all it cost; prices that nodes which call no model were given are removed.

Before, whatever object of a node was called ``usage`` could state a price: an end node that hands on the
usage of a model doubled it, and a start variable of that name set it.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby, islice

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BATCH = 1000
NODES = sa.table(
    "node_executions",
    *map(sa.column, ("run", "node_type", "currency", "total_price")),
)
RUNS = sa.table(
    "runs", *map(sa.column, ("id", "status", "detail_level", "cost")), sa.column("cost_known", sa.Boolean)
)
FREE = NODES.c.node_type.in_(
    (
        *("start", "end", "answer", "if-else", "code", "template-transform", "http-request", "assigner"),
        *("variable-aggregator", "variable-assigner", "document-extractor", "list-operator", "human-input"),
        *("iteration-start", "loop-start", "loop-end", "trigger-webhook", "trigger-schedule"),
    )
)
MODEL = NODES.c.node_type.in_(("llm", "agent", "question-classifier", "parameter-extractor"))
PRICED = NODES.c.total_price.is_not(None)
WRONG = sa.select(NODES.c.run).where(FREE, PRICED)
UNPRICED = sa.select(NODES.c.run).where(MODEL, ~PRICED)


def upgrade() -> None:
    """Add the column, add up anew what was wrong, and mark what is whole."""
    op.add_column("runs", sa.Column("cost_known", sa.Boolean(), nullable=False, server_default=sa.false()))
    _add_up()
    op.execute(NODES.update().where(FREE).values(total_price=None, currency=None))
    whole = (RUNS.c.detail_level == 2, RUNS.c.status.not_in(("pending", "running", "paused")))
    op.execute(RUNS.update().where(*whole, RUNS.c.id.not_in(UNPRICED)).values(cost_known=True))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("runs", "cost_known")


def _add_up() -> None:
    connection = op.get_bind()
    last = connection.scalar(sa.text("SELECT coalesce(max(id), 0) FROM runs"))
    costs = [each for first in range(0, last, BATCH) for each in _costs(connection, first)]
    connection.execute(RUNS.update().where(RUNS.c.id.in_(WRONG)).values(cost=None))
    rest = iter(costs)
    while batch := list(islice(rest, BATCH)):
        connection.execute(sa.text("UPDATE runs SET cost = :cost WHERE id = :id"), batch)


def _costs(connection: sa.Connection, first: int) -> Iterator[dict[str, object]]:
    prices = (
        sa.select(NODES.c.run, sa.func.coalesce(NODES.c.currency, "").label("currency"), NODES.c.total_price)
        .where(NODES.c.run > first, NODES.c.run <= first + BATCH, NODES.c.run.in_(WRONG))
        .where(PRICED, ~FREE, NODES.c.node_type.not_in(("iteration", "loop")))
        .order_by(NODES.c.run)
    )
    rows = connection.execute(prices).all()
    for run, nodes in groupby(rows, key=lambda row: row.run):
        amounts: dict[str, Decimal] = {}
        for node in nodes:
            amounts[node.currency] = amounts.get(node.currency, Decimal(0)) + Decimal(node.total_price)
        texts = {currency: str(amount) for currency, amount in amounts.items()}
        yield {"id": run, "cost": json.dumps(texts, separators=(",", ":"))}
