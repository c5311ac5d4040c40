"""``flowledger deploy``: register what config/deployments.yaml says, all of it or nothing."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

import click

from flowledger import bootstrap
from flowledger.bootstrap import auditing, config_checks, schedules
from flowledger.bootstrap.config_checks import probe
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.errors import SettingsError, UsageError
from flowledger.services.deploy import Act, Change, Deployment, chosen
from flowledger.settings import Inspection, Settings
from flowledger.settings.config import is_stand_in

MARKS = {
    Act.CREATE: "+",
    Act.UPDATE: "~",
    Act.UNCHANGED: "=",
    Act.REMOVE: "-",
    Act.REPLACED: "-",
    Act.LEFTOVER: "!",
}


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What a person asked for."""

    app: str | None = None
    only: tuple[str, ...] = ()
    dry_run: bool = False
    prune: bool = False
    setup: bool = False
    offline: bool = False


@click.command()
@click.option("--app", help="Only this app's; name or id.")
@click.option(
    "--only", metavar="KEY", multiple=True, help="Only this entry, such as daily_report; can be repeated."
)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--prune", is_flag=True, help="Remove deployments of ours that nothing configures any more.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
@click.option("--setup", is_flag=True, help="Make profile, pool, queues and automation first.")
@click.option(
    "--setup-only", is_flag=True, help="Make profile, pool, queues and automation, register nothing."
)
@click.option("--offline", is_flag=True, help="Do not ask ledger, bucket, mail servers and Dify first.")
def deploy(  # the words of the command
    app: str | None,
    only: tuple[str, ...],
    dry_run: bool,
    prune: bool,
    as_json: bool,
    setup: bool,
    setup_only: bool,
    offline: bool,
) -> None:
    """Register one deployment for each app and schedule; what is as it should be is left alone.

    Everything is checked before anything is registered, and all problems are listed together.
    """
    request = DeployRequest(app, only, dry_run, prune, setup or setup_only, offline or setup_only)
    if dry_run and request.setup:
        raise UsageError("--dry-run makes nothing: leave out --setup")
    settings, planned = checked(request)
    if request.setup:
        for line in set_up(settings):
            click.echo(line, err=as_json)
        auditing.record_act("SETUP", settings.prefect_work_pool_name, {}, settings=settings)
    if not dry_run:
        auditing.record_settings()
    if not setup_only:
        show(register(settings, planned, request), as_json=as_json, dry_run=dry_run)


def checked(request: DeployRequest) -> tuple[Settings, Sequence[Deployment]]:
    """Return settings and desired deployments, once everything that they need has passed its check.

    :raises UsageError: for an unknown app or entry, before anything is asked.
    :raises SettingsError: with a line for everything wrong, from all of them together.
    """
    inspection, problems = config_checks.settings_problems()
    settings, wrong = inspection.settings, list(problems)
    planned = () if problems else schedules.planned_deployments(settings)
    desired = () if problems else _chosen_deployments(settings, planned, request)
    if problems:
        # No deployments were planned then, which could say whether the words are right.
        wrong += strange_words(settings, request)
    if inspection.reading.is_partial:
        raise SettingsError(wrong)  # what cannot be read may name another server
    pool, api_url = schedules.prefect_settings()
    point_prefect_at(api_url, setup=request.setup)
    from flowledger.flows import registration as deployment_checks

    wrong += deployment_checks.check_words(planned)
    wrong += deployment_checks.check_server(pool, may_lack_pool=request.setup)
    if not request.offline:
        wrong += _refused(inspection)
    if wrong:
        # Several checks may find the same thing: it is listed once.
        raise SettingsError(list(dict.fromkeys(wrong)))
    return settings, desired


def strange_words(settings: Settings, request: DeployRequest) -> Iterator[str]:
    """Yield a line for each unknown word, as far as settings that are partly wrong allow."""
    if settings.apps and not any(map(is_stand_in, settings.apps)):
        try:
            _app(settings, request)
        except UsageError as error:
            yield str(error)
    with suppress(SettingsError):  # its problems are told already
        if refusal := _unknown_keys(request, schedules.load_schedules()):
            yield refusal


def _refused(inspection: Inspection) -> Sequence[str]:
    """Ask all that the runs will need, and say what cannot be found out."""
    probed = probe(inspection)
    for line in probed.notes:
        click.echo(f"note  {line}", err=True)
    return probed.problems


