"""Deployments on a Prefect server: checked first, then read, compared and written, all of it or nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, get_type_hints
from uuid import UUID

from httpx import HTTPError
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, ParameterTypeError, PrefectException
from prefect.settings import PREFECT_API_URL
from pydantic.fields import FieldInfo

from flowledger import bootstrap
from flowledger.flows.environment import QUIET
from flowledger.flows.form_texts import form_text
from flowledger.flows.orphans import end_waiting
from flowledger.services import deploy
from flowledger.settings import Settings

FLOWS: Mapping[str, str] = {
    "report": "flowledger.flows.fetch_workflow_logs.fetch_workflow_logs_flow",
    "cleanup": "flowledger.flows.cleanup.cleanup_storage_flow",
    deploy.WORKFLOW: "flowledger.flows.workflows.execute",
}
"""Flow of an entry → where a worker imports it from, in a checkout as in an installed package."""
WORDS: Mapping[str, str] = {
    "fetch-workflow-logs": "report",
    "cleanup-storage": "cleanup",
    "workflow-execution": deploy.WORKFLOW,
}
"""Name of a flow in Prefect → the word an entry uses."""
HEARTBEAT_S = 30
"""Prefect allows no shorter time between two signs of life."""
PATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "8"}
"""A run waits 2 + 4 + … + 256 s, eight minutes, for a Prefect server that restarts; by default it is one."""
PAGE = 200
DEFAULT_QUEUE = "default"
ONE_AT_A_TIME = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
"""A second run waits; CANCEL_NEW would throw away what is caught up after an outage."""


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """Where deployments run: the work pool, the folder of settings, and variables without secrets."""

    pool: str
    directory: str
    variables: Mapping[str, str]

    @property
    def job_variables(self) -> dict[str, Any]:
        """What a worker gives each run; with a heartbeat, by which a dead run is found."""
        beat = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
        return {"working_dir": self.directory, "env": {**QUIET, **PATIENT, **beat, **self.variables}}

    def job_variables_of(self, flow: str) -> dict[str, Any]:
        """Return what a worker gives a run of a flow; executions of workflows have leases, no heartbeat."""
        if flow != deploy.WORKFLOW:
            return self.job_variables
        return {"working_dir": self.directory, "env": {**QUIET, **PATIENT, **self.variables}}


def infrastructure_of(settings: Settings) -> Infrastructure:
    """Return where deployments run: pool, folder, and the name of the environment, which is no secret."""
    name = settings.flowledger_env
    return Infrastructure(
        settings.prefect_work_pool_name,
        str(bootstrap.settings_root().resolve()),
        {"FLOWLEDGER_ENV": name} if name else {},
    )


def flow_of(name: str) -> Flow[..., Any]:
    """Import a flow by the word an entry uses."""
    return import_flow(FLOWS[name])


@cache
def import_flow(path: str) -> Flow[..., Any]:
    module, _, attribute = path.rpartition(".")
    imported: Flow[..., Any] = getattr(import_module(module), attribute)
    return imported


def read_registered(client: SyncPrefectClient) -> Iterator[deploy.Registered]:
    """Yield every deployment with our tag, of all apps."""
    names: dict[UUID, str] = {}
    ours = DeploymentFilter(tags=DeploymentFilterTags(any_=[deploy.MARK, deploy.WORKFLOW_MARK]))
    offset = 0
    while page := client.read_deployments(deployment_filter=ours, limit=PAGE, offset=offset):
        for each in page:
            app, key = _tagged(each.tags, deploy.APP_TAG), _tagged(each.tags, deploy.SCHEDULE_TAG)
            if app is None or key is None:
                continue
            if each.flow_id not in names:
                names[each.flow_id] = client.read_flow(each.flow_id).name
            flow = names[each.flow_id]
            paused = any(not schedule.active for schedule in each.schedules)
            yield deploy.Registered(
                str(each.id), each.name, WORDS.get(flow, flow), (app, key), _registered_content(each), paused
            )
        offset += len(page)


def _tagged(tags: Sequence[str], prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)


def desired_content(deployment: deploy.Deployment, infrastructure: Infrastructure) -> dict[str, Any]:
    """Return all that makes a deployment what it is, as plain values that compare with a registered one's."""
    is_workflow = deployment.flow == deploy.WORKFLOW  # executions do not wait for one another
    return {
        "tags": list(deployment.tags),
        "parameters": dict(deployment.parameters),
        "description": form_text(deployment.description, deployment.language),
        "work_pool_name": infrastructure.pool,
        "work_queue_name": deployment.work_queue or DEFAULT_QUEUE,
        "entrypoint": FLOWS[deployment.flow],
        "job_variables": infrastructure.job_variables_of(deployment.flow),
        "parameter_openapi_schema": form_of(deployment),
        "schedules": [[deployment.key, deployment.cron, deployment.timezone]] if deployment.cron else [],
        "concurrency": [None, None] if is_workflow else [1, ONE_AT_A_TIME.collision_strategy.value],
    }


