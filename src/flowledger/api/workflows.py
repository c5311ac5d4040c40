"""``/workflows``: define, check, publish, draw, export and execute workflows, and measure them."""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Body, Header, HTTPException, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from flowledger.api import workflow_bodies as bodies
from flowledger.api import workflow_shapes as shapes
from flowledger.api.auth import Operator, Viewer
from flowledger.api.idempotency import once
from flowledger.api.problems import documented
from flowledger.api.query_params import PageParams, QueryParams, Word, read_cursor, write_cursor
from flowledger.api.responses import CACHING, JSON, Answer, tagged
from flowledger.api.runs import EPOCH
from flowledger.api.schemas import Page
from flowledger.api.workflow_access import (
    AdminWrite,
    OperatorWrite,
    must_reach_all,
    must_reach_workflow,
    reach_of,
    services_of,
    workflow_of,
    workflows_of,
)
from flowledger.domain.history import Place
from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows import definition, exchange, layout
from flowledger.domain.workflows.definition import WorkflowStatus
from flowledger.errors import RecordConflictError
from flowledger.io.json_text import dumps_strict
from flowledger.services.workflows import rows
from flowledger.services.workflows.watching import METRICS
from flowledger.workflow_ports import Execution, StoredWorkflow

router = APIRouter(prefix="/workflows", tags=["workflows"])
ONE = "/{workflow_id}"
WAIT_S = 60.0
"""How long a request waits for the end of an execution that has no timeout."""
SHORTEST_POLL_S, LONGEST_POLL_S = 0.02, 0.5
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=200, description="The revision that is to be changed; else 412."),
]
MERMAID = {"text/plain": {"schema": {"type": "string"}}}


class WorkflowList(PageParams):
    """Which workflows, newest first."""

    status: WorkflowStatus | None = None
    name: Word | None = Field(default=None, description="The whole name.")
    tag: Word | None = None


class MetricsParams(QueryParams):
    """Which figures."""

    type: str = Field(
        default="all", max_length=100, pattern=r"^[a-z,]*$", examples=["all", "custom", "performance,errors"]
    )


# ---------------------------------------------------------------- workflows


@router.get("", response_model=Page[shapes.WorkflowShape], responses=documented(400))
def list_workflows(request: Request, params: Annotated[WorkflowList, Query()], caller: Viewer) -> Response:
    """List workflows, newest first."""
    scope = params.cursor_scope(caller)
    after = read_cursor(params.cursor, scope)
    page = services_of(request).store.workflows(
        status=params.status,
        name=params.name,
        tag=params.tag,
        among=reach_of(caller),
        after=None if after is None else int(after.tie),
        limit=params.limit,
    )
    following = None if page.following is None else Place(EPOCH, str(page.following))
    items = [rows.workflow_row(each) for each in page.workflows]
    return tagged(request, {"items": items, "next_cursor": write_cursor(following, scope)})


@router.post("", status_code=201, response_model=shapes.WorkflowShape, responses=documented(400, 409, 413))
def create_workflow(request: Request, body: bodies.NewWorkflow, write: AdminWrite) -> Response:
    """Create a workflow: a draft without nodes."""
    must_reach_all(write.caller)

    def work() -> Mapping[str, Any]:
        stored = services_of(request).authoring.create(body.fields())
        write.record("CREATE_WORKFLOW", stored.id, name=stored.document["name"])
        return rows.workflow_row(stored)

    return write.once(work, 201)


@router.post(
    "/import", status_code=201, response_model=shapes.WorkflowShape | dict[str, Any],
    responses={**documented(400, 409, 413), 200: {"model": dict[str, Any], "description": "Of `dry_run`."}},
)  # fmt: skip
def import_workflow(
    request: Request,
    body: Annotated[bodies.Document, Body(examples=[{"format": "workflow/1", "name": "…", "nodes": []}])],
    write: AdminWrite,
    dry_run: bool = False,
    name: Word | None = None,
) -> Response:
    """Import an exported workflow as a new draft; with `dry_run` only say what is missing."""
    must_reach_all(write.caller)
    authoring = services_of(request).authoring
    form = {key: value for key, value in body.items() if key != "dry_run"}
    if dry_run or body.get("dry_run") is True:
        found = authoring.check_import(form)
        faults = found.pop("faults")
        answer = {**found, **_faults(faults), "dry_run": True}
        return Response(dumps_strict(answer), media_type=JSON, headers={"Cache-Control": "no-store"})

    def work() -> Mapping[str, Any]:
        stored = authoring.import_form(form, name=name)
        write.record("IMPORT_WORKFLOW", stored.id, name=stored.document["name"])
        return rows.workflow_row(stored)

    return write.once(work, 201)


