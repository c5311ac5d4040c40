"""What a Prefect server needs besides deployments: pool, queues, and automations for what is dead or deleted.

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
from flowledger.flows.registration import HEARTBEAT_S, PROCESS, WORDS, Infrastructure, import_flow
from flowledger.services.deploy import MARK

ANNOUNCER = "flowledger.flows.announcements.announce_dead_run_flow"
ENDER = "flowledger.flows.announcements.end_orphaned_runs_flow"
DEAD_RUNS = "flowledger: dead runs"
CRASHED_RUNS = "flowledger: crashed runs"
CANCELLED_RUNS = "flowledger: cancelled runs"
DELETED_DEPLOYMENTS = "flowledger: deleted deployments"
SILENT_FOR = timedelta(seconds=2.5 * HEARTBEAT_S)
"""Two signs of life have failed to come; with three, people would hear of it after two minutes."""
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
OUR_FLOWS = ResourceSpecification(
    {"prefect.resource.role": ["flow"], "prefect.resource.name": list(WORDS)},
)
"""The event of a deployment names its flow, but none of its tags."""
FLOW_RUN_ID = {"__prefect_kind": "jinja", "template": "{{ flow_run.id }}"}
RESOURCE_ID = {"__prefect_kind": "jinja", "template": "{{ event.resource.id }}"}


def set_up(client: SyncPrefectClient, infrastructure: Infrastructure, queues: Sequence[str]) -> Iterator[str]:
    """Make what is missing, correct what differs, and yield a line for each thing."""
    yield f"work pool {infrastructure.pool}: {_make_pool(client, infrastructure.pool)}"
    for queue in queues:
        yield f"work queue {queue}: {_make_queue(client, infrastructure.pool, queue)}"
    announcer = _register(client, infrastructure, ANNOUNCER, "Started by the automations for dead runs.")
    ender = _register(client, infrastructure, ENDER, "Started by the automation for deleted deployments.")
    yield "deployments announce-dead-run, end-orphaned-runs: registered"
    for desired in (
        dead_runs(),
        crashed_runs(announcer),
        cancelled_runs(announcer),
        deleted_deployments(ender),
    ):
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


def _register(
    client: SyncPrefectClient, infrastructure: Infrastructure, entrypoint: str, description: str
) -> UUID:
    """Register a flow that automations start; without our tag, so that it never announces itself."""
    flow = import_flow(entrypoint)
    return client.create_deployment(
        flow_id=client.create_flow_from_name(flow.name),
        name=flow.name,
        tags=[flow.name],
        description=description,
        work_pool_name=infrastructure.pool,
        entrypoint=entrypoint,
        job_variables={"working_dir": infrastructure.directory, "env": {**QUIET, **infrastructure.variables}},
        parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
        enforce_parameter_schema=True,
        pull_steps=[],
    )


def dead_runs() -> AutomationCore:
    """Return the automation for dead runs: neither a heartbeat nor an end for ``SILENT_FOR``."""
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


def deleted_deployments(ender: UUID) -> AutomationCore:
    """Return the automation that ends what waits of a deleted deployment: nobody else ever would."""
    return _starting(
        DELETED_DEPLOYMENTS,
        "Cancels runs that wait of deployments that were deleted.",
        _each("prefect.deployment.deleted", "prefect.deployment.*", OUR_FLOWS),
        RunDeployment(source="selected", deployment_id=ender, parameters={"deployment": RESOURCE_ID}),
    )


def _announced(name: str, description: str, event: str, announcer: UUID) -> AutomationCore:
    announcement = RunDeployment(
        source="selected", deployment_id=announcer, parameters={"flow_run_id": FLOW_RUN_ID}
    )
    return _starting(name, description, _each(event, "prefect.flow-run.*", OURS), announcement)


def _each(event: str, resource: str, related: ResourceSpecification) -> EventTrigger:
    """Return the trigger of each single event of a kind."""
    return EventTrigger(
        expect={event},
        match=ResourceSpecification({"prefect.resource.id": [resource]}),
        match_related=related,
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )


def _starting(name: str, description: str, trigger: EventTrigger, action: RunDeployment) -> AutomationCore:
    return AutomationCore(name=name, description=description, trigger=trigger, actions=[action])


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
