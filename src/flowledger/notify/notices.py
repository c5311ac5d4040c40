"""Notices of what happened to one app's run, what a template sees of them, and samples of every kind."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from pathlib import PurePosixPath
from typing import Any, TypeVar

from loguru import logger

from flowledger.domain.messages import (
    STORED_LOCALLY,
    Attachment,
    Notice,
    Occasion,
    failed_of,
    notice_id,
    occasion_of,
    stored_locally_note,
    stored_locally_reason,
)
from flowledger.domain.phrases import result_cost
from flowledger.domain.reasons import reason_text
from flowledger.domain.report_heading import LANGUAGES
from flowledger.domain.runs import AppKey, Json
from flowledger.domain.texts import mend, one_line, show_controls
from flowledger.errors import FlowledgerError, StorageError
from flowledger.ports import Clock, ReportLinks

Result = TypeVar("Result")
PreviousFigures = Callable[[Mapping[str, Json]], Mapping[str, Json]]
"""Returns the figures of the period before that of a result; empty where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What notices are about: the app and its run; ``run_id`` names one try of the run on every machine."""

    app: AppKey | None = None
    app_name: str = ""
    language: str = "zh"
    tz: tzinfo | None = None
    period: str = ""
    run_id: str = ""
    run_url: str = ""
    logs_url: str = ""


@dataclass(frozen=True, slots=True)
class BareLinks:
    """Report links without a storage: locations as they are, and nothing attached."""

    def link(self, location: str) -> str:
        """Return the location itself."""
        return location

    def attachments(self, locations: Sequence[str]) -> Sequence[Attachment]:  # noqa: ARG002  # as in the port
        """Return nothing to attach."""
        return ()

    def read(self, attachment: Attachment) -> bytes:
        """Raise, since there is no storage.

        :raises StorageError: always.
        """
        raise StorageError(f"{attachment.stored_name}: no storage is at hand to read it from")


def no_figures(_: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return no figures of the period before."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeBuilder:
    """Builds the notices of one subject; ``hide`` takes secrets out of a text."""

    subject: Subject
    clock: Clock
    report_links: ReportLinks = field(default_factory=BareLinks)
    previous_figures: PreviousFigures = no_figures
    hide: Callable[[str], str] = str

    def finished_run(self, task: str, result: Mapping[str, Json]) -> Notice:
        """Return the notice of a finished run, from its result object; urgent where it is not certified."""
        listed = result.get("report_paths")
        paths = [str(path) for path in listed] if isinstance(listed, list | tuple) else []
        return replace(
            self._notice(occasion_of(result), task, self.subject.run_id or f"{task} {result.get('window')}"),
            app_name=str(result.get("app") or self.subject.app_name),
            period=str(result.get("period") or self.subject.period),
            result=dict(result),
            previous=_attempt("the period before", lambda: self.previous_figures(result), {}),
            # Nobody else can open a path on this machine; once uploaded, the file is at its address.
            links=self._links(filter(_is_address, paths) if result.get("kept_locally") is True else paths),
            attachments=tuple(_attempt("attachments", lambda: self.report_links.attachments(paths), ())),
        )

    def problem(
        self, occasion: Occasion, task: str, error: str, partial: Mapping[str, Json] | None = None
    ) -> Notice:
        """Return the notice of a run that did not finish; ``partial`` is the part of a result there is."""
        notice = self._notice(occasion, task, self.subject.run_id)
        result = dict(partial or {})
        period = str(result.get("period") or self.subject.period)
        return replace(notice, error=self.hide(error), period=period, result=result)

    def report_ready(self, location: str, report_type: str) -> Notice:
        """Return the notice that one report is ready."""
        notice = self._notice(Occasion.REPORT_READY, report_type, f"{self.subject.run_id} {location}")
        return replace(notice, links=self._links([location]))

    def test_notice(self, task: str) -> Notice:
        """Return a test notice; no two have the same id."""
        return self._notice(Occasion.TEST, task, "")

    def _notice(self, occasion: Occasion, task: str, outcome: str) -> Notice:
        """Return a notice with its id; without a run id every notice is a new one."""
        about, at = self.subject, self.clock()
        parts = (outcome,) if about.run_id and outcome else (task, outcome, at.isoformat())
        return Notice(
            notice_id=notice_id(occasion, *parts),
            occasion=occasion,
            task=task,
            at=at.astimezone(about.tz) if about.tz else at,
            language=about.language,
            app=about.app,
            app_name=about.app_name,
            period=about.period,
            run_url=about.run_url,
            logs_url=about.logs_url,
        )

    def _links(self, locations: Iterable[str]) -> Mapping[str, str]:
        links: dict[str, str] = {}
        for location in locations:
            path = PurePosixPath(location)
            # Two reports may have the same file name; the second is listed with its folder.
            name = f"{path.parent.name}/{path.name}" if path.name in links else path.name
            links[name] = self._link(location)
        return links

    def _link(self, location: str) -> str:
        return _attempt(f"a link to {location}", lambda: self.report_links.link(location), location)


def _is_address(location: str) -> bool:
    return "://" in location


def _attempt(what: str, find: Callable[[], Result], otherwise: Result) -> Result:
    """Return something optional for a message; where that fails, log it and return ``otherwise``."""
    try:
        return find()
    except (FlowledgerError, OSError) as error:
        logger.warning("the message goes without {}: {}", what, error)
        return otherwise


COMPARED = ("runs", "failed", "users", "total_tokens")
"""The figures that are compared with the period before."""


def view_of(notice: Notice) -> Mapping[str, Any]:
    """Return the variables of a template: texts without control characters, None where there is no value."""
    result = notice.result
    figures = _figures(result, notice.language)
    notes = [one_line(str(note)) for note in _listed(result.get("notes"))]
    return {
        "occasion": str(notice.occasion),
        "urgent": notice.occasion.needs_action,
        "is_test": notice.occasion is Occasion.TEST,
        "task": one_line(notice.task),
        "app": one_line(notice.app_name or (notice.app.app_id if notice.app else "")),
        "period": one_line(notice.period),
        # The period's word means another day by now: it is named by its date.
        "late": result.get("late") is True,
        "tries": [_try(each, notice.language) for each in _listed(result.get("tries"))],
        "caught_up": _number(result.get("caught_up")),
        "at": notice.at.strftime("%Y-%m-%d %H:%M:%S %z"),
        "window": _window(result.get("window")),
        "figures": figures,
        "change": _change(figures, notice.previous),
        "certificate": _certificate(result.get("certificate"), notice.language),
        "failures": [_failure(each, notice.at.tzinfo) for each in _listed(result.get("failures"))],
        # Why reports wait on this machine; None where they do not.  Templates have a sentence for it.
        "kept_locally": _kept_locally(notes, notice.language) if result.get("kept_locally") is True else None,
        "notes": [
            reason_text(note, notice.language) for note in notes if not note.startswith(STORED_LOCALLY)
        ],
        "error": reason_text(show_controls(notice.error).strip(), notice.language),
        "step": _step(notice.step, notice.at.tzinfo),
        "run_url": notice.run_url,
        "logs_url": notice.logs_url,
        # A path on a server opens nowhere else, and is nobody's business: its name is enough.
        "links": [
            (one_line(label), mend(url) if _is_address(url) else one_line(label))
            for label, url in notice.links.items()
        ],
        "attachments": [one_line(file.file_name) for file in notice.attachments],
    }


def data_of(notice: Notice) -> Mapping[str, Json]:
    """Return a notice as JSON values, for receivers that are programs."""
    return {
        "notice_id": notice.notice_id,
        "occasion": str(notice.occasion),
        "urgent": notice.occasion.needs_action,
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
        "step": dict(notice.step),
    }


def _cost(result: Mapping[str, Json], language: str) -> str:
    cost, known = result.get("cost"), result.get("cost_known_runs")
    amounts = {one_line(name): one_line(str(price)) for name, price in _pairs(cost)}
    counted = known if isinstance(known, int) else None
    return result_cost(
        None if cost is None else amounts, counted, _number(result.get("logs_count")), language
    )


def _figures(result: Mapping[str, Json], language: str) -> Mapping[str, Any] | None:
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
        "cost_text": _cost(result, language),
        "p50_s": _seconds(result.get("duration_p50_s")),
        "p95_s": _seconds(result.get("duration_p95_s")),
        "open": _number(result.get("open")),
        "stuck": _number(result.get("stuck")),
        "detailed": _number(result.get("detailed")),
        "missing": _number(result.get("missing")),
        "missing_reasons": _reasons(result.get("missing_reasons"), language),
        "completeness": one_line(str(result.get("completeness") or "")),
        "duration_s": _seconds(result.get("duration")),
    }


def _change(figures: Mapping[str, Any] | None, previous: Mapping[str, Json]) -> Mapping[str, Any]:
    """Compare with the period before: ``before``, ``delta``, and ``percent`` (None from nothing)."""
    if figures is None:
        return {}
    return {
        name: _difference(figures[name], before)
        for name in COMPARED
        if isinstance(before := previous.get(name), int)
    }


def _difference(now: int, before: int) -> Mapping[str, Any]:
    delta = now - before
    return {"before": before, "delta": delta, "percent": 100 * delta / before if before else None}


def _certificate(certificate: Json, language: str) -> Mapping[str, Any] | None:
    if not isinstance(certificate, Mapping):
        return None
    return {
        "certified": certificate.get("certified") is True,
        "reason": reason_text(one_line(str(certificate.get("reason") or "")), language),
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


def _failure(failure: Json, tz: tzinfo | None) -> Mapping[str, str]:
    fields = failure if isinstance(failure, Mapping) else {}
    texts = {name: one_line(str(fields.get(name) or "")) for name in _FAILURE_FIELDS}
    return {**texts, "at": _local(fields, tz)}


_FAILURE_FIELDS = ("run_id", "status", "node", "user", "question", "error")


def _local(failure: Mapping[str, Json], tz: tzinfo | None) -> str:
    """Return when a run failed, as people of the app's time zone write it; as it is where it is no time."""
    text = one_line(str(failure.get("at") or ""))
    try:
        return f"{datetime.fromisoformat(text).astimezone(tz):%Y-%m-%d %H:%M:%S}" if tz else text
    except ValueError:
        return text


