"""Executions of pipelines: how they go on, who approves of them, what each try of a step did."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from flowledger.api import pipeline_bodies as bodies
from flowledger.api import pipeline_shapes as shapes
from flowledger.api.auth import Viewer
from flowledger.api.problems import documented
from flowledger.api.responses import tagged
from flowledger.api.workflow_access import (
    OperatorWrite,
    app_of,
    execution_of,
    must_reach_workflow,
    reach_of,
    services_of,
)
from flowledger.api.workflow_bodies import EntryId, ExecutionId
from flowledger.bootstrap.workflows import WorkflowServices
from flowledger.domain.access_keys import Caller
from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows import definition
from flowledger.domain.workflows.definition import Definition, Node
from flowledger.domain.workflows.steps import WaitKind
from flowledger.errors import RecordConflictError, RecordNotFoundError
from flowledger.services.workflows import pipeline_rows as rows
from flowledger.services.workflows.recovering import Wish
from flowledger.workflow_ports import Execution, ExecutionQuery, Wait, WaitQuery

steering = APIRouter(prefix="/pipelines/executions/{execution_id}", tags=["pipelines"])
approvals = APIRouter(prefix="/approval-requests", tags=["approvals"])
executions = APIRouter(prefix="/workflow-executions", tags=["pipelines"])
history = APIRouter(prefix="/step-execution-history", tags=["pipelines"])
BATCH = 100


# ---------------------------------------------------------------- steering


@steering.post("/resume", response_model=shapes.ResumedShape, responses=documented(400, 404, 409, 413))
def resume_run(
    request: Request,
    execution_id: ExecutionId,
    write: OperatorWrite,
    body: bodies.RunResumption | None = None,
) -> Response:
    """Let an execution go on; without a strategy from the step that is named, else with what failed."""
    execution = execution_of(request, execution_id, write.caller)
    wanted = body or bodies.RunResumption()
    step = wanted.step_id if wanted.step_id is not None else wanted.from_step_id
    strategy = wanted.recovery_strategy
    if strategy is None:
        strategy = (
            "skip_and_continue" if wanted.skip_failed else "continue" if step is None else "restart_from"
        )
    wish = Wish(
        strategy=strategy,
        step=step,
        parameters=wanted.parameters,
        modify_parameters=wanted.modify_parameters,
        force_retry=wanted.force_retry,
        timeout_s=wanted.custom_timeout,
    )

    def work() -> Mapping[str, Any]:
        recovering = services_of(request).recovering
        failed = recovering.info(execution.id)["failed_steps"]
        resumed = recovering.resume(execution.id, wish, write.caller.name)
        return {
            "execution_id": resumed.execution_id,
            "resumed_from_step": step if step is not None else failed[0]["id"] if failed else None,
            "parameters": wanted.parameters or {},
            "status": "resumed",
            "message": f"the execution goes on ({strategy})",
            "attempt": resumed.attempt,
        }

    return write.once(work)


@steering.get("/steps", response_model=list[shapes.RunStepShape], responses=documented(404))
def list_run_steps(request: Request, execution_id: ExecutionId, caller: Viewer) -> Response:
    """List where each step of an execution is; what has not begun is pending."""
    execution = execution_of(request, execution_id, caller)
    services = services_of(request)
    workflow = _definition(services, execution)
    config = {**workflow.config, **execution.config}
    return tagged(request, rows.run_step_rows(services.store.steps(execution.id), workflow.nodes, config))


@steering.post(
    "/steps/{step_id}/retry", response_model=shapes.RetriedShape, responses=documented(400, 404, 409, 413)
)
def retry_step(
    request: Request,
    execution_id: ExecutionId,
    step_id: bodies.StepId,
    write: OperatorWrite,
    body: bodies.StepRetry | None = None,
) -> Response:
    """Try a failed step again, with a retry policy of its own where one is given; what follows it follows."""
    execution = execution_of(request, execution_id, write.caller)
    wanted = body or bodies.StepRetry()
    policy = {"max_retries": wanted.max_retries, "retry_delay_seconds": wanted.delay_seconds}
    given = {name: value for name, value in policy.items() if value is not None}

    def work() -> Mapping[str, Any]:
        recovering = services_of(request).recovering
        retried = recovering.retry(execution.id, step_id, write.caller.name, given)
        return {
            "execution_id": retried.execution_id,
            "step_id": _number(step_id),
            "retry_config": wanted.model_dump(exclude_none=True),
            "status": "retrying",
            "message": "the step is tried again",
        }

    return write.once(work)


@steering.post(
    "/steps/{step_id}/approve", response_model=shapes.DecidedShape, responses=documented(400, 404, 409, 413)
)
def approve_step(
    request: Request,
    execution_id: ExecutionId,
    step_id: bodies.StepId,
    body: bodies.Decision,
    write: OperatorWrite,
) -> Response:
    """Vote on a step's approval, as the name of the key; somebody who is no approver is refused (403)."""
    execution = execution_of(request, execution_id, write.caller)
    services = services_of(request)

    def work() -> Mapping[str, Any]:
        voter = write.caller.name
        services.approving.vote(execution.id, step_id, approved=body.approved, by=voter, comment=body.comment)
        write.record("VOTE", execution.workflow_id, step=step_id, approved=body.approved)
        return {
            "execution_id": execution.execution_id,
            "step_id": _number(step_id),
            "approved": body.approved,
            "comment": body.comment,
            "approved_by": voter,
            "approved_at": services.approving.clock(),
            "success": True,
        }

    return write.once(work)


