"""Executions as Prefect shows them: a flow run each, its steps as task runs, and what people did to it there.

All that Prefect does not document is here, and held to the locked version by a contract test: task runs are
made of events, as Prefect's own engine does, so that an execution of a hundred steps costs one request.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from prefect import states
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.flows.registration import FLOWS, Infrastructure, import_flow
from flowledger.services.deploy import WORKFLOW, WORKFLOW_MARK
from flowledger.workflow_ports import Execution, Step, Wait

DEPLOYMENT = "executions"
PREFECT = "prefect"
"""The trigger of executions that a flow run started: their ids are those of the flow runs."""
OURS = "Flowledger: "
"""Begins the message of every state that we set; what begins otherwise somebody else has set."""
MOST_TASK_RUNS = 300
LONGEST_TEXT = 1_000
PAGE = 200
_STATES: Mapping[StepStatus, tuple[StateType, str]] = {
    StepStatus.RUNNING: (StateType.RUNNING, "Running"),
    StepStatus.WAITING: (StateType.PAUSED, "Waiting"),
    StepStatus.SUCCESS: (StateType.COMPLETED, "Completed"),
    StepStatus.FAILED: (StateType.FAILED, "Failed"),
    StepStatus.SKIPPED: (StateType.COMPLETED, "Skipped"),
    StepStatus.CANCELLED: (StateType.CANCELLED, "Cancelled"),
}


def state_of(execution: Execution, waits: Sequence[Wait] = ()) -> State[Any]:
    """Return the state that shows how an execution is."""
    error = _text(execution.error)
    state: State[Any]
    match execution.status:
        case RunStatus.SUCCESS:
            state = states.Completed(message=f"attempt {execution.attempt} succeeded")
        case RunStatus.PARTIAL:
            state = states.Completed(name="Partial", message="some steps failed, and it went on")
        case RunStatus.FAILED:
            state = states.Failed(message=error)
        case RunStatus.CANCELLED:
            state = states.Cancelled(message=error or "cancelled")
        case RunStatus.INTERRUPTED:
            state = states.Crashed(message=error)
        case RunStatus.PAUSED:
            what = ", ".join(f"{wait.kind} {wait.key}" for wait in waits[:5])
            # A key must not come again, or Prefect takes the suspension for an old one.
            state = states.Suspended(
                pause_key=f"park-{execution.attempt}",
                message=f"waits for {what}" if what else "paused until it is resumed",
            )
        case _:
            state = states.Running(message=f"attempt {execution.attempt}")
    state.message = f"{OURS}{state.message}"
    return state


def is_ours(state: State[Any] | None) -> bool:
    """Return whether a state is one that we have set."""
    return bool(state and state.message and state.message.startswith(OURS))


def key_of(run: FlowRun) -> str:
    """Return the id, or the number, of the execution that a flow run shows."""
    named = run.parameters.get("execution")
    return str(named) if named else run.id.hex


def task_id(run_id: UUID, step: Step) -> UUID:
    """Return the id of a try's task run, always the same."""
    return uuid5(run_id, f"{step.key}:{step.generation}:{step.try_no}")


def task_event(run_id: UUID, step: Step) -> dict[str, Any]:
    """Return the event by which Prefect records a try as a task run."""
    kind, name = _STATES[step.status]
    begun = step.started_at or step.completed_at or datetime.now(UTC)
    ended = step.completed_at if step.status.is_settled else None
    number, task = task_id(run_id, step), f"{step.key} · {step.name}" if step.key != step.name else step.name
    title = task if step.try_no == 1 else f"{task} · try {step.try_no}"
    message = _text(step.error) or step.node_type
    return {
        "id": str(uuid5(number, name)),
        "occurred": (ended or begun).isoformat(),
        "event": f"prefect.task-run.{name}",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{number}",
            "prefect.resource.name": title,
            "prefect.run-count": "1",
            "prefect.state-message": message,
            "prefect.state-name": name,
            "prefect.state-timestamp": (ended or begun).isoformat(),
            "prefect.state-type": kind.value,
            "prefect.orchestration": "client",
        },
        "related": [
            {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "flow-run"}
        ],
        "payload": {
            "intended": {"from": None, "to": kind.value},
            "initial_state": None,
            "validated_state": {"type": kind.value, "name": name, "message": message, "state_details": {}},
            "task_run": {
                "name": title,
                "task_key": f"{step.node_type}.{step.alias}",
                "dynamic_key": f"{step.key}:{step.generation}:{step.try_no}",
                "tags": [],
                "run_count": 1,
                "flow_run_run_count": 1,
                "expected_start_time": begun.isoformat(),
                "start_time": begun.isoformat(),
                **({"end_time": ended.isoformat()} if ended else {}),
                "total_run_time": (ended - begun).total_seconds() if ended else 0.0,
            },
        },
    }


