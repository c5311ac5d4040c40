"""Domain values to table rows and back, with what is stored beside the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from hashlib import blake2b
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from flowledger.domain import certificates
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.costs import run_cost
from flowledger.domain.messages import OutboxMessage
from flowledger.domain.runs import (
    AppKey,
    Creator,
    Detail,
    Entry,
    Level,
    NodeExecution,
    Run,
    RunStatus,
)
from flowledger.domain.windows import Window
from flowledger.ledger.bodies import LARGE, compress, digest_of, unpack
from flowledger.ledger.rules import StoredDetail, message_from, message_values, rebuild, summarise
from flowledger.ledger.sql.schema import large_raws, payloads
from flowledger.ports import Decoder

NOBODY = Creator(role="")
_everything = attrgetter(*(each.name for each in fields(Run) if each.name not in ("app", "creator", "raw")))
_creator = attrgetter(*(each.name for each in fields(Creator)))


def fingerprint(run: Run) -> bytes:
    """Sixteen bytes that differ where two runs differ in anything."""
    values = (
        *_everything(run),
        run.creator is None,
        run.app.source,
        run.app.app_id,
        *_creator(run.creator or NOBODY),
    )
    digest = blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=16)
    digest.update(run.raw)
    return digest.digest()


def run_row(run: Run) -> dict[str, Any]:
    """Columns of ``runs`` that the run itself fills."""
    creator = run.creator or NOBODY
    return {
        "source": run.app.source,
        "app_id": run.app.app_id,
        "run_id": run.run_id,
        "log_id": run.log_id or "",
        "listed_at": run.listed_at,
        "gone": run.gone,
        "status": run.status.value,
        "source_status": run.source_status,
        "workflow_version": run.workflow_version,
        "created_from": run.created_from,
        "creator_role": None if run.creator is None else creator.role,
        "creator_id": creator.id,
        "creator_name": creator.name,
        "creator_email": creator.email,
        "creator_session_id": creator.session_id,
        "error": run.error,
        "elapsed_s": run.elapsed_s,
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        "exceptions_count": run.exceptions_count,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "fingerprint": fingerprint(run),
        "raw": _packed(run.raw),
    }


def _packed(raw: bytes) -> bytes | None:
    """A run's own row as ``runs`` has it: a large one is beside (``rebuilding.BESIDE``)."""
    if len(raw) > LARGE:
        return b""
    return compress(raw) if raw else None


def large_raw_row(key: int, run: Run) -> dict[str, Any] | None:
    """A row of ``large_raws``, where the run has one."""
    digest = digest_of(run.raw)
    return None if digest is None else {"run": key, "body": compress(run.raw), "digest": digest}


def payload_row(key: int, name: str, body: bytes) -> dict[str, Any]:
    """A row of ``payloads``."""
    return {"run": key, "name": name, "body": compress(body), "digest": digest_of(body)}


NEVER_READ: Mapping[str, Any] = {
    "detail_level": None,
    "detail_reason": None,
    "detail_permanent": None,
    "detail_read_open": None,
    "detail_settled": False,
    "cost": None,
    "cost_known": False,
}
"""Columns of ``runs`` that a detail fills, where there is none."""


def detail_row(run: Run, detail: Detail) -> dict[str, Any]:
    """Columns of ``runs`` that a detail fills; ``run`` is the run as it was when the detail was read."""
    stored = summarise(run, detail)
    cost = run_cost(run, detail)
    return {
        "detail_level": stored.level.value,
        "detail_reason": stored.reason,
        "detail_permanent": stored.permanent,
        "detail_read_open": stored.read_open,
        "detail_settled": stored.settled,
        "cost": cost.amounts or None,
        "cost_known": cost.whole,
    }


_NODE_COLUMNS = (
    *("position", "execution_id", "node_id", "node_type", "title", "status", "source_index", "error"),
    *("elapsed_s", "total_tokens", "total_price", "currency", "started_at", "finished_at"),
)
_node = attrgetter(*(name.removeprefix("source_") for name in _NODE_COLUMNS))


def node_columns(runs: Sequence[int], nodes: Sequence[NodeExecution]) -> dict[str, Sequence[Any]]:
    """The columns of ``node_executions`` for nodes and the runs they are of; payloads stay in raw bodies."""
    columns = dict(zip(_NODE_COLUMNS, zip(*map(_node, nodes), strict=True), strict=True))
    return {"run": runs, **columns, "truncated": [" ".join(node.truncated) for node in nodes]}


def run_from(row: Row[Any], app: AppKey, raw: bytes = b"") -> Run:
    """Make a run of a row of ``runs`` and the raw that is kept of it."""
    return Run(
        app=app,
        run_id=row.run_id,
        listed_at=row.listed_at,
        status=RunStatus(row.status),
        source_status=row.source_status,
        log_id=row.log_id or None,
        gone=row.gone,
        workflow_version=row.workflow_version,
        created_from=row.created_from,
        creator=_creator_from(row),
        error=row.error,
        elapsed_s=row.elapsed_s,
        total_tokens=row.total_tokens,
        total_steps=row.total_steps,
        exceptions_count=row.exceptions_count,
        started_at=row.started_at,
        finished_at=row.finished_at,
        raw=raw,
    )