# ---------------------------------------------------------------- approvals


@approvals.get("", response_model=list[shapes.ApprovalShape], responses=documented(404))
def list_approvals(
    request: Request, params: Annotated[bodies.ApprovalParams, Query()], caller: Viewer
) -> Response:
    """List approvals that were asked for, newest first."""
    found = _approvals(services_of(request), params, caller)
    page = islice(found, params.offset, params.offset + params.limit)
    return tagged(request, [_approval_row(request, *each) for each in page])


@approvals.post(
    "", status_code=201, response_model=shapes.ApprovalShape, responses=documented(400, 404, 409, 413)
)
def request_approval(request: Request, body: bodies.ApprovalOrder, write: OperatorWrite) -> Response:
    """Return the approval that a step of an execution waits for.

    Who approves, and how many, is the step's to say; one that waits for none now is refused (409).
    """
    execution = execution_of(request, body.execution_id, write.caller)
    if body.pipeline is not None and body.pipeline != execution.workflow_id:
        raise HTTPException(422, f"the execution is of the pipeline {execution.workflow_id}")

    def work() -> Mapping[str, Any]:
        wait = services_of(request).approving.find(execution, body.step)
        if wait.resolved_at is not None:
            raise RecordConflictError(f"the step {body.step!s:.80} does not wait for an approval now")
        return _approval_row(request, wait, execution)

    return write.once(work, 201)


@approvals.get("/{approval_id}", response_model=shapes.ApprovalShape, responses=documented(404))
def show_approval(request: Request, approval_id: EntryId, caller: Viewer) -> Response:
    """Show an approval with its votes."""
    return tagged(request, _approval_row(request, *_approval(request, approval_id, caller)))


@approvals.post(
    "/{approval_id}/respond",
    response_model=shapes.RespondedShape,
    responses=documented(400, 404, 409, 413),
)
def respond(request: Request, approval_id: EntryId, body: bodies.Response, write: OperatorWrite) -> Response:
    """Approve or reject, as the name of the key; one that is not pending is refused (400)."""
    wait, execution = _approval(request, approval_id, write.caller)
    services = services_of(request)

    def work() -> Mapping[str, Any]:
        if wait.resolved_at is not None:
            raise HTTPException(400, f"the approval {approval_id} is {rows.approval_status(wait)}")
        approved = body.action == "approve"
        try:
            after = services.approving.vote(
                execution.id, wait.key, approved=approved, by=write.caller.name, comment=body.comment
            )
        except RecordConflictError as error:
            raise HTTPException(400, str(error)) from error
        write.record("VOTE", execution.workflow_id, step=wait.key, approved=approved)
        words = "approved" if approved else "rejected"
        return {
            "message": f"{words} by {write.caller.name}",
            "approval_request": _approval_row(request, after, execution),
        }

    return write.once(work)


# ---------------------------------------------------------------- executions and their steps


@executions.get("", response_model=list[shapes.RunShape], responses=documented())
def list_runs_of_pipelines(
    request: Request, params: Annotated[bodies.RunParams, Query()], caller: Viewer
) -> Response:
    """List executions, newest first."""
    services = services_of(request)
    if params.status is not None and params.status not in tuple(RunStatus):
        raise HTTPException(422, f"status: one of {', '.join(RunStatus)}")
    query = ExecutionQuery(
        workflow_id=params.pipeline,
        statuses=(RunStatus(params.status),) if params.status else (),
        among=reach_of(caller),
    )
    page = islice(_executions(services, query), params.offset, params.offset + params.limit)
    return tagged(request, [_run_row(services, each) for each in page])


@executions.get("/{execution_id}", response_model=shapes.RunShape, responses=documented(404))
def show_run_of_pipeline(request: Request, execution_id: ExecutionId, caller: Viewer) -> Response:
    """Show an execution with what its steps gave."""
    execution = execution_of(request, execution_id, caller)
    return tagged(request, _run_row(services_of(request), execution))


