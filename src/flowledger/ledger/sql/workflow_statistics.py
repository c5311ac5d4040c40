"""Counts and averages over executions and steps; every function belongs into a transaction that reads."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Dialect, Row

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.ledger.sql import column_types
from flowledger.ledger.sql.workflow_schema import execution_steps, workflow_executions
from flowledger.workflow_ports import EndedExecution, Moment, PastStep, RecentPast, StatusTotal, Step

OPEN = [status.value for status in RunStatus if status.is_open]
SETTLED = [status.value for status in StepStatus if status.is_settled]
NEWEST = 10_000
"""Executions among which those of the last minute are counted."""
_status = workflow_executions.c.status
_COLUMNS = (
    *("execution", "key", "alias", "name", "node_id", "node_type", "generation", "try_no", "status"),
    *("error", "error_type", "started_at", "completed_at", "seconds", "superseded", "seq", "id"),
)
_metrics = column_types.JsonText()
_metrics_text = sa.type_coerce(execution_steps.c.metrics, sa.Text).label("metrics_text")
NO_METRICS = "{}"


def read_totals(connection: Connection, workflow_id: int | None) -> Sequence[StatusTotal]:
    """Count the executions of a workflow, or of all, by status, with the seconds that they took."""
    taken = _seconds(connection.dialect.name)
    statement = sa.select(_status, sa.func.count(), sa.func.sum(taken), sa.func.count(taken)).group_by(
        _status
    )
    if workflow_id is not None:
        statement = statement.where(workflow_executions.c.workflow == workflow_id)
    return [
        StatusTotal(RunStatus(status), count, float(seconds or 0.0), timed)
        for status, count, seconds, timed in connection.execute(statement)
    ]


def _seconds(dialect_name: str) -> ColumnElement[Any]:
    """Return how long an execution took; NULL where it has not ended."""
    started, ended = workflow_executions.c.started_at, workflow_executions.c.completed_at
    if dialect_name == "sqlite":
        return (sa.func.julianday(ended) - sa.func.julianday(started)) * 86_400.0
    return sa.extract("epoch", ended - started)


def read_moment(connection: Connection, since: datetime) -> Moment:
    """Count what is open now, and what was accepted since a moment."""
    open_ones = sa.select(_status, sa.func.count()).where(_status.in_(OPEN)).group_by(_status)
    by_status = {RunStatus(status): count for status, count in connection.execute(open_ones)}
    # By falling number, which times follow: no index of times is needed.
    newest = (
        sa.select(workflow_executions.c.created_at)
        .order_by(workflow_executions.c.id.desc())
        .limit(NEWEST)
        .subquery()
    )
    accepted = sa.select(sa.func.count()).select_from(newest).where(newest.c.created_at >= since)
    return Moment(by_status, connection.scalar(accepted) or 0)


def read_recent_past(connection: Connection, workflow_id: int, executions: int, steps: int) -> RecentPast:
    """Read how the newest executions of a workflow ended, and their settled steps without values."""
    columns = workflow_executions.c
    newest = (
        sa.select(columns.id)
        .where(columns.workflow == workflow_id)
        .order_by(columns.id.desc())
        .limit(executions)
    )
    ended = (
        sa.select(columns.id, columns.status, columns.error_type, columns.completed_at)
        .where(columns.id.in_(newest), columns.completed_at.is_not(None))
        .order_by(columns.id)
    )
    settled = (
        sa.select(*(execution_steps.c[name] for name in _COLUMNS), _metrics_text)
        .where(execution_steps.c.execution.in_(newest), execution_steps.c.status.in_(SETTLED))
        .order_by(execution_steps.c.execution.desc(), execution_steps.c.seq.desc())
        .limit(steps)
    )
    past = [_past_step(row, connection.dialect) for row in connection.execute(settled)]
    return RecentPast(
        [
            EndedExecution(row.id, RunStatus(row.status), row.error_type, row.completed_at)
            for row in connection.execute(ended)
        ],
        past[::-1],
    )


def _past_step(row: Row[Any], dialect: Dialect) -> PastStep:
    """Make a step of a row; there are very many, so that what most of them have none of is not parsed."""
    values = dict(zip(_COLUMNS, row, strict=False))
    execution, status = values.pop("execution"), StepStatus(values.pop("status"))
    text = row[-1]
    metrics = {} if text == NO_METRICS else _metrics.process_result_value(text, dialect)
    return PastStep(execution, Step(**values, status=status, metrics=metrics))
