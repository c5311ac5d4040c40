"""Reads runs of every source as one list, newest first, and single ones."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Select

from flowledger.domain.history import AppSummary, Place, RunFacts, RunKey, RunQuery, RunSize
from flowledger.domain.runs import AppKey, Run, RunStatus
from flowledger.errors import UsageError
from flowledger.ledger.sql import fast_reads
from flowledger.ledger.sql.database import Database, Transactions
from flowledger.ledger.sql.query_filters import admitted, in_app, of_apps
from flowledger.ledger.sql.schema import large_raws, payloads, runs
from flowledger.ledger.texts import clean

MERGED = 50
"""So many apps are asked one by one, each along its index; of more, all runs are gone through."""
STREAMED = 5000
EVERY_RUN = RunQuery()

_sizes = sa.select(
    *(runs.c.id, runs.c.listed_at, runs.c.run_id),
    (
        sa.func.coalesce(sa.func.length(runs.c.raw), 0)
        + sa.func.coalesce(
            sa.select(sa.func.length(large_raws.c.body))
            .where(large_raws.c.run == runs.c.id)
            .scalar_subquery(),
            0,
        )
        + sa.func.coalesce(
            sa.select(sa.func.sum(sa.func.length(payloads.c.body)))
            .where(payloads.c.run == runs.c.id)
            .scalar_subquery(),
            0,
        )
    ).label("size_bytes"),
)
_whole = sa.select(runs)
_this = _whole.where(
    runs.c.source == sa.bindparam("source"),
    runs.c.app_id == sa.bindparam("app_id"),
    runs.c.run_id == sa.bindparam("run_id"),
)
_summaries = sa.select(
    *(runs.c.source, runs.c.app_id, runs.c.status, sa.func.count().label("stored")),
    sa.func.min(runs.c.listed_at, type_=runs.c.listed_at.type).label("first_at"),
    sa.func.max(runs.c.listed_at, type_=runs.c.listed_at.type).label("last_at"),
).group_by(runs.c.source, runs.c.app_id, runs.c.status)

# Going from one app to the next along an index takes as many steps as there are apps, not runs.
_steps = """
WITH RECURSIVE sources(source) AS (
  SELECT min(runs.source) FROM runs
  UNION ALL
  SELECT (SELECT min(runs.source) FROM runs WHERE runs.source > sources.source)
  FROM sources WHERE sources.source IS NOT NULL
), apps(source, app_id) AS (
  SELECT sources.source, (SELECT min(runs.app_id) FROM runs WHERE runs.source = sources.source)
  FROM sources WHERE sources.source IS NOT NULL
  UNION ALL
  SELECT apps.source,
    (SELECT min(runs.app_id) FROM runs WHERE runs.source = apps.source AND runs.app_id > apps.app_id)
  FROM apps WHERE apps.app_id IS NOT NULL
)
"""
_all_apps = sa.text(f"{_steps} SELECT source, app_id FROM apps WHERE app_id IS NOT NULL")  # noqa: S608  constants
_located = sa.text(
    f"{_steps} SELECT runs.source, runs.app_id FROM apps JOIN runs"  # noqa: S608  constants
    " ON runs.source = apps.source AND runs.app_id = apps.app_id AND runs.run_id = :run_id"
    " WHERE apps.source = :source AND apps.app_id IS NOT NULL ORDER BY runs.listed_at DESC LIMIT 1"
)


def read_page(
    connection: Connection, database: Database, query: RunQuery, after: Place | None, limit: int
) -> tuple[Sequence[Run], Place | None]:
    """Read the next runs after a place, newest first, those of one instant by falling key."""
    rows = [
        row
        for part in _ranges(connection, query)
        for row in fast_reads.fetch(
            connection, _next(fast_reads.listed.where(*part), query, database, after, limit + 1)
        )
    ]
    rows.sort(key=itemgetter(4, 0), reverse=True)
    page = rows[:limit]
    following = Place(fast_reads.instant(page[-1][4]), str(page[-1][0])) if len(rows) > limit else None
    return list(fast_reads.listed_runs(page)), following


def read_whole_page(
    connection: Connection, database: Database, query: RunQuery, after: Place | None, limit: int
) -> tuple[Sequence[Row[Any]], Place | None]:
    """Read the same as rows of ``runs``, with all their columns."""
    rows = [
        row
        for part in _ranges(connection, query)
        for row in connection.execute(_next(_whole.where(*part), query, database, after, limit + 1))
    ]
    rows.sort(key=attrgetter("listed_at", "id"), reverse=True)
    page = rows[:limit]
    following = Place(page[-1].listed_at, str(page[-1].id)) if len(rows) > limit else None
    return page, following


def read_run(connection: Connection, key: RunKey) -> Row[Any] | None:
    """Read one row of ``runs``."""
    return connection.execute(
        _this, {"source": key.app.source, "app_id": key.app.app_id, "run_id": key.run_id}
    ).first()


def find_app(connection: Connection, source: str, run_id: str) -> AppKey | None:
    """Find the app of a run; the one with the newest, should there be two."""
    row = connection.execute(_located, {"source": clean(source), "run_id": clean(run_id)}).first()
    return None if row is None else AppKey(*row)


def read_app_keys(connection: Connection) -> Sequence[AppKey]:
    """Return every app that has runs, by source and id."""
    return [AppKey(source, app_id) for source, app_id in connection.execute(_all_apps)]


def read_summaries(connection: Connection) -> Sequence[AppSummary]:
    """Count the runs of every app by status."""
    by_app: dict[AppKey, list[Row[Any]]] = {}
    for row in connection.execute(_summaries):
        by_app.setdefault(AppKey(row.source, row.app_id), []).append(row)
    return [_summary(app, by_app[app]) for app in sorted(by_app, key=str)]


def stream_facts(transactions: Transactions, query: RunQuery) -> Iterator[RunFacts]:
    """Read what statistics count, a page at a time, each in a transaction of its own."""
    with transactions.reading() as connection:
        parts = _ranges(connection, query)
    for part in parts:
        for rows in _stream(transactions, fast_reads.counted.where(*part), query):
            yield from fast_reads.counted_facts(rows)


def stream_sizes(transactions: Transactions, app: AppKey) -> Iterator[RunSize]:
    """Read what each run of an app takes, newest first, a page at a time."""
    for rows in _stream(transactions, _sizes.where(*in_app(app)), EVERY_RUN):
        for _, listed_at, run_id, size in rows:
            yield RunSize(run_id, fast_reads.instant(listed_at), int(size))


def _stream(
    transactions: Transactions, statement: Select[Any], query: RunQuery
) -> Iterator[Sequence[fast_reads.Values]]:
    """Read pages of rows that begin with key and place."""
    after: Place | None = None
    while True:
        with transactions.reading() as connection:
            rows = fast_reads.fetch(connection, _next(statement, query, transactions.place, after, STREAMED))
        yield rows
        if len(rows) < STREAMED:
            return
        after = Place(fast_reads.instant(rows[-1][1]), str(rows[-1][0]))


def _next(
    statement: Select[Any], query: RunQuery, database: Database, after: Place | None, limit: int
) -> Select[Any]:
    """Add the conditions of a query to the statement, and the order and size of a page after a place."""
    if after is not None and query.listed_before is not None and after.at < query.listed_before:
        # Of two bounds SQLite begins at either: here at the wider one, and goes through all pages before.
        query = replace(query, listed_before=None)
    following = statement.where(*admitted(query, database))
    following = following.order_by(runs.c.listed_at.desc(), runs.c.id.desc()).limit(limit)
    if after is None:
        return following
    earlier, lower = runs.c.listed_at < after.at, runs.c.id < _key(after)
    return following.where(runs.c.listed_at <= after.at, sa.or_(earlier, lower))


def _key(place: Place) -> int:
    try:
        return int(place.tie)
    except ValueError as error:
        raise UsageError(f"{place.tie!r} is no place in this ledger's history: begin anew") from error


def _ranges(connection: Connection, query: RunQuery) -> Sequence[Sequence[ColumnElement[bool]]]:
    """Cut the runs of a query's apps into parts, each of which an index has in the history's order."""
    if query.apps is None and not query.sources and not query.workflows:
        return [()]
    apps: Sequence[AppKey] = query.apps or ()
    if query.apps is None:
        apps = read_app_keys(connection)
    sources, workflows = ({clean(each) for each in named} for named in (query.sources, query.workflows))
    selected = dict.fromkeys(
        app
        for app in (AppKey(clean(app.source), clean(app.app_id)) for app in apps)
        if (not sources or app.source in sources) and (not workflows or app.app_id in workflows)
    )
    return [in_app(app) for app in selected] if len(selected) <= MERGED else [tuple(of_apps(query))]


def _summary(app: AppKey, rows: Sequence[Row[Any]]) -> AppSummary:
    by_status: Mapping[RunStatus, int] = Counter({RunStatus(row.status): row.stored for row in rows})
    return AppSummary(app, by_status, min(row.first_at for row in rows), max(row.last_at for row in rows))