def _text(text: str | None) -> str:
    return (text or "")[:LONGEST_TEXT]


class FlowRuns:
    """Prefect's API, for executions."""

    def __init__(self, client: PrefectClient, infrastructure: Infrastructure) -> None:
        self._client = client
        self._infrastructure = infrastructure
        self._deployment: UUID | None = None

    async def register(self, execution: Execution) -> UUID:
        """Create the flow run of an execution, or return the one that it has."""
        if execution.flow_run_id is not None:
            return UUID(execution.flow_run_id)
        if execution.trigger == PREFECT:
            return UUID(execution.execution_id)
        run = await self._client.create_flow_run_from_deployment(
            await self._ensured(),
            parameters={"execution": execution.execution_id},
            state=states.Running(message=f"{OURS}attempt {execution.attempt}"),
            name=execution.name,
            tags=[f"workflow:{execution.workflow_name}"[:200]],
            # Killed before its id was kept, the next one who asks gets the same run.
            idempotency_key=execution.execution_id,
        )
        return run.id

    async def show(self, run_id: UUID, state: State[Any]) -> None:
        """Let a flow run show a state; one that was deleted stays deleted."""
        try:
            await self._client.set_flow_run_state(run_id, state, force=True)
        except ObjectNotFound:
            return

    async def record(self, run_id: UUID, steps: Iterable[Step]) -> None:
        """Let the tries of steps be the flow run's task runs; those it has change."""
        events = [task_event(run_id, step) for step in steps]
        if events:
            await self._client.request("POST", "/events", json=events)

    async def acted(self) -> Sequence[FlowRun]:
        """Return the flow runs that somebody wants to be cancelled, resumed, tried again or started now."""
        chosen = filters.FlowRunFilter(
            state=_of_types(StateType.CANCELLING, StateType.SCHEDULED),
            expected_start_time=filters.FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
        )
        return await self._read(chosen)

    async def among(self, run_ids: Sequence[str], *types: StateType) -> Sequence[FlowRun]:
        """Return those of some flow runs that are in such states."""
        found: list[FlowRun] = []
        for start in range(0, len(run_ids), PAGE):
            ids = [UUID(each) for each in run_ids[start : start + PAGE]]
            chosen = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=ids), state=_of_types(*types))
            found += await self._read(chosen)
        return found

    async def _read(self, chosen: filters.FlowRunFilter) -> Sequence[FlowRun]:
        flow = filters.FlowFilter(name=filters.FlowFilterName(any_=[_flow_name()]))
        return await self._client.read_flow_runs(
            flow_filter=flow, flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=PAGE
        )

    async def _ensured(self) -> UUID:
        """Return the deployment of executions, through which a person can resume and retry them in the UI."""
        if self._deployment is None:
            pool = await self._pool()
            flow_id = await self._client.create_flow_from_name(_flow_name())
            self._deployment = await self._client.create_deployment(
                flow_id,
                DEPLOYMENT,
                description="Executions of workflows; start one with Custom run.",
                tags=[WORKFLOW_MARK],
                entrypoint=FLOWS[WORKFLOW],
                work_pool_name=pool,
                job_variables=self._infrastructure.job_variables_of(WORKFLOW) if pool else None,
                parameter_openapi_schema=import_flow(FLOWS[WORKFLOW]).parameters.model_dump_for_openapi(),
                pull_steps=[],
            )
        return self._deployment

    async def _pool(self) -> str | None:
        """Return the work pool, None where the server has none of its name: then the worker alone carries."""
        try:
            pool = await self._client.read_work_pool(self._infrastructure.pool)
        except ObjectNotFound:
            return None
        return pool.name


def _of_types(*types: StateType) -> filters.FlowRunFilterState:
    return filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=list(types)))


def _flow_name() -> str:
    return import_flow(FLOWS[WORKFLOW]).name
