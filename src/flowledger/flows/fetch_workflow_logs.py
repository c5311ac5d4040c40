"""The scheduled run of one app as a Prefect flow: resolve, collect, enrich, report, announce.

Tasks hand on references (a scope and its certificate); the data is in the ledger.  So a killed run goes on
where it stopped, and tasks may run on other machines against the same ledger.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Annotated, Any, Literal

from prefect import Task, flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flowledger import bootstrap
from flowledger.domain.windows import CALENDAR_PERIODS, resolve_period, zone
from flowledger.errors import FlowledgerError, SettingsError
from flowledger.flows import backfill_runs
from flowledger.flows.flow_retries import tried_again
from flowledger.flows.logs import LogProgress, RunLog, forwarded_to, note_app
from flowledger.flows.notifications import announce_failure, notify_result, publish_artifacts
from flowledger.flows.orphans import ends_without_deployment
from flowledger.flows.turns import take_turn
from flowledger.ports import Progress
from flowledger.services.pipeline import Collected, Enriched, Pipeline
from flowledger.services.report import Report
from flowledger.services.report_requests import ReportRequest, RunOrder, order_from
from flowledger.services.run_result import RunResult

Period = Literal["yesterday", "today", "last_week", "last_month", "last_24h", "custom"]


THREADS, DASK = "threads", "dask"

Stage = Callable[..., Any]
"""Calls a task with keyword arguments, waits for it, and returns its result or raises its error."""


@contextmanager
def stages_on(task_runner: str) -> Iterator[Stage]:
    """Yield what runs a flow's tasks, as the setting TASK_RUNNER says: threads, dask or dask:tcp://host:port.

    With ``threads`` a task is simply called in this thread: its own threads read side by side, and the
    pipeline can be shared.

    :raises SettingsError: when Dask is wanted and not installed.
    """
    kind, _, address = task_runner.partition(":")
    if kind == THREADS:
        yield _call
        return
    # The address of a running scheduler; without one, a cluster of this machine's own for as long as the run.
    options = (
        {"address": address}
        if address
        else {"cluster_kwargs": {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}}
    )
    with _dask_runner_class()(**options) as runner:

        def submit(task: Task[..., Any], **parameters: Any) -> Any:
            return runner.submit(task, parameters=parameters).result()

        yield submit


def _call(task: Task[..., Any], **parameters: Any) -> Any:
    return task(**parameters)


def _dask_runner_class() -> Any:
    """Import prefect-dask, which takes seconds and is an extra."""
    try:
        return import_module("prefect_dask").DaskTaskRunner
    except ImportError as error:
        raise SettingsError(
            [f"TASK_RUNNER: Dask is not installed ({error}): run scripts/setup --all, or choose threads"]
        ) from None


@dataclass(frozen=True, slots=True)
class ReportJob:
    """What every task of one flow run works on: the order, and the instant its period is seen from."""

    order: RunOrder
    instant: datetime
    run_id: str


_open_pipeline: ContextVar[tuple[Pipeline, ReportRequest] | None] = ContextVar("open_pipeline", default=None)
"""The pipeline that the tasks of a flow run share; None in another process than the flow's."""


@contextmanager
def shared_pipeline(job: ReportJob) -> Iterator[None]:
    """Keep one pipeline open for all tasks inside: settings are read, and servers logged in to, once.

    The tasks must be called in this thread, as Prefect does without a task runner.  Whichever of them fails,
    the pipeline is closed here.
    """
    with _opened(job, LogProgress(get_run_logger())) as parts:
        token = _open_pipeline.set(parts)
        try:
            yield
        finally:
            _open_pipeline.reset(token)


@contextmanager
def _opened(job: ReportJob, progress: Progress) -> Iterator[tuple[Pipeline, ReportRequest]]:
    with bootstrap.open_pipeline(job.order, job.instant, progress) as parts:
        # In a process of Dask's nothing was noted yet.
        note_app(runtime.flow_run.id, parts[0].app_name)
        yield parts


@contextmanager
def stage_pipeline(job: ReportJob, logger: RunLog) -> Iterator[tuple[Pipeline, ReportRequest]]:
    """Yield a task's pipeline, the flow run's or one of its own; what it logs is in the task's log too."""
    progress = LogProgress(logger)
    with forwarded_to(logger):
        if shared := _open_pipeline.get():
            pipeline, request = shared
            yield replace(pipeline, progress=progress), request
            return
        with _opened(job, progress) as parts:
            yield parts


@task(name="fetch-logs", cache_policy=NO_CACHE)
def fetch_logs_task(job: ReportJob) -> Collected:
    """Collect the window's runs into the ledger and prove it complete, or say why not."""
    logger = get_run_logger()
    with stage_pipeline(job, logger) as (pipeline, request):
        collected = pipeline.collect(request)
    if not collected.certificate.certified:
        logger.warning("NOT certified: %s", collected.certificate.reason)
    return collected


@task(name="enrich-logs", cache_policy=NO_CACHE)
def enrich_logs_task(job: ReportJob, collected: Collected) -> Enriched:
    """Read the details that the ledger lacks: inputs, outputs and node executions."""
    with stage_pipeline(job, get_run_logger()) as (pipeline, request):
        return pipeline.enrich(collected, request)


@task(name="generate-reports", cache_policy=NO_CACHE)
def generate_reports_task(job: ReportJob, collected: Collected, enriched: Enriched) -> Report:
    """Write the reports from the ledger through the storage service."""
    logger = get_run_logger()
    with stage_pipeline(job, logger) as (pipeline, request):
        report = pipeline.report(collected, request, enriched, run_id=job.run_id)
    for path in report.all_paths:
        logger.info("written: %s", path)
    return report


