"""Writes and reads scopes: their certificates, and the members of filtered ones."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import Window
from flowledger.ledger.sql.reading import this_scope
from flowledger.ledger.sql.rows import certificate_from, certificate_row, scope_row
from flowledger.ledger.sql.schema import window_runs, windows

_held = sa.select(windows.c.id).where(*this_scope)
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
    """Give the certificate of exactly this scope."""
    row = connection.execute(_certificate, scope_row(scope)).first()
    return None if row is None else certificate_from(row)


def read_certificates(
    connection: Connection, app: AppKey, within: Window, query: str | None
) -> Sequence[Certificate]:
    """Give the certificates of the scopes inside a window, of one query or all, oldest window first."""
    statement = _certificates if query is None else _certificates_of_query
    rows = connection.execute(statement, scope_row(Scope(app, within, query or "")))
    return [certificate_from(row) for row in rows]


def _window(connection: Connection, scope: Scope) -> int:
    held = connection.scalar(_held, scope_row(scope))
    if held is not None:
        return int(held)
    key = connection.execute(sa.insert(windows).returning(windows.c.id), scope_row(scope)).scalar_one()
    return int(key)
