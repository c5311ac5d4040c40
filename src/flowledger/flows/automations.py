"""What a Prefect server needs besides deployments: pool, queues, and automations for dead and crashed runs.

A run whose worker or machine has died stays Running for ever, and no hook is called.  Its heartbeats stop,
though: one automation then marks it Crashed, which frees its slot, and starts nothing.  The others have every
crash and every cancellation announced: no hook is called where the server was away when a process ended, or
where a run had not begun.  What a hook has announced is not announced again.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flowledger.flows.environment import QUIET
from flowledger.flows.registration import HEARTBEAT_S, PROCESS, Infrastructure, import_flow
from flowledger.services.deploy import MARK

ANNOUNCER = "flowledger.flows.announcements.announce_dead_run_flow"
ANNOUNCEMENT = "announce-dead-run"
DEAD_RUNS = "flowledger: dead runs"
CRASHED_RUNS = "flowledger: crashed runs"
CANCELLED_RUNS = "flowledger: cancelled runs"
SILENT_FOR = timedelta(seconds=3 * HEARTBEAT_S)
HEARTBEAT = "prefect.flow-run.heartbeat"
FINAL_OR_WAITING = (
    "Completed",
    "Failed",
    "Cancelled",
    "Crashed",
    "Cancelling",
    "Paused",
    "Suspended",
    "AwaitingRetry",
)
FLOW_RUNS = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})
OURS = ResourceSpecification(
    {"prefect.resource.id": [f"prefect.tag.{MARK}"], "prefect.resource.role": ["tag"]}
)
FLOW_RUN_ID = {"__prefect_kind": "jinja", "template": "{{ flow_run.id }}"}


def set_up(client: SyncPrefectClient, infrastructure: Infrastructure, queues: Sequence[str]) -> Iterator[str]:
    """Make what is missing, correct what differs, and yield a line for each thing."""
    yield f"work pool {infrastructure.pool}: {_make_pool(client, infrastructure.pool)}"
    for queue in queues:
        yield f"work queue {queue}: {_make_queue(client, infrastructure.pool, queue)}"
    announcer = _register_announcer(client, infrastructure)
    yield f"deployment {ANNOUNCEMENT}: registered"
    for desired in (dead_runs(), crashed_runs(announcer), cancelled_runs(announcer)):
        yield f"automation {desired.name!r}: {_make_automation(client, desired)}"


def _make_pool(client: SyncPrefectClient, name: str) -> str:
    try:
        existing = client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type=PROCESS, base_job_template=template))
        return "created"
    return "unchanged" if existing.type == PROCESS else f"is of type {existing.type}, NOT process: delete it"


def _make_queue(client: SyncPrefectClient, pool: str, name: str) -> str:
    try:
        client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        client.create_work_queue(name, work_pool_name=pool)
        return "created"
    return "unchanged"


def _register_announcer(client: SyncPrefectClient, infrastructure: Infrastructure) -> UUID:
    """Register the flow that announces a dead run; without our tag, so that it never announces itself."""
    flow = import_flow(ANNOUNCER)
    return client.create_deployment(
        flow_id=client.create_flow_from_name(flow.name),
        name=ANNOUNCEMENT,
        tags=[ANNOUNCEMENT],
        description="Started by the automation for crashed runs.",
        work_pool_name=infrastructure.pool,
        entrypoint=ANNOUNCER,
        job_variables={"working_dir": infrastructure.directory, "env": {**QUIET, **infrastructure.variables}},
        parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
        enforce_parameter_schema=True,
        pull_steps=[],
    )


def dead_runs() -> AutomationCore:
    """Return the automation for dead runs: neither a heartbeat nor an end for three heartbeats' time."""
    return AutomationCore(
        name=DEAD_RUNS,
        description="Marks runs Crashed whose heartbeats have stopped.",
        trigger=EventTrigger(
            # A run may die before its first heartbeat has reached the server.
            after={HEARTBEAT, "prefect.flow-run.Running"},
            expect={HEARTBEAT, *(f"prefect.flow-run.{end}" for end in FINAL_OR_WAITING)},
            match=FLOW_RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENT_FOR,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"No heartbeat for {SILENT_FOR.seconds} s: its worker or machine has died.",
            ),
            # Nothing else: this rule fires for runs that have ended meanwhile, too, and the server refuses to
            # change their state.  The crash itself starts the announcement.
        ],
    )


def crashed_runs(announcer: UUID) -> AutomationCore:
    """Return the automation that starts the announcement of each run that has crashed."""
    description = "Announces runs that have crashed, unless their hooks have done so."
    return _announced(CRASHED_RUNS, description, "prefect.flow-run.Crashed", announcer)


def cancelled_runs(announcer: UUID) -> AutomationCore:
    """Return the automation for cancelled runs: one that has not begun has no process that calls its hook."""
    description = "Announces runs that were cancelled, unless their hooks have done so."
    return _announced(CANCELLED_RUNS, description, "prefect.flow-run.Cancelled", announcer)


def _announced(name: str, description: str, event: str, announcer: UUID) -> AutomationCore:
    return AutomationCore(
        name=name,
        description=description,
        trigger=EventTrigger(
            expect={event},
            match=FLOW_RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[_announcement(announcer)],
    )


def _announcement(announcer: UUID) -> RunDeployment:
    return RunDeployment(source="selected", deployment_id=announcer, parameters={"flow_run_id": FLOW_RUN_ID})


def _make_automation(client: SyncPrefectClient, desired: AutomationCore) -> str:
    existing = client.read_automations_by_name(desired.name)
    if not existing:
        client.create_automation(desired)
        return "created"
    for spare in existing[1:]:
        client.delete_automation(spare.id)
    if _same(existing[0], desired):
        return "unchanged"
    client.update_automation(existing[0].id, desired.model_copy(update={"enabled": existing[0].enabled}))
    return "updated"


def _same(existing: Automation, desired: AutomationCore) -> bool:
    ours, theirs = (
        each.model_dump(mode="json", include={"name", "description", "trigger", "actions"})
        for each in (desired, existing)
    )
    return _without_ids(ours) == _without_ids(theirs)


def _without_ids(dumped: dict[str, object]) -> dict[str, object]:
    trigger = dumped.get("trigger")
    if isinstance(trigger, dict):
        # Sets have no order of their own, and the server gives triggers ids.
        dumped["trigger"] = {
            name: sorted(value) if isinstance(value, list) else value
            for name, value in trigger.items()
            if name != "id"
        }
    return dumped
