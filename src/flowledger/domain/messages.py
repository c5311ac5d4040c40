"""What is told to people: notices, the messages made of them, and letters that wait to be sent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from hashlib import sha256
from itertools import islice

from flowledger.domain.figures import Figures, ProblemRun
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Json, RunStatus
from flowledger.domain.texts import clip, one_line
from flowledger.domain.windows import CUSTOM, Window, iso


class Occasion(StrEnum):
    """Why something is told."""

    SUCCESS = "success"
    UNCERTIFIED = "uncertified"
    FAILURE = "failure"
    CRASH = "crash"
    REPORT_READY = "report_ready"
    APPROVAL_REQUIRED = "approval_required"
    STEP_STARTED = "step_started"
    STEP_SUCCEEDED = "step_succeeded"
    STEP_FAILED = "step_failed"
    TEST = "test"

    @property
    def needs_action(self) -> bool:
        """Return whether somebody has to do something."""
        return self in _ACTION


_ACTION = frozenset(
    (
        *(Occasion.UNCERTIFIED, Occasion.FAILURE, Occasion.CRASH),
        *(Occasion.APPROVAL_REQUIRED, Occasion.STEP_FAILED),
    )
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stored file that goes with a message: its name for people, its name in the storage, its size."""

    file_name: str
    stored_name: str
    size_bytes: int
    storage: str = ""
    """The prefix or folder of the storage it is in, where that is not the settings' own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One outcome, once; channels and languages make messages of it.

    ``notice_id`` is the same for the same outcome, so that whoever tells it twice tells it once.
    ``result`` is the result object of a run (``services.pipeline.RunResult``), empty where there is none;
    ``previous`` the figures of the period before.  ``links`` are addresses by label (run, report names),
    ``logs_url`` the page of Dify that lists the app's runs.  ``step`` is what happened in a workflow, empty
    elsewhere: workflow, execution_id, execution, name, key, text, and of an approval requester, approvers,
    required, due (ISO 8601).  ``recipients`` are the addresses that a mail of it goes to instead of the
    channel's.
    """

    notice_id: str
    occasion: Occasion
    task: str
    at: datetime
    language: str = "zh"
    app: AppKey | None = None
    app_name: str = ""
    period: str = ""
    result: Mapping[str, Json] = field(default_factory=dict)
    previous: Mapping[str, Json] = field(default_factory=dict)
    error: str = ""
    run_url: str = ""
    logs_url: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    step: Mapping[str, Json] = field(default_factory=dict)
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A finished message for one channel; ``body`` is in the channel's own markup.

    ``html`` is there for channels that take both (mail), ``data`` for those that take values (webhook).
    An urgent one mentions the people that the channel names; a mail goes to ``recipients`` where there are
    any, else to those of the channel.
    """

    message_id: str
    subject: str
    body: str
    html: str = ""
    urgent: bool = False
    attachments: tuple[Attachment, ...] = ()
    data: Mapping[str, Json] = field(default_factory=dict)
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """A message on its way through one channel; kept until it is sent, and afterwards as proof.

    ``letter_id`` is one for each notice and channel: the same is never enqueued twice.  ``not_before``
    is when it may be tried (again); times are aware UTC.
    """

    letter_id: str
    channel: str
    message: Message
    posted_at: datetime
    not_before: datetime
    app: AppKey | None = None
    tries: int = 0
    problem: str = ""
    sent_at: datetime | None = None
    given_up: bool = False


LISTED_FAILURES = 5
"""How many failed runs a result names; the report has all of them."""

STORED_LOCALLY = "kept on this machine until the storage takes it; the next run uploads it"
"""Begins the note of a result whose files wait on this machine."""

_LONGEST_ERROR = 300
_LONGEST_REASON = 600
_FAILED = (RunStatus.FAILED, RunStatus.PARTIAL, RunStatus.INTERRUPTED)


def occasion_of(result: Mapping[str, Json]) -> Occasion:
    """Choose how a finished run is told: what is not certified needs somebody's eyes."""
    certificate = result.get("certificate")
    if isinstance(certificate, Mapping) and certificate.get("certified") is False:
        return Occasion.UNCERTIFIED
    return Occasion.SUCCESS


def notice_id(occasion: Occasion, *parts: str) -> str:
    """Name an outcome: the same parts give the same id in every process.

    ``parts`` identify it, such as a flow run and its try; a long id is shortened and stays distinct.
    """
    whole = "-".join((*parts, str(occasion)))
    if len(whole) <= 100 and all(part for part in parts):
        return whole
    return f"{sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}-{occasion}"


def stored_locally_note(reason: str) -> str:
    """Return the note that files wait on this machine: what follows from it first, why after it."""
    return f"{STORED_LOCALLY}: {clip(one_line(reason), _LONGEST_REASON)}"


