"""What a template sees of a notice: plain values, every name always there, nothing escaped yet."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flowledger.domain.messages import KEPT_LOCALLY, Notice, Occasion, failed_of, kept_reason
from flowledger.domain.runs import Json
from flowledger.domain.texts import mend, one_line, show_controls

COMPARED = ("runs", "failed", "users", "total_tokens")
"""The figures that are compared with the period before."""


def view_of(notice: Notice) -> Mapping[str, Any]:
    """Give the names of a template: texts without control characters, None for what is not known."""
    result = notice.result
    figures = _figures(result)
    notes = [one_line(str(note)) for note in _listed(result.get("notes"))]
    return {
        "occasion": str(notice.occasion),
        "urgent": notice.occasion.is_trouble,
        "is_test": notice.occasion is Occasion.TEST,
        "task": one_line(notice.task),
        "app": one_line(notice.app_name or (notice.app.app_id if notice.app else "")),
        "period": one_line(notice.period),
        "at": notice.at.strftime("%Y-%m-%d %H:%M:%S %z"),
        "window": _window(result.get("window")),
        "figures": figures,
        "change": _change(figures, notice.previous),
        "certificate": _certificate(result.get("certificate")),
        "failures": [_failure(each) for each in _listed(result.get("failures"))],
        # Why reports wait on this machine; None where they do not.  It is said in words of its own.
        "kept_locally": (kept_reason(notes) or "") if result.get("kept_locally") is True else None,
        "notes": [note for note in notes if not note.startswith(KEPT_LOCALLY)],
        "error": show_controls(notice.error).strip(),
        "run_url": notice.run_url,
        "links": [(one_line(label), mend(url)) for label, url in notice.links.items()],
        "attachments": [one_line(file.file_name) for file in notice.attachments],
    }


def data_of(notice: Notice) -> Mapping[str, Json]:
    """Give a notice as JSON values, for machines that are told."""
    return {
        "notice_id": notice.notice_id,
        "occasion": str(notice.occasion),
        "urgent": notice.occasion.is_trouble,
        "task": notice.task,
        "at": notice.at.isoformat(),
        "app": notice.app_name,
        "app_id": notice.app.app_id if notice.app else "",
        "period": notice.period,
        "result": dict(notice.result),
        "previous": dict(notice.previous),
        "error": notice.error,
        "run_url": notice.run_url,
        "links": dict(notice.links),
    }


def _figures(result: Mapping[str, Json]) -> Mapping[str, Any] | None:
    if "logs_count" not in result:
        return None
    by_status = _counts(result.get("by_status"))
    return {
        "runs": _number(result["logs_count"]),
        "failed": failed_of(by_status),
        "by_status": by_status,
        "users": _number(result.get("users")),
        "total_tokens": _number(result.get("total_tokens")),
        "cost": {one_line(name): one_line(str(price)) for name, price in _pairs(result.get("cost"))},
        "p50_s": _seconds(result.get("duration_p50_s")),
        "p95_s": _seconds(result.get("duration_p95_s")),
        "open": _number(result.get("open")),
        "stuck": _number(result.get("stuck")),
        "detailed": _number(result.get("detailed")),
        "missing": _number(result.get("missing")),
        "missing_reasons": _counts(result.get("missing_reasons")),
        "duration_s": _seconds(result.get("duration")),
    }


def _change(figures: Mapping[str, Any] | None, previous: Mapping[str, Json]) -> Mapping[str, Any]:
    """Compare with the period before: ``before``, ``delta``, and ``percent`` (None from nothing)."""
    if figures is None:
        return {}
    known = {name: before for name in COMPARED if isinstance(before := previous.get(name), int)}
    return {name: _difference(figures[name], before) for name, before in known.items()}


def _difference(now: int, before: int) -> Mapping[str, Any]:
    delta = now - before
    return {"before": before, "delta": delta, "percent": 100 * delta / before if before else None}


def _certificate(certificate: Json) -> Mapping[str, Any] | None:
    if not isinstance(certificate, Mapping):
        return None
    return {
        "certified": certificate.get("certified") is True,
        "reason": one_line(str(certificate.get("reason") or "")),
        "expected": certificate.get("expected"),
        "distinct": certificate.get("distinct", 0),
        "retained": certificate.get("retained", 0),
    }


def _window(window: Json) -> Mapping[str, str] | None:
    if not isinstance(window, Mapping):
        return None
    try:
        first = datetime.fromisoformat(str(window["after"]))
        last = datetime.fromisoformat(str(window["before"]))
    except (KeyError, ValueError):
        return None
    zones = dict.fromkeys((f"{first:%z}", f"{last:%z}"))
    return {
        "first": f"{first:%Y-%m-%d %H:%M:%S}",
        "last": f"{last:%Y-%m-%d %H:%M:%S}",
        "days": f"{first:%Y-%m-%d}" if first.date() == last.date() else f"{first:%Y-%m-%d} – {last:%m-%d}",
        "offset": " / ".join(filter(None, zones)),
        "after": first.isoformat(),
        "before": last.isoformat(),
    }


def _failure(failure: Json) -> Mapping[str, str]:
    known = failure if isinstance(failure, Mapping) else {}
    return {
        name: one_line(str(known.get(name) or "")) for name in ("run_id", "at", "status", "node", "error")
    }


def _listed(value: Json) -> Sequence[Json]:
    return value if isinstance(value, (list, tuple)) else ()


def _pairs(value: Json) -> Iterable[tuple[str, Json]]:
    return ((str(name), each) for name, each in value.items()) if isinstance(value, Mapping) else ()


def _counts(value: Json) -> Mapping[str, int]:
    return {one_line(name): _number(count) for name, count in _pairs(value)}


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
