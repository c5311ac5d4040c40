"""Tables of workflows and their executions; ``schema`` has those of runs, in the same database.

An execution is a run, too: ``workflow_executions.run`` refers to it, so that what deletes runs deletes all of
an execution.  Inputs, outputs and definitions are outside the row that workers claim.
"""

import sqlalchemy as sa

from flowledger.ledger.sql import column_types
from flowledger.ledger.sql.schema import SurrogateKey, metadata


def _execution_id() -> "sa.Column[int]":
    return sa.Column(
        "execution",
        SurrogateKey,
        sa.ForeignKey("workflow_executions.id", ondelete="CASCADE"),
        nullable=False,
    )


# Drafts.  Numbers are never used twice: executions of a deleted workflow stay in the history.
workflows = sa.Table(
    "workflows",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("name", column_types.CleanText, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    # One a line, with a line's end before the first.
    sa.Column("tags", column_types.CleanText, nullable=False),
    sa.Column("document", column_types.JsonText, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("published", sa.Integer),
    sa.Column("created_at", column_types.UtcDateTime, nullable=False),
    sa.Column("updated_at", column_types.UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index("ix_workflows_name", workflows.c.name)

# Snapshots, never changed; one stays for as long as an execution of it does.
workflow_versions = sa.Table(
    "workflow_versions",
    metadata,
    sa.Column("workflow", SurrogateKey, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("version", column_types.CleanText, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("document", column_types.JsonText, nullable=False),
    sa.Column("created_at", column_types.UtcDateTime, nullable=False),
    sa.Column("created_by", column_types.CleanText, nullable=False),
    sa.PrimaryKeyConstraint("workflow", "number"),
)

workflow_executions = sa.Table(
    "workflow_executions",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("run", SurrogateKey, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("execution_id", column_types.CleanText, nullable=False),
    sa.Column("workflow", SurrogateKey, nullable=False),
    sa.Column("workflow_name", column_types.CleanText, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("version_text", column_types.CleanText, nullable=False),
    sa.Column("name", column_types.CleanText, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("progress", sa.Integer, nullable=False),
    sa.Column("current_step", column_types.CleanText),
    sa.Column("created_at", column_types.UtcDateTime, nullable=False),
    sa.Column("started_at", column_types.UtcDateTime),
    sa.Column("completed_at", column_types.UtcDateTime),
    sa.Column("error", column_types.CleanText),
    sa.Column("error_type", column_types.CleanText),
    sa.Column("trigger", column_types.CleanText, nullable=False),
    sa.Column("requested_by", column_types.CleanText, nullable=False),
    sa.Column("parent", column_types.CleanText),
    # The worker that has it, and until when; both NULL while nobody has.
    sa.Column("owner", column_types.CleanText),
    sa.Column("lease_until", column_types.UtcDateTime),
    # When a worker may take it; NULL while one has it, or nothing is to be done.
    sa.Column("wake_at", column_types.UtcDateTime),
    # cancel or pause, until a worker has done it; then paused, until it is resumed.
    sa.Column("asked", sa.Text),
    sa.Column("resumes_itself", sa.Boolean, nullable=False),
    sa.Column("take_overs", sa.Integer, nullable=False),
    sa.Column("planner_format", sa.Integer, nullable=False),
    # The last numbers given to its events and to its settled steps.
    sa.Column("last_cursor", sa.Integer, nullable=False),
    sa.Column("last_seq", sa.Integer, nullable=False),
    # last_seq when a person resumed it.
    sa.Column("resumed_seq", sa.Integer, nullable=False),
    # What Prefect knows of it.
    sa.Column("flow_run_id", sa.Text),
    sa.Column("reported_state", sa.Text),
    sa.UniqueConstraint("execution_id"),
    sa.UniqueConstraint("run"),
    sqlite_autoincrement=True,
)
DUE = workflow_executions.c.wake_at.is_not(None)
LEASED = workflow_executions.c.lease_until.is_not(None)
UNREPORTED = sa.or_(
    workflow_executions.c.reported_state.is_(None),
    workflow_executions.c.reported_state != workflow_executions.c.status,
)
sa.Index("ix_executions_due", workflow_executions.c.wake_at, sqlite_where=DUE, postgresql_where=DUE)
sa.Index(
    "ix_executions_leased", workflow_executions.c.lease_until, sqlite_where=LEASED, postgresql_where=LEASED
)
sa.Index(
    "ix_executions_unreported",
    workflow_executions.c.id,
    sqlite_where=UNREPORTED,
    postgresql_where=UNREPORTED,
)
sa.Index("ix_executions_workflow", workflow_executions.c.workflow, workflow_executions.c.id)
sa.Index(
    "ix_executions_workflow_status",
    workflow_executions.c.workflow,
    workflow_executions.c.status,
    workflow_executions.c.id,
)
sa.Index("ix_executions_status", workflow_executions.c.status, workflow_executions.c.id)
sa.Index("ix_executions_parent", workflow_executions.c.parent)

# What an execution was given and gave.
execution_values = sa.Table(
    "execution_values",
    metadata,
    _execution_id(),
    sa.Column("input", column_types.JsonText, nullable=False),
    sa.Column("variables", column_types.JsonText, nullable=False),
    sa.Column("config", column_types.JsonText, nullable=False),
    sa.Column("output", column_types.JsonText, nullable=False),
    sa.PrimaryKeyConstraint("execution"),
)

# Every try of every node; seq counts settled ones from 1, 0 while it has not.
execution_steps = sa.Table(
    "execution_steps",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    _execution_id(),
    sa.Column("key", column_types.CleanText, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("try_no", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("alias", column_types.CleanText, nullable=False),
    sa.Column("name", column_types.CleanText, nullable=False),
    sa.Column("node_id", sa.Integer, nullable=False),
    sa.Column("node_type", column_types.CleanText, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("input", column_types.JsonText, nullable=False),
    sa.Column("output", column_types.JsonText, nullable=False),
    sa.Column("response", column_types.JsonText, nullable=False),
    sa.Column("error", column_types.CleanText),
    sa.Column("error_type", column_types.CleanText),
    sa.Column("started_at", column_types.UtcDateTime),
    sa.Column("completed_at", column_types.UtcDateTime),
    sa.Column("seconds", sa.Float),
    sa.Column("superseded", sa.Boolean, nullable=False),
    sa.Column("manual", sa.Boolean, nullable=False),
    sa.Column("metrics", column_types.JsonText, nullable=False),
    sa.UniqueConstraint("execution", "key", "generation", "try_no"),
)

execution_events = sa.Table(
    "execution_events",
    metadata,
    _execution_id(),
    sa.Column("cursor", sa.Integer, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("key", column_types.CleanText, nullable=False),
    sa.Column("at", column_types.UtcDateTime, nullable=False),
    sa.Column("facts", column_types.JsonText, nullable=False),
    sa.PrimaryKeyConstraint("execution", "cursor"),
    sqlite_with_rowid=False,
)

# Parked steps.  heard: a worker has taken the resolution in.
execution_waits = sa.Table(
    "execution_waits",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    _execution_id(),
    sa.Column("key", column_types.CleanText, nullable=False),
    sa.Column("alias", column_types.CleanText, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("since", column_types.UtcDateTime, nullable=False),
    sa.Column("due_at", column_types.UtcDateTime),
    sa.Column("facts", column_types.JsonText, nullable=False),
    sa.Column("resolution", column_types.JsonText, nullable=False),
    sa.Column("resolved_at", column_types.UtcDateTime),
    sa.Column("resolved_by", column_types.CleanText),
    sa.Column("heard", sa.Boolean, nullable=False),
    sa.UniqueConstraint("execution", "key", "generation"),
)
OPEN = execution_waits.c.resolved_at.is_(None)
UNHEARD = execution_waits.c.heard == sa.false()
sa.Index("ix_waits_due", execution_waits.c.due_at, sqlite_where=OPEN, postgresql_where=OPEN)
sa.Index("ix_waits_unheard", execution_waits.c.execution, sqlite_where=UNHEARD, postgresql_where=UNHEARD)

# Votes on approvals: the last of each voter counts, all are kept.
execution_votes = sa.Table(
    "execution_votes",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("wait", SurrogateKey, sa.ForeignKey("execution_waits.id", ondelete="CASCADE"), nullable=False),
    # The voter's own id for it, so that the same again is one.
    sa.Column("vote_id", column_types.CleanText, nullable=False),
    sa.Column("voter", column_types.CleanText, nullable=False),
    sa.Column("approved", sa.Boolean, nullable=False),
    sa.Column("comment", column_types.CleanText, nullable=False),
    sa.Column("at", column_types.UtcDateTime, nullable=False),
    sa.UniqueConstraint("wait", "vote_id"),
)

apis = sa.Table(
    "apis",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("fields", column_types.JsonText, nullable=False),
    sa.Column("created_at", column_types.UtcDateTime, nullable=False),
    sa.Column("updated_at", column_types.UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

node_types = sa.Table(
    "node_types",
    metadata,
    sa.Column("type_name", column_types.CleanText, nullable=False),
    sa.Column("description", column_types.CleanText, nullable=False),
    sa.Column("config_schema", column_types.JsonText, nullable=False),
    sa.Column("handler", column_types.CleanText, nullable=False),
    sa.Column("created_at", column_types.UtcDateTime, nullable=False),
    sa.PrimaryKeyConstraint("type_name"),
)

__all__ = ["metadata"]
