"""Which reports are due and not yet proved by the ledger, and filling them one after another."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from loguru import logger

from flowledger.domain import windows
from flowledger.domain.certificates import Certificate
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.errors import FlowledgerError, UsageError
from flowledger.ports import Ledger
from flowledger.services.report_requests import ReportContent
from flowledger.services.written_reports import WrittenReport, written_reports

EVER = windows.Window(0, windows.LATEST)
LONGEST = timedelta(days=31)
"""No period of a calendar is longer."""
A_MINUTE = timedelta(minutes=1)
LONGEST_SHIFT = timedelta(hours=3)
"""No change to daylight saving skips more of the wall clock."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """A schedule as far as missed days are concerned: key, word of the period, cron where it has one.

    ``parameters`` are those of its runs, by the names of the flow's parameters; ``content`` is what its
    reports have by the settings.
    """

    key: str
    period: str
    cron: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    content: ReportContent = field(default_factory=ReportContent)

    @property
    def proves_periods(self) -> bool:
        """Return whether its runs certify whole calendar periods: a moving period or a filter proves none."""
        return self.period in windows.CALENDAR_DAYS and not any(
            self.parameters.get(word) for word in ("keyword", "status")
        )


@dataclass(frozen=True, slots=True)
class Due:
    """A report that is due: its period, and the instant (aware UTC) a run for it is scheduled at.

    ``covered_by`` names another report of at least the same content that holds the whole period.
    """

    instant: datetime
    period: windows.CalendarPeriod
    covered_by: str = field(default="", compare=False)

    def __str__(self) -> str:
        return str(self.period)


def due_between(cadence: Cadence, first: date, last: date, tz: ZoneInfo) -> Sequence[Due]:
    """Return what a schedule owes for the days from the first to the last, oldest first.

    A period that the schedule itself never reports, such as a Saturday of ``* * 1-5``, is due all the same:
    somebody asked for it by its date.

    :raises UsageError: for a schedule without a calendar's period, or days outside of 1970 to 9999.
    """
    return [
        Due(firing(cadence, period, tz) or period.usual_instant(tz), period)
        for period in windows.periods_between(cadence.period, first, last, tz)
    ]


def over_by(dues: Iterable[Due], now: datetime) -> Sequence[Due]:
    """Return those whose period has ended by now."""
    return [due for due in dues if due.period.window.before < int(now.timestamp())]


def firing(cadence: Cadence, period: windows.CalendarPeriod, tz: ZoneInfo) -> datetime | None:
    """Return the first time the cron fires while the period is the last one; None where it never does."""
    if cadence.cron is None:
        return period.usual_instant(tz)
    try:
        # The library takes whole minutes, and the first one may be the first that is wanted.
        fired = next(CronSim(cadence.cron, (period.current_during.after_at - A_MINUTE).astimezone(tz)))
    except (CronSimError, StopIteration):
        # A dialect that only the scheduler itself speaks: when exactly does not matter to the period.
        return period.usual_instant(tz)
    instant = fired.astimezone(UTC)
    return instant if instant in period.current_during else None


def owed_instant(cron: str, started: datetime, tz: ZoneInfo) -> datetime:
    """Return the instant (aware UTC) that the period of a run is seen from, of a run that a cron started.

    Where daylight saving skips the cron's time, some schedulers (Prefect before 3.9.1) start the run that
    much earlier, which may be on the day before: 23:00 for a midnight that does not exist.  The period that
    the schedule owes then is the one seen from the first time after the skipped one.
    """
    wall = started.astimezone(tz)
    skipped = (started + LONGEST_SHIFT).astimezone(tz).utcoffset()
    before = wall.utcoffset()
    if skipped is None or before is None or skipped <= before:
        return started
    meant = wall.replace(tzinfo=None) + (skipped - before)
    shifted = meant.replace(tzinfo=tz).astimezone(UTC)
    is_skipped = shifted.astimezone(tz).replace(tzinfo=None) != meant
    if not is_skipped or _fires_at(cron, wall.replace(tzinfo=None)) or not _fires_at(cron, meant):
        return started
    return shifted


def _fires_at(cron: str, wall: datetime) -> bool:
    """Return whether a cron names a time of the wall clock (naive), whether that time exists or not."""
    try:
        return next(CronSim(cron, wall - A_MINUTE)) == wall.replace(second=0, microsecond=0)
    except (CronSimError, StopIteration):
        return False


def missing(
    ledger: Ledger, app: AppKey, cadence: Cadence, *, tz: ZoneInfo, now: datetime, most: int
) -> Sequence[Due]:
    """Return what a schedule owes and the ledger cannot prove, oldest first; a few queries to the ledger.

    Looked at are the newest ``most`` reports that are due by now, back to the app's oldest certificate:
    what has never been begun is not missing.  A report is owed by its schedule, period and storage, and only
    such a report, of a window that is certified whole, settles it: a run may die between certificate and
    report, and what somebody ordered otherwise may lack what the schedule's own has.  Where another report
    has all of it, the due one names that (``covered_by``).  What is filtered proves nothing of a day.
    """
    if most < 1 or not cadence.proves_periods:
        return ()
    certificates = ledger.certificates(app, EVER)
    if not certificates:
        return ()
    begun = certificates[0].scope.window.after
    today = now.astimezone(tz).date()
    earliest = max(_day(begun, tz), today - LONGEST * (most + 1), windows.FIRST_DAY)
    periods = reversed(list(windows.periods_between(cadence.period, earliest, today, tz)))
    owed = [
        due for due in islice(_due_by(now, cadence, periods, tz), most) if due.period.window.before >= begun
    ]
    if not owed:
        return ()
    written = _written(ledger, app, certificates, since=owed[-1])
    return [open_due for due in owed[::-1] if (open_due := _unsettled(cadence, due, written))]


def _due_by(
    now: datetime, cadence: Cadence, periods: Iterable[windows.CalendarPeriod], tz: ZoneInfo
) -> Iterator[Due]:
    for period in periods:
        instant = firing(cadence, period, tz)
        if instant is not None and instant <= now:
            yield Due(instant, period)


def unsettled(ledger: Ledger, app: AppKey, cadence: Cadence, due: Due) -> Due | None:
    """Return a due report, with what covers it, unless one of its schedule has settled it."""
    return _unsettled(cadence, due, _written(ledger, app, ledger.certificates(app, EVER), since=due))


def _settles(report: WrittenReport, cadence: Cadence, due: Due) -> bool:
    if report.window != due.period.window or report.period != cadence.period:
        return False
    if report.content is None:
        return True
    return report.schedule == cadence.key and report.content.storage == cadence.content.storage


def _covers(report: WrittenReport, cadence: Cadence, due: Due) -> bool:
    has_all = report.content is not None and report.content.includes(cadence.content)
    return has_all and report.window.covers(due.period.window)


def _unsettled(cadence: Cadence, due: Due, written: Sequence[WrittenReport]) -> Due | None:
    if any(_settles(report, cadence, due) for report in written):
        return None
    cover = next((report for report in written if _covers(report, cadence, due)), None)
    if cover is None:
        return due
    return replace(due, covered_by=f"{cover.schedule or 'a run of its own'}: {cover.period}, {cover.window}")


def _written(
    ledger: Ledger, app: AppKey, certificates: Iterable[Certificate], *, since: Due
) -> Sequence[WrittenReport]:
    """Return the whole reports of certified windows that were written after a due report's period."""
    certified = {each.scope.window for each in certificates if each.certified}
    return [
        report
        for report in written_reports(ledger, app, since=since.period.window.before_at)
        if report.is_certified and report.window in certified
    ]


