"""The scheduled run of one app as a Prefect flow: resolve, collect, enrich, report, announce.

Tasks hand on references (a scope and its certificate); the data is in the ledger.  So a killed run goes on
where it stopped, and tasks may run on other machines against the same ledger.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flowledger import bootstrap
from flowledger.domain.messages import occasion_of
from flowledger.domain.windows import CALENDAR_PERIODS, resolve_period, zone
from flowledger.errors import FlowledgerError
from flowledger.flows.artifacts import publish
from flowledger.flows.backfill_runs import catch_up_after_run
from flowledger.flows.logs import LogProgress, RunLog, forwarded_to, note_app
from flowledger.flows.notifications import announce_failure, tell_result
from flowledger.flows.task_runners import stages_on
from flowledger.services.pipeline import Collected, Enriched, Pipeline, outcome
from flowledger.services.report import Report
from flowledger.services.report_requests import ReportRequest, RunOrder

Period = Literal["yesterday", "today", "last_week", "last_month", "last_24h", "custom"]


@dataclass(frozen=True, slots=True)
class Errand:
    """What every task of one flow run works on: the order, and the instant its period is seen from."""

    order: RunOrder
    instant: datetime
    run_id: str


@contextmanager
def opened(errand: Errand, logger: RunLog) -> Iterator[tuple[Pipeline, ReportRequest]]:
    """Open the parts of a stage, with their log in the task's own."""
    progress = LogProgress(logger)
    with (
        forwarded_to(logger),
        bootstrap.open_pipeline(errand.order, errand.instant, progress) as parts,
    ):
        # In a process of Dask's nothing was noted yet.
        note_app(runtime.flow_run.id, parts[0].app_name)
        yield parts


@task(name="fetch-logs", cache_policy=NO_CACHE)
def fetch_logs_task(errand: Errand) -> Collected:
    """Collect the window's runs into the ledger and prove it complete, or say why not."""
    logger = get_run_logger()
    with opened(errand, logger) as (pipeline, request):
        collected = pipeline.collect(request)
    if not collected.certificate.certified:
        logger.warning("NOT certified: %s", collected.certificate.reason)
    return collected


@task(name="enrich-logs", cache_policy=NO_CACHE)
def enrich_logs_task(errand: Errand, collected: Collected) -> Enriched:
    """Read the details that the ledger lacks: inputs, outputs and node executions."""
    logger = get_run_logger()
    with opened(errand, logger) as (pipeline, request):
        return pipeline.enrich(collected, request)


@task(name="generate-reports", cache_policy=NO_CACHE)
def generate_reports_task(errand: Errand, collected: Collected, enriched: Enriched) -> Report:
    """Write the reports from the ledger through the storage service."""
    logger = get_run_logger()
    with opened(errand, logger) as (pipeline, request):
        report = pipeline.report(collected, request, level=enriched.level, run_id=errand.run_id)
    for path in report.all_paths:
        logger.info("written: %s", path)
    return report


@task(name="notify-completion", cache_policy=NO_CACHE)
def notify_completion_task(errand: Errand, result: dict[str, Any], report: Report) -> bool:
    """Announce the outcome: artifacts in the Prefect UI, and a message through each channel of the app.

    Whether everyone who is told has it now; what cannot be sent waits and never fails the run.
    """
    logger = get_run_logger()
    try:
        publish(result, report.figures.failures)
    except Exception as error:  # noqa: BLE001  # named boundary: the report is written, and people must be told
        logger.warning("the UI goes without the figures of this run: %s", type(error).__name__)
    logger.info(
        "%s: %d runs, %d detailed, %d missing",
        result["app"],
        result["logs_count"],
        result["detailed"],
        result["missing"],
    )
    with forwarded_to(logger):
        return tell_result(errand.order, result)


def name_flow_run() -> str:
    """Name a flow run after its app and period, with the first day of it, as the UI lists it."""
    parameters = runtime.flow_run.parameters or {}
    bounded = parameters.get("created_at_after") or parameters.get("created_at_before")
    period = "custom" if bounded else parameters.get("period") or "yesterday"
    app = parameters.get("app")
    try:
        known = bootstrap.load_settings().app(app)
        note_app(runtime.flow_run.id, known.name, known.id)
        app, tz = known.name, zone(parameters.get("timezone") or known.timezone)
        if period in CALENDAR_PERIODS:
            window = resolve_period(period, instant=scheduled_instant(), tz=tz)
            period = f"{period} {window.after_at.astimezone(tz).date()}"
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
    started = time.monotonic()
    order = RunOrder(
        app=app,
        # The form's default must not stand against bounds; a period that was chosen does, and is refused.
        period=None if period == "yesterday" else period,
        after=created_at_after,
        before=created_at_before,
        timezone=timezone,
        formats=output_format,
        output_dir=output_dir,
        status=status,
        keyword=keyword,
        with_details=with_details,
        with_node_executions=with_node_executions,
        save_data=save_data,
    )
    errand = Errand(order, scheduled_instant(), str(runtime.flow_run.id or "manual")[:8])
    with forwarded_to(get_run_logger()):
        return _run_stages(errand, started, notify_on_complete)


def _run_stages(errand: Errand, started: float, notify_on_complete: bool) -> dict[str, Any]:
    with stages_on(bootstrap.load_settings().task_runner) as run_stage:
        collected = run_stage(fetch_logs_task, errand=errand)
        enriched = run_stage(enrich_logs_task, errand=errand, collected=collected)
        report = run_stage(generate_reports_task, errand=errand, collected=collected, enriched=enriched)
    with bootstrap.open_pipeline(errand.order, errand.instant) as (pipeline, request):
        duration_s = time.monotonic() - started
        result = outcome(pipeline, request, collected, enriched, report, duration_s)
    # Left out are good news only: that something is not proved is always told.
    if notify_on_complete or occasion_of(result).is_trouble:
        notify_completion_task(errand, result, report)
    catch_up_after_run(get_run_logger())
    return result


def scheduled_instant() -> datetime:
    """Give the time this run was meant for, aware UTC; late and past-dated runs keep it."""
    planned = runtime.flow_run.scheduled_start_time
    return planned.astimezone(UTC) if planned else datetime.now(UTC)
