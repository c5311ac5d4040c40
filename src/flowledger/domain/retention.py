"""Which kept reports may go: by age, number and size, and which never do.

What counts as newer is the period that a report covers, not when it was written: a backfill writes old days
late.  Only age goes by the time of writing: a report is kept so many days after it was made, else a backfill
of last year's days would be forgotten at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BYTES_IN_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class ReportSubject:
    """What a stored report is about; ``certified`` is None where nothing was to be proved."""

    period: str = ""
    window: str = ""
    certified: bool | None = None

    @property
    def until(self) -> datetime | None:
        """End of the window (whole second, UTC); None where the window does not tell it."""
        try:
            end = datetime.fromisoformat(self.window.rpartition("/")[2])
        except ValueError:
            return None
        return end.astimezone(UTC).replace(microsecond=0) if end.tzinfo else None


NO_SUBJECT = ReportSubject()
"""Of a report that nobody said anything about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report that is kept whole: all files of one type, one app and one writing.

    ``app`` is the app's name as it stands in names (``domain.texts.safe_name``).  ``pointed`` says that a
    pointer to the newest names it.  ``stored_at`` and ``until``, the end of its window, are aware UTC;
    ``until`` is None where the window is not known.
    """

    report_type: str
    app: str
    stem: str
    stored_at: datetime
    certified: bool
    size_bytes: int
    names: tuple[str, ...]
    pointed: bool = False
    until: datetime | None = None

    @property
    def series(self) -> tuple[str, str]:
        """What it is a version of: its type and app."""
        return self.report_type, self.app

    @property
    def age_order(self) -> tuple[datetime, str, str, str]:
        """Sorts by age, the oldest first, always the same way."""
        return self.stored_at, self.report_type, self.app, self.stem

    @property
    def period_order(self) -> tuple[datetime, datetime, str, str, str]:
        """Sorts by the period covered, the oldest first; one without a window by its age."""
        return (self.until or self.stored_at, *self.age_order)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long, how many of each type, and how much of all types together are kept; None means no limit.

    ``days`` count from the time a report was kept, whatever period it covers.
    """

    days: int | None = None
    count: int | None = None
    megabytes: int | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """A report that may go, and why."""

    report: StoredReport
    reason: str


def expired(reports: Iterable[StoredReport], retention: Retention, now: datetime) -> Sequence[Expired]:
    """Choose the reports of one app that may go, those of the oldest period first.

    What a pointer names and each type's certified report of the newest window stay, whatever the limits say.
    """
    ordered = sorted(reports, key=lambda report: report.period_order)
    safe = protected(ordered)
    chosen = {**_too_many(ordered, retention), **_too_old(ordered, retention, now)}
    left = [report for report in ordered if report in safe or report not in chosen]
    chosen |= _too_large(left, retention, safe)
    return [Expired(report, chosen[report]) for report in ordered if report in chosen and report not in safe]


def protected(reports: Iterable[StoredReport]) -> frozenset[StoredReport]:
    """Return what must stay: reports pointed to, and the newest window's certified one of each series."""
    ordered = sorted(reports, key=lambda report: report.period_order)
    newest = {report.series: report for report in ordered if report.certified}
    return frozenset((*newest.values(), *(report for report in ordered if report.pointed)))


def _too_old(ordered: Sequence[StoredReport], retention: Retention, now: datetime) -> dict[StoredReport, str]:
    if retention.days is None:
        return {}
    until = now - timedelta(days=retention.days)
    return {report: f"older than {retention.days} days" for report in ordered if report.stored_at < until}


def _too_many(ordered: Sequence[StoredReport], retention: Retention) -> dict[StoredReport, str]:
    if retention.count is None:
        return {}
    series = defaultdict(list)
    for report in ordered:
        series[report.series].append(report)
    surplus = [report for each in series.values() for report in each[: max(0, len(each) - retention.count)]]
    return dict.fromkeys(surplus, f"more than {retention.count} of its type")


def _too_large(
    ordered: Sequence[StoredReport], retention: Retention, safe: frozenset[StoredReport]
) -> dict[StoredReport, str]:
    """Count from the newest back; what is over the limit goes, after what has to stay was given its room."""
    if retention.megabytes is None:
        return {}
    room = retention.megabytes * BYTES_IN_MB - sum(report.size_bytes for report in safe)
    return dict.fromkeys(_beyond(ordered, room, safe), f"more than {retention.megabytes} MB")


def _beyond(
    ordered: Sequence[StoredReport], room: int, safe: frozenset[StoredReport]
) -> Iterator[StoredReport]:
    for report in reversed(ordered):
        if report not in safe:
            room -= report.size_bytes
            if room < 0:
                yield report