@router.get(ONE, response_model=shapes.WorkflowShape, responses=documented(404))
def show_workflow(request: Request, workflow_id: bodies.WorkflowId, caller: Viewer) -> Response:
    """Show a workflow; its ETag is its revision."""
    stored = workflow_of(request, workflow_id, caller)
    tag = _etag(stored)
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={**CACHING, "ETag": tag})
    return _workflow_answer(stored)


@router.put(ONE, response_model=shapes.WorkflowShape, responses=documented(400, 404, 409, 412, 413))
def change_workflow(
    request: Request,
    workflow_id: bodies.WorkflowId,
    body: bodies.WorkflowChanges,
    write: AdminWrite,
    if_match: IfMatch = None,
) -> Response:
    """Change what is given of a workflow; with `If-Match` only if nobody else has changed it."""
    must_reach_workflow(write.caller, workflow_id)
    revision = _revision(if_match)
    try:
        stored = services_of(request).authoring.update(workflow_id, body.fields(), revision=revision)
    except RecordConflictError as error:
        raise HTTPException(412 if revision is not None else 409, str(error)) from error
    return _workflow_answer(stored)


@router.delete(ONE, status_code=204, responses=documented(404, 409))
def delete_workflow(request: Request, workflow_id: bodies.WorkflowId, write: AdminWrite) -> Response:
    """Delete a workflow whose executions have all ended; they stay in the history."""
    must_reach_workflow(write.caller, workflow_id)
    services_of(request).authoring.delete(workflow_id)
    write.record("DELETE_WORKFLOW", workflow_id)
    return Response(status_code=204)


# ---------------------------------------------------------------- checking, publishing, drawing


