"""The ledger: runs, node executions, payloads, windows, operations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make all tables."""
    _create_runs()
    _create_run_parts()
    _create_windows()
    _create_operations()


def downgrade() -> None:
    """Remove all tables."""
    for table in ("operations", "window_runs", "windows", "payloads", "node_executions", "runs"):
        op.drop_table(table)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", KEY, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("log_id", TEXT, nullable=False),
        sa.Column("listed_at", sa.DateTime(), nullable=False),
        sa.Column("collected_at", sa.DateTime()),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("source_status", TEXT, nullable=False),
        sa.Column("workflow_version", TEXT),
        sa.Column("created_from", TEXT),
        sa.Column("creator_role", TEXT),
        sa.Column("creator_id", TEXT),
        sa.Column("creator_name", TEXT),
        sa.Column("creator_email", TEXT),
        sa.Column("creator_session_id", TEXT),
        sa.Column("error", TEXT),
        sa.Column("elapsed_s", sa.Text()),
        sa.Column("total_tokens", sa.BigInteger()),
        sa.Column("total_steps", sa.BigInteger()),
        sa.Column("exceptions_count", sa.BigInteger()),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("fingerprint", sa.LargeBinary()),
        sa.Column("raw", sa.LargeBinary()),
        sa.Column("detail_level", sa.SmallInteger()),
        sa.Column("detail_reason", TEXT),
        sa.Column("detail_permanent", sa.Boolean()),
        sa.Column("detail_read_open", sa.Boolean()),
        sa.Column("detail_settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("source", "app_id", "run_id", name="uq_runs_source"),
    )
    _index_runs()


def _index_runs() -> None:
    order: list[str | sa.TextClause] = ["source", "app_id", sa.text("listed_at DESC"), "log_id", "run_id"]
    unsettled = sa.column("detail_settled", sa.Boolean) == sa.false()
    gone = sa.column("gone", sa.Boolean) == sa.true()
    op.create_index("ix_runs_listed", "runs", [*order, "collected_at"])
    op.create_index("ix_runs_unsettled", "runs", order, sqlite_where=unsettled, postgresql_where=unsettled)
    op.create_index(
        "ix_runs_gone", "runs", ["source", "app_id", "log_id"], sqlite_where=gone, postgresql_where=gone
    )


def _create_run_parts() -> None:
    op.create_table(
        "node_executions",
        sa.Column("run", KEY, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("execution_id", TEXT, nullable=False),
        sa.Column("node_id", TEXT, nullable=False),
        sa.Column("node_type", TEXT, nullable=False),
        sa.Column("title", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("source_index", sa.BigInteger()),
        sa.Column("error", TEXT),
        sa.Column("elapsed_s", sa.Text()),
        sa.Column("total_tokens", sa.BigInteger()),
        sa.Column("total_price", sa.Text()),
        sa.Column("currency", TEXT),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("truncated", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run", "position", name="pk_node_executions"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_node_executions_run", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "payloads",
        sa.Column("run", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run", "name", name="pk_payloads"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_payloads_run", ondelete="CASCADE"),
    )


def _create_windows() -> None:
    op.create_table(
        "windows",
        sa.Column("id", KEY, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("app_id", TEXT, nullable=False),
        sa.Column("query", TEXT, nullable=False),
        sa.Column("after_s", sa.BigInteger(), nullable=False),
        sa.Column("before_s", sa.BigInteger(), nullable=False),
        sa.Column("certified", sa.Boolean()),
        sa.Column("reason", TEXT),
        sa.Column("expected", sa.BigInteger()),
        sa.Column("distinct_rows", sa.BigInteger()),
        sa.Column("retained", sa.BigInteger()),
        sa.Column("proved_at", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_windows"),
        sa.UniqueConstraint("source", "app_id", "query", "after_s", "before_s", name="uq_windows_source"),
    )
    op.create_table(
        "window_runs",
        sa.Column("window", KEY, nullable=False),
        sa.Column("run", KEY, nullable=False),
        sa.PrimaryKeyConstraint("window", "run", name="pk_window_runs"),
        sa.ForeignKeyConstraint(["window"], ["windows.id"], name="fk_window_runs_window", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_window_runs_run", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )


def _create_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("id", KEY, nullable=False),
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("operation_type", TEXT, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("source", TEXT),
        sa.Column("app_id", TEXT),
        sa.Column("subject", TEXT),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
        sa.UniqueConstraint("operation_id", name="uq_operations_operation_id"),
    )
    op.create_index("ix_operations_at", "operations", ["at"])
    op.create_index("ix_operations_app", "operations", ["source", "app_id", "at"])
