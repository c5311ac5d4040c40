"""``flowledger backfill`` and ``catch-up``: reports of past days, one past-dated run for each period."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial

import click

from flowledger import bootstrap
from flowledger.bootstrap import schedules
from flowledger.cli.run import run_directly
from flowledger.errors import FlowledgerError, UsageError
from flowledger.services.catch_up import (
    BACKFILL,
    CATCH_UP,
    Cadence,
    Due,
    Filled,
    FillStatus,
    backfill_key,
    check_days,
    describe,
    due_between,
    fill_each,
    filling_operation,
    missing,
    over_by,
    unsettled,
)
from flowledger.services.report_requests import RunOrder, order_from
from flowledger.services.secret_masking import redacted
from flowledger.settings import AppSettings, Settings

BAD = (FillStatus.FAILED, FillStatus.UNCERTIFIED)
NOTHING_DONE = (FillStatus.PLANNED, FillStatus.COVERED)


@dataclass(frozen=True, slots=True)
class Job:
    """An app's due reports of one schedule; ``kind`` is the type of the operation, ``now`` aware UTC."""

    kind: str
    app: AppSettings
    cadence: Cadence
    dues: Sequence[Due]
    now: datetime


Filler = Callable[[Job], Iterable[Filled]]


def fill_jobs(settings: Settings, jobs: Sequence[Job], fill: Filler) -> int:
    """Fill every app's reports and say so line by line; give 1 where one failed, though the others go on."""
    # Apps of one server log in once.
    with bootstrap.shared_servers():
        went_wrong = [_fill(settings, job, fill, alone=len(jobs) == 1) for job in jobs]
    return int(any(went_wrong))


def _fill(settings: Settings, job: Job, fill: Filler, *, alone: bool) -> bool:
    """Fill one app's reports; give whether something went wrong, and raise it where there is no other app."""
    click.echo(f"{job.app.name} · {job.cadence.key}: {_periods(len(job.dues))}")
    try:
        statuses = [each.status for each in _print_and_record(settings, job, fill)]
    except FlowledgerError as error:
        if alone:
            raise  # with several apps, one's trouble must not keep the others from their reports
        click.echo(redacted(f"error: {job.app.name} · {job.cadence.key}: {error}"), err=True)
        return True
    return any(status in BAD for status in statuses)


def _periods(count: int) -> str:
    return "1 period" if count == 1 else f"{count or 'no'} periods"


def _print_and_record(settings: Settings, job: Job, fill: Filler) -> Sequence[Filled]:
    filled: list[Filled] = []
    try:
        for each in fill(job):
            filled.append(each)
            click.echo(f"  {each.due}: {each.status}" + (f": {each.detail}" if each.detail else ""))
    finally:
        # What was done before Ctrl+C was done all the same.
        if any(each.status not in NOTHING_DONE for each in filled):
            with bootstrap.opened_ledger(settings) as ledger:
                user = bootstrap.user_name()
                ledger.record(
                    filling_operation(job.kind, job.app.key, job.cadence, filled, user=user, at=job.now)
                )
    return filled


def plan(job: Job) -> Iterator[Filled]:
    """Yield what would be filled."""
    for due in job.dues:
        yield Filled(due, FillStatus.PLANNED, describe(due, job.app.tz))


def filler_here(settings: Settings, *, again: bool) -> Filler:
    """Fill in this process, without Prefect; what is certified already is left alone unless wanted again."""
    return lambda job: fill_each(job.dues, partial(_fill_here, settings, job, again))


def _fill_here(settings: Settings, job: Job, again: bool, due: Due) -> Filled:
    # A filtered report, or one of a moving period, certifies no whole period that could be left out.
    if not again and job.cadence.proves_periods:
        with bootstrap.opened_ledger(settings) as ledger:
            still_due = unsettled(ledger, job.app.key, job.cadence, due)
        if still_due is None:
            return Filled(due, FillStatus.EXISTING, "certified and reported")
        if still_due.covered_by:
            return Filled(due, FillStatus.COVERED, still_due.covered_by)
    result = run_directly(_order(job), due.instant)
    if not result.certificate.certified:
        return Filled(due, FillStatus.UNCERTIFIED, f"{result.logs_count} runs: {result.certificate.reason}")
    return Filled(due, FillStatus.DONE, f"{result.logs_count} runs, certified")


def _order(job: Job) -> RunOrder:
    """Return the order that the schedule's own runs have; the app's own zone chose what is due."""
    order = order_from(job.cadence.parameters)
    return replace(
        order,
        app=job.app.id,
        period=job.cadence.period,
        timezone=None,
        schedule=job.cadence.key,
        is_late=True,
    )


def reach_prefect(settings: Settings) -> None:
    """Point Prefect at the server that the settings, or its own profile, name.

    :raises UsageError: where they name none: a temporary one would forget the runs.
    """
    from flowledger.flows import environment  # Prefect reads its settings when it is imported

    environment.point_at(os.environ, api_url=settings.prefect_api_url)
    from flowledger.flows import profiles

    if not (os.environ.get("PREFECT_API_URL") or profiles.active_address()):
        raise UsageError("past-dated runs need a Prefect server: set PREFECT_API_URL, or use --direct")


MANY_DAYS = 100
"""More at once are a slip of the finger more often than a wish."""


