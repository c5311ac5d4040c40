"""Past-dated runs of a deployment: one for each report that is due, found by its key, created once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.states import Scheduled

from flowledger import bootstrap
from flowledger.bootstrap import schedules
from flowledger.domain.runs import AppKey
from flowledger.errors import FlowledgerError, SchedulerError, UsageError
from flowledger.flows.logs import RunLog
from flowledger.services import catch_up
from flowledger.services.deploy import APP_TAG, MARK, SCHEDULE_TAG
from flowledger.services.report_requests import RunOrder

AUTO_SCHEDULED = "auto-scheduled"
"""Prefect puts this tag on the runs that a schedule starts."""
CAUGHT_UP, BACKFILLED = "catch-up", "backfill"
"""The tags of runs that make up for a report that did not come in time."""
AT_ONCE = 100
"""So many keys or runs are asked for in one request; Prefect gives 200 at most."""
STILL_COMING = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
"""Late, waiting for a free slot and awaiting a retry are kinds of scheduled."""


@contextmanager
def prefect_api() -> Iterator[SyncPrefectClient]:
    """Open Prefect's API.

    :raises SchedulerError: where it cannot be reached or refuses, then or later.
    """
    try:
        with get_client(sync_client=True) as client:
            yield client
    except (HTTPError, PrefectException) as error:
        raise SchedulerError(
            f"Prefect refuses or does not answer: {error}; is PREFECT_API_URL right?"
        ) from error
    except RuntimeError as error:
        # So the client says that nobody answers.
        if "Failed to reach API" not in str(error):
            raise
        raise SchedulerError(f"{error}: start the Prefect server, or correct PREFECT_API_URL") from error


def deployment_of(client: SyncPrefectClient, app: AppKey, cadence: catch_up.Cadence) -> DeploymentResponse:
    """Return the deployment of an app and a schedule, by its tags.

    :raises UsageError: where there is none, or more than one.
    """
    tags = [MARK, APP_TAG + app.app_id, SCHEDULE_TAG + cadence.key]
    deployments = client.read_deployments(
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=tags))
    )
    if len(deployments) == 1:
        return deployments[0]
    if not deployments:
        raise UsageError(
            f"{app}: Prefect has no deployment of the schedule {cadence.key} (tags {', '.join(tags)}):"
            " register the deployments first, or use --direct"
        )
    names = ", ".join(sorted(deployment.name for deployment in deployments))
    raise UsageError(f"{app}: several deployments of the schedule {cadence.key}: {names}; delete all but one")


def create_runs(
    client: SyncPrefectClient, deployment: DeploymentResponse, dues: Mapping[str, catch_up.Due], tag: str
) -> Iterator[catch_up.Filled]:
    """Create a past-dated run for each due report, unless there is one of its idempotency key."""
    existing = _runs_by_key(client, list(dues))
    for key, due in dues.items():
        if key in existing:
            yield catch_up.Filled(due, catch_up.FillStatus.EXISTING, _described(existing[key]))
            continue
        try:
            run = client.create_flow_run_from_deployment(
                deployment.id,
                state=Scheduled(scheduled_time=due.instant),
                idempotency_key=key,
                tags=[tag],
            )
        except (HTTPError, PrefectException) as error:
            yield catch_up.Filled(
                due, catch_up.FillStatus.FAILED, f"Prefect does not create the run: {error}"
            )
        else:
            yield catch_up.Filled(due, catch_up.FillStatus.CREATED, _described(run))


def not_coming(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    cadence: catch_up.Cadence,
    dues: Sequence[catch_up.Due],
) -> Sequence[catch_up.Due]:
    """Return the due reports that no run of the deployment is still going to write."""
    if not dues:
        return dues
    coming = [run for run in _runs_still_coming(client, deployment.id, dues) if _is_plain(run, cadence)]
    instants = [
        report_instant(run.tags, run.expected_start_time) for run in coming if run.expected_start_time
    ]
    return [due for due in dues if not any(instant in due.period.current_during for instant in instants)]


def _runs_still_coming(
    client: SyncPrefectClient, deployment_id: UUID, dues: Sequence[catch_up.Due]
) -> Iterator[FlowRun]:
    chosen = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=STILL_COMING)),
        expected_start_time=FlowRunFilterExpectedStartTime(
            # A scheduler may start the first one on the day before, where daylight saving skips its time.
            after_=min(due.period.current_during.after_at for due in dues) - catch_up.LONGEST_SHIFT,
            before_=max(due.period.current_during.before_at for due in dues),
        ),
    )
    offset = 0
    while page := client.read_flow_runs(flow_run_filter=chosen, limit=AT_ONCE, offset=offset):
        yield from page
        offset += len(page)


def _is_plain(run: FlowRun, cadence: catch_up.Cadence) -> bool:
    """Whether a run is about the schedule's own period, and not what somebody typed into the form."""
    parameters = run.parameters
    odd = ("created_at_after", "created_at_before", "keyword", "status")
    return parameters.get("period") == cadence.period and not any(parameters.get(name) for name in odd)


def _runs_by_key(client: SyncPrefectClient, keys: Sequence[str]) -> Mapping[str, FlowRun]:
    by_key: dict[str, FlowRun] = {}
    left = iter(keys)
    while some := list(islice(left, AT_ONCE)):
        chosen = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=some))
        runs = client.read_flow_runs(flow_run_filter=chosen, limit=AT_ONCE)
        by_key |= {str(run.idempotency_key): run for run in runs}
    return by_key


