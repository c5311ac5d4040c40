"""Makes very many runs and facts of rows: at a fraction of what typed columns one by one take (measured)."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Select

from flowledger.domain.history import RunFacts
from flowledger.domain.runs import AppKey, Creator, Run, RunStatus
from flowledger.ledger.sql.column_types import money_from
from flowledger.ledger.sql.schema import runs

listed: Select[Any] = sa.select(
    *(runs.c.id, runs.c.source, runs.c.app_id, runs.c.run_id, runs.c.listed_at, runs.c.status),
    *(runs.c.source_status, runs.c.log_id, runs.c.gone, runs.c.workflow_version, runs.c.created_from),
    *(runs.c.creator_role, runs.c.creator_id, runs.c.creator_name, runs.c.creator_email),
    *(runs.c.creator_session_id, runs.c.error, runs.c.elapsed_s, runs.c.total_tokens, runs.c.total_steps),
    *(runs.c.exceptions_count, runs.c.started_at, runs.c.finished_at),
)
"""What ``listed_runs`` takes."""
counted: Select[Any] = sa.select(
    *(runs.c.id, runs.c.listed_at, runs.c.source, runs.c.app_id, runs.c.status, runs.c.elapsed_s),
    *(runs.c.total_tokens, runs.c.cost, runs.c.cost_known),
)
"""What ``counted_facts`` takes."""
Values = tuple[Any, ...]
"""A row as the driver gives it."""
_STATUSES = {status.value: status for status in RunStatus}


def fetch(connection: Connection, statement: Select[Any]) -> list[Values]:
    """Read rows as the driver gives them."""
    result: Any = connection.execute(statement)
    rows: list[Values] = result.cursor.fetchall()
    result.close()
    return rows


def listed_runs(rows: Sequence[Values]) -> Iterator[Run]:
    """Make runs, without their raw rows."""
    for row in rows:
        _, source, app_id, run_id, listed_at, status, source_status, log_id, gone, version, created_from = (
            row[:11]
        )
        role, *creator = row[11:16]
        error, elapsed_s, total_tokens, total_steps, exceptions_count, started_at, finished_at = row[16:]
        yield Run(
            _app(source, app_id),
            run_id,
            instant(listed_at),
            _STATUSES[status],
            source_status,
            log_id or None,
            bool(gone),
            version,
            created_from,
            None if role is None else Creator(role, *creator),
            error,
            None if elapsed_s is None else Decimal(elapsed_s),
            total_tokens,
            total_steps,
            exceptions_count,
            started_at and instant(started_at),
            finished_at and instant(finished_at),
        )


def counted_facts(rows: Sequence[Values]) -> Iterator[RunFacts]:
    """Make facts."""
    for _, listed_at, source, app_id, status, elapsed_s, total_tokens, cost, cost_known in rows:
        yield RunFacts(
            _app(source, app_id),
            instant(listed_at),
            _STATUSES[status],
            None if elapsed_s is None else Decimal(elapsed_s),
            total_tokens,
            money_from(cost),
            bool(cost_known),
        )


def instant(value: str | datetime) -> datetime:
    """Read a time as the driver gives it: SQLite's is text."""
    if isinstance(value, str):
        return datetime.fromisoformat(f"{value}+00:00")
    return value.replace(tzinfo=UTC)


@lru_cache(maxsize=1024)
def _app(source: str, app_id: str) -> AppKey:
    return AppKey(source, app_id)
