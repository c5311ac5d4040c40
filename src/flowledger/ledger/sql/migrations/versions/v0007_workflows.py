"""Workflows of API calls: their definitions, versions, executions, steps, events and waits."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TABLES = (
    *("execution_votes", "execution_waits", "execution_values", "execution_steps", "execution_events"),
    *("workflow_executions", "workflows", "workflow_versions", "node_types", "apis"),
)


def upgrade() -> None:
    """Make all tables."""
    _create_definitions()
    _create_executions()
    _create_execution_parts()


def downgrade() -> None:
    """Remove all tables; runs of executions stay as they are."""
    for table in TABLES:
        op.drop_table(table)


def _create_definitions() -> None:
    op.create_table(
        "apis",
        sa.Column("id", KEY, nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_apis"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "node_types",
        sa.Column("type_name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("config_schema", sa.Text(), nullable=False),
        sa.Column("handler", TEXT, nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("type_name", name="pk_node_types"),
    )
    op.create_table(
        "workflow_versions",
        sa.Column("workflow", KEY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("workflow", "number", name="pk_workflow_versions"),
    )
    op.create_table(
        "workflows",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tags", TEXT, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("published", sa.Integer()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workflows"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_workflows_name", "workflows", ["name"])


def _create_executions() -> None:
    op.create_table(
        "workflow_executions",
        sa.Column("id", KEY, nullable=False),
        sa.Column("run", KEY, nullable=False),
        sa.Column("execution_id", TEXT, nullable=False),
        sa.Column("workflow", KEY, nullable=False),
        sa.Column("workflow_name", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("version_text", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("current_step", TEXT),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("completed_at", sa.DateTime()),
        sa.Column("error", TEXT),
        sa.Column("error_type", TEXT),
        sa.Column("trigger", TEXT, nullable=False),
        sa.Column("requested_by", TEXT, nullable=False),
        sa.Column("parent", TEXT),
        sa.Column("owner", TEXT),
        sa.Column("lease_until", sa.DateTime()),
        sa.Column("wake_at", sa.DateTime()),
        sa.Column("asked", sa.Text()),
        sa.Column("resumes_itself", sa.Boolean(), nullable=False),
        sa.Column("take_overs", sa.Integer(), nullable=False),
        sa.Column("planner_format", sa.Integer(), nullable=False),
        sa.Column("last_cursor", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("resumed_seq", sa.Integer(), nullable=False),
        sa.Column("flow_run_id", sa.Text()),
        sa.Column("reported_state", sa.Text()),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_workflow_executions_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_workflow_executions"),
        sa.UniqueConstraint("execution_id", name="uq_workflow_executions_execution_id"),
        sa.UniqueConstraint("run", name="uq_workflow_executions_run"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_executions_due",
        "workflow_executions",
        ["wake_at"],
        sqlite_where=sa.text("wake_at IS NOT NULL"),
        postgresql_where=sa.text("wake_at IS NOT NULL"),
    )
    op.create_index(
        "ix_executions_leased",
        "workflow_executions",
        ["lease_until"],
        sqlite_where=sa.text("lease_until IS NOT NULL"),
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.create_index("ix_executions_parent", "workflow_executions", ["parent"])
    op.create_index("ix_executions_status", "workflow_executions", ["status", "id"])
    unreported = sa.text("reported_state IS NULL OR reported_state != status")
    op.create_index(
        "ix_executions_unreported",
        "workflow_executions",
        ["id"],
        sqlite_where=unreported,
        postgresql_where=unreported,
    )
    op.create_index("ix_executions_workflow", "workflow_executions", ["workflow", "id"])
    op.create_index("ix_executions_workflow_status", "workflow_executions", ["workflow", "status", "id"])


def _create_execution_parts() -> None:
    op.create_table(
        "execution_events",
        sa.Column("execution", KEY, nullable=False),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution"],
            ["workflow_executions.id"],
            name="fk_execution_events_execution",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("execution", "cursor", name="pk_execution_events"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "execution_steps",
        sa.Column("id", KEY, nullable=False),
        sa.Column("execution", KEY, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("try_no", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("node_type", TEXT, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("error", TEXT),
        sa.Column("error_type", TEXT),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("completed_at", sa.DateTime()),
        sa.Column("seconds", sa.Float()),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("manual", sa.Boolean(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution"], ["workflow_executions.id"], name="fk_execution_steps_execution", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_execution_steps"),
        sa.UniqueConstraint("execution", "key", "generation", "try_no", name="uq_execution_steps_execution"),
    )
    op.create_table(
        "execution_values",
        sa.Column("execution", KEY, nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("variables", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution"],
            ["workflow_executions.id"],
            name="fk_execution_values_execution",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("execution", name="pk_execution_values"),
    )
    op.create_table(
        "execution_waits",
        sa.Column("id", KEY, nullable=False),
        sa.Column("execution", KEY, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime()),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=False),
        sa.Column("resolved_at", sa.DateTime()),
        sa.Column("resolved_by", TEXT),
        sa.Column("heard", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution"], ["workflow_executions.id"], name="fk_execution_waits_execution", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_execution_waits"),
        sa.UniqueConstraint("execution", "key", "generation", name="uq_execution_waits_execution"),
    )
    op.create_index(
        "ix_waits_due",
        "execution_waits",
        ["due_at"],
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_index(
        "ix_waits_unheard",
        "execution_waits",
        ["execution"],
        sqlite_where=sa.text("heard = 0"),
        postgresql_where=sa.text("heard = false"),
    )
    op.create_table(
        "execution_votes",
        sa.Column("id", KEY, nullable=False),
        sa.Column("wait", KEY, nullable=False),
        sa.Column("vote_id", TEXT, nullable=False),
        sa.Column("voter", TEXT, nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("comment", TEXT, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["wait"], ["execution_waits.id"], name="fk_execution_votes_wait", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_execution_votes"),
        sa.UniqueConstraint("wait", "vote_id", name="uq_execution_votes_wait"),
    )