def _step(step: Mapping[str, Json], tz: tzinfo | None) -> Mapping[str, Any] | None:
    """Return what happened in a workflow, as templates show it; None where it is about none."""
    if not step:
        return None
    texts = {name: one_line(str(step.get(name) or "")) for name in _STEP_FIELDS}
    return {
        **texts,
        "text": show_controls(str(step.get("text") or "")).strip(),
        "approvers": [one_line(str(each)) for each in _listed(step.get("approvers"))],
        "required": _number(step.get("required")),
        "due": _local({"at": step.get("due")}, tz),
    }


_STEP_FIELDS = ("workflow", "execution", "execution_id", "name", "key", "requester")


def _kept_locally(notes: Iterable[str], language: str) -> str:
    return reason_text(stored_locally_reason(notes) or "", language)


def _try(failed: Json, language: str) -> Mapping[str, str]:
    fields = failed if isinstance(failed, Mapping) else {}
    at, error = (one_line(str(fields.get(name) or "")) for name in ("at", "error"))
    return {"at": at, "error": reason_text(error, language)}


def _listed(value: Json) -> Sequence[Json]:
    return value if isinstance(value, (list, tuple)) else ()


def _pairs(value: Json) -> Iterable[tuple[str, Json]]:
    return ((str(name), each) for name, each in value.items()) if isinstance(value, Mapping) else ()