def _day(second: int, tz: ZoneInfo) -> date:
    return datetime.fromtimestamp(second, UTC).astimezone(tz).date()


BACKFILL, CATCH_UP = "BACKFILL", "CATCH_UP"


class FillStatus(StrEnum):
    """What became of a due report."""

    PLANNED = "would run"
    CREATED = "created"
    DONE = "done"
    UNCERTIFIED = "NOT certified"
    EXISTING = "already there"
    COVERED = "covered elsewhere"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Filled:
    """A due report and what became of it; ``detail`` is for people."""

    due: Due
    status: FillStatus
    detail: str = ""


def backfill_key(app: AppKey, cadence: Cadence, due: Due, again: datetime | None = None) -> str:
    """Return the idempotency key of a back-filled run: twice is once, unless it is wanted again."""
    key = f"backfill-{app.app_id}-{cadence.key}-{due.period.days.first}"
    return f"{key}-{again:%Y%m%dT%H%M%S%f}" if again else key


def catch_up_key(app: AppKey, cadence: Cadence, due: Due, day: date) -> str:
    """Return the idempotency key of a run that catches up: one try a day and period."""
    return f"catch-up-{app.app_id}-{cadence.key}-{due.period.days.first}-{day}"


def fill_each(dues: Iterable[Due], fill: Callable[[Due], Filled]) -> Iterator[Filled]:
    """Fill one after another; one that fails does not stop the others."""
    for due in dues:
        try:
            yield fill(due)
        except UsageError:
            # Wrong words are wrong for all of them.
            raise
        except FlowledgerError as error:
            logger.error("{} ({}): {}", due, due.period.window, error)
            yield Filled(due, FillStatus.FAILED, str(error))


def filling_operation(
    kind: str, app: AppKey, cadence: Cadence, filled: Sequence[Filled], *, user: str, at: datetime
) -> Operation:
    """Return the audit record of who filled which periods, and the result of each; ``kind`` is its type."""
    return Operation(
        operation_id=f"{kind.lower()}-{app.app_id}-{cadence.key}-{at:%Y%m%dT%H%M%S%f}",
        operation_type=kind,
        at=at,
        user=user,
        app=app,
        subject=cadence.key,
        data={
            "periods": {str(each.due): each.status.value for each in filled},
            "failures": {str(each.due): each.detail for each in filled if each.status is FillStatus.FAILED},
        },
    )


def check_days(first: date, last: date, today: date, *, most: int | None) -> None:
    """Check the days a person asked for; ``most`` is how many at once need no second thought.

    :raises UsageError: for days in the wrong order, days that are not over, or too many.
    """
    if first > last:
        raise UsageError(f"--from {first} lies behind --to {last}: swap them")
    if last >= today:
        raise UsageError(
            f"--to {last} is not over yet (it is {today} there): name {today - timedelta(days=1)} at most"
        )
    count = (last - first).days + 1
    if most is not None and count > most:
        raise UsageError(
            f"{first} to {last} is {count} days: say --yes if more than {most} are really wanted"
        )


def describe(due: Due, tz: ZoneInfo) -> str:
    """Explain the window of a due report, and when its run is scheduled."""
    window = due.period.window
    scheduled = due.instant.astimezone(tz).isoformat()
    return f"{windows.iso(window.after)}/{windows.iso(window.before)}, scheduled for {scheduled}"