def _described(run: FlowRun) -> str:
    return f"{run.name}, {run.state_name or 'Scheduled'} ({run.id})"


def catch_up_runs(
    app: AppKey,
    cadence: catch_up.Cadence,
    dues: Sequence[catch_up.Due],
    *,
    now: datetime,
    tag: str = CAUGHT_UP,
) -> Sequence[catch_up.Filled]:
    """Create runs for what is missing and not coming anyway, at most one a day for each period.

    ``now`` is in the app's zone: its date is the day of the attempt.

    :raises SchedulerError, UsageError: where Prefect or the deployment cannot be had.
    """
    with prefect_api() as client:
        deployment = deployment_of(client, app, cadence)
        alone = not_coming(client, deployment, cadence, dues)
        keys = {catch_up.catch_up_key(app, cadence, due, now.date()): due for due in alone}
        created = {filled.due: filled for filled in create_runs(client, deployment, keys, tag)}
    on_its_way = "a run of the deployment is on its way"
    return [
        created.get(due) or catch_up.Filled(due, catch_up.FillStatus.EXISTING, on_its_way) for due in dues
    ]


def backfill_runs(
    app: AppKey, cadence: catch_up.Cadence, keys: Mapping[str, catch_up.Due]
) -> Sequence[catch_up.Filled]:
    """Create runs for what somebody asked for, by idempotency key.

    :raises SchedulerError, UsageError: where Prefect or the deployment cannot be had.
    """
    with prefect_api() as client:
        return list(create_runs(client, deployment_of(client, app, cadence), keys, BACKFILLED))


def catch_up_after_run(logger: RunLog) -> int:
    """Catch up missing reports of the app and schedule of a run that its schedule started; return how many.

    Runs that were started by a person, back-filled or caught up look for nothing, so that nothing cascades.
    Whatever goes wrong here is a warning: the run's own work is done.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or run.deployment_id is None:
        return 0
    try:
        created = _catch_up(run)
    except FlowledgerError as error:
        logger.warning("missing reports could not be caught up: %s", error)
    except Exception as error:  # noqa: BLE001  # named boundary: the report is written, nothing may fail it now
        logger.warning("missing reports could not be caught up: %s: %s", type(error).__name__, error)
    else:
        for filled in created:
            logger.warning("caught up: %s: %s: %s", filled.due, filled.status, filled.detail)
        count = sum(filled.status is catch_up.FillStatus.CREATED for filled in created)
        if count:
            logger.warning("%d missed reports are caught up by runs of their own", count)
        return count
    return 0


def _catch_up(run: FlowRun) -> Sequence[catch_up.Filled]:
    app_id, key = _tagged(run.tags, APP_TAG), _tagged(run.tags, SCHEDULE_TAG)
    if app_id is None or key is None:
        return ()
    settings = bootstrap.load_settings()
    app, now = settings.app(app_id), bootstrap.clock.utc_now()
    cadence = schedules.cadence(app, key)
    with bootstrap.opened_ledger(settings) as ledger:
        due_reports = catch_up.missing(
            ledger, app.key, cadence, tz=app.tz, now=now, most=settings.catch_up_periods
        )
        # This run's own report is not tried again at once: if it is not certified now, tomorrow may help.
        own = report_instant(run.tags, run.expected_start_time or now)
        others = [due for due in due_reports if own not in due.period.current_during]
        dues = [due for due in others if not due.covered_by]
        covered = [
            catch_up.Filled(due, catch_up.FillStatus.COVERED, due.covered_by)
            for due in others
            if due.covered_by
        ]
        if not dues:
            return covered
        filled = catch_up_runs(app.key, cadence, dues, now=now.astimezone(app.tz))
        new = [each for each in filled if each.status is not catch_up.FillStatus.EXISTING]
        if new:
            user = f"flow run {run.name}"
            ledger.record(
                catch_up.filling_operation(catch_up.CATCH_UP, app.key, cadence, new, user=user, at=now)
            )
        return [*covered, *new]


def report_instant(tags: Sequence[str], scheduled: datetime) -> datetime:
    """Return the instant (aware UTC) that the period of a flow run is seen from, by its tags and its time.

    It is the scheduled time, which late, repeated and past-dated runs keep; of a run that its schedule
    started, the schedule's own time where daylight saving had skipped that.
    """
    app_id, key = _tagged(tags, APP_TAG), _tagged(tags, SCHEDULE_TAG)
    instant = scheduled.astimezone(UTC)
    if AUTO_SCHEDULED not in tags or app_id is None or key is None:
        return instant
    return schedules.instant_of_scheduled_run(app_id, key, instant)


def is_late(tags: Sequence[str]) -> bool:
    """Return whether a flow run makes up for a report that did not come in time, by its tags."""
    return CAUGHT_UP in tags or BACKFILLED in tags


def with_origin(order: RunOrder, tags: Sequence[str]) -> RunOrder:
    """Return the order of a flow run with its schedule, and whether it comes late, by the run's tags."""
    return replace(order, schedule=_tagged(tags, SCHEDULE_TAG), is_late=is_late(tags))


def _tagged(tags: Sequence[str], prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)