@click.command()
@click.option("--from", "first", required=True, metavar="DATE", help="First day, such as 2026-11-01.")
@click.option("--to", "last", required=True, metavar="DATE", help="Last day, inclusive; yesterday at most.")
@click.option("--app", help="Name or id of an app in the settings; needed only where there are several.")
@click.option("--all-apps", is_flag=True, help="Every app in the settings.")
@click.option("--schedule", default="daily_report", show_default=True, help="Whose periods are filled.")
@click.option(
    "--direct", is_flag=True, help="In this process, without Prefect; leaves out what is certified."
)
@click.option("--again", is_flag=True, help="Also what was filled or certified before.")
@click.option("--dry-run", is_flag=True, help="Only say what would run.")
@click.option("--yes", is_flag=True, help=f"More than {MANY_DAYS} days at once are meant.")
def backfill(  # noqa: PLR0913, PLR0917  # the words of the command
    first: str,
    last: str,
    app: str | None,
    all_apps: bool,
    schedule: str,
    direct: bool,
    again: bool,
    dry_run: bool,
    yes: bool,
) -> int:
    """Report past days, weeks or months: one past-dated run for each period, however often it is asked for.

    Exits with 1 when a period fails or is not certified; the others go on.
    """
    settings, now = bootstrap.load_settings(), bootstrap.clock.utc_now()
    days = (read_day(first, "--from"), read_day(last, "--to"))
    apps = chosen_apps(settings, app, every=all_apps)
    most = None if yes else MANY_DAYS
    jobs = [_job(each, schedule, days, now, most) for each in apps]
    return fill_jobs(settings, jobs, _filler(settings, direct=direct, again=again, dry_run=dry_run))


def read_day(text: str, option: str) -> date:
    """Read a day.

    :raises UsageError: naming the option, when it is none.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option}: cannot read the day {text!r}: write it as 2026-11-21") from None


def chosen_apps(settings: Settings, name: str | None, *, every: bool) -> tuple[AppSettings, ...]:
    """Return the app of a name, or every one.

    :raises UsageError: where both are wanted, or the name is unknown.
    """
    if every and name:
        raise UsageError("--app and --all-apps contradict each other: leave one out")
    return settings.apps if every else (settings.app(name),)


def _job(
    app: AppSettings,
    schedule: str,
    days: tuple[date, date],
    now: datetime,
    most: int | None,
) -> Job:
    check_days(*days, now.astimezone(app.tz).date(), most=most)
    cadence = schedules.cadence(app, schedule)
    dues = over_by(due_between(cadence, *days, app.tz), now)
    if not dues:
        raise UsageError(f"{app.name}: no period of {schedule} in {days[0]} to {days[1]} is over yet")
    return Job(BACKFILL, app, cadence, dues, now)


def _filler(settings: Settings, *, direct: bool, again: bool, dry_run: bool) -> Filler:
    if dry_run:
        return plan
    if direct:
        return filler_here(settings, again=again)
    reach_prefect(settings)
    from flowledger.flows.backfill_runs import backfill_runs

    def on_prefect(job: Job) -> Iterable[Filled]:
        # With the time in its idempotency key, a run is created although there was one before.
        anew = job.now if again else None
        keys = {backfill_key(job.app.key, job.cadence, due, anew): due for due in job.dues}
        return backfill_runs(job.app.key, job.cadence, keys)

    return on_prefect


@click.command(name="catch-up")
@click.option("--app", help="Name or id of one app in the settings; default: every one.")
@click.option(
    "--periods",
    type=click.IntRange(1, 366),
    metavar="N",
    help="So many periods back for each schedule; default: CATCH_UP_PERIODS.",
)
@click.option("--direct", is_flag=True, help="In this process, without Prefect.")
@click.option("--covered", is_flag=True, help="Also what another report of the same content covers.")
@click.option("--dry-run", is_flag=True, help="Only say what would run.")
def catch_up(app: str | None, periods: int | None, direct: bool, covered: bool, dry_run: bool) -> int:
    """Find the reports that schedules owe and that are not certified and written; fill them, oldest first.

    Only a report of the schedule itself, in its storage, settles what it owes. What another report of the
    same content covers is said, and left out without --covered.
    What was never begun is not missing: it is looked back to an app's oldest certificate at most.
    Exits with 1 when a period fails or is still not certified; the others go on.
    """
    settings, now = bootstrap.load_settings(), bootstrap.clock.utc_now()
    jobs = _jobs(settings, app, settings.catch_up_periods if periods is None else periods, now)
    if not jobs:
        click.echo("nothing is missing")
        return 0
    fill = _filler_catch_up(settings, direct=direct, again=covered, dry_run=dry_run)
    return fill_jobs(settings, jobs, fill if covered else _leaving_covered(fill))


def _jobs(settings: Settings, name: str | None, most: int, now: datetime) -> list[Job]:
    apps = (settings.app(name),) if name else settings.apps
    owed = [(app, cadence) for app in apps for cadence in schedules.cadences(app)]
    with bootstrap.opened_ledger(settings) as ledger:
        jobs = [
            Job(CATCH_UP, app, cadence, missing(ledger, app.key, cadence, tz=app.tz, now=now, most=most), now)
            for app, cadence in owed
        ]
    return [job for job in jobs if job.dues]


def _leaving_covered(fill: Filler) -> Filler:
    """Fill only what no other report covers; what one covers is named with it."""

    def fill_rest(job: Job) -> Iterator[Filled]:
        for due in job.dues:
            if due.covered_by:
                yield Filled(due, FillStatus.COVERED, f"{due.covered_by}; --covered makes it all the same")
        rest = [due for due in job.dues if not due.covered_by]
        if rest:
            yield from fill(replace(job, dues=rest))

    return fill_rest


def _filler_catch_up(settings: Settings, *, direct: bool, again: bool, dry_run: bool) -> Filler:
    if dry_run:
        return plan
    if direct:
        return filler_here(settings, again=again)
    reach_prefect(settings)
    from flowledger.flows.backfill_runs import catch_up_runs

    def on_prefect(job: Job) -> Iterable[Filled]:
        return catch_up_runs(job.app.key, job.cadence, job.dues, now=job.now.astimezone(job.app.tz))

    return on_prefect
