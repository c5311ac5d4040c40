"""The one mapping between a run and plain values: flat rows, and documents that lose nothing.

``run_values`` and ``run_from_values`` are the two directions; API answers, exports, archives and backups
differ only in how they write instants, decimals and bytes.  Node executions are never mapped back: they are
decoded again from the bodies that the source sent.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from operator import attrgetter
from typing import Any

import orjson

from flowledger.domain.json_values import strict_text
from flowledger.domain.runs import (
    UNREAD,
    AppKey,
    Creator,
    Detail,
    Detailed,
    Entry,
    Level,
    Missing,
    NodeExecution,
    Run,
    RunStatus,
    level_of,
    missing_reason,
)
from flowledger.errors import FlowledgerError


class ColumnType(StrEnum):
    """What a column's values are, null aside."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"


COLUMNS: Mapping[str, ColumnType] = {
    "source": ColumnType.TEXT,
    "app_id": ColumnType.TEXT,
    "run_id": ColumnType.TEXT,
    "status": ColumnType.TEXT,
    "source_status": ColumnType.TEXT,
    "listed_at": ColumnType.TEXT,
    "started_at": ColumnType.TEXT,
    "finished_at": ColumnType.TEXT,
    "elapsed_s": ColumnType.NUMBER,
    "total_tokens": ColumnType.INTEGER,
    "total_steps": ColumnType.INTEGER,
    "exceptions_count": ColumnType.INTEGER,
    "workflow_version": ColumnType.TEXT,
    "created_from": ColumnType.TEXT,
    "creator_role": ColumnType.TEXT,
    "creator_id": ColumnType.TEXT,
    "creator_name": ColumnType.TEXT,
    "creator_email": ColumnType.TEXT,
    "creator_session_id": ColumnType.TEXT,
    "error": ColumnType.TEXT,
    "log_id": ColumnType.TEXT,
    "gone": ColumnType.FLAG,
}
"""Column → type, as ``run_values`` orders them; instants are ISO 8601 in UTC, ``elapsed_s`` is in seconds."""
DETAIL_COLUMNS: Mapping[str, ColumnType] = {
    "inputs": ColumnType.TEXT,
    "outputs": ColumnType.TEXT,
    "nodes": ColumnType.TEXT,
    "missing": ColumnType.TEXT,
}
"""What a detail adds: objects and lists, as JSON text where cells are flat."""

FORMAT = "flowledger-run/1"
Row = dict[str, Any]
Document = dict[str, Any]
Decoder = Callable[[Run, Mapping[str, bytes], str], Detailed]
"""Rebuilds a detail from what a source answered: the run, raw bodies by name, why nodes are missing."""

_NOBODY = Creator("")
_CREATOR_FIELDS = tuple(each.name for each in fields(Creator))
_SAME_NAME = tuple(
    each.name for each in fields(Run) if each.name not in ("app", "status", "creator", "elapsed_s", "raw")
)
_NODE_FIELDS = tuple(each.name for each in fields(NodeExecution))
_node = attrgetter(*_NODE_FIELDS)
_TEXTS = ("run_id", "source_status", "log_id", "workflow_version", "created_from", "error")
_COUNTS = ("total_tokens", "total_steps", "exceptions_count")
_INSTANTS = ("started_at", "finished_at")


def run_values(run: Run) -> Row:
    """Return the fields of a run as they are, flat and named as ``COLUMNS``; its raw row is not among them.

    All ``creator_…`` are None where nobody is known to have started it.
    """
    creator = run.creator or _NOBODY
    # A literal, not a loop over the names: exports of a million runs spend most of their time here.
    return {
        "source": run.app.source,
        "app_id": run.app.app_id,
        "run_id": run.run_id,
        "status": run.status.value,
        "source_status": run.source_status,
        "listed_at": run.listed_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "elapsed_s": run.elapsed_s,
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        "exceptions_count": run.exceptions_count,
        "workflow_version": run.workflow_version,
        "created_from": run.created_from,
        "creator_role": None if run.creator is None else creator.role,
        "creator_id": creator.id,
        "creator_name": creator.name,
        "creator_email": creator.email,
        "creator_session_id": creator.session_id,
        "error": run.error,
        "log_id": run.log_id,
        "gone": run.gone,
    }


