"""``flowledger backfill``: reports of past days, one past-dated run for each period."""

from collections.abc import Iterable
from datetime import date, datetime

import click

from flowledger import wiring
from flowledger.cli.filling import Filler, Job, fill_jobs, filler_here, plan, reach_prefect
from flowledger.errors import UsageError
from flowledger.services.catching_up import due_between, over_by
from flowledger.services.filling import BACKFILL, Filled, backfill_key, check_days
from flowledger.settings import AppSettings, Settings
from flowledger.wiring import schedules

MANY_DAYS = 100
"""More at once are a slip of the finger more often than a wish."""


@click.command(short_help="Report past days, weeks or months, each once.")
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
    settings, now = wiring.load_settings(), wiring.clock.utc_now()
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
    """Give the app of a name, or every one.

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
    from flowledger.flows.backfill import backfill_runs

    def on_prefect(job: Job) -> Iterable[Filled]:
        anew = job.now if again else None
        keys = {backfill_key(job.app.key, job.cadence, due, anew): due for due in job.dues}
        return backfill_runs(job.app.key, job.cadence, keys)

    return on_prefect
