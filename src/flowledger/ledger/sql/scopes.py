"""Runs of a scope, page by page in the order of reports; certificates, and members of filtered scopes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Select

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.runs import AppKey, Level, RunStatus
from flowledger.domain.windows import ONE_SECOND, Window
from flowledger.ledger.sql.row_mapping import certificate_from, certificate_row, scope_row
from flowledger.ledger.sql.schema import GONE, UNSETTLED, runs, window_runs, windows

OPEN = tuple(status.value for status in RunStatus if status.is_open)

this_scope = (
    *(windows.c.source == sa.bindparam("source"), windows.c.app_id == sa.bindparam("app_id")),
    windows.c.query == sa.bindparam("query"),
    *(windows.c.after_s == sa.bindparam("after_s"), windows.c.before_s == sa.bindparam("before_s")),
)


STREAMED_ROWS = 5000


class ScopePlace(NamedTuple):
    """Where a page ended: everything after it in the order is still to come."""

    listed_at: Any
    log_id: str
    run_id: str


def scope_values(scope: Scope) -> dict[str, Any]:
    """Parameters of every statement about a scope; a window's last second counts whole."""
    last = scope.window.before_at + ONE_SECOND - timedelta(microseconds=1)
    return {**scope_row(scope), "first": scope.window.after_at, "last": last}


