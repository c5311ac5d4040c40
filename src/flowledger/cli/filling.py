"""What ``backfill`` and ``catch-up`` share: filling an app's due reports, line by line."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import click

from flowledger import wiring
from flowledger.cli.run import run_directly
from flowledger.errors import FlowledgerError, UsageError
from flowledger.services.catching_up import Cadence, Due, is_held
from flowledger.services.filling import Fate, Filled, describe, fill_each, filling_operation
from flowledger.services.redaction import redacted
from flowledger.services.requests import RunOrder
from flowledger.settings import AppSettings, Settings

SAME_WORDS = ("status", "keyword", "output_dir", "with_details", "with_node_executions", "save_data")
"""What an order and the parameters of a deployment call alike."""
BAD = (Fate.FAILED, Fate.UNPROVED)


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
    with wiring.shared_servers():
        went_wrong = [_fill(settings, job, fill, alone=len(jobs) == 1) for job in jobs]
    return int(any(went_wrong))


def _fill(settings: Settings, job: Job, fill: Filler, *, alone: bool) -> bool:
    """Fill one app's reports; give whether something went wrong, and raise it where there is no other app."""
    click.echo(f"{job.app.name} · {job.cadence.key}: {_periods(len(job.dues))}")
    try:
        fates = [each.fate for each in _shown_and_kept(settings, job, fill)]
    except FlowledgerError as error:
        if alone:
            raise
        click.echo(redacted(f"error: {job.app.name} · {job.cadence.key}: {error}"), err=True)
        return True
    return any(fate in BAD for fate in fates)


def _periods(count: int) -> str:
    return "1 period" if count == 1 else f"{count or 'no'} periods"


def _shown_and_kept(settings: Settings, job: Job, fill: Filler) -> Sequence[Filled]:
    filled: list[Filled] = []
    try:
        for each in fill(job):
            filled.append(each)
            click.echo(f"  {each.due}: {each.fate}" + (f": {each.detail}" if each.detail else ""))
    finally:
        # What was done before Ctrl+C was done all the same.
        if any(each.fate is not Fate.PLANNED for each in filled):
            with wiring.opened_ledger(settings) as ledger:
                user = wiring.user_name()
                ledger.record(
                    filling_operation(job.kind, job.app.key, job.cadence, filled, user=user, at=job.now)
                )
    return filled


def plan(job: Job) -> Iterator[Filled]:
    """Say what would be filled."""
    for due in job.dues:
        yield Filled(due, Fate.PLANNED, describe(due, job.app.tz))


def filler_here(settings: Settings, *, again: bool) -> Filler:
    """Fill in this process, without Prefect; what is certified already is left alone unless wanted again."""
    return lambda job: fill_each(job.dues, partial(_fill_here, settings, job, again))


def _fill_here(settings: Settings, job: Job, again: bool, due: Due) -> Filled:
    if not again and job.cadence.proves_periods:
        with wiring.opened_ledger(settings) as ledger:
            if is_held(ledger, job.app.key, due):
                return Filled(due, Fate.HELD, "certified")
    result = run_directly(_order(job), due.instant)
    certificate = result["certificate"]
    if not certificate["certified"]:
        return Filled(due, Fate.UNPROVED, f"{result['logs_count']} runs: {certificate['reason']}")
    return Filled(due, Fate.DONE, f"{result['logs_count']} runs, certified")


def _order(job: Job) -> RunOrder:
    """Order what the schedule's own runs are told."""
    said = job.cadence.parameters
    words = {name: said[name] for name in SAME_WORDS if name in said}
    return RunOrder(app=job.app.id, period=job.cadence.period, formats=said.get("output_format"), **words)


def reach_prefect(settings: Settings) -> None:
    """Point Prefect at the server that the settings, or its own profile, name.

    :raises UsageError: where they name none: a temporary one would forget the runs.
    """
    from flowledger.flows import environment  # Prefect reads its settings when it is imported

    environment.point_at(os.environ, api_url=settings.prefect_api_url)
    from flowledger.flows import profiles

    if not (os.environ.get("PREFECT_API_URL") or profiles.known_address()):
        raise UsageError("past-dated runs need a Prefect server: set PREFECT_API_URL, or use --direct")