def stored_locally_reason(notes: Iterable[str]) -> str | None:
    """Find why files wait on this machine, empty where no note says why; None where none of them waits."""
    reasons = (note.removeprefix(STORED_LOCALLY) for note in notes if note.startswith(STORED_LOCALLY))
    reason = next(reasons, None)
    return None if reason is None else reason.removeprefix(":").strip()


def failure_rows(figures: Figures, tz: tzinfo | None = UTC) -> Sequence[Mapping[str, Json]]:
    """Name the newest failed runs as plain values, for people who read no report; times are in the zone."""
    return [_failure_row(run, tz) for run in islice(figures.failures, LISTED_FAILURES)]


def _failure_row(run: ProblemRun, tz: tzinfo | None) -> Mapping[str, Json]:
    return {
        "run_id": run.run_id,
        "at": run.at.astimezone(tz).isoformat(),
        "status": run.source_status,
        "node": one_line(run.node or ""),
        "user": one_line(run.user),
        "question": one_line(run.question),
        "error": clip(one_line(run.error), _LONGEST_ERROR),
    }


def comparable(figures: Figures) -> Mapping[str, Json]:
    """Return the figures that the next period, and this one later on, is compared with.

    They are kept in the audit trail.
    """
    return {
        "runs": figures.runs,
        "open": figures.open,
        "failed": failed_of({str(status): count for status, count in figures.by_status.items()}),
        "users": len(figures.users),
        "total_tokens": figures.total_tokens,
    }


def failed_of(by_status: Mapping[str, Json]) -> int:
    """Count the runs that did not end as they should: failed, partial and interrupted ones."""
    counts = (by_status.get(str(status), 0) for status in _FAILED)
    return sum(count for count in counts if isinstance(count, int))


def previous_figures(operations: Iterable[Operation], period: str, window: Window) -> Mapping[str, Json]:
    """Return the figures of the certified report whose window ends where this one begins, newest first.

    ``operations`` are those of one app, newest first.  Empty where that period was never proved complete: a
    comparison with a part of it, or with any other period, would mislead.
    """
    for operation in operations:
        if operation.operation_type != "REPORT" or operation.subject != period:
            continue
        figures = operation.data.get("figures")
        if _is_before(operation.data, period, window) and isinstance(figures, Mapping):
            return dict(figures)
    return {}


def _is_before(report: Mapping[str, Json], period: str, window: Window) -> bool:
    """Return whether a report is about the period before a window; of a chosen window, one as long."""
    if period == CUSTOM:
        ends = window.after - 1
        first = iso(max(0, ends - window.seconds + 1))
        is_neighbour = report.get("window") == f"{first}/{iso(ends)}"
    else:
        is_neighbour = str(report.get("window", "")).endswith(f"/{iso(window.after - 1)}")
    return is_neighbour and report.get("certified") is True


_COMPLETENESS: Mapping[str, tuple[str, str, str]] = {
    "en": ("rows complete", "rows NOT proved complete", ", details {detailed} of {wanted}"),
    "zh": ("运行记录完整", "运行记录未能证明完整", "，明细 {detailed}/{wanted}"),
}
"""Rows complete, rows not complete, and how many details there are; by language."""


def completeness_of(language: str, *, certified: bool, detailed: int, missing: int) -> str:
    """Return what is whole of a report and what is not, in a few words; without details, rows alone."""
    complete, incomplete, details = _COMPLETENESS[language]
    rows = complete if certified else incomplete
    wanted = detailed + missing
    return rows + (details.format(detailed=detailed, wanted=wanted) if wanted else "")


_ENDED: Mapping[str, str] = {
    "en": "{count} runs of earlier days ended and are up to date in the ledger",
    "zh": "早前日期的 {count} 次运行已结束，台账已更新",
}


def ended_note(language: str, count: int) -> tuple[str, ...]:
    """Return the note on runs of earlier windows that have ended since; none where there are none."""
    return (_ENDED[language].format(count=count),) if count else ()


_AGAIN: Mapping[str, str] = {
    "en": "written anew, since runs of it ended or appeared after it: {reports}",
    "zh": "已重新生成（报告之后才有运行结束或出现）：{reports}",
}
_NOT_AGAIN: Mapping[str, str] = {
    "en": "cannot be written anew: {report}: {reason}",
    "zh": "无法重新生成：{report}：{reason}",
}


def again_note(language: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the note on earlier reports that were written anew, by their names; none where none was."""
    return (_AGAIN[language].format(reports=", ".join(names)),) if names else ()


def not_again_note(language: str, name: str, reason: str) -> str:
    """Return the note on an earlier report that changed and cannot be written anew."""
    return _NOT_AGAIN[language].format(report=name, reason=clip(one_line(reason), _LONGEST_REASON))
