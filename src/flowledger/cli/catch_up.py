"""``flowledger catch-up``: fill the reports that the schedules owe and the ledger cannot prove."""

from collections.abc import Iterable
from datetime import datetime

import click

from flowledger import wiring
from flowledger.cli.filling import Filler, Job, fill_jobs, filler_here, plan, reach_prefect
from flowledger.services.catching_up import missing
from flowledger.services.filling import CATCH_UP, Filled
from flowledger.settings import Settings
from flowledger.wiring import schedules


@click.command(name="catch-up", short_help="Fill what the schedules owe and the ledger cannot prove.")
@click.option("--app", help="Name or id of one app in the settings; default: every one.")
@click.option(
    "--periods",
    type=click.IntRange(1, 366),
    metavar="N",
    help="So many periods back for each schedule; default: CATCH_UP_PERIODS.",
)
@click.option("--direct", is_flag=True, help="In this process, without Prefect.")
@click.option("--dry-run", is_flag=True, help="Only say what would run.")
def catch_up(app: str | None, periods: int | None, direct: bool, dry_run: bool) -> int:
    """Find the periods without a certified and reported window in the ledger, and fill them.

    What was never begun is not missing: it is looked back to an app's oldest certificate at most.
    Exits with 1 when a period fails or is still not certified; the others go on.
    """
    settings, now = wiring.load_settings(), wiring.clock.utc_now()
    jobs = _jobs(settings, app, settings.catch_up_periods if periods is None else periods, now)
    if not jobs:
        click.echo("nothing is missing")
        return 0
    return fill_jobs(settings, jobs, _filler(settings, direct=direct, dry_run=dry_run))


def _jobs(settings: Settings, name: str | None, most: int, now: datetime) -> list[Job]:
    apps = (settings.app(name),) if name else settings.apps
    owed = [(app, cadence) for app in apps for cadence in schedules.cadences(app)]
    with wiring.opened_ledger(settings) as ledger:
        jobs = [
            Job(CATCH_UP, app, cadence, missing(ledger, app.key, cadence, tz=app.tz, now=now, most=most), now)
            for app, cadence in owed
        ]
    return [job for job in jobs if job.dues]


def _filler(settings: Settings, *, direct: bool, dry_run: bool) -> Filler:
    if dry_run:
        return plan
    if direct:
        return filler_here(settings, again=False)
    reach_prefect(settings)
    from flowledger.flows.backfill import catch_up_runs

    def on_prefect(job: Job) -> Iterable[Filled]:
        return catch_up_runs(job.app.key, job.cadence, job.dues, now=job.now.astimezone(job.app.tz))

    return on_prefect