def run_from_values(values: Mapping[str, Any], raw: bytes) -> Run:
    """Return the run that ``run_values`` was given; ``elapsed_s`` may also be the decimal as text.

    :raises KeyError, ValueError, InvalidOperation: for a field that is missing or has no such value.
    """
    creator = {name: values[f"creator_{name}"] for name in _CREATOR_FIELDS}
    elapsed = values["elapsed_s"]
    return Run(
        app=AppKey(values["source"], values["app_id"]),
        status=RunStatus(values["status"]),
        creator=None if creator["role"] is None else Creator(**creator),
        elapsed_s=None if elapsed is None else Decimal(elapsed),
        raw=raw,
        **{name: values[name] for name in _SAME_NAME},
    )


def detail_values(detail: Detail) -> Row | None:
    """Return depth, bodies by name, and why a detail is not deeper; None where it was never asked for."""
    if detail == UNREAD:
        return None
    absent = detail.nodes if isinstance(detail, Detailed) else detail
    reason, permanent = (absent.reason, absent.permanent) if isinstance(absent, Missing) else ("", False)
    bodies = dict(sorted(detail.raw.items())) if isinstance(detail, Detailed) else {}
    return {"level": level_of(detail).value, "reason": reason, "permanent": permanent, "bodies": bodies}


def detail_from_values(run: Run, values: Mapping[str, Any] | None, decoders: Mapping[str, Decoder]) -> Detail:
    """Return the detail that ``detail_values`` was given.

    :raises ValueError: when there is no decoder for the bodies of the run's source.
    """
    if values is None:
        return UNREAD
    absent = Missing(values["reason"], values["permanent"])
    level = Level(values["level"])
    if level is Level.NONE:
        return absent
    if run.app.source not in decoders:
        raise ValueError(f"nothing here reads details of the source {run.app.source!r}: add its decoder")
    bodies = values["bodies"]
    detailed = replace(decoded(decoders[run.app.source], run, bodies, absent.reason), raw=bodies)
    return detailed if level is Level.NODES else replace(detailed, nodes=absent)


def decoded(decoder: Decoder, run: Run, bodies: Mapping[str, bytes], reason: str) -> Detailed:
    """Return the detail that a decoder makes of bodies, and why there is none where it cannot.

    What one run holds must not keep all others from being read; the bodies stay.
    """
    try:
        return decoder(run, bodies, reason)
    except FlowledgerError:
        raise
    except Exception as error:  # noqa: BLE001  # named boundary: one run's data, whatever it is
        return Detailed(None, None, Missing(unreadable(error)), bodies)


def unreadable(error: Exception) -> str:
    """Return the reason of what cannot be read of a run, or shown."""
    return f"its data cannot be read ({type(error).__name__})"


def run_row(run: Run) -> Row:
    """Return a run as the JSON values of ``COLUMNS``."""
    row = run_values(run)
    row["listed_at"] = instant(run.listed_at)
    row["started_at"] = instant(run.started_at)
    row["finished_at"] = instant(run.finished_at)
    row["elapsed_s"] = number(run.elapsed_s)
    row["creator_role"] = row["creator_role"] or None
    return row


def entry_row(entry: Entry) -> Row:
    """Return a run with its detail: ``COLUMNS`` and ``DETAIL_COLUMNS``, the latter as objects and lists."""
    detail, row = entry.detail, run_row(entry.run)
    absent: Row = {"inputs": None, "outputs": None, "nodes": None, "missing": missing_reason(detail)}
    if not isinstance(detail, Detailed):
        return {**row, **absent}
    nodes = None if isinstance(detail.nodes, Missing) else [node_row(node) for node in detail.nodes]
    return {**row, **absent, "inputs": detail.inputs, "outputs": detail.outputs, "nodes": nodes}


def node_values(node: NodeExecution) -> Row:
    """Return the fields of a node execution as they are, but its price as exact text."""
    row: Row = dict(zip(_NODE_FIELDS, _node(node), strict=True))
    price = node.total_price
    row["total_price"] = f"{price:f}" if price is not None and price.is_finite() else None
    row["truncated"] = list(node.truncated)
    return row


def node_row(node: NodeExecution) -> Row:
    """Return a node execution as JSON values."""
    row = node_values(node)
    row["elapsed_s"] = number(node.elapsed_s)
    row["started_at"], row["finished_at"] = instant(node.started_at), instant(node.finished_at)
    return row


