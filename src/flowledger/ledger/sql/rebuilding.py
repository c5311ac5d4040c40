"""Makes runs and entries of rows, with what is kept beside the rows."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from flowledger.domain.runs import AppKey, Entry, Run
from flowledger.ledger.details import rebuild
from flowledger.ledger.sql.bodies import unpack
from flowledger.ledger.sql.rows import detail_from, run_from
from flowledger.ledger.sql.schema import large_raws, payloads
from flowledger.ports import Decoder

BESIDE = b""
"""What a row has for its raw where that is in ``large_raws``: compressed, nothing is empty."""


class Kept(NamedTuple):
    """Compressed, as it is held, with its SHA-256 where it is large."""

    body: bytes
    digest: bytes | None


class Parts(NamedTuple):
    """What is beside the rows of a page, by surrogate key: bodies by name, and large raws."""

    bodies: Mapping[int, Mapping[str, Kept]]
    raws: Mapping[int, Kept]


_keys: sa.BindParameter[int] = sa.bindparam("keys", expanding=True)
_bodies = sa.select(payloads.c.run, payloads.c.name, payloads.c.body, payloads.c.digest).where(
    payloads.c.run.in_(_keys)
)
_raws = sa.select(large_raws.c.run, large_raws.c.body, large_raws.c.digest).where(large_raws.c.run.in_(_keys))


def read_parts(connection: Connection, rows: Sequence[Row[Any]], *, with_bodies: bool) -> Parts:
    """Read what is beside rows of ``runs``, large raws only where they are."""
    bodies: dict[int, dict[str, Kept]] = {}
    raws: dict[int, Kept] = {}
    keys = [row.id for row in rows]
    if with_bodies and keys:
        for key, name, *kept in connection.execute(_bodies, {"keys": keys}):
            bodies.setdefault(key, {})[name] = Kept(*kept)
    if large := [row.id for row in rows if row.raw == BESIDE]:
        raws = {key: Kept(*kept) for key, *kept in connection.execute(_raws, {"keys": large})}
    return Parts(bodies, raws)


def run_of(row: Row[Any], parts: Parts) -> Run:
    """Make a run of a row.

    :raises LedgerError: naming the run, when what is kept of it is damaged.
    """
    app = AppKey(row.source, row.app_id)
    packed, digest = parts.raws.get(row.id, (row.raw, None))
    return run_from(row, app, unpack(packed, f"run {row.run_id} of {app}", digest))


def entry_of(row: Row[Any], parts: Parts, decoders: Mapping[str, Decoder]) -> Entry:
    """Make a run with its detail of a row.

    :raises LedgerError: naming the run, when what is kept of it is damaged.
    """
    run = run_of(row, parts)
    raws = {
        name: unpack(kept.body, f"{name} of run {run.run_id}", kept.digest)
        for name, kept in parts.bodies.get(row.id, {}).items()
    }
    return Entry(run, rebuild(run, detail_from(row), raws, decoders))