@router.post(f"{ONE}/validate", response_model=shapes.ValidationShape, responses=documented(404))
def validate_workflow(request: Request, workflow_id: bodies.WorkflowId, caller: Operator) -> Response:
    """Return all that keeps a workflow from being published, and what is doubtful in it; nothing changes."""
    must_reach_workflow(caller, workflow_id)
    answer = _faults(services_of(request).authoring.faults(workflow_id))
    return Response(dumps_strict(answer), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.post(f"{ONE}/publish", response_model=shapes.VersionShape, responses=documented(400, 404, 409, 413))
def publish_workflow(request: Request, workflow_id: bodies.WorkflowId, write: AdminWrite) -> Response:
    """Make an immutable version of a draft, and the workflow active; the same again is the same version."""
    must_reach_workflow(write.caller, workflow_id)

    def work() -> Mapping[str, Any]:
        version = services_of(request).authoring.publish(workflow_id, write.caller.name)
        write.record("PUBLISH_WORKFLOW", workflow_id, version=version.number, digest=version.digest)
        return rows.version_row(version)

    return write.once(work)


@router.post(
    f"{ONE}/deactivate", response_model=shapes.WorkflowShape, responses=documented(400, 404, 409, 413)
)
def deactivate_workflow(request: Request, workflow_id: bodies.WorkflowId, write: AdminWrite) -> Response:
    """Let a workflow be executed no more; what runs goes on."""
    must_reach_workflow(write.caller, workflow_id)

    def work() -> Mapping[str, Any]:
        stored = services_of(request).authoring.deactivate(workflow_id)
        write.record("DEACTIVATE_WORKFLOW", workflow_id)
        return rows.workflow_row(stored)

    return write.once(work)


@router.get(f"{ONE}/versions", response_model=list[shapes.VersionShape], responses=documented(404))
def list_versions(request: Request, workflow_id: bodies.WorkflowId, caller: Viewer) -> Response:
    """List the versions of a workflow, newest first."""
    workflow_of(request, workflow_id, caller)
    items = [rows.version_row(each) for each in services_of(request).store.versions(workflow_id)]
    return tagged(request, items)


@router.get(f"{ONE}/export", response_model=shapes.ExportShape, responses=documented(404))
def export_workflow(
    request: Request,
    workflow_id: bodies.WorkflowId,
    caller: Viewer,
    version: Annotated[int | None, Query(ge=1, le=bodies.LARGEST_ID)] = None,
) -> Response:
    """Return a workflow as a file: the draft, or one version."""
    must_reach_workflow(caller, workflow_id)
    return tagged(request, services_of(request).authoring.export(workflow_id, version))


@router.get(
    f"{ONE}/graph",
    response_model=shapes.GraphShape,
    responses={**documented(404), 200: {"description": "What to draw.", "content": MERMAID}},
)
def show_graph(
    request: Request,
    workflow_id: bodies.WorkflowId,
    caller: Viewer,
    format: Literal["json", "mermaid"] = "json",
) -> Response:
    """Return what to draw of a workflow, with a position for each node; or a flowchart of Mermaid."""
    stored = workflow_of(request, workflow_id, caller)
    if format == "mermaid":
        return PlainTextResponse(exchange.mermaid(stored.document), headers=CACHING)
    read = definition.read(stored.document)
    places = layout.positions(read)
    nodes = [
        {
            **{name: getattr(node, name) for name in ("id", "alias", "name", "node_type")},
            "position_x": places[node.id][0],
            "position_y": places[node.id][1],
        }
        for node in read.nodes
    ]
    value = {
        "workflow_id": workflow_id,
        "nodes": nodes,
        "connections": [
            rows.connection_row(workflow_id, each) for each in stored.document.get("connections") or ()
        ],
    }
    return tagged(request, value)


# ---------------------------------------------------------------- executing, measuring


@router.post(
    f"{ONE}/execute", status_code=202, response_model=shapes.ExecutionShape,
    responses={
        **documented(400, 404, 409, 413),
        200: {"model": shapes.ExecutionShape, "description": "It has ended (`async` false)."},
    },
)  # fmt: skip
async def execute_workflow(
    request: Request,
    workflow_id: bodies.WorkflowId,
    write: OperatorWrite,
    body: bodies.NewExecution | None = None,
) -> Response:
    """Execute a workflow: 202 at once, or with `async` false its end, if that comes within `timeout`.

    The same `Idempotency-Key` gives the same execution.
    """
    must_reach_workflow(write.caller, workflow_id)
    order = body or bodies.NewExecution()
    ordering = services_of(request).ordering
    execution_id = uuid4().hex

    def work() -> Answer:
        execution = ordering.execute(
            workflow_id,
            name=order.execution_name,
            input_data=order.input_data,
            config=order.config,
            by=write.caller.name,
            execution_id=execution_id,
        )
        location = f"/executions/{execution.id}"
        return Answer(rows.execution_row(execution), 202, {"Location": location})

    accepted = await run_in_threadpool(once, request, write.key, write.caller, work)
    if order.config.get("async", True) is not False:
        return accepted
    number = int(accepted.headers["location"].rpartition("/")[2])
    seconds = min(float(order.config.get("timeout") or WAIT_S), workflows_of(request).longest_wait_s)
    execution = await _ended(request, number, seconds)
    row = rows.execution_row(execution, await run_in_threadpool(_step_name, request, execution))
    headers = {**accepted.headers, "Cache-Control": "no-store"}
    headers.pop("content-length", None)
    return Response(dumps_strict(row), 202 if execution.status.is_open else 200, headers, JSON)


@router.get(f"{ONE}/metrics", response_model=dict[str, Any], responses=documented(404))
def show_metrics_of(
    request: Request,
    workflow_id: bodies.WorkflowId,
    params: Annotated[MetricsParams, Query()],
    caller: Viewer,
) -> Response:
    """Return figures of a workflow: stats, performance, errors, custom metrics of its nodes."""
    workflow_of(request, workflow_id, caller)
    kinds = [word for word in params.type.split(",") if word] or ["all"]
    if unknown := [word for word in kinds if word not in (*METRICS, "all")]:
        raise HTTPException(422, f"type: {unknown[0][:40]!r} is none of all, {', '.join(METRICS)}")
    return tagged(
        request, services_of(request).watching.metrics(workflow_id, METRICS if "all" in kinds else kinds)
    )


# ---------------------------------------------------------------- the rest


async def _ended(request: Request, number: int, seconds: float) -> Execution:
    """Return an execution once it has ended or waits for people only, or as it is when the time is over."""
    ordering = services_of(request).ordering
    until, pause = time.monotonic() + seconds, SHORTEST_POLL_S
    while True:
        execution = await run_in_threadpool(ordering.get, number)
        waits_for_people = execution.status is RunStatus.PAUSED and execution.wake_at is None
        if not execution.status.is_open or waits_for_people or time.monotonic() >= until:
            return execution
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, LONGEST_POLL_S)


def _step_name(request: Request, execution: Execution) -> str | None:
    return services_of(request).watching.step_names([execution]).get(execution.id)


def _faults(faults: Any) -> dict[str, Any]:
    errors = [rows.fault_row(fault) for fault in faults if not fault.is_warning]
    warnings = [rows.fault_row(fault) for fault in faults if fault.is_warning]
    return {"valid": not errors, "errors": errors, "warnings": warnings}


def _workflow_answer(stored: StoredWorkflow) -> Response:
    headers = {**CACHING, "ETag": _etag(stored)}
    return Response(dumps_strict(rows.workflow_row(stored)), 200, headers, JSON)


def _etag(stored: StoredWorkflow) -> str:
    """Return the tag of a workflow: its revision, and what publishing changes without a new one."""
    return f'"{stored.revision}-{stored.status.value}-{stored.published or 0}"'


def _revision(if_match: str | None) -> int | None:
    """Return the revision of an If-Match; None without one.

    :raises HTTPException: 412, for a tag that is none of a workflow.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'\s*(?:W/)?"?(\d{1,15})(?:-[a-z]+-\d+)?"?\s*', if_match)
    if match is None:
        raise HTTPException(412, "If-Match must be the ETag of a workflow, which begins with its revision")
    return int(match[1])
