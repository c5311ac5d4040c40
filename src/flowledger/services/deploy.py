"""From apps and schedules to deployments, and from those to what has to change: pure choices."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from flowledger.domain.runs import AppKey
from flowledger.errors import UsageError
from flowledger.services.report_requests import parse_status

MARK, APP_TAG, SCHEDULE_TAG = "flowledger", "app:", "schedule:"
WORKFLOW_MARK = "flowledger-workflow"
"""By these tags a deployment of ours is found again, whatever it is called.

Those of workflows have another mark: by ``MARK`` runs are known whose heartbeats are watched.
"""
WORKFLOW = "workflow"
WORKFLOWS = AppKey("local", "workflows")
"""Stands for the app of deployments that belong to none."""
LONGEST_SLUG = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """What is run and when, as config/deployments.yaml says it; ``cron`` None means started by hand.

    ``timezone`` and ``language`` are those of workflows, which belong to no app.
    """

    key: str
    name: str
    flow: str
    cron: str | None
    period: str
    tags: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    timezone: str = ""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Target:
    """One app; ``schedules`` are the keys it uses, or key → its own cron; None means all.

    ``place`` is where a person wrote them, ``language`` that of the deployments' forms.
    """

    app: AppKey
    name: str
    timezone: str
    tags: tuple[str, ...] = ()
    work_queue: str | None = None
    schedules: Mapping[str, str] | Sequence[str] | None = None
    place: str = ""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment as it shall be."""

    name: str
    flow: str
    app: AppKey
    app_name: str
    key: str
    cron: str | None
    timezone: str
    tags: tuple[str, ...]
    parameters: Mapping[str, Any]
    description: str
    work_queue: str | None
    language: str = "en"

    @property
    def identity(self) -> tuple[str, str]:
        """App and schedule: what a deployment is for, whatever it is called."""
        return self.app.app_id, self.key


def deployments_of(
    targets: Sequence[Target], entries: Mapping[str, Entry]
) -> tuple[Sequence[Deployment], Sequence[str]]:
    """Return a deployment for each app and each schedule it uses, and a line for everything wrong.

    One of a workflow stands for itself.  One app's deployments are called as their entries, those of
    several apps after entry and app.
    """
    wrong = [line for entry in entries.values() for line in _wrong_words(entry)]
    planned: list[Deployment] = []
    for target in targets:
        wrong += _unknown_keys(target, entries)
        for entry in _used(target, entries):
            planned.append(_deployment(target, entry, alone=len(targets) == 1))
    planned += [_workflow_deployment(entry) for entry in entries.values() if entry.flow == WORKFLOW]
    return planned, [*wrong, *_shared_names(planned)]


