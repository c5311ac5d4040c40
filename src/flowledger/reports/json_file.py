"""Reports as one JSON document."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from json import loads as parse_exactly
from pathlib import Path
from typing import Any, BinaryIO

from flowledger.domain.certificates import Certificate
from flowledger.domain.costs import cost_json
from flowledger.domain.figures import Figures, ProblemRun, UserFigures
from flowledger.domain.reasons import reason_code
from flowledger.domain.report_heading import Heading
from flowledger.domain.runs import Entry
from flowledger.io.atomic import naming_file
from flowledger.io.json_text import InexactNumberError, JsonStyle, loads
from flowledger.reports.artifacts import append, spool
from flowledger.reports.rows import Row, raw_row

FILE_NAME = "report.json"

_STRICT = JsonStyle()
_EXACT = JsonStyle(exact=True)
_INDENT = b"\n    "


@dataclass(slots=True)
class JsonRows:
    """The elements of ``data``, written one by one."""

    out: BinaryIO
    style: JsonStyle
    count: int = 0

    def add(self, row: Row) -> None:
        """Write one row."""
        self.add_text(self.style.render(row))

    def add_text(self, text: bytes) -> None:
        """Write one row that is already JSON text, indented by two."""
        self.out.write((b"," if self.count else b"") + _INDENT + text.replace(b"\n", _INDENT))
        self.count += 1


def head(before: Mapping[str, Any]) -> bytes:
    """Return the text of a document up to the rows of ``data``, with these keys before it."""
    opening = _STRICT.render({**before, "data": []})
    # A whole document without its end: the rows follow, then tail().
    return opening.removesuffix(b"]\n}")


def tail(after: Mapping[str, Any], count: int) -> bytes:
    """Return the text of a document after ``count`` rows, with these keys after ``data``."""
    closing = b"\n  ]" if count else b"]"
    more = _STRICT.render(after).removeprefix(b"{").removesuffix(b"\n}") if after else b""
    return closing + (b"," + more if more else b"") + b"\n}"


def write_document(
    out: BinaryIO,
    rows: Iterable[Row],
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    style: JsonStyle = _STRICT,
) -> int:
    """Write a document between outer keys that are given beforehand; return the number of rows."""
    out.write(head(before))
    elements = JsonRows(out, style)
    for row in rows:
        elements.add(row)
    out.write(tail(after, elements.count))
    return elements.count


@dataclass(frozen=True, slots=True)
class _Writer:
    heading: Heading
    path: Path
    body: BinaryIO
    rows: JsonRows

    def add(self, entry: Entry) -> None:
        text = self._text(entry)
        with naming_file(self.path):
            self.rows.add_text(text)

    def _text(self, entry: Entry) -> bytes:
        parts = {"with_details": self.heading.with_details, "with_nodes": self.heading.with_nodes}
        try:  # the fast parser first: it makes floats of integers beyond 64 bits, which are rare
            return _EXACT.render(raw_row(entry, loads, **parts))
        except InexactNumberError:
            return _STRICT.render(raw_row(entry, parse_exactly, **parts))

    def finish(self, figures: Figures) -> Sequence[Path]:
        heading = self.heading
        after = {
            "has_more": False,
            "app": heading.app_name,
            "period": heading.period,
            "window": _window(heading),
            "generated_at": _stamp(heading.generated_at, heading.tz),
            "certificate": certificate_object(heading.certificate, heading.tz),
            "figures": figures_object(figures, heading.tz),
            "notes": list(heading.notes),
        }
        with naming_file(self.path), self.path.open("wb") as out:
            out.write(head({"total": self.rows.count}))
            append(self.body, out)
            out.write(tail(after, self.rows.count))
        return [self.path]


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Writes ``report.json``: the old script's keys first, then window, certificate, figures and notes."""

    @property
    def name(self) -> str:
        """The format's name in settings and on the command line."""
        return "json"

    @contextmanager
    def begin(self, heading: Heading, directory: Path) -> Iterator[_Writer]:
        """Start writing into an empty directory.

        :raises StorageError: when the file cannot be written.
        """
        path = directory / FILE_NAME
        with spool(path) as body:
            yield _Writer(heading, path, body, JsonRows(body, _STRICT))


def certificate_object(certificate: Certificate | None, tz: tzinfo | None) -> Row | None:
    """Return a certificate as JSON; times in the zone, with offset."""
    if certificate is None:
        return None
    return {
        "certified": certificate.certified,
        "reason": certificate.reason,
        "reason_code": reason_code(certificate.reason),
        "expected": certificate.expected,
        "distinct": certificate.distinct,
        "retained": certificate.retained,
        "query": certificate.scope.query,
        "at": _stamp(certificate.at, tz),
    }


def figures_object(figures: Figures, tz: tzinfo | None) -> Row:
    """Return figures as JSON; money as text, days in the report's zone, durations in seconds."""
    speed = figures.tokens_per_second
    return {
        "runs": figures.runs,
        "first_day": figures.first_day and figures.first_day.isoformat(),
        "last_day": figures.last_day and figures.last_day.isoformat(),
        "by_status": {status.value: count for status, count in figures.by_status.items()},
        "by_source_status": dict(figures.by_source_status),
        "daily": {day.isoformat(): count for day, count in figures.daily.items()},
        "users": [_user(user) for user in figures.users],
        "conversations": figures.conversations,
        "total_tokens": figures.total_tokens,
        "elapsed_s": float(figures.elapsed_s),
        "output_tokens": figures.output_tokens,
        "tokens_per_second": None if speed is None else round(float(speed), 2),
        "cost": cost_json(figures.cost, figures.costed, figures.runs),
        "cost_known_runs": figures.costed,
        "duration_p50_s": figures.duration_p50_s,
        "duration_p95_s": figures.duration_p95_s,
        "detailed": figures.detailed,
        "missing": figures.missing,
        "missing_reasons": dict(figures.missing_reasons),
        "missing_reason_codes": {why: reason_code(why) for why in figures.missing_reasons},
        "open": figures.open,
        "stuck": figures.stuck,
        "gone": figures.gone,
        "failed": figures.failed,
        "failures": [_problem(run, tz) for run in figures.failures],
        "stuck_runs": [_problem(run, tz) for run in figures.stuck_runs],
    }


def _user(user: UserFigures) -> Row:
    return {
        "user": user.user,
        "runs": user.runs,
        "days": user.days,
        "first_day": user.first_day.isoformat(),
        "last_day": user.last_day.isoformat(),
    }


def _problem(run: ProblemRun, tz: tzinfo | None) -> Row:
    return {
        "run_id": run.run_id,
        "log_id": run.log_id,
        "at": _stamp(run.at, tz),
        "status": run.source_status,
        "node": run.node,
        "error": run.error,
    }


def _window(heading: Heading) -> Row:
    return {
        "after": _stamp(heading.window.after_at, heading.tz),
        "before": _stamp(heading.window.before_at, heading.tz),
        "zone": str(heading.tz),
    }


def _stamp(instant: datetime, tz: tzinfo | None) -> str:
    return instant.astimezone(tz).isoformat(timespec="seconds")
