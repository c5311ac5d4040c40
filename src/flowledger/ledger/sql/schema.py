"""The ledger's tables; ``migrations`` builds the same ones step by step, and a test holds them equal."""

import sqlalchemy as sa

from flowledger.ledger.sql import column_types

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)
SurrogateKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite numbers rows by itself only where the key's type is INTEGER."""


def _run_id() -> "sa.Column[int]":
    return sa.Column("run", SurrogateKey, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False)


runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("source", column_types.CleanText, nullable=False),
    sa.Column("app_id", column_types.CleanText, nullable=False),
    sa.Column("run_id", column_types.CleanText, nullable=False),
    # Empty, not NULL, without one: databases disagree on where NULL sorts.
    sa.Column("log_id", column_types.CleanText, nullable=False),
    sa.Column("listed_at", column_types.UtcDateTime, nullable=False),
    sa.Column("collected_at", column_types.UtcDateTime),
    sa.Column("gone", sa.Boolean, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("source_status", column_types.CleanText, nullable=False),
    sa.Column("workflow_version", column_types.CleanText),
    sa.Column("created_from", column_types.CleanText),
    sa.Column("creator_role", column_types.CleanText),
    sa.Column("creator_id", column_types.CleanText),
    sa.Column("creator_name", column_types.CleanText),
    sa.Column("creator_email", column_types.CleanText),
    sa.Column("creator_session_id", column_types.CleanText),
    sa.Column("error", column_types.CleanText),
    sa.Column("elapsed_s", column_types.ExactDecimal),
    sa.Column("total_tokens", column_types.FittingInteger),
    sa.Column("total_steps", column_types.FittingInteger),
    sa.Column("exceptions_count", column_types.FittingInteger),
    sa.Column("started_at", column_types.UtcDateTime),
    sa.Column("finished_at", column_types.UtcDateTime),
    # Of the run the row was written from: the same again changes nothing.  NULL where the row differs.
    sa.Column("fingerprint", sa.LargeBinary),
    # The source's own row, compressed; NULL where it gave none, empty where it is in large_raws.
    sa.Column("raw", sa.LargeBinary),
    # What is held of the detail (ledger.details.HeldDetail); all NULL where it was never read.
    sa.Column("detail_level", sa.SmallInteger),
    sa.Column("detail_reason", column_types.CleanText),
    sa.Column("detail_permanent", sa.Boolean),
    sa.Column("detail_read_open", sa.Boolean),
    sa.Column("detail_settled", sa.Boolean, nullable=False),
    # What its nodes cost (domain.costs.run_cost), as JSON, NULL for no prices; and whether that is all.
    sa.Column("cost", column_types.MoneyByCurrency),
    # True where an execution came, from a copy or an older version, with an id that another workflow has.
    sa.Column("id_is_shared", sa.Boolean),
    sa.Column("cost_known", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("source", "app_id", "run_id"),
)
UNSETTLED = runs.c.detail_settled == sa.false()
GONE = runs.c.gone == sa.true()
OWN_ID = sa.text("source IN ('coze', 'log') AND id_is_shared IS NULL")

# Order of reports and pages; the last column lets a count by collection stay inside the index.
sa.Index(
    "ix_runs_listed",
    *(runs.c.source, runs.c.app_id, runs.c.listed_at.desc(), runs.c.log_id, runs.c.run_id),
    runs.c.collected_at,
)
# Order of the history of all apps.
sa.Index("ix_runs_newest", runs.c.listed_at, runs.c.id)
# Runs of an app and status, and their count.
sa.Index("ix_runs_status", runs.c.source, runs.c.app_id, runs.c.status, runs.c.listed_at)
# The few that may need enrichment, in the same order.
sa.Index(
    "ix_runs_unsettled",
    *(runs.c.source, runs.c.app_id, runs.c.listed_at.desc(), runs.c.log_id, runs.c.run_id),
    sqlite_where=UNSETTLED,
    postgresql_where=UNSETTLED,
)
sa.Index(
    "ix_runs_gone",
    *(runs.c.source, runs.c.app_id, runs.c.log_id),
    sqlite_where=GONE,
    postgresql_where=GONE,
)
# An execution that programs record has an id of its own, whichever process records it for which workflow.
sa.Index(
    "uq_runs_execution",
    *(runs.c.source, runs.c.run_id),
    unique=True,
    sqlite_where=OWN_ID,
    postgresql_where=OWN_ID,
)

node_executions = sa.Table(
    "node_executions",
    metadata,
    _run_id(),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("execution_id", column_types.CleanText, nullable=False),
    sa.Column("node_id", column_types.CleanText, nullable=False),
    sa.Column("node_type", column_types.CleanText, nullable=False),
    sa.Column("title", column_types.CleanText, nullable=False),
    sa.Column("status", column_types.CleanText, nullable=False),
    sa.Column("source_index", column_types.FittingInteger),
    sa.Column("error", column_types.CleanText),
    sa.Column("elapsed_s", column_types.ExactDecimal),
    sa.Column("total_tokens", column_types.FittingInteger),
    sa.Column("total_price", column_types.ExactDecimal),
    sa.Column("currency", column_types.CleanText),
    sa.Column("started_at", column_types.UtcDateTime),
    sa.Column("finished_at", column_types.UtcDateTime),
    # Names of the payloads the source has cut, separated by spaces.
    sa.Column("truncated", column_types.CleanText, nullable=False),
    sa.PrimaryKeyConstraint("run", "position"),
    sqlite_with_rowid=False,
)

# What the source answered about a run, by the name of the answer, compressed.
payloads = sa.Table(
    "payloads",
    metadata,
    _run_id(),
    sa.Column("name", column_types.CleanText, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    # SHA-256 of the body as it was given, for large ones.
    sa.Column("digest", sa.LargeBinary),
    sa.PrimaryKeyConstraint("run", "name"),
)

# The source's own rows that are too large to be in runs, compressed, and the SHA-256 of what they were.
large_raws = sa.Table(
    "large_raws",
    metadata,
    _run_id(),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("run"),
)

# Scopes: windows asked about, with the newest certificate; NULLs where only members were saved.
windows = sa.Table(
    "windows",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("source", column_types.CleanText, nullable=False),
    sa.Column("app_id", column_types.CleanText, nullable=False),
    sa.Column("query", column_types.CleanText, nullable=False),
    sa.Column("after_s", sa.BigInteger, nullable=False),
    sa.Column("before_s", sa.BigInteger, nullable=False),
    sa.Column("certified", sa.Boolean),
    sa.Column("reason", column_types.CleanText),
    sa.Column("expected", sa.BigInteger),
    sa.Column("distinct_rows", sa.BigInteger),
    sa.Column("retained", sa.BigInteger),
    sa.Column("proved_at", column_types.UtcDateTime),
    # When the window was last read in full, and its runs by number and digest; NULL in older certificates.
    sa.Column("read_at", column_types.UtcDateTime),
    sa.Column("run_count", sa.BigInteger),
    sa.Column("run_digest", sa.LargeBinary),
    sa.UniqueConstraint("source", "app_id", "query", "after_s", "before_s"),
)

# The runs saved under a filtered scope.
window_runs = sa.Table(
    "window_runs",
    metadata,
    sa.Column("window", SurrogateKey, sa.ForeignKey("windows.id", ondelete="CASCADE"), nullable=False),
    _run_id(),
    sa.PrimaryKeyConstraint("window", "run"),
    sqlite_with_rowid=False,
)
# For the forgetting of runs.
sa.Index("ix_window_runs_run", window_runs.c.run)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("operation_id", column_types.CleanText, nullable=False),
    sa.Column("operation_type", column_types.CleanText, nullable=False),
    sa.Column("at", column_types.UtcDateTime, nullable=False),
    sa.Column("user", column_types.CleanText, nullable=False),
    sa.Column("source", column_types.CleanText),
    sa.Column("app_id", column_types.CleanText),
    sa.Column("subject", column_types.CleanText),
    sa.Column("data", column_types.JsonText, nullable=False),
    sa.UniqueConstraint("operation_id"),
)
sa.Index("ix_operations_at", operations.c.at)
sa.Index("ix_operations_app", operations.c.source, operations.c.app_id, operations.c.at)

# Messages to be sent, and afterwards the proof of what became of them.
letters = sa.Table(
    "letters",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("letter_id", column_types.CleanText, nullable=False),
    sa.Column("channel", column_types.CleanText, nullable=False),
    sa.Column("source", column_types.CleanText),
    sa.Column("app_id", column_types.CleanText),
    sa.Column("posted_at", column_types.UtcDateTime, nullable=False),
    sa.Column("not_before", column_types.UtcDateTime, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("problem", column_types.CleanText, nullable=False),
    sa.Column("sent_at", column_types.UtcDateTime),
    sa.Column("given_up", sa.Boolean, nullable=False),
    # The whole message.
    sa.Column("message", column_types.JsonText, nullable=False),
    sa.UniqueConstraint("letter_id"),
)
WAITING = sa.and_(letters.c.sent_at.is_(None), letters.c.given_up == sa.false())
sa.Index("ix_letters_posted", letters.c.posted_at)
# The few that are still to be sent.
sa.Index("ix_letters_waiting", letters.c.posted_at, sqlite_where=WAITING, postgresql_where=WAITING)

# Facts that are no acts: what was answered to a request, how an order ended; only a swap changes one.
key_values = sa.Table(
    "key_values",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("key", column_types.CleanText, nullable=False),
    sa.Column("stored_at", column_types.UtcDateTime, nullable=False),
    sa.Column("value", column_types.JsonText, nullable=False),
    sa.UniqueConstraint("key"),
)

# Keys of the API: never a secret, only its SHA-256.
access_keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("id", SurrogateKey, primary_key=True),
    sa.Column("key_id", column_types.CleanText, nullable=False),
    sa.Column("name", column_types.CleanText, nullable=False),
    sa.Column("digest", column_types.CleanText, nullable=False),
    sa.Column("role", sa.SmallInteger, nullable=False),
    sa.Column("created_at", column_types.UtcDateTime, nullable=False),
    # Pairs of source and app id; null for every app.
    sa.Column("apps", column_types.JsonText, nullable=False),
    sa.Column("expires_at", column_types.UtcDateTime),
    sa.Column("revoked_at", column_types.UtcDateTime),
    sa.UniqueConstraint("key_id"),
)