def form_of(deployment: deploy.Deployment) -> dict[str, Any]:
    """Return the parameters' schema, from which the UI makes a form in the app's language, for this app."""
    flow = flow_of(deployment.flow)
    schema = flow.parameters.model_dump_for_openapi()
    descriptions = _descriptions(flow, deployment.language)
    fields = {
        name: {**_box(field), **descriptions.get(name, {})} for name, field in schema["properties"].items()
    }
    if "app" not in fields:
        return {**schema, "properties": fields}
    app = {name: each for name, each in fields["app"].items() if name in ("title", "description", "position")}
    own = {**app, "type": "string", "enum": [deployment.app_name], "default": deployment.app_name}
    return {**schema, "properties": {**fields, "app": own}}


def _box(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optional text as one input box: the UI would first ask whether it is a text or None."""
    kinds = [each.get("type") for each in field.get("anyOf", ())]
    if kinds != ["string", "null"]:
        return dict(field)
    rest = {name: descriptions for name, descriptions in field.items() if name not in ("anyOf", "default")}
    return {**rest, "type": "string"}


def _descriptions(flow: Flow[..., Any], language: str) -> Mapping[str, Mapping[str, str]]:
    """Return titles and descriptions of a flow's parameters; Prefect's own schema has their names instead."""
    hints = get_type_hints(flow.fn, include_extras=True)
    return {
        name: {
            word: form_text(text, language)
            for word in ("title", "description")
            if (text := getattr(field, word))
        }
        for name, hint in hints.items()
        for field in getattr(hint, "__metadata__", ())
        if isinstance(field, FieldInfo)
    }


def _registered_content(each: DeploymentResponse) -> dict[str, Any]:
    limit, options = each.global_concurrency_limit, each.concurrency_options
    return {
        "tags": list(each.tags),
        "parameters": dict(each.parameters),
        "description": each.description or "",
        "work_pool_name": each.work_pool_name,
        "work_queue_name": each.work_queue_name,
        "entrypoint": each.entrypoint,
        "job_variables": dict(each.job_variables),
        "parameter_openapi_schema": dict(each.parameter_openapi_schema or {}),
        "schedules": [_schedule(schedule) for schedule in each.schedules],
        "concurrency": [limit and limit.limit, options and options.collision_strategy.value],
    }


def _schedule(registered: Any) -> list[Any]:
    return [
        registered.slug,
        getattr(registered.schedule, "cron", None),
        getattr(registered.schedule, "timezone", None),
    ]


def compare(
    client: SyncPrefectClient,
    desired: Sequence[deploy.Deployment],
    infrastructure: Infrastructure,
    within: Callable[[tuple[str, str]], bool],
    *,
    prune: bool,
) -> Sequence[deploy.Change]:
    """Return what has to change; ``within`` chooses the registered deployments by app id and schedule."""
    registered = [each for each in read_registered(client) if within(each.identity)]
    contents = {each.identity: (each, desired_content(each, infrastructure)) for each in desired}
    return deploy.changes(contents, registered, prune=prune)


def apply(client: SyncPrefectClient, planned: Sequence[deploy.Change]) -> Iterator[deploy.Change]:
    """Make the planned changes, in their order, and yield each when it is made.

    One after another: Prefect's server on SQLite is slower with several at once (measured).
    """
    flow_ids: dict[str, UUID] = {}
    for change in planned:
        desired = change.desired
        if change.act in (deploy.Act.CREATE, deploy.Act.UPDATE) and desired:
            if desired.flow not in flow_ids:
                flow_ids[desired.flow] = client.create_flow_from_name(flow_of(desired.flow).name)
            write(client, flow_ids[desired.flow], desired, change)
        elif change.act in (deploy.Act.REMOVE, deploy.Act.REPLACED) and change.registered:
            deployment_id = UUID(change.registered.id)
            client.delete_deployment(deployment_id)
            end_waiting(client, deployment_id, change.registered.mark)
        yield change


def write(
    client: SyncPrefectClient, flow_id: UUID, desired: deploy.Deployment, change: deploy.Change
) -> UUID:
    """Create or replace one deployment; a schedule that somebody paused stays paused."""
    content = change.content
    return client.create_deployment(
        flow_id=flow_id,
        name=desired.name,
        tags=content["tags"],
        parameters=content["parameters"],
        description=content["description"],
        work_pool_name=content["work_pool_name"],
        work_queue_name=content["work_queue_name"],
        entrypoint=content["entrypoint"],
        job_variables=content["job_variables"],
        parameter_openapi_schema=content["parameter_openapi_schema"],
        enforce_parameter_schema=True,
        schedules=_cron_of(desired, active=not (change.registered and change.registered.paused)),
        concurrency_limit=content["concurrency"][0],
        concurrency_options=ONE_AT_A_TIME if content["concurrency"][0] else None,
        pull_steps=[],
    )


def _cron_of(desired: deploy.Deployment, *, active: bool) -> list[DeploymentScheduleCreate]:
    if not desired.cron:
        return []
    schedule = CronSchedule(cron=desired.cron, timezone=desired.timezone)
    return [DeploymentScheduleCreate(schedule=schedule, slug=desired.key, active=active)]


PROCESS = "process"
SETUP = "run scripts/setup_prefect.sh"


def check_words(planned: Sequence[deploy.Deployment]) -> Iterator[str]:
    """Yield a line for each cron, zone and parameter that Prefect or the flow would refuse."""
    for each in planned:
        who = f"{each.key} of {each.app_name}"
        try:
            if each.cron:
                CronSchedule(cron=each.cron, timezone=each.timezone)
        except ValueError:
            yield f"{who}: Prefect does not understand the schedule {each.cron!r} in {each.timezone}"
        try:
            flow_of(each.flow).validate_parameters(dict(each.parameters))
        except (ParameterTypeError, TypeError, ValueError) as error:
            yield f"{who}: the flow does not take these parameters: {error}"


def check_server(pool: str, *, may_lack_pool: bool = False) -> Iterator[str]:
    """Yield a line for what the server lacks, or why it does not answer; setting up makes a missing pool."""
    if not PREFECT_API_URL.value():
        yield f"PREFECT_API_URL is not set: start a server (prefect server start) and {SETUP}"
        return
    try:
        with get_client(sync_client=True) as client:
            work_pool = client.read_work_pool(pool)
    except ObjectNotFound:
        if may_lack_pool:
            return
        yield f"PREFECT_WORK_POOL_NAME: there is no work pool {pool!r} on {PREFECT_API_URL.value()}: {SETUP}"
    except (HTTPError, PrefectException, RuntimeError) as error:
        yield unreachable(error)
    else:
        yield from _wrong_type(work_pool)


def unreachable(error: Exception) -> str:
    """Explain that the server does not answer, and how to start one."""
    return (
        f"the Prefect server at {PREFECT_API_URL.value()} does not answer ({type(error).__name__}):"
        " start it (prefect server start), or correct PREFECT_API_URL"
    )


def _wrong_type(pool: WorkPool) -> Iterator[str]:
    if pool.type != PROCESS:
        yield (
            f"PREFECT_WORK_POOL_NAME: the work pool {pool.name!r} is of type {pool.type}, not process:"
            f" name another one, or delete it and {SETUP}"
        )
