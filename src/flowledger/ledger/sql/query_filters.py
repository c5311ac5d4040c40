"""Writes in SQL which runs a query admits, as ``RunQuery.admits`` does."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from flowledger.domain.history import RunQuery, lowered
from flowledger.domain.runs import AppKey
from flowledger.ledger.sql.database import Database
from flowledger.ledger.sql.schema import runs
from flowledger.ledger.texts import clean

_STARTERS = (runs.c.creator_id, runs.c.creator_name, runs.c.creator_email, runs.c.creator_session_id)
_SEARCHED = (runs.c.run_id, runs.c.error, runs.c.creator_name, runs.c.creator_session_id)
LINE_END = "\n"


def in_app(app: AppKey) -> Sequence[ColumnElement[bool]]:
    """The conditions of being one app's, along an index."""
    return runs.c.source == app.source, runs.c.app_id == app.app_id


def of_apps(query: RunQuery) -> Iterator[ColumnElement[bool]]:
    """The query's conditions on apps, along no index: for reading all runs in their order."""
    source, app_id = runs.c.source.concat(""), runs.c.app_id.concat("")
    if query.sources:
        yield source.in_(_clean(query.sources))
    if query.workflows:
        yield app_id.in_(_clean(query.workflows))
    if query.apps is not None:
        apps = dict.fromkeys((clean(app.source), clean(app.app_id)) for app in query.apps)
        yield sa.tuple_(source, app_id).in_(list(apps)) if apps else sa.false()


def admitted(query: RunQuery, place: Database) -> Iterator[ColumnElement[bool]]:
    """All other conditions of the query."""
    if query.statuses:
        yield runs.c.status.in_([status.value for status in query.statuses])
    if query.listed_from is not None:
        yield runs.c.listed_at >= query.listed_from
    if query.listed_before is not None:
        yield runs.c.listed_at < query.listed_before
    if query.user:
        yield sa.or_(*(starter == query.user for starter in _STARTERS))
    if query.at_least_s is not None or query.at_most_s is not None:
        yield place.lasted(runs.c.elapsed_s, query.at_least_s, query.at_most_s)
    if query.text:
        yield place.holds(sa.func.lower(_searched()), lowered(clean(query.text)))


def _searched() -> ColumnElement[str]:
    """The texts that are there, one a line: what comes before the first line end is cut off again."""
    lines = [
        sa.func.coalesce(sa.literal(LINE_END).concat(sa.func.nullif(column, "")), "") for column in _SEARCHED
    ]
    together: ColumnElement[str] = lines[0]
    for line in lines[1:]:
        together = together.concat(line)
    return sa.func.substr(together, 2)


def _clean(texts: Sequence[str]) -> list[str]:
    return [clean(text) for text in texts]
