"""Reads waits and steps for people, across executions; every function belongs into a transaction."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from flowledger.ledger.sql import workflow_executions as executions
from flowledger.ledger.sql import workflow_rows
from flowledger.ledger.sql.workflow_schema import OPEN, execution_steps, execution_waits, workflow_executions
from flowledger.workflow_ports import Execution, PastStep, Wait, WaitQuery

_waits = sa.select(*execution_waits.c, workflow_executions.c.execution_id).join(
    workflow_executions, workflow_executions.c.id == execution_waits.c.execution
)


def read_wait(connection: Connection, wait_id: int) -> Wait | None:
    """Read one wait by its number."""
    row = connection.execute(_waits.where(execution_waits.c.id == wait_id)).first()
    return None if row is None else workflow_rows.wait_from(row)


def read_step(connection: Connection, step_id: int) -> PastStep | None:
    """Read one try of one step by its number."""
    row = connection.execute(sa.select(execution_steps).where(execution_steps.c.id == step_id)).first()
    return None if row is None else PastStep(row.execution, workflow_rows.step_from(row))


def read_newest_waits(
    connection: Connection, query: WaitQuery, after: int | None, limit: int
) -> Sequence[tuple[Wait, Execution]]:
    """Read waits with their executions, newest first."""
    columns, of_it = execution_waits.c, workflow_executions.c
    wanted = []
    if query.kind is not None:
        wanted.append(columns.kind == query.kind.value)
    if query.is_open is not None:
        wanted.append(OPEN if query.is_open else columns.resolved_at.is_not(None))
    if query.execution is not None:
        wanted.append(columns.execution == query.execution)
    if query.workflow_id is not None:
        wanted.append(of_it.workflow == query.workflow_id)
    if query.among is not None:
        wanted.append(of_it.workflow.in_(query.among))
    if after is not None:
        wanted.append(columns.id < after)
    rows = connection.execute(_waits.where(*wanted).order_by(columns.id.desc()).limit(limit)).all()
    by_id = executions.read_by_ids(connection, {row.execution for row in rows})
    return [(workflow_rows.wait_from(row), by_id[row.execution]) for row in rows]
