"""What is deployed, and what the schedules owe."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from flowledger.bootstrap.configuration import manager, settings_root
from flowledger.domain.windows import CALENDAR_DAYS
from flowledger.errors import SettingsError, UsageError
from flowledger.services.catch_up import Cadence
from flowledger.services.deploy import Deployment, Entry, Target, deployments_of
from flowledger.settings import AppSettings, Inspection, Settings
from flowledger.settings.schedules import ScheduleSettings
from flowledger.settings.schedules import load_schedules as load_schedules_of
from flowledger.settings.sources import APPS, open_sources


def scheduler_said() -> tuple[str, str | None]:
    """Give work pool and address of the Prefect server as they are written, whatever else is wrong."""
    reader = manager()
    said: dict[str, object] = {}
    for source in reversed(open_sources(reader.root, reader.environ, {})):
        said |= source()
    pool = said.get("PREFECT_WORK_POOL_NAME") or Settings.model_fields["prefect_work_pool_name"].default
    address = said.get("PREFECT_API_URL")
    return str(pool), str(address) if address else None


def load_schedules() -> Mapping[str, ScheduleSettings]:
    """Read config/deployments.yaml beside the settings, without the entries that are switched off.

    :raises SettingsError: with a line for everything that is wrong.
    """
    entries = load_schedules_of(settings_root())
    return {key: entry for key, entry in entries.items() if entry.enabled}


def planned_deployments(settings: Settings) -> Sequence[Deployment]:
    """Give the deployments that the settings and config/deployments.yaml mean, of all apps and schedules.

    :raises SettingsError: with a line for everything wrong in that file, and with what the apps want of it.
    """
    planned, problems = deployments_of([_target(app) for app in settings.apps], _entries(load_schedules()))
    if problems:
        raise SettingsError(problems)
    return planned


def schedule_problems(inspection: Inspection) -> Iterator[str]:
    """Give a line for everything wrong with config/deployments.yaml, and with what the apps want of it."""
    try:
        entries = load_schedules()
    except SettingsError as error:
        yield from error.problems
        return
    targets = [
        replace(_target(app), place=inspection.reading.label((APPS, index, "schedules")))
        for index, app in enumerate(inspection.settings.apps)
    ]
    yield from deployments_of(targets, _entries(entries))[1]


def _target(app: AppSettings) -> Target:
    return Target(app.key, app.name, app.timezone, app.tags, app.work_queue, app.schedules)


def _entries(schedules: Mapping[str, ScheduleSettings]) -> Mapping[str, Entry]:
    return {
        key: Entry(
            key=key,
            name=said.name,
            flow=said.flow,
            cron=said.schedule,
            period=said.period,
            tags=said.tags,
            parameters=said.parameters,
            description=said.description,
        )
        for key, said in schedules.items()
    }


def cadences(app: AppSettings) -> Sequence[Cadence]:
    """Give what an app's schedules owe it: its reports of a calendar's periods, by their keys.

    :raises SettingsError: with a line for everything wrong in config/deployments.yaml.
    """
    planned, problems = deployments_of([_target(app)], _entries(load_schedules()))
    if problems:
        raise SettingsError(problems)
    return tuple(
        Cadence(each.key, each.parameters["period"], each.cron, each.parameters)
        for each in planned
        if each.cron and each.parameters.get("period") in CALENDAR_DAYS
    )


def cadence(app: AppSettings, key: str) -> Cadence:
    """Give one of an app's schedules.

    :raises UsageError: with those it has, where it has none of that key.
    """
    known = {each.key: each for each in cadences(app)}
    if key not in known:
        raise UsageError(f"{app.name}: no schedule {key!r}: one of {', '.join(known) or 'none'}")
    return known[key]
