"""The queue of executions: who takes one, for how long, and what others want of it meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from flowledger.domain.runs import Json, RunStatus
from flowledger.domain.workflows.approvals import Vote
from flowledger.domain.workflows.steps import EventType, StepStatus, WaitKind
from flowledger.errors import RecordConflictError, RecordNotFoundError
from flowledger.ledger.sql import workflow_executions as executions
from flowledger.ledger.sql import workflow_rows
from flowledger.ledger.sql.bulk import execute_many
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.schema import runs
from flowledger.ledger.sql.workflow_schema import (
    DUE,
    LEASED,
    OPEN,
    UNHEARD,
    execution_steps,
    execution_values,
    execution_votes,
    execution_waits,
    workflow_executions,
)
from flowledger.workflow_ports import Ended, Execution, News, Resumption, Step, Wait

TAKE_OVERS = 3
"""So many workers may die at an execution without a new step before nobody takes it again by itself."""
_columns = workflow_executions.c
_this = _columns.id == sa.bindparam("id_")
_is_waiting = sa.and_(DUE, _columns.wake_at <= sa.bindparam("at"), _columns.lease_until.is_(None))
_is_lost = sa.and_(LEASED, _columns.lease_until <= sa.bindparam("at"))
_waiting = (
    sa.select(workflow_executions)
    .where(_is_waiting, _columns.planner_format.in_(sa.bindparam("formats", expanding=True)))
    .order_by(_columns.wake_at, _columns.id)
    .limit(sa.bindparam("limit"))
    # Rows another worker is taking are passed over.  SQLite has no such clause and needs none: one writer.
    .with_for_update(skip_locked=True)
)
_lost_ones = sa.select(workflow_executions).where(_is_lost).order_by(_columns.id)
_lost = _lost_ones.with_for_update(skip_locked=True)
_lost_one = sa.select(_columns.id, _columns.asked).where(_this, _is_lost).with_for_update()
_one = sa.select(workflow_executions).where(_this, sa.or_(_is_waiting, _is_lost)).with_for_update()
_due = [sa.select(sa.literal(1)).where(condition).limit(1) for condition in (_is_waiting, _is_lost)]
_claim = (
    sa.update(workflow_executions)
    .where(_this)
    .values(
        attempt=_columns.attempt + 1,
        status=RunStatus.RUNNING.value,
        owner=sa.bindparam("owner_"),
        lease_until=sa.bindparam("until_", type_=_columns.lease_until.type),
        wake_at=None,
        started_at=sa.func.coalesce(_columns.started_at, sa.bindparam("at_", type_=_columns.started_at.type)),
        completed_at=None,
        reported_state=None,
        take_overs=_columns.take_overs + sa.bindparam("took_over_", type_=sa.Integer),
    )
)
_show_running = (
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run_"))
    .values(status=RunStatus.RUNNING.value, source_status=RunStatus.RUNNING.value, fingerprint=None)
)
_waits = sa.select(*execution_waits.c, _columns.execution_id).join(
    workflow_executions, _columns.id == execution_waits.c.execution
)


def is_due(connection: Connection, at: datetime) -> bool:
    """Return whether an execution waits to be taken, or has lost its worker."""
    return any(connection.scalar(statement, {"at": at}) is not None for statement in _due)


def take(
    connection: Connection,
    owner: str,
    at: datetime,
    lease: timedelta,
    limit: int,
    formats: Sequence[int],
) -> Sequence[tuple[int, bool]]:
    """Take executions that are due, oldest first; return their numbers and whether a worker had died."""
    rows = connection.execute(_waiting, {"at": at, "limit": limit, "formats": list(formats)}).all()
    lost = [
        row
        for row in connection.execute(_lost, {"at": at}).all()
        if may_go_on(row) and row.planner_format in formats
    ]
    taken = [(row, False) for row in rows] + [(row, True) for row in lost[: limit - len(rows)]]
    _take(connection, taken, owner, at, at + lease)
    return [(row.id, took_over) for row, took_over in taken]


def take_one(
    connection: Connection, execution: int, owner: str, at: datetime, lease: timedelta
) -> Sequence[tuple[int, bool]]:
    """Take one execution if it is due."""
    row = connection.execute(_one, {"id_": execution, "at": at}).first()
    if row is None:
        return ()
    took_over = row.lease_until is not None
    _take(connection, [(row, took_over)], owner, at, at + lease)
    return [(row.id, took_over)]


def may_go_on(row: Row[Any]) -> bool:
    """Return whether an execution whose worker died may be taken again without a person."""
    return bool(row.resumes_itself) and row.take_overs < TAKE_OVERS


def _take(
    connection: Connection, taken: Sequence[tuple[Row[Any], bool]], owner: str, at: datetime, until: datetime
) -> None:
    if not taken:
        return
    claims = [
        {"id_": row.id, "owner_": owner, "until_": until, "at_": at, "took_over_": int(took_over)}
        for row, took_over in taken
    ]
    execute_many(connection, _claim, claims)
    execute_many(connection, _show_running, [{"run_": row.run} for row, _ in taken])
    for row, took_over in taken:
        facts = {"attempt": row.attempt + 1, **({"took_over": True} if took_over else {})}
        executions.announce(connection, row.id, [(EventType.EXECUTION_STARTED, "", facts)], at)


def find_lost(connection: Connection, at: datetime) -> Sequence[int]:
    """Return the numbers of executions whose worker died and that do not go on by themselves."""
    return [row.id for row in connection.execute(_lost_ones, {"at": at}).all() if not may_go_on(row)]


def interrupt(connection: Connection, database: Database, number: int, at: datetime) -> Execution | None:
    """Mark an execution as interrupted, and what ran in it as cancelled; None where it has a worker again.

    One that somebody wanted to be cancelled, whose worker died over that, is cancelled.
    """
    lost = connection.execute(_lost_one, {"id_": number, "at": at}).first()
    if lost is None:
        return None
    if lost.asked == "cancel":
        return _cancel(connection, database, number, at, "whoever asked for it")
    reason = "the worker that ran it has died"
    unfinished = [
        replace(step, status=StepStatus.CANCELLED, error=reason, error_type="Cancelled", completed_at=at)
        for step in executions.read_steps(connection, number)
        if step.status is StepStatus.RUNNING and not step.superseded
    ]
    settle_by_hand(connection, number, unfinished)
    ended = Ended(RunStatus.INTERRUPTED, error=f"interrupted: {reason}; resume it", error_type="Interrupted")
    executions.announce(connection, number, [(EventType.EXECUTION_INTERRUPTED, "", {})], at)
    return executions.finish(connection, database, number, ended, at)


def settle_by_hand(connection: Connection, number: int, steps: Sequence[Step]) -> None:
    """Write settled steps that no worker wrote, numbered after the last one."""
    count = sa.update(workflow_executions).where(_this)
    counted = connection.execute(
        count.values(last_seq=_columns.last_seq + len(steps)).returning(_columns.last_seq), {"id_": number}
    ).one()
    executions.write_steps(connection, number, steps, counted.last_seq - len(steps))


def renew(connection: Connection, owner: str, at: datetime, lease: timedelta) -> frozenset[int]:
    """Extend the leases of a worker and return the executions it has."""
    mine = sa.and_(_columns.owner == owner, LEASED)
    extended = sa.update(workflow_executions).where(mine).values(lease_until=at + lease)
    return frozenset(connection.scalars(extended.returning(_columns.id)))


def read_news(connection: Connection, owner: str) -> Mapping[int, News]:
    """Read what others want of the executions of a worker, and what was resolved there."""
    mine = sa.and_(_columns.owner == owner, LEASED)
    asked = sa.select(_columns.id, _columns.asked).where(mine, _columns.asked.is_not(None))
    news = {row.id: News(row.asked, []) for row in connection.execute(asked)}
    resolved = _waits.where(mine, UNHEARD, execution_waits.c.resolved_at.is_not(None))
    for row in connection.execute(resolved):
        news.setdefault(row.execution, News(None, []))
        news[row.execution] = News(
            news[row.execution].asked, [*news[row.execution].resolved, workflow_rows.wait_from(row)]
        )
    return news


def read_waits(
    connection: Connection, execution: int | None, *, open_only: bool, kind: WaitKind | None = None
) -> Sequence[Wait]:
    """Read waits, oldest first: of one execution, or of all."""
    statement = _waits.order_by(execution_waits.c.id)
    if execution is not None:
        statement = statement.where(execution_waits.c.execution == execution)
    if open_only:
        statement = statement.where(OPEN)
    if kind is not None:
        statement = statement.where(execution_waits.c.kind == kind.value)
    return [workflow_rows.wait_from(row) for row in connection.execute(statement)]


def write_waits(connection: Connection, execution: int, waits: Sequence[Wait]) -> None:
    """Insert waits, and note the resolutions that a worker has taken in or made itself."""
    place = sa.and_(
        execution_waits.c.execution == execution,
        execution_waits.c.key == sa.bindparam("key_"),
        execution_waits.c.generation == sa.bindparam("generation_"),
    )
    for wait in waits:
        at_place = {"key_": wait.key, "generation_": wait.generation}
        stored = connection.execute(sa.select(execution_waits).where(place), at_place).first()
        if stored is None:
            connection.execute(sa.insert(execution_waits), workflow_rows.wait_row(wait, execution))
        elif wait.resolved_at is not None:
            values: dict[str, Any] = {"heard": True}
            if stored.resolved_at is None:
                values |= {"resolution": dict(wait.resolution or {}), "resolved_at": wait.resolved_at}
            connection.execute(sa.update(execution_waits).where(place).values(**values), at_place)


def resolve(
    connection: Connection, number: int, key: str, resolution: Mapping[str, Json], at: datetime, by: str
) -> bool:
    """Resolve an open wait and let a worker take its execution; return False where it is none any more."""
    # The execution's row first: as everybody who writes of it.
    touched = connection.execute(
        sa.update(workflow_executions)
        .where(_this)
        .values(wake_at=sa.case((_columns.asked == executions.PAUSED_BY_HAND, None), else_=at)),
        {"id_": number},
    )
    this = sa.and_(execution_waits.c.execution == number, execution_waits.c.key == key, OPEN)
    resolved = connection.execute(
        sa.update(execution_waits)
        .where(this)
        .values(resolution=dict(resolution), resolved_at=at, resolved_by=by)
    ).rowcount
    return touched.rowcount > 0 and resolved > 0


def vote(
    connection: Connection,
    number: int,
    key: str,
    vote: Vote,
    decide: Callable[[Wait, Sequence[Vote]], Mapping[str, Json] | None],
) -> Wait | None:
    """Insert a vote on an open wait and resolve it where that decides; needs the execution's lock."""
    executions.announce(connection, number, [], vote.at)  # one voter after the other
    place = (execution_waits.c.execution == number, execution_waits.c.key == key)
    row = connection.execute(_waits.where(*place, OPEN).order_by(execution_waits.c.id.desc())).first()
    if row is None:
        return None
    wait = workflow_rows.wait_from(row)
    stored = read_votes(connection, wait.id)
    if any(each.vote_id == vote.vote_id for each in stored):
        return wait
    resolution = decide(wait, [*stored, vote])
    connection.execute(
        sa.insert(execution_votes),
        {
            **{"wait": wait.id, "vote_id": vote.vote_id, "voter": vote.voter},
            **{"approved": vote.approved, "comment": vote.comment, "at": vote.at},
        },
    )
    facts = {"voter": vote.voter, "approved": vote.approved, "comment": vote.comment}
    executions.announce(connection, number, [(EventType.APPROVAL_VOTED, key, facts)], vote.at)
    if resolution is None:
        return wait
    resolve(connection, number, key, resolution, vote.at, vote.voter)
    return replace(wait, resolution=resolution, resolved_at=vote.at)


