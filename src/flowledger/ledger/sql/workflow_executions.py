"""Reads and writes executions of workflows; every function belongs into a transaction.

An execution's row is what workers claim.  Whoever writes of one updates that row first, which on PostgreSQL
lets one in after the other; on SQLite there is one writer anyway.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, Select
from sqlalchemy.dialects import postgresql, sqlite

from flowledger.domain.history import RunKey
from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows import execution_runs
from flowledger.domain.workflows.steps import EventType
from flowledger.errors import LeaseLostError, RecordNotFoundError
from flowledger.ledger.sql import workflow_rows
from flowledger.ledger.sql.bulk import execute_many
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.history import read_run
from flowledger.ledger.sql.workflow_schema import (
    UNREPORTED,
    execution_events,
    execution_steps,
    execution_values,
    workflow_executions,
)
from flowledger.ledger.sql.writing import write_amended
from flowledger.workflow_ports import (
    LEASE,
    Ended,
    Event,
    Execution,
    ExecutionPage,
    ExecutionQuery,
    Lease,
    Order,
    Progressed,
    Step,
)

PAUSED_BY_HAND = "paused"
Announced = tuple[EventType, str, Mapping[str, Any]]

_this = workflow_executions.c.id == sa.bindparam("id_")
_whole: Select[Any] = sa.select(
    *workflow_executions.c, *(column for column in execution_values.c if column.name != "execution")
).join(execution_values, execution_values.c.execution == workflow_executions.c.id)
LARGEST_LISTED = 16_384
"""Characters of an input, output, … in a list; larger ones are omitted there."""
_VALUES = ("input", "variables", "config", "output")
_listed: Select[Any] = sa.select(
    *workflow_executions.c,
    *(
        sa.type_coerce(
            sa.case((sa.func.length(execution_values.c[name]) <= LARGEST_LISTED, execution_values.c[name])),
            execution_values.c[name].type,
        ).label(name)
        for name in _VALUES
    ),
    *(sa.func.length(execution_values.c[name]).label(f"{name}_size") for name in _VALUES),
).join(execution_values, execution_values.c.execution == workflow_executions.c.id)
_by_number = _whole.where(_this)
_by_id = _whole.where(workflow_executions.c.execution_id == sa.bindparam("execution_id_"))
_steps = (
    sa.select(execution_steps)
    .where(execution_steps.c.execution == sa.bindparam("id_"))
    # What has not settled has no number yet and is last.
    .order_by(execution_steps.c.seq == 0, execution_steps.c.seq, execution_steps.c.id)
)
_events = (
    sa.select(execution_events)
    .where(
        execution_events.c.execution == sa.bindparam("id_"), execution_events.c.cursor > sa.bindparam("after")
    )
    .order_by(execution_events.c.cursor)
    .limit(sa.bindparam("limit"))
)
_count_on = (
    sa.update(workflow_executions)
    .where(_this)
    .values(
        last_cursor=workflow_executions.c.last_cursor + sa.bindparam("events_"),
        last_seq=workflow_executions.c.last_seq + sa.bindparam("settled_"),
    )
    .returning(workflow_executions.c.last_cursor, workflow_executions.c.last_seq)
)
_fenced = _count_on.where(
    workflow_executions.c.attempt == sa.bindparam("attempt_"),
    workflow_executions.c.owner == sa.bindparam("owner_"),
).values(
    progress=sa.func.coalesce(sa.bindparam("progress_", type_=sa.Integer), workflow_executions.c.progress),
    current_step=sa.bindparam("current_step_", type_=sa.Text),
    lease_until=sa.bindparam("lease_until_", type_=workflow_executions.c.lease_until.type),
    take_overs=sa.case((sa.bindparam("settled_") > 0, 0), else_=workflow_executions.c.take_overs),
)


_insert_execution = sa.insert(workflow_executions).returning(workflow_executions.c.id)
_insert_values = sa.insert(execution_values)
_insert_event = sa.insert(execution_events)
_update = sa.update(workflow_executions).where(_this)
_update_output = sa.update(execution_values).where(execution_values.c.execution == sa.bindparam("id_"))


def accept(connection: Connection, database: Database, order: Order) -> Execution:
    """Insert an execution with its run; one of the same id stays as it is, and is returned."""
    stored = read_execution(connection, order.execution_id)
    if stored is not None:
        return stored
    fresh = _fresh(order)
    run_key = _write_run(connection, database, fresh, ())
    columns = {"id", "input", "variables", "config", "output", "workflow_id"}
    values = {
        column.name: getattr(fresh, column.name)
        for column in workflow_executions.c
        if column.name not in columns and hasattr(fresh, column.name)
    }
    values |= {
        **{"run": run_key, "workflow": fresh.workflow_id, "status": fresh.status.value},
        **{"last_cursor": 1, "last_seq": 0},
    }
    number: int = connection.execute(_insert_execution, values).scalar_one()
    connection.execute(
        _insert_values,
        {
            "execution": number,
            "input": order.input,
            "variables": dict(order.variables),
            "config": dict(order.config),
            "output": None,
        },
    )
    created = workflow_rows.event_row(
        number, 1, EventType.EXECUTION_CREATED, "", order.at, {"by": order.requested_by}
    )
    execute_many(connection, _insert_event, [created])
    return replace(fresh, id=number)


def read_execution(connection: Connection, execution_id: int | str) -> Execution | None:
    """Read an execution by its number or its id."""
    if isinstance(execution_id, int):
        row = connection.execute(_by_number, {"id_": execution_id}).first()
    else:
        row = connection.execute(_by_id, {"execution_id_": execution_id}).first()
    return None if row is None else workflow_rows.execution_from(row)


def read_executions(
    connection: Connection, query: ExecutionQuery, after: int | None, limit: int
) -> ExecutionPage:
    """Read a page of executions, newest first."""
    columns = workflow_executions.c
    equal = {
        columns.workflow: query.workflow_id,
        columns.name: query.name,
        columns.trigger: query.trigger,
        columns.parent: query.parent,
    }
    wanted = [column == value for column, value in equal.items() if value is not None]
    if query.among is not None:
        wanted.append(columns.workflow.in_(query.among))
    if query.since is not None:
        wanted.append(columns.created_at >= query.since)
    if query.until is not None:
        wanted.append(columns.created_at < query.until)
    if after is not None:
        wanted.append(columns.id < after)
    # Each status by itself is in the order of the index; several would all have to be read and sorted.
    newest = [
        sa.select(columns.id).where(*wanted, *of_status).order_by(columns.id.desc()).limit(limit + 1)
        for of_status in [[columns.status == each.value] for each in query.statuses] or [[]]
    ]
    ids = sa.union_all(*(sa.select(each.subquery().c.id) for each in newest))
    statement = _listed.where(columns.id.in_(ids)).order_by(columns.id.desc()).limit(limit + 1)
    found = [_listed_execution(row) for row in connection.execute(statement)]
    page = found[:limit]
    return ExecutionPage(page, page[-1].id if len(found) > limit else None)


def _listed_execution(row: Row[Any]) -> Execution:
    omitted = tuple(name for name in _VALUES if getattr(row, f"{name}_size") > LARGEST_LISTED)
    return replace(workflow_rows.execution_from(row), omitted=omitted)


def read_by_ids(connection: Connection, numbers: Collection[int]) -> Mapping[int, Execution]:
    """Read some executions by their numbers."""
    statement = _whole.where(workflow_executions.c.id.in_(numbers))
    found = [workflow_rows.execution_from(row) for row in connection.execute(statement)]
    return {each.id: each for each in found}


def read_unreported(connection: Connection, limit: int) -> Sequence[Execution]:
    """Read executions whose state Prefect has not been told, oldest first."""
    statement = _whole.where(UNREPORTED).order_by(workflow_executions.c.id).limit(limit)
    return [workflow_rows.execution_from(row) for row in connection.execute(statement)]


def read_steps(connection: Connection, execution: int) -> Sequence[Step]:
    """Read every try of every step in settle order."""
    return [workflow_rows.step_from(row) for row in connection.execute(_steps, {"id_": execution})]


def read_events(connection: Connection, execution: int, after: int, limit: int) -> Sequence[Event]:
    """Read events in order, those after a cursor."""
    rows = connection.execute(_events, {"id_": execution, "after": after, "limit": limit})
    return [workflow_rows.event_from(row) for row in rows]


def write_progress(connection: Connection, lease: Lease, progressed: Progressed, at: datetime) -> None:
    """Write steps and events of a worker that still has the execution.

    :raises LeaseLostError: when it has it no more; nothing is written then.
    """
    settled = sum(step.status.is_settled for step in progressed.steps)
    counted = connection.execute(
        _fenced,
        {
            "id_": lease.execution,
            "attempt_": lease.attempt,
            "owner_": lease.owner,
            "events_": len(progressed.events),
            "settled_": settled,
            "progress_": progressed.progress,
            "current_step_": progressed.current_step,
            "lease_until_": at + LEASE,
        },
    ).first()
    if counted is None:
        raise LeaseLostError(
            f"the execution {lease.execution} is not this worker's any more (attempt {lease.attempt}):"
            " another one has taken it over"
        )
    first_seq = counted.last_seq - settled
    write_steps(connection, lease.execution, progressed.steps, first_seq)
    first_cursor = counted.last_cursor - len(progressed.events)
    _insert_events(connection, lease.execution, progressed.events, first_cursor, at)


def announce(connection: Connection, execution: int, events: Sequence[Announced], at: datetime) -> None:
    """Add events to an execution, whoever has it."""
    counted = connection.execute(_count_on, {"id_": execution, "events_": len(events), "settled_": 0}).one()
    _insert_events(connection, execution, events, counted.last_cursor - len(events), at)


def _insert_events(
    connection: Connection, execution: int, events: Sequence[Announced], last: int, at: datetime
) -> None:
    rows = [
        workflow_rows.event_row(execution, last + number, event, key, at, facts)
        for number, (event, key, facts) in enumerate(events, 1)
    ]
    execute_many(connection, _insert_event, rows)


_TRY = ("execution", "key", "generation", "try_no")


def write_steps(connection: Connection, execution: int, steps: Sequence[Step], last_seq: int) -> None:
    """Insert tries of steps, or replace them; settled ones are numbered from ``last_seq`` + 1 on."""
    rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    for step in steps:
        if step.status.is_settled:
            last_seq += 1
        row = workflow_rows.step_row(step, execution, last_seq if step.status.is_settled else 0)
        rows[step.key, step.generation, step.try_no] = row
    if rows:
        upsert = _upsert(connection.dialect.name)
        # On PostgreSQL many rows would be copied, which knows no conflict.
        execute = Connection.execute if connection.dialect.name == "postgresql" else execute_many
        execute(connection, upsert, list(rows.values()))


@cache
def _upsert(dialect_name: str) -> Any:
    dialect: Any = postgresql if dialect_name == "postgresql" else sqlite
    insert = dialect.insert(execution_steps)
    names = [column.name for column in execution_steps.c if column.name not in (*_TRY, "id")]
    return insert.on_conflict_do_update(
        index_elements=list(_TRY), set_={name: insert.excluded[name] for name in names}
    )


def finish(connection: Connection, database: Database, number: int, ended: Ended, at: datetime) -> Execution:
    """Store how an execution ended, or that it is parked, with its run; nobody has it then."""
    stored = read_execution(connection, number)
    if stored is None:
        raise RecordNotFoundError(f"there is no execution {number}")
    is_parked = ended.status.is_open
    stays = ended.stays or stored.asked in ("pause", PAUSED_BY_HAND)
    asked = PAUSED_BY_HAND if is_parked and stays else None
    # A time that was set while a worker had it is a resolution that it has not seen.
    times = [each for each in (stored.wake_at, ended.wake_at) if each is not None]
    after = replace(
        stored,
        status=ended.status,
        progress=100 if ended.status in (RunStatus.SUCCESS, RunStatus.PARTIAL) else stored.progress,
        current_step=stored.current_step if is_parked else None,
        completed_at=None if is_parked else at,
        output=stored.output if is_parked else ended.output,
        error=ended.error,
        error_type=ended.error_type,
        owner=None,
        lease_until=None,
        wake_at=min(times) if times and is_parked and asked is None else None,
        asked=asked,
    )
    values = {name: getattr(after, name) for name in _CHANGES} | {"status": after.status.value}
    connection.execute(sa.update(workflow_executions).where(_this).values(**values), {"id_": number})
    if not is_parked:
        connection.execute(
            sa.update(execution_values)
            .where(execution_values.c.execution == number)
            .values(output=after.output)
        )
    steps = read_steps(connection, number)
    _write_run(connection, database, after, steps)
    return after


_CHANGES = (
    *("progress", "current_step", "completed_at", "error", "error_type"),
    *("owner", "lease_until", "wake_at", "asked"),
)


def _fresh(order: Order) -> Execution:
    return Execution(
        id=0,
        execution_id=order.execution_id,
        workflow_id=order.workflow_id,
        workflow_name=order.workflow_name,
        version=order.version,
        version_text=order.version_text,
        name=order.name,
        status=RunStatus.PENDING,
        attempt=0,
        progress=0,
        current_step=None,
        created_at=order.at,
        started_at=None,
        completed_at=None,
        input=order.input,
        variables=order.variables,
        config=order.config,
        output=None,
        error=None,
        error_type=None,
        trigger=order.trigger,
        requested_by=order.requested_by,
        parent=order.parent,
        wake_at=order.wake_at or order.at,
        resumes_itself=order.config.get("auto_resume") is True,
    )


def _write_run(
    connection: Connection,
    database: Database,
    execution: Execution,
    steps: Sequence[Step],
) -> int:
    """Write the run of an execution as it is now, with its steps once there are some; return its key."""
    record = workflow_rows.execution_record(execution, len(steps) or None)
    run = execution_runs.execution_run(record)
    if steps:
        detail = execution_runs.execution_detail(record, [workflow_rows.step_values(step) for step in steps])
    else:
        detail = execution_runs.decode(run, {}, "")
    stored = read_run(connection, RunKey(run.app, run.run_id))
    return write_amended(connection, database, run, detail, stored)