def _creator_from(row: Row[Any]) -> Creator | None:
    if row.creator_role is None:
        return None
    return Creator(
        role=row.creator_role,
        id=row.creator_id,
        name=row.creator_name,
        email=row.creator_email,
        session_id=row.creator_session_id,
    )


def detail_from(row: Row[Any]) -> StoredDetail | None:
    """Make what is held of a detail of a row of ``runs``."""
    if row.detail_level is None:
        return None
    return StoredDetail(
        Level(row.detail_level), row.detail_reason, row.detail_permanent, row.detail_read_open
    )


def scope_row(scope: Scope) -> dict[str, Any]:
    """The columns that make a row of ``windows`` unique."""
    return {
        "source": scope.app.source,
        "app_id": scope.app.app_id,
        "query": scope.query,
        "after_s": scope.window.after,
        "before_s": scope.window.before,
    }


def certificate_row(certificate: Certificate) -> dict[str, Any]:
    """The columns of ``windows`` that a certificate fills."""
    return {
        "certified": certificate.certified,
        "reason": certificate.reason,
        "expected": certificate.expected,
        "distinct_rows": certificate.distinct,
        "retained": certificate.retained,
        "proved_at": certificate.at,
        "read_at": certificate.read_at,
        "run_count": certificate.runs and certificate.runs.count,
        "run_digest": certificate.runs and certificate.runs.digest.to_bytes(certificates.DIGEST_BYTES, "big"),
    }


def certificate_from(row: Row[Any]) -> Certificate:
    """Make a certificate of a row of ``windows``."""
    return Certificate(
        scope=Scope(AppKey(row.source, row.app_id), Window(row.after_s, row.before_s), row.query),
        certified=row.certified,
        reason=row.reason,
        expected=row.expected,
        distinct=row.distinct_rows,
        at=row.proved_at,
        retained=row.retained,
        read_at=row.read_at,
        runs=None
        if row.run_count is None
        else certificates.RunSet(row.run_count, int.from_bytes(row.run_digest, "big")),
    )


def message_row(message: OutboxMessage) -> dict[str, Any]:
    """A row of ``letters``."""
    return {
        "letter_id": message.letter_id,
        "channel": message.channel,
        "source": message.app and message.app.source,
        "app_id": message.app and message.app.app_id,
        "posted_at": message.posted_at,
        "not_before": message.not_before,
        "tries": message.tries,
        "problem": message.problem,
        "sent_at": message.sent_at,
        "given_up": message.given_up,
        "message": message_values(message.message),
    }


def outbox_message_from(row: Row[Any], *, not_before: datetime | None = None) -> OutboxMessage:
    """Make an outbox message of a row, with another time for its next try where one is given."""
    return OutboxMessage(
        letter_id=row.letter_id,
        channel=row.channel,
        message=message_from(row.message),
        posted_at=row.posted_at,
        not_before=not_before or row.not_before,
        app=None if row.source is None else AppKey(row.source, row.app_id),
        tries=row.tries,
        problem=row.problem,
        sent_at=row.sent_at,
        given_up=row.given_up,
    )


BESIDE = b""
"""What a row has for its raw where that is in ``large_raws``: compressed, nothing is empty."""


class PackedBody(NamedTuple):
    """Compressed, as it is held, with its SHA-256 where it is large."""

    body: bytes
    digest: bytes | None


class Parts(NamedTuple):
    """What is beside the rows of a page, by surrogate key: bodies by name, and large raws."""

    bodies: Mapping[int, Mapping[str, PackedBody]]
    raws: Mapping[int, PackedBody]


_keys: sa.BindParameter[int] = sa.bindparam("keys", expanding=True)
_bodies = sa.select(payloads.c.run, payloads.c.name, payloads.c.body, payloads.c.digest).where(
    payloads.c.run.in_(_keys)
)
_raws = sa.select(large_raws.c.run, large_raws.c.body, large_raws.c.digest).where(large_raws.c.run.in_(_keys))


def read_parts(connection: Connection, rows: Sequence[Row[Any]], *, with_bodies: bool) -> Parts:
    """Read what is beside rows of ``runs``, large raws only where they are."""
    bodies: dict[int, dict[str, PackedBody]] = {}
    raws: dict[int, PackedBody] = {}
    keys = [row.id for row in rows]
    if with_bodies and keys:
        for key, name, *packed in connection.execute(_bodies, {"keys": keys}):
            bodies.setdefault(key, {})[name] = PackedBody(*packed)
    if large := [row.id for row in rows if row.raw == BESIDE]:
        raws = {key: PackedBody(*packed) for key, *packed in connection.execute(_raws, {"keys": large})}
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
        name: unpack(packed.body, f"{name} of run {run.run_id}", packed.digest)
        for name, packed in parts.bodies.get(row.id, {}).items()
    }
    return Entry(run, rebuild(run, detail_from(row), raws, decoders))