def read_page(
    connection: Connection,
    statement: Select[Any],
    values: Mapping[str, Any],
    after: ScopePlace | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Read the next rows of ``runs`` after a place; the first ones where it is None."""
    place = after or ScopePlace(values["last"], "", "")
    return connection.execute(
        statement, {**values, **dict(zip(("last", "log_id", "run_id"), place, strict=True)), "limit": limit}
    ).all()


@cache
def all_runs(*, filtered: bool) -> Select[Any]:
    """The statement that pages through a scope."""
    after_place = sa.or_(
        runs.c.listed_at < sa.bindparam("last"),
        sa.tuple_(runs.c.log_id, runs.c.run_id) > sa.tuple_(sa.bindparam("log_id"), sa.bindparam("run_id")),
    )
    return (
        sa.select(runs)
        .where(*_scoped(filtered=filtered), after_place)
        .order_by(runs.c.listed_at.desc(), runs.c.log_id, runs.c.run_id)
        .limit(sa.bindparam("limit"))
    )


@cache
def pending_runs(*, filtered: bool, tried: bool | None = None) -> Select[Any]:
    """The statement that pages through what needs enrichment (``ports.Ledger.pending``)."""
    stored = sa.func.coalesce(runs.c.detail_level, Level.NONE.value)
    shallow = sa.and_(
        stored < sa.bindparam("level"), sa.func.coalesce(runs.c.detail_permanent, sa.false()) == sa.false()
    )
    worth_rereading = sa.or_(
        runs.c.status.not_in(OPEN),
        runs.c.listed_at >= sa.bindparam("open_since", type_=runs.c.listed_at.type),
    )
    reread = sa.and_(stored > Level.NONE.value, runs.c.detail_read_open == sa.true(), worth_rereading)
    chosen = all_runs(filtered=filtered).where(UNSETTLED, sa.or_(shallow, reread))
    if tried is None:
        return chosen
    return chosen.where(runs.c.detail_level.is_not(None) if tried else runs.c.detail_level.is_(None))


@cache
def runs_still_open(*, filtered: bool) -> Select[Any]:
    """The statement that pages through the runs that have not ended."""
    return all_runs(filtered=filtered).where(runs.c.status.in_(OPEN))


@cache
def counted(*, filtered: bool, since: bool, by_status: bool = False) -> Select[Any]:
    """The statement that counts a scope."""
    chosen = [runs.c.collected_at >= sa.bindparam("since")] if since else []
    if by_status:
        chosen.append(runs.c.source_status == sa.bindparam("source_status"))
    return sa.select(sa.func.count()).select_from(runs).where(*_scoped(filtered=filtered), *chosen)


@cache
def _identities(*, filtered: bool, since: bool) -> Select[Any]:
    recent = [runs.c.collected_at >= sa.bindparam("since")] if since else []
    identity = sa.case((sa.and_(GONE, runs.c.log_id != ""), runs.c.log_id), else_=runs.c.run_id)
    return sa.select(identity).where(*_scoped(filtered=filtered), *recent)


def stream_identities(
    connection: Connection, scope: Scope, within: Window | None, since: datetime | None
) -> Iterator[str]:
    """Stream what the runs of a scope, or of a part of its window, are known by (``Run.identity``)."""
    values = {**scope_values(scope), "since": since}
    if within is not None:
        part = scope_values(Scope(scope.app, within))
        values |= {"first": part["first"], "last": part["last"]}
    statement = _identities(filtered=bool(scope.query), since=since is not None)
    for rows in connection.execute(statement, values).partitions(STREAMED_ROWS):
        yield from (identity for (identity,) in rows)


def _scoped(*, filtered: bool) -> Sequence[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        runs.c.source == sa.bindparam("source"),
        runs.c.app_id == sa.bindparam("app_id"),
        runs.c.listed_at >= sa.bindparam("first"),
        runs.c.listed_at <= sa.bindparam("last"),
    ]
    if filtered:
        window = sa.select(windows.c.id).where(*this_scope).scalar_subquery()
        member = window_runs.c.run == runs.c.id
        conditions.append(sa.exists().where(member, window_runs.c.window == window))
    return conditions


_stored = sa.select(windows.c.id).where(*this_scope)
_certificate = sa.select(windows).where(*this_scope, windows.c.proved_at.is_not(None))
_certificates = (
    sa.select(windows)
    .where(
        windows.c.source == sa.bindparam("source"),
        windows.c.app_id == sa.bindparam("app_id"),
        windows.c.after_s >= sa.bindparam("after_s"),
        windows.c.before_s <= sa.bindparam("before_s"),
        windows.c.proved_at.is_not(None),
    )
    .order_by(windows.c.after_s, windows.c.before_s, windows.c.query)
)
_certificates_of_query = _certificates.where(windows.c.query == sa.bindparam("query"))
_leave = sa.delete(window_runs).where(
    window_runs.c.window == sa.bindparam("window_"), window_runs.c.run == sa.bindparam("run_")
)


def write_members(connection: Connection, scope: Scope, keys: Iterable[int]) -> None:
    """Make runs, by surrogate key, members of a filtered scope; those that are members stay."""
    window = _window(connection, scope)
    members = sorted(set(keys))
    if members:
        connection.execute(_leave, [{"window_": window, "run_": key} for key in members])
        connection.execute(sa.insert(window_runs), [{"window": window, "run": key} for key in members])


def write_certificate(connection: Connection, certificate: Certificate) -> None:
    """Keep a certificate unless a newer one of its scope is held."""
    window = _window(connection, certificate.scope)
    connection.execute(
        sa.update(windows)
        .where(
            windows.c.id == window,
            sa.or_(windows.c.proved_at.is_(None), windows.c.proved_at <= certificate.at),
        )
        .values(certificate_row(certificate))
    )


def read_certificate(connection: Connection, scope: Scope) -> Certificate | None:
    """Return the certificate of exactly this scope."""
    row = connection.execute(_certificate, scope_row(scope)).first()
    return None if row is None else certificate_from(row)


def read_certificates(
    connection: Connection, app: AppKey, within: Window, query: str | None
) -> Sequence[Certificate]:
    """Return the certificates of the scopes inside a window, of one query or all, oldest window first."""
    statement = _certificates if query is None else _certificates_of_query
    rows = connection.execute(statement, scope_row(Scope(app, within, query or "")))
    return [certificate_from(row) for row in rows]


def _window(connection: Connection, scope: Scope) -> int:
    stored = connection.scalar(_stored, scope_row(scope))
    if stored is not None:
        return int(stored)
    key = connection.execute(sa.insert(windows).returning(windows.c.id), scope_row(scope)).scalar_one()
    return int(key)