def point_prefect_at(api_url: str | None, *, setup: bool) -> None:
    """Point Prefect at the server before it is imported; setting up writes its profile as well."""
    from flowledger.flows import environment  # Prefect reads its settings when it is imported

    environment.point_at(os.environ, api_url=api_url)
    if setup:
        from flowledger.flows import profiles

        os.environ.setdefault("PREFECT_API_URL", profiles.active_address() or profiles.LOCAL_SERVER)


def _chosen_deployments(
    settings: Settings, planned: Sequence[Deployment], request: DeployRequest
) -> Sequence[Deployment]:
    if refusal := _unknown_keys(request, dict.fromkeys(each.key for each in planned)):
        raise UsageError(refusal)
    return chosen(planned, app=_app(settings, request), only=request.only)


def _unknown_keys(request: DeployRequest, keys: Collection[str]) -> str:
    strange = ", ".join(key for key in request.only if key not in keys)
    return f"--only {strange}: no such entry is used: one of {', '.join(keys) or 'none'}" if strange else ""


def _app(settings: Settings, request: DeployRequest) -> AppKey | None:
    return settings.app(request.app).key if request.app else None


def set_up(settings: Settings) -> Iterator[str]:
    """Make profile, pool, queues and automation, and give a line for each."""
    from flowledger.flows import profiles
    from flowledger.flows.automations import set_up as make
    from flowledger.flows.backfill_runs import prefect_api
    from flowledger.flows.registration import infrastructure_of

    address = os.environ["PREFECT_API_URL"]
    yield f"Prefect profile {profiles.NAME} ({address}): {profiles.write_profile(address)}"
    queues = tuple(dict.fromkeys(app.work_queue for app in settings.apps if app.work_queue))
    with prefect_api() as client:
        yield from make(client, infrastructure_of(settings), queues)
    yield "A server that is started elsewhere than under this profile keeps runs for ever, and at a restart"
    yield "cancels those that are about to begin, unless it is told:"
    for name, value in {**profiles.VACUUM, **profiles.LEASES}.items():
        yield f"  {name}={value}"


def register(settings: Settings, desired: Sequence[Deployment], request: DeployRequest) -> Sequence[Change]:
    """Compare with what is registered and, unless it is a dry run, make it so."""
    from flowledger.flows import registration
    from flowledger.flows.backfill_runs import prefect_api

    own = _app(settings, request)

    def within(identity: tuple[str, str]) -> bool:
        app_id, key = identity
        return (own is None or app_id == own.app_id) and (not request.only or key in request.only)

    with prefect_api() as client:
        planned = registration.compare(
            client, desired, registration.infrastructure_of(settings), within, prune=request.prune
        )
        if request.dry_run:
            return planned
        done: list[Change] = []
        try:
            for change in registration.apply(client, planned):
                done.append(change)
        finally:
            # What was registered before an error or Ctrl+C is registered all the same.
            _record(settings, done)
    return planned


def _record(settings: Settings, done: Sequence[Change]) -> None:
    at = bootstrap.clock.utc_now()
    with bootstrap.opened_ledger(settings) as ledger:
        ledger.record(
            Operation(
                operation_id=f"deploy-{uuid4().hex}",
                operation_type="DEPLOY",
                at=at,
                user=bootstrap.user_name(),
                subject=settings.prefect_work_pool_name,
                data={act.value: [each.name for each in done if each.act is act] for act in Act},
            )
        )


def show(done: Sequence[Change], *, as_json: bool, dry_run: bool) -> None:
    """Print a line for each deployment, and how many of each kind there are."""
    if as_json:
        rows = [{"name": each.name, "result": each.act.value, "dry_run": dry_run} for each in done]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for change in done:
        click.echo(f"{MARKS[change.act]} {change.name}{_about(change)}: {change.act}")
    counts = {act: sum(each.act is act for each in done) for act in Act}
    what = ", ".join(f"{count} {act}" for act, count in counts.items() if count)
    click.echo(f"{'would be: ' if dry_run else ''}{what or 'nothing is configured'}")
    if counts[Act.LEFTOVER]:
        click.echo("what is no longer configured goes on reporting: remove it with --prune", err=True)


def _about(change: Change) -> str:
    desired = change.desired
    if desired is None:
        return ""
    when = f"{desired.cron} {desired.timezone}" if desired.cron else "started by hand"
    return f" ({desired.app_name}, {when})"