def flat(row: Row) -> Row:
    """Return a row with objects and lists as JSON text."""
    return {**row, **{name: _json_text(row[name]) for name in DETAIL_COLUMNS if name in row}}


def instant(at: datetime | None) -> str | None:
    """Return an instant as ``isoformat`` writes it, in a quarter of the time (measured)."""
    return None if at is None else orjson.dumps(at)[1:-1].decode()


def number(value: Decimal | None) -> float | None:
    """Return a decimal as a JSON number; JSON has none for NaN and infinity, which become null."""
    return float(value) if value is not None and value.is_finite() else None


def document_of(entry: Entry) -> Document:
    """Return a run with its detail as one JSON object: what ``entry_of`` reads back is what was written.

    Bodies are text where they are UTF-8, else ``{"base64": …}``.  ``detail`` is null where it was never asked
    for.  The order of the names is part of the format.
    """
    run, values = entry.run, run_values(entry.run)
    return {
        "format": FORMAT,
        "source": run.app.source,
        "app_id": run.app.app_id,
        **{name: values[name] for name in (*_TEXTS, *_COUNTS, "gone", "status")},
        **{name: _utc_text(values[name]) for name in ("listed_at", *_INSTANTS)},
        "elapsed_s": None if run.elapsed_s is None else str(run.elapsed_s),
        "creator": asdict(run.creator) if run.creator else None,
        "raw": packed(run.raw),
        "detail": _detail_document(entry.detail),
    }


def entry_of(document: Mapping[str, Any], decoders: Mapping[str, Decoder]) -> Entry:
    """Return the run and detail that ``document_of`` wrote.

    :raises ValueError: saying what is wrong with it.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"no {FORMAT}: only what export --lossless writes comes back as it was")
    try:
        run = run_from_values(_checked_values(document), unpacked(document["raw"]))
        return Entry(run, detail_from_values(run, _checked_detail(document["detail"]), decoders))
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error
    except (TypeError, AttributeError, InvalidOperation) as error:
        raise ValueError(f"a value is of the wrong kind ({error})") from error


def digest_of(entry: Entry) -> str:
    """Return the SHA-256 of all that a ledger stores of a run, the same for every kind of ledger."""
    document = document_of(entry)
    elapsed = entry.run.elapsed_s
    # Databases give decimals back with other trailing zeros.
    document["elapsed_s"] = None if elapsed is None else str(elapsed.normalize())
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def packed(body: bytes) -> str | dict[str, str]:
    """Return a body as a JSON value."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(body).decode()}


def unpacked(body: Any) -> bytes:
    """Return the body that ``packed`` was given."""
    return body.encode() if isinstance(body, str) else b64decode(body["base64"], validate=True)


def _checked_values(document: Mapping[str, Any]) -> Row:
    creator = Creator(**document["creator"]) if document["creator"] else None
    return {
        "source": _text(document["source"]),
        "app_id": _text(document["app_id"]),
        "status": document["status"],
        "gone": bool(document["gone"]),
        "listed_at": _instant(document["listed_at"]),
        "elapsed_s": document["elapsed_s"],
        **{name: None if document[name] is None else _text(document[name]) for name in _TEXTS},
        **{name: _count(document[name]) for name in _COUNTS},
        **{name: _instant(document[name]) if document[name] else None for name in _INSTANTS},
        **{f"creator_{name}": getattr(creator, name, None) for name in _CREATOR_FIELDS},
    }


def _detail_document(detail: Detail) -> Document | None:
    values = detail_values(detail)
    if values is None:
        return None
    return {**values, "bodies": {name: packed(body) for name, body in values["bodies"].items()}}


def _checked_detail(document: Mapping[str, Any] | None) -> Row | None:
    if document is None:
        return None
    return {
        "level": document["level"],
        "reason": _text(document["reason"]),
        "permanent": bool(document["permanent"]),
        "bodies": {name: unpacked(body) for name, body in document["bodies"].items()},
    }


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text!r} has no offset")
    return at.astimezone(UTC)


def _utc_text(at: datetime | None) -> str | None:
    return None if at is None else instant(at.astimezone(UTC))


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else strict_text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


def _count(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise TypeError(f"{value!r:.80} is no whole number")
    return value