def read_votes(connection: Connection, wait: int) -> Sequence[Vote]:
    """Read all votes on a wait, oldest first."""
    rows = connection.execute(
        sa.select(execution_votes).where(execution_votes.c.wait == wait).order_by(execution_votes.c.id)
    )
    return [Vote(row.vote_id, row.voter, row.approved, row.comment, row.at) for row in rows]


def ask(
    connection: Connection, database: Database, number: int, what: str, at: datetime, by: str
) -> Execution | None:
    """Keep what somebody wants of an execution; do it at once where no worker has it."""
    touched = connection.execute(
        sa.update(workflow_executions)
        .where(_this, _columns.status.in_([status.value for status in RunStatus if status.is_open]))
        .values(asked=what),
        {"id_": number},
    )
    stored = executions.read_execution(connection, number)
    if stored is None or not touched.rowcount or stored.owner is not None:
        return stored
    if what == "cancel":
        return _cancel(connection, database, number, at, by)
    executions.announce(connection, number, [(EventType.EXECUTION_PAUSED, "", {"by": by})], at)
    return executions.finish(connection, database, number, Ended(RunStatus.PAUSED), at)


def _cancel(connection: Connection, database: Database, number: int, at: datetime, by: str) -> Execution:
    steps = [
        replace(step, status=StepStatus.CANCELLED, error="cancelled", error_type="Cancelled", completed_at=at)
        for step in executions.read_steps(connection, number)
        if not step.status.is_settled and not step.superseded
    ]
    settle_by_hand(connection, number, steps)
    open_waits = sa.and_(execution_waits.c.execution == number, OPEN)
    connection.execute(
        sa.update(execution_waits)
        .where(open_waits)
        .values(resolution={"cancelled": True}, resolved_at=at, resolved_by=by, heard=True)
    )
    events: list[executions.Announced] = [(EventType.STEP_CANCELLED, step.key, {}) for step in steps]
    events.append((EventType.EXECUTION_CANCELLED, "", {"by": by}))
    executions.announce(connection, number, events, at)
    ended = Ended(RunStatus.CANCELLED, error=f"cancelled by {by}", error_type="Cancelled")
    return executions.finish(connection, database, number, ended, at)


