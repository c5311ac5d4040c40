"""Back-fill and catch up on Prefect: a past-dated run for each report that is due."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flowledger import wiring
from flowledger.domain.runs import AppKey
from flowledger.errors import FlowledgerError
from flowledger.flows.logs import RunLog
from flowledger.flows.past_runs import (
    create_runs,
    deployment_of,
    not_coming,
    prefect_api,
)
from flowledger.services.catching_up import Cadence, Due, missing
from flowledger.services.deploying import APP_TAG, SCHEDULE_TAG
from flowledger.services.filling import CATCH_UP, Fate, Filled, catch_up_key, filling_operation
from flowledger.wiring import schedules


def catch_up_runs(
    app: AppKey, cadence: Cadence, dues: Sequence[Due], *, now: datetime, tag: str = "catch-up"
) -> Sequence[Filled]:
    """Create runs for what is missing and not coming anyway, at most one a day for each period.

    ``now`` is in the app's zone: its date is the day of the attempt.

    :raises SchedulerError, UsageError: where Prefect or the deployment cannot be had.
    """
    with prefect_api() as client:
        deployment = deployment_of(client, app, cadence)
        alone = not_coming(client, deployment, cadence, dues)
        keys = {catch_up_key(app, cadence, due, now.date()): due for due in alone}
        created = {filled.due: filled for filled in create_runs(client, deployment, keys, tag)}
    on_its_way = "a run of the deployment is on its way"
    return [created.get(due) or Filled(due, Fate.HELD, on_its_way) for due in dues]


def backfill_runs(app: AppKey, cadence: Cadence, keys: Mapping[str, Due]) -> Sequence[Filled]:
    """Create runs for what somebody asked for, by idempotency key.

    :raises SchedulerError, UsageError: where Prefect or the deployment cannot be had.
    """
    with prefect_api() as client:
        return list(create_runs(client, deployment_of(client, app, cadence), keys, "backfill"))


def catch_up_after_run(logger: RunLog) -> None:
    """Let a run that its schedule started look whether reports of its own app and schedule are missing.

    Runs that were started by a person, back-filled or caught up look for nothing, so that nothing cascades.
    Whatever goes wrong here is a warning: the run's own work is done.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or run.deployment_id is None:
        return
    try:
        created = _catch_up(run)
    except FlowledgerError as error:
        logger.warning("missing reports could not be caught up: %s", error)
    except Exception as error:  # noqa: BLE001  # named boundary: the report is written, nothing may fail it now
        logger.warning("missing reports could not be caught up: %s: %s", type(error).__name__, error)
    else:
        for filled in created:
            logger.warning("caught up: %s: %s: %s", filled.due, filled.fate, filled.detail)


def _catch_up(run: FlowRun) -> Sequence[Filled]:
    app_id, key = _tagged(run, APP_TAG), _tagged(run, SCHEDULE_TAG)
    if app_id is None or key is None:
        return ()
    settings = wiring.load_settings()
    app, now = settings.app(app_id), wiring.clock.utc_now()
    cadence = schedules.cadence(app, key)
    with wiring.opened_ledger(settings) as ledger:
        found = missing(ledger, app.key, cadence, tz=app.tz, now=now, most=settings.catch_up_periods)
        # This run's own report is not tried again at once: if it is not certified now, tomorrow may help.
        own = run.expected_start_time or now
        dues = [due for due in found if own not in due.period.seen_during]
        if not dues:
            return ()
        filled = catch_up_runs(app.key, cadence, dues, now=now.astimezone(app.tz))
        new = [each for each in filled if each.fate is not Fate.HELD]
        if new:
            user = f"flow run {run.name}"
            ledger.record(filling_operation(CATCH_UP, app.key, cadence, new, user=user, at=now))
        return new


def _tagged(run: FlowRun, prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in run.tags if tag.startswith(prefix)), None)