@task(name="notify-completion", cache_policy=NO_CACHE)
def notify_completion_task(job: ReportJob, result: RunResult, report: Report) -> bool:
    """Announce the result: artifacts in the Prefect UI, and a message through each channel of the app.

    Return whether everyone has the message now; what cannot be sent waits and never fails the run.
    """
    logger = get_run_logger()
    try:
        language = bootstrap.load_settings().app(job.order.app).language
        publish_artifacts(result, report.figures, language)
    except Exception as error:  # noqa: BLE001  # named boundary: the report is written, and people must be told
        logger.warning("the UI goes without the figures of this run: %s", type(error).__name__)
    logger.info(
        "%s: %d runs, %d detailed, %d missing",
        result.app,
        result.logs_count,
        result.detailed,
        result.missing,
    )
    with forwarded_to(logger):
        return notify_result(job.order, result)


def name_flow_run() -> str:
    """Name a flow run after its app and period, with the first day of it, as the UI lists it."""
    parameters = runtime.flow_run.parameters or {}
    bounded = parameters.get("created_at_after") or parameters.get("created_at_before")
    period = "custom" if bounded else parameters.get("period") or "yesterday"
    app = parameters.get("app")
    try:
        settings_app = bootstrap.load_settings().app(app)
        note_app(runtime.flow_run.id, settings_app.name, settings_app.id)
        app, tz = settings_app.name, zone(parameters.get("timezone") or settings_app.timezone)
        if period in CALENDAR_PERIODS:
            window = resolve_period(period, instant=scheduled_instant(), tz=tz)
            late = " (late)" if backfill_runs.is_late(runtime.flow_run.tags or ()) else ""
            period = f"{period} {window.after_at.astimezone(tz).date()}{late}"
    except FlowledgerError:
        note_app(runtime.flow_run.id, app)
        # A name must never fail a run; the run itself will say what is wrong.
        app = app or "default"
    return f"{app} · {period}"


@flow(
    name="fetch-workflow-logs",
    flow_run_name=name_flow_run,
    log_prints=False,
    on_failure=[announce_failure],
    on_crashed=[announce_failure],
    on_cancellation=[announce_failure],
)
def fetch_workflow_logs_flow(  # noqa: PLR0913, PLR0917  # the form that people fill in
    app: Annotated[str | None, Field(title="App", description="Name or id of an app in the settings")] = None,
    period: Annotated[
        Period, Field(title="Period", description="As seen from the scheduled time, in the time zone")
    ] = "yesterday",
    timezone: Annotated[
        str | None, Field(title="Time zone", description="IANA name; empty for the app's own")
    ] = None,
    keyword: Annotated[
        str | None, Field(title="Keyword", description="In inputs, outputs or session id")
    ] = None,
    status: Annotated[
        str | None, Field(title="Status", description="succeeded, failed, stopped, partial-succeeded, …")
    ] = None,
    created_at_before: Annotated[
        str | None, Field(title="Before", description="ISO 8601, inclusive; only with period custom")
    ] = None,
    created_at_after: Annotated[
        str | None, Field(title="After", description="ISO 8601, inclusive; only with period custom")
    ] = None,
    output_format: Annotated[
        str | None, Field(title="Formats", description="csv, markdown, json; several with commas")
    ] = None,
    output_dir: Annotated[
        str | None, Field(title="Output folder", description="Empty for the settings' own")
    ] = None,
    with_details: Annotated[bool, Field(title="Inputs and outputs")] = True,
    with_node_executions: Annotated[bool, Field(title="Node executions")] = True,
    save_data: Annotated[bool, Field(title="Keep the raw data beside the reports")] = False,
    notify_on_complete: Annotated[
        bool, Field(title="Announce the outcome", description="Failures are announced in any case")
    ] = True,
) -> dict[str, Any]:
    """Collect an app's runs of one period completely, keep them, and report them.

    The period is seen from the scheduled time, so a late run reports the day it was meant for.
    """
    # Deployments, the API and the command line use the same names: one function reads them all.
    order = backfill_runs.with_origin(order_from(locals()), runtime.flow_run.tags or ())
    started = time.monotonic()
    job = ReportJob(order, scheduled_instant(), str(runtime.flow_run.id or "manual")[:8])
    take_turn()
    with forwarded_to(get_run_logger()), ends_without_deployment(), tried_again():
        return _run_stages(job, started, notify_on_complete).to_json()


def _run_stages(job: ReportJob, started: float, notify_on_complete: bool) -> RunResult:
    task_runner = bootstrap.load_settings().task_runner
    with ExitStack() as stack:
        run_stage = stack.enter_context(stages_on(task_runner))
        if task_runner == THREADS:
            # On Dask a task may run on another machine, and opens a pipeline of its own there.
            stack.enter_context(shared_pipeline(job))
        collected = run_stage(fetch_logs_task, job=job)
        enriched = run_stage(enrich_logs_task, job=job, collected=collected)
        report = run_stage(generate_reports_task, job=job, collected=collected, enriched=enriched)
        with stage_pipeline(job, get_run_logger()) as (pipeline, request):
            result = pipeline.result(request, collected, enriched, report, started=started)
    # Before the message, which says how many there are; they run after this run has ended.
    result = replace(result, caught_up=backfill_runs.catch_up_after_run(get_run_logger()))
    # Left out are good news only: that something is not proved is always announced.
    if notify_on_complete or not result.certificate.certified:
        notify_completion_task(job, result, report)
    return result


def scheduled_instant() -> datetime:
    """Return the instant that this run's period is seen from, aware UTC: the time it was scheduled for."""
    scheduled = runtime.flow_run.scheduled_start_time
    return (
        backfill_runs.report_instant(runtime.flow_run.tags or (), scheduled)
        if scheduled
        else datetime.now(UTC)
    )
