"""Schedules: the deployments that they mean, and the reports that are due by them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flowledger.bootstrap.configuration import load_settings, manager, settings_root
from flowledger.bootstrap.stores import report_folder
from flowledger.domain.windows import CALENDAR_DAYS
from flowledger.errors import FlowledgerError, SettingsError, UsageError
from flowledger.services import report_requests
from flowledger.services.catch_up import Cadence, owed_instant
from flowledger.services.deploy import WORKFLOW, Deployment, Entry, Target, deployments_of
from flowledger.settings import AppSettings, Inspection, Settings
from flowledger.settings.schedules import ScheduleSettings
from flowledger.settings.schedules import load_schedules as load_schedules_of
from flowledger.settings.sources import APPS, open_sources


def prefect_settings() -> tuple[str, str | None]:
    """Return work pool and address of the Prefect server as they are written, whatever else is wrong."""
    reader = manager()
    values: dict[str, object] = {}
    for source in reversed(open_sources(reader.root, reader.environ, {})):
        values |= source()
    pool = values.get("PREFECT_WORK_POOL_NAME") or Settings.model_fields["prefect_work_pool_name"].default
    address = values.get("PREFECT_API_URL")
    return str(pool), str(address) if address else None


def load_schedules() -> Mapping[str, ScheduleSettings]:
    """Return the entries of config/deployments.yaml beside the settings that are switched on.

    :raises SettingsError: with a line for everything that is wrong.
    """
    entries = load_schedules_of(settings_root())
    return {key: entry for key, entry in entries.items() if entry.enabled}


def planned_deployments(settings: Settings) -> Sequence[Deployment]:
    """Return the deployments of all apps and schedules, by the settings and config/deployments.yaml.

    :raises SettingsError: with a line for everything wrong in that file, or with what apps refer to in it.
    """
    planned, problems = deployments_of(
        [_target(app) for app in settings.apps],
        _entries(load_schedules(), settings.timezone, settings.report_language),
    )
    if problems:
        raise SettingsError(problems)
    return planned


def schedule_problems(inspection: Inspection) -> Iterator[str]:
    """Yield a line for everything wrong with config/deployments.yaml, and with what apps refer to in it."""
    try:
        entries = load_schedules()
    except SettingsError as error:
        yield from error.problems
        return
    targets = [
        replace(_target(app), place=inspection.reading.label((APPS, index, "schedules")))
        for index, app in enumerate(inspection.settings.apps)
    ]
    yield from deployments_of(targets, _entries(entries, inspection.settings.timezone))[1]


def _target(app: AppSettings) -> Target:
    return Target(
        app.key,
        app.name,
        app.timezone,
        app.tags,
        app.work_queue,
        app.schedules,
        language=app.language,
    )


def _entries(
    schedules: Mapping[str, ScheduleSettings], timezone: str, language: str = "en"
) -> Mapping[str, Entry]:
    return {
        key: Entry(
            key=key,
            name=schedule.name,
            flow=schedule.flow,
            cron=schedule.schedule,
            period=schedule.period,
            tags=schedule.tags,
            parameters=_parameters(schedule),
            description=schedule.description,
            timezone=schedule.timezone or timezone,
            language=language,
        )
        for key, schedule in schedules.items()
    }


def _parameters(schedule: ScheduleSettings) -> Mapping[str, Any]:
    if schedule.workflow is None:
        return schedule.parameters
    return {WORKFLOW: schedule.workflow, "input": dict(schedule.input)}


def cadences(app: AppSettings) -> Sequence[Cadence]:
    """Return an app's schedules that must report every period of the calendar: those that backfill repeats.

    :raises SettingsError: with a line for everything wrong in config/deployments.yaml.
    """
    planned, problems = deployments_of([_target(app)], _entries(load_schedules(), app.timezone))
    if problems:
        raise SettingsError(problems)
    return tuple(
        Cadence(
            each.key, each.parameters["period"], each.cron, each.parameters, _content(app, each.parameters)
        )
        for each in planned
        if each.cron and each.parameters.get("period") in CALENDAR_DAYS
    )


def _content(app: AppSettings, parameters: Mapping[str, Any]) -> report_requests.ReportContent:
    """Return what the reports of a schedule have by its parameters and the app's settings."""
    order = report_requests.order_from(parameters)
    level = report_requests.requested_level(order.with_details, order.with_node_executions)
    return report_requests.ReportContent(
        storage_of(app, order.output_dir), report_requests.formats_of(order, app.formats), level
    )


def storage_of(app: AppSettings, output_dir: str | None) -> str:
    """Return where an app's reports go: the prefix of its storage, or the folder that an order names."""
    return str(report_folder(output_dir)) if output_dir else app.storage_prefix


def settled_schedule(
    order: report_requests.RunOrder, request: report_requests.ReportRequest, app: AppSettings
) -> str | None:
    """Return the schedule whose due report an order settles: that it is of, unless it has less than its own.

    The comparison is made when the report is written, so that a later change of the settings does not make
    all reports of before due again.
    """
    if order.schedule is None:
        return None
    try:
        own = cadence(app, order.schedule)
    except FlowledgerError:
        return None  # no schedule owes it, such as the custom report
    content = report_requests.ReportContent(storage_of(app, order.output_dir), request.formats, request.level)
    return own.key if content.includes(own.content) and not request.run_filter else None


def cadence(app: AppSettings, key: str) -> Cadence:
    """Return one of an app's schedules.

    :raises UsageError: naming those that it has, where it has none of that key.
    """
    by_key = {each.key: each for each in cadences(app)}
    if key not in by_key:
        raise UsageError(f"{app.name}: no schedule {key!r}: one of {', '.join(by_key) or 'none'}")
    return by_key[key]


def instant_of_scheduled_run(app_id: str, key: str, started: datetime) -> datetime:
    """Return the instant that the period of a run is seen from, of a run that an app's schedule started.

    What cannot be read leaves the time as it is: the run itself reports what is wrong.
    """
    try:
        app = load_settings().app(app_id)
        cron = cadence(app, key).cron
        return owed_instant(cron, started, app.tz) if cron else started
    except FlowledgerError:
        return started