@executions.get(
    "/{execution_id}/recovery-info", response_model=shapes.RecoveryShape, responses=documented(404)
)
def show_recovery(request: Request, execution_id: ExecutionId, caller: Viewer) -> Response:
    """Return what failed, from where an execution can go on, and how far it is."""
    execution = execution_of(request, execution_id, caller)
    return tagged(request, services_of(request).recovering.info(execution.id))


@history.get("", response_model=list[shapes.HistoryShape], responses=documented(404))
def list_step_history(
    request: Request, params: Annotated[bodies.HistoryParams, Query()], caller: Viewer
) -> Response:
    """List every try of every step, in the order they settled; the newest execution first."""
    services = services_of(request)
    if params.execution is None:
        chosen = _executions(services, ExecutionQuery(among=reach_of(caller)))
    else:
        chosen = iter([execution_of(request, params.execution, caller)])
    tries = (row for each in chosen for row in _tries(services, each, params.step))
    return tagged(request, list(islice(tries, params.offset, params.offset + params.limit)))


@history.get("/{history_id}", response_model=shapes.HistoryShape, responses=documented(404))
def show_try(request: Request, history_id: EntryId, caller: Viewer) -> Response:
    """Show one try of one step."""
    services = services_of(request)
    found = services.store.step(history_id)
    execution = None if found is None else services.store.execution(found.execution)
    if found is None or execution is None or not caller.reaches(app_of(execution.workflow_id)):
        raise RecordNotFoundError(f"there is no try {history_id}")
    workflow = _definition(services, execution)
    nodes = {node.alias: node for node in workflow.nodes}
    config = {**workflow.config, **execution.config}
    return tagged(request, rows.history_row(execution, found.step, config, nodes.get(found.step.alias)))


# ---------------------------------------------------------------- the rest


def _number(step_id: str) -> int | str:
    return int(step_id) if step_id.isascii() and step_id.isdecimal() else step_id


def _definition(services: WorkflowServices, execution: Execution) -> Definition:
    version = services.store.version(execution.workflow_id, execution.version)
    if version is None:
        raise RecordNotFoundError(f"the version of {execution.execution_id} is gone")
    return definition.read(version.document)


def _executions(services: WorkflowServices, query: ExecutionQuery) -> Iterator[Execution]:
    after: int | None = None
    while True:
        page = services.store.executions(query, after=after, limit=BATCH)
        yield from page.executions
        after = page.following
        if after is None:
            return


def _run_row(services: WorkflowServices, execution: Execution) -> Mapping[str, Any]:
    store = services.store
    waits = store.waits(execution.id, open_only=True, kind=WaitKind.APPROVAL)
    return rows.execution_row(execution, store.steps(execution.id), waits)


def _tries(services: WorkflowServices, execution: Execution, step: str | None) -> Iterator[Mapping[str, Any]]:
    workflow = _definition(services, execution)
    nodes = {node.alias: node for node in workflow.nodes}
    config = {**workflow.config, **execution.config}
    for each in services.store.steps(execution.id):
        if step is None or step in (str(each.node_id), each.alias, each.name, each.key):
            yield rows.history_row(execution, each, config, nodes.get(each.alias))


def _approvals(
    services: WorkflowServices, params: bodies.ApprovalParams, caller: Caller
) -> Iterator[tuple[Wait, Execution]]:
    if params.pipeline is not None:
        must_reach_workflow(caller, params.pipeline)
    is_open = None if params.status is None else params.status == rows.PENDING
    query = WaitQuery(WaitKind.APPROVAL, is_open, params.pipeline, among=reach_of(caller))
    after: int | None = None
    while True:
        page = services.store.newest_waits(query, after=after, limit=BATCH)
        for wait, execution in page:
            if params.status in (None, rows.approval_status(wait)):
                yield wait, execution
        if len(page) < BATCH:
            return
        after = page[-1][0].id


def _approval(request: Request, number: int, caller: Caller) -> tuple[Wait, Execution]:
    services = services_of(request)
    wait = services.store.wait(number)
    execution = None if wait is None else services.store.execution(wait.execution_id)
    is_there = wait is not None and wait.kind is WaitKind.APPROVAL and execution is not None
    if not is_there or wait is None or execution is None or not caller.reaches(app_of(execution.workflow_id)):
        raise RecordNotFoundError(f"there is no approval {number}")
    return wait, execution


def _approval_row(request: Request, wait: Wait, execution: Execution) -> Mapping[str, Any]:
    services = services_of(request)
    return rows.approval_row(wait, execution, services.store.votes(wait.id), _node(services, wait, execution))


def _node(services: WorkflowServices, wait: Wait, execution: Execution) -> Node | None:
    version = services.store.version(execution.workflow_id, execution.version)
    nodes = () if version is None else definition.read(version.document).nodes
    return next((node for node in nodes if node.alias == wait.alias), None)