def _counts(value: Json) -> Mapping[str, int]:
    return {one_line(name): _number(count) for name, count in _pairs(value)}


def _reasons(value: Json, language: str) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for why, count in _counts(value).items():
        text = reason_text(why, language)
        counts[text] = counts.get(text, 0) + count
    return counts


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


SAMPLE_AT = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
_WINDOW: Mapping[str, Json] = {"after": "2026-01-05T00:00:00+08:00", "before": "2026-01-05T23:59:59+08:00"}
_CERTIFICATE: Mapping[str, Json] = {
    "certified": True,
    "reason": "as many different rows as the source counts",
    "expected": 128,
    "distinct": 128,
    "retained": 2,
    "at": "2026-01-06T02:00:01+00:00",
}
_RESULT: Mapping[str, Json] = {
    "app": "sample-app",
    "app_id": "00000000-0000-4000-8000-000000000000",
    "period": "yesterday",
    "window": _WINDOW,
    "logs_count": 128,
    "certificate": _CERTIFICATE,
    "detailed": 126,
    "missing": 2,
    "missing_reasons": {"the source no longer knows the run": 2},
    "by_status": {"success": 120, "failed": 7, "running": 1},
    "open": 1,
    "stuck": 1,
    "users": 17,
    "total_tokens": 1_234_567,
    "cost": {"USD": "1.2345"},
    "cost_known_runs": 126,
    "duration_p50_s": 1.5,
    "duration_p95_s": 75.0,
    "failures": [
        {
            "run_id": "11111111-1111-4111-8111-111111111111",
            "at": "2026-01-05T09:00:00+00:00",
            "status": "failed",
            "node": "LLM *1* <b>",
            "user": "user-17 <b>",
            "question": "How *much* is | it?",
            "error": '[models] Rate limit | <at user_id="all"> `quota`',
        }
    ],
    "notes": ["only runs with status failed"],
    "requests": 12,
    "duration": 4.2,
    "completeness": "rows complete, details 126 of 128",
}
_PREVIOUS: Mapping[str, Json] = {"runs": 120, "failed": 0, "users": 17, "total_tokens": 2_000_000}
_WHOLE = Notice(
    notice_id="sample",
    occasion=Occasion.SUCCESS,
    task="fetch-workflow-logs",
    at=SAMPLE_AT,
    app=AppKey("dify", "00000000-0000-4000-8000-000000000000"),
    app_name="sample-app",
    period="yesterday",
    result=_RESULT,
    previous=_PREVIOUS,
    run_url="http://127.0.0.1:4200/runs/flow-run/22222222-2222-4222-8222-222222222222",
    links={"sample.csv": "https://files.example.com/sample.csv", "sample.md": "/var/reports/sample.md"},
    attachments=(Attachment("sample.csv", "reports/csv/sample.csv", 1024),),
)
_OF_STEPS = (
    *(Occasion.APPROVAL_REQUIRED, Occasion.STEP_STARTED),
    *(Occasion.STEP_SUCCEEDED, Occasion.STEP_FAILED),
)
_STEP: Mapping[str, Json] = {
    "workflow": "sample-workflow",
    "execution": "nightly",
    "execution_id": "33333333333343338333333333333333",
    "name": "publish *1* <b>",
    "key": "publish",
    "text": "Publish version <2.0> *today*?",
    "requester": "ann",
    "approvers": ["ann", "bob <b>", "cat"],
    "required": 2,
    "due": "2026-01-07T02:00:00+00:00",
}
_UNCERTIFIED: Mapping[str, Json] = {
    **_RESULT,
    "certificate": {**_CERTIFICATE, "certified": False, "reason": "rows kept changing", "expected": None},
    "by_status": {},
    "cost": {},
    "failures": [],
    "kept_locally": True,
    "notes": [stored_locally_note("storage away: cannot store s3://sample/reports: no answer")],
}


