"""The whole reports of an app that were written, by the audit trail, and those the ledger has outgrown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

from flowledger.domain.certificates import Scope
from flowledger.domain.history import OperationQuery
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey, Json
from flowledger.domain.windows import CALENDAR_DAYS, CUSTOM, Window
from flowledger.errors import UsageError
from flowledger.ports import Ledger
from flowledger.services.history.paging import operations_of
from flowledger.services.report_requests import ReportContent

REPORT = "REPORT"
LOOKED_BACK = timedelta(days=7)
"""A run ends, or is stuck, sooner after its report; the rest is for processes killed in between."""
SHORTEST_DAY_S = 23 * 3600
"""Where daylight saving begins."""
MOST = 200
"""So many of the newest reports are compared with the ledger."""


class ReportAgain(StrEnum):
    """Whether a report is written anew whose runs have ended since, and the next message says so."""

    ANNOUNCE = "announce"
    QUIET = "quiet"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report of all runs of a window, as the audit trail has it.

    ``schedule`` is the one whose due report it settled, ``zone`` the IANA name of its time zone; ``content``
    and ``zone`` are None where the record is of a version that did not note them.
    """

    window: Window
    period: str
    schedule: str | None
    content: ReportContent | None
    zone: str | None
    is_certified: bool
    figures: Mapping[str, Json]

    @property
    def is_of_days(self) -> bool:
        """Return whether it is about whole days: a period that moves on has its next report soon."""
        is_chosen = self.period == CUSTOM and self.window.seconds >= SHORTEST_DAY_S
        return is_chosen or self.period in CALENDAR_DAYS


def written_reports(ledger: Ledger, app: AppKey, *, since: datetime) -> Iterator[WrittenReport]:
    """Yield an app's reports written since an instant, newest first; none that a filter left runs out of."""
    query = OperationQuery(apps=(app,), types=(REPORT,), since=since)
    found = (_report_of(operation) for operation in operations_of(ledger, query))
    return (report for report in found if report is not None)


def _report_of(operation: Operation) -> WrittenReport | None:
    data = operation.data
    figures = data.get("figures", {})
    if not isinstance(figures, Mapping):
        return None  # what a filter left has no figures to compare with
    try:
        window = Window.parse(str(data.get("window")))
    except (ValueError, UsageError):
        return None
    return WrittenReport(
        window=window,
        period=operation.subject or "",
        schedule=str(data["schedule"]) if data.get("schedule") else None,
        content=ReportContent.from_json(data),
        zone=str(data["timezone"]) if data.get("timezone") else None,
        is_certified=data.get("certified") is True,
        figures=figures,
    )


def outgrown_reports(
    ledger: Ledger, app: AppKey, *, now: datetime, apart_from: Window
) -> Sequence[WrittenReport]:
    """Return the reports of other windows whose runs have ended, or appeared, since; oldest window first.

    Of several of one schedule, period, window and storage the newest counts.  They are found by what the
    ledger holds now, and not by what this process has read: another one may have been killed in between.
    """
    newest: dict[tuple[object, ...], WrittenReport] = {}
    for report in islice(written_reports(ledger, app, since=now - LOOKED_BACK), MOST):
        storage = report.content.storage if report.content else None
        newest.setdefault((report.schedule, report.period, report.window, storage), report)
    return sorted(
        (
            report
            for report in newest.values()
            if report.is_of_days and report.window != apart_from and _is_outgrown(ledger, app, report)
        ),
        key=lambda report: (report.window.before, report.window.seconds, report.period),
    )


def _is_outgrown(ledger: Ledger, app: AppKey, report: WrittenReport) -> bool:
    scope, runs, still_open = (
        Scope(app, report.window),
        report.figures.get("runs"),
        report.figures.get("open"),
    )
    if not isinstance(runs, int) or (held := ledger.count(scope)) < runs:
        return False  # runs have left the ledger: the report that has them is the better one
    if held > runs or not isinstance(still_open, int) or not still_open:
        return held > runs
    return sum(1 for _ in ledger.open_runs(scope)) < still_open
