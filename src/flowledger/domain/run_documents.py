"""A run with its detail as one JSON object that loses nothing: what is read back is what was written.

Bodies are text where they are UTF-8, else ``{"base64": …}``.  Node executions are in the bodies and are made
of them again.  ``detail`` is null where it was never asked for.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from flowledger.domain.run_rows import instant
from flowledger.domain.runs import (
    UNREAD,
    AppKey,
    Creator,
    Detail,
    Detailed,
    Entry,
    Level,
    Missing,
    Run,
    RunStatus,
    level_of,
)

FORMAT = "flowledger-run/1"
Document = dict[str, Any]
Decode = Callable[[Run, Mapping[str, bytes], str], Detailed]
_TEXTS = ("run_id", "source_status", "log_id", "workflow_version", "created_from", "error")
_COUNTS = ("total_tokens", "total_steps", "exceptions_count")
_INSTANTS = ("started_at", "finished_at")


def document_of(entry: Entry) -> Document:
    """Write a run and its detail."""
    run = entry.run
    return {
        "format": FORMAT,
        "source": run.app.source,
        "app_id": run.app.app_id,
        **{name: getattr(run, name) for name in (*_TEXTS, *_COUNTS, "gone")},
        "status": run.status.value,
        "listed_at": instant(run.listed_at.astimezone(UTC)),
        **{name: _utc(getattr(run, name)) for name in _INSTANTS},
        "elapsed_s": None if run.elapsed_s is None else str(run.elapsed_s),
        "creator": asdict(run.creator) if run.creator else None,
        "raw": packed(run.raw),
        "detail": _detail_document(entry.detail),
    }


def entry_of(document: Mapping[str, Any], decoders: Mapping[str, Decode]) -> Entry:
    """Make a run and its detail of what ``document_of`` wrote.

    :raises ValueError: saying what is wrong with it.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"no {FORMAT}: only what export --lossless writes comes back as it was")
    try:
        run = _run(document)
        return Entry(run, _detail(run, document["detail"], decoders))
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error
    except (TypeError, AttributeError, InvalidOperation) as error:
        raise ValueError(f"a value is of the wrong kind ({error})") from error


def digest_of(entry: Entry) -> str:
    """Give the SHA-256 of all that is held of a run, whatever ledger holds it."""
    document = document_of(entry)
    elapsed = entry.run.elapsed_s
    document["elapsed_s"] = None if elapsed is None else str(elapsed.normalize())
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def packed(body: bytes) -> str | dict[str, str]:
    """Write a body as JSON."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(body).decode()}


def unpacked(body: Any) -> bytes:
    """Read a body."""
    return body.encode() if isinstance(body, str) else b64decode(body["base64"], validate=True)


def _run(document: Mapping[str, Any]) -> Run:
    creator, elapsed = document["creator"], document["elapsed_s"]
    told: dict[str, Any] = {
        **{name: _text_or_none(document[name]) for name in _TEXTS},
        **{name: _count(document[name]) for name in _COUNTS},
        **{name: _instant(document[name]) if document[name] else None for name in _INSTANTS},
    }
    return Run(
        app=AppKey(_text(document["source"]), _text(document["app_id"])),
        **told,
        gone=bool(document["gone"]),
        status=RunStatus(document["status"]),
        listed_at=_instant(document["listed_at"]),
        elapsed_s=None if elapsed is None else Decimal(elapsed),
        creator=Creator(**creator) if creator else None,
        raw=unpacked(document["raw"]),
    )


def _detail_document(detail: Detail) -> Document | None:
    if detail == UNREAD:
        return None
    absent = detail.nodes if isinstance(detail, Detailed) else detail
    reason, permanent = (absent.reason, absent.permanent) if isinstance(absent, Missing) else ("", False)
    bodies = detail.raw if isinstance(detail, Detailed) else {}
    return {
        "level": level_of(detail).value,
        "reason": reason,
        "permanent": permanent,
        "bodies": {name: packed(body) for name, body in sorted(bodies.items())},
    }


def _detail(run: Run, document: Mapping[str, Any] | None, decoders: Mapping[str, Decode]) -> Detail:
    if document is None:
        return UNREAD
    absent = Missing(_text(document["reason"]), bool(document["permanent"]))
    level = Level(document["level"])
    if level is Level.NONE:
        return absent
    if run.app.source not in decoders:
        raise ValueError(f"nothing here reads details of the source {run.app.source!r}: add its decoder")
    bodies = {name: unpacked(body) for name, body in document["bodies"].items()}
    detailed = replace(decoders[run.app.source](run, bodies, absent.reason), raw=bodies)
    return detailed if level is Level.NODES else replace(detailed, nodes=absent)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text!r} has no offset")
    return at.astimezone(UTC)


def _utc(at: datetime | None) -> str | None:
    return None if at is None else instant(at.astimezone(UTC))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


def _text_or_none(value: Any) -> Any:
    return value if value is None else _text(value)


def _count(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise TypeError(f"{value!r:.80} is no whole number")
    return value