def sample_notices() -> Iterator[Notice]:
    """Yield notices of every occasion and language, each with all values and with next to none."""
    for language in LANGUAGES:
        for occasion in Occasion:
            yield sample_notice(occasion, language)
            yield Notice(
                notice_id="sample", occasion=occasion, task="sample", at=SAMPLE_AT, language=language
            )


def sample_notice(occasion: Occasion, language: str) -> Notice:
    """Return a notice of an occasion with every value there can be."""
    whole = replace(_WHOLE, occasion=occasion, language=language)
    if occasion is Occasion.UNCERTIFIED:
        return replace(whole, result=_UNCERTIFIED)
    if occasion in _OF_STEPS:
        error = "HTTPError: HTTP 503: *busy* <b>" if occasion is Occasion.STEP_FAILED else ""
        links = {"ann": "https://flows.example.com/approvals/sample"}
        is_asked = occasion is Occasion.APPROVAL_REQUIRED
        return replace(
            whole, step=_STEP, error=error, result={}, previous={}, period="", attachments=(),
            links=links if is_asked else {}, app_name="sample-workflow",
        )  # fmt: skip
    if occasion in (Occasion.FAILURE, Occasion.CRASH):
        error = "AuthenticationError: the key was refused\n  - check api_token of sample-app"
        return replace(whole, result={"window": _WINDOW}, previous={}, error=error, links={}, attachments=())
    return whole