def slug(name: str) -> str:
    """Make a part of a deployment's name of an app's; two different names keep two different slugs."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_SLUG]
    if plain == name:
        return plain
    distinct = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{distinct}" if plain else distinct


def _deployment(target: Target, entry: Entry, *, alone: bool) -> Deployment:
    period = {"period": entry.period} if entry.flow == "report" else {}
    crons = target.schedules if isinstance(target.schedules, Mapping) else {}
    tags = (*entry.tags, *target.tags, MARK, APP_TAG + target.app.app_id, SCHEDULE_TAG + entry.key)
    return Deployment(
        name=entry.name if alone else f"{entry.name}-{slug(target.name)}",
        flow=entry.flow,
        app=target.app,
        app_name=target.name,
        key=entry.key,
        cron=crons.get(entry.key, entry.cron),
        timezone=target.timezone,
        tags=tuple(dict.fromkeys(tags)),
        parameters={"app": target.name, **period, **entry.parameters},
        description=entry.description,
        work_queue=target.work_queue,
        language=target.language,
    )


def _workflow_deployment(entry: Entry) -> Deployment:
    tags = (*entry.tags, WORKFLOW_MARK, APP_TAG + WORKFLOWS.app_id, SCHEDULE_TAG + entry.key)
    return Deployment(
        name=entry.name,
        flow=entry.flow,
        app=WORKFLOWS,
        app_name=str(entry.parameters[WORKFLOW]),
        key=entry.key,
        cron=entry.cron,
        timezone=entry.timezone,
        tags=tuple(dict.fromkeys(tags)),
        parameters=entry.parameters,
        description=entry.description,
        work_queue=None,
        language=entry.language,
    )


def _used(target: Target, entries: Mapping[str, Entry]) -> Iterator[Entry]:
    keys = entries if target.schedules is None else target.schedules
    yield from (entries[key] for key in keys if key in entries and entries[key].flow != WORKFLOW)


def _unknown_keys(target: Target, entries: Mapping[str, Entry]) -> Iterator[str]:
    place = target.place or f"schedules of {target.name}"
    own = [key for key, entry in entries.items() if entry.flow != WORKFLOW]
    for key in target.schedules or ():
        if key not in own:
            yield f"{place}: {key!r} is not in config/deployments.yaml: one of {', '.join(own) or 'none'}"


def _wrong_words(entry: Entry) -> Iterator[str]:
    try:
        parse_status(entry.parameters.get("status"))
    except UsageError as error:
        yield f"{entry.key}.parameters.status in config/deployments.yaml: {error}"


def _shared_names(planned: Sequence[Deployment]) -> Iterator[str]:
    holders: dict[str, Deployment] = {}
    for each in planned:
        other = holders.setdefault(each.name, each)
        are_twins = other.app != each.app and other.app_name == each.app_name
        if other is not each and not are_twins:  # two apps of one name have a line of their own
            yield (
                f"two deployments would be called {each.name!r}: {other.key} of {other.app_name} and"
                f" {each.key} of {each.app_name}; change a name in config/deployments.yaml or of an app"
            )


def chosen(planned: Sequence[Deployment], *, app: AppKey | None, only: Sequence[str]) -> Sequence[Deployment]:
    """Return the deployments of one app and of some schedules, of all where none is named."""
    return [each for each in planned if app in (None, each.app) and (not only or each.key in only)]


@dataclass(frozen=True, slots=True)
class Registered:
    """A deployment of ours as the scheduler has it; ``content`` compares with what it shall be.

    ``paused``: a person has switched its schedule off, which stays so.
    """

    id: str
    name: str
    flow: str
    identity: tuple[str, str]
    content: Mapping[str, Any]
    paused: bool = False

    @property
    def mark(self) -> str:
        """Return the tag by which its runs are known."""
        return WORKFLOW_MARK if self.flow == WORKFLOW else MARK


class Act(StrEnum):
    """What happens to a deployment."""

    CREATE = "created"
    UPDATE = "updated"
    UNCHANGED = "unchanged"
    REMOVE = "removed"
    REPLACED = "removed, replaced"
    LEFTOVER = "no longer configured"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one deployment.

    ``desired`` is what it shall be, with its ``content``; ``registered`` what the scheduler has, or what
    is replaced.
    """

    act: Act
    name: str
    desired: Deployment | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    registered: Registered | None = None


def changes(
    desired: Mapping[tuple[str, str], tuple[Deployment, Mapping[str, Any]]],
    registered: Sequence[Registered],
    *,
    prune: bool,
) -> Sequence[Change]:
    """Compare what shall be (with its content) with what is registered; removals come last.

    A registered one for the same app and schedule under another name would report twice: it is removed,
    as soon as the other is there.  One that nothing configures is removed only where that is asked for.
    """
    by_place = {(each.flow, each.name): each for each in registered}
    by_identity = {each.identity: each for each in registered}
    coming = [
        _arrival(deployment, content, by_place.get((deployment.flow, deployment.name)), by_identity)
        for deployment, content in desired.values()
    ]
    remaining = {
        change.registered.id for change in coming if change.registered and change.act is not Act.CREATE
    }
    going = [
        Change(_farewell(each, desired, prune=prune), each.name, registered=each)
        for each in registered
        if each.id not in remaining
    ]
    return [*coming, *going]


def _arrival(
    deployment: Deployment,
    content: Mapping[str, Any],
    existing: Registered | None,
    others: Mapping[tuple[str, str], Registered],
) -> Change:
    if existing is None:
        replaced = others.get(deployment.identity)
        return Change(Act.CREATE, deployment.name, deployment, content, replaced)
    act = Act.UNCHANGED if existing.content == content else Act.UPDATE
    return Change(act, deployment.name, deployment, content, existing)


def _farewell(each: Registered, desired: Mapping[tuple[str, str], Any], *, prune: bool) -> Act:
    if each.identity in desired:
        return Act.REPLACED
    return Act.REMOVE if prune else Act.LEFTOVER