def resume(connection: Connection, number: int, resumption: Resumption, at: datetime) -> Execution:
    """Let an ended or paused execution be taken again.

    :raises RecordConflictError: when a worker has it, or has had it since it was looked at.
    """
    resting = (*(status.value for status in RunStatus if not status.is_open), RunStatus.PAUSED.value)
    touched = connection.execute(
        sa.update(workflow_executions)
        .where(
            _this,
            _columns.attempt == resumption.expected_attempt,
            _columns.status.in_(resting),
            _columns.owner.is_(None),
            sa.or_(_columns.wake_at.is_(None), _columns.status == RunStatus.PAUSED.value),
        )
        .values(
            **{"status": RunStatus.PENDING.value, "wake_at": at, "asked": None, "completed_at": None},
            **{"error": None, "error_type": None, "take_overs": 0, "resumed_seq": _columns.last_seq},
        ),
        {"id_": number},
    )
    if not touched.rowcount:
        stored = executions.read_execution(connection, number)
        if stored is None:
            raise RecordNotFoundError(f"there is no execution {number}")
        raise RecordConflictError(
            f"the execution {stored.execution_id} is {stored.status} in attempt {stored.attempt}:"
            " somebody was faster; look at it again"
        )
    old = [{"key_": key} for key in resumption.superseded]
    if old:
        place = sa.and_(execution_steps.c.execution == number, execution_steps.c.key == sa.bindparam("key_"))
        execute_many(connection, sa.update(execution_steps).where(place).values(superseded=True), old)
    changed: dict[str, Any] = {
        name: value
        for name, value in (
            *(("variables", resumption.variables), ("input", resumption.input)),
            ("config", resumption.config),
        )
        if value is not None
    }
    if changed:
        connection.execute(
            sa.update(execution_values).where(execution_values.c.execution == number).values(**changed)
        )
    settle_by_hand(connection, number, resumption.steps)
    facts = {
        "by": resumption.by,
        "restarted": list(resumption.superseded),
        "manual": [step.key for step in resumption.steps],
    }
    executions.announce(connection, number, [(EventType.EXECUTION_RESUMED, "", facts)], at)
    after = executions.read_execution(connection, number)
    assert after is not None
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == sa.select(_columns.run).where(_columns.id == number).scalar_subquery())
        .values(status=RunStatus.PENDING.value, source_status=RunStatus.PENDING.value, fingerprint=None)
    )
    return after


def mark_reported(connection: Connection, number: int, flow_run_id: str | None, state: str | None) -> None:
    """Keep what Prefect was told."""
    values = {"reported_state": state, **({} if flow_run_id is None else {"flow_run_id": flow_run_id})}
    connection.execute(sa.update(workflow_executions).where(_this).values(**values), {"id_": number})
