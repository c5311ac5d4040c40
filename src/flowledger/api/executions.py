"""``/executions`` and ``/monitor``: what runs, how it went, its events, and what people want of it."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flowledger.api import workflow_bodies as bodies
from flowledger.api import workflow_shapes as shapes
from flowledger.api.auth import Viewer
from flowledger.api.event_stream import HEADERS, EventStream, StreamCount, TooManyStreamsError, read
from flowledger.api.problems import documented
from flowledger.api.query_params import PageParams, TimeParams, Word, read_cursor, write_cursor
from flowledger.api.responses import tagged
from flowledger.api.runs import EPOCH
from flowledger.api.schemas import Page
from flowledger.api.workflow_access import (
    OperatorWrite,
    Write,
    execution_of,
    must_reach_all,
    reach_of,
    services_of,
    workflows_of,
)
from flowledger.domain.history import Place
from flowledger.domain.runs import RunStatus
from flowledger.services.workflows import rows
from flowledger.services.workflows.recovering import Wish
from flowledger.workflow_ports import Execution, ExecutionQuery

router = APIRouter(tags=["executions"])
ONE = "/executions/{execution_id}"
STREAM = "text/event-stream"
MOST_EVENTS, MOST_ROWS = 1_000, 10_000
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern=r"^[0-9]{1,15}$", description="Where a stream broke off."),
]


class ExecutionList(TimeParams, PageParams):
    """Which executions, newest first."""

    workflow_id: int | None = Field(default=None, ge=1, le=bodies.LARGEST_ID)
    status: list[RunStatus] = Field(default=[], max_length=8)
    name: Word | None = Field(default=None, description="The whole execution_name.")
    trigger: Word | None = None


@router.get("/executions", response_model=Page[shapes.ExecutionShape], responses=documented(400))
def list_executions(request: Request, params: Annotated[ExecutionList, Query()], caller: Viewer) -> Response:
    """List executions, newest first."""
    scope = params.cursor_scope(caller)
    after = read_cursor(params.cursor, scope)
    query = ExecutionQuery(
        workflow_id=params.workflow_id,
        statuses=tuple(params.status),
        name=params.name,
        trigger=params.trigger,
        since=params.since,
        until=params.before,
        among=reach_of(caller),
    )
    services = services_of(request)
    page = services.store.executions(
        query, after=None if after is None else int(after.tie), limit=params.limit
    )
    names = services.watching.step_names(page.executions)
    following = None if page.following is None else Place(EPOCH, str(page.following))
    items = [rows.execution_row(each, names.get(each.id)) for each in page.executions]
    return tagged(request, {"items": items, "next_cursor": write_cursor(following, scope)})


@router.get(ONE, response_model=shapes.ExecutionShape, responses=documented(404))
def show_execution_of(request: Request, execution_id: bodies.ExecutionId, caller: Viewer) -> Response:
    """Show an execution, by its number or its execution_id."""
    return tagged(request, _row(request, execution_of(request, execution_id, caller)))


@router.get(f"{ONE}/logs", response_model=list[shapes.LogShape], responses=documented(404))
def list_logs(
    request: Request,
    execution_id: bodies.ExecutionId,
    caller: Viewer,
    offset: Annotated[int, Query(ge=0, le=bodies.LARGEST_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = MOST_ROWS,
) -> Response:
    """List every try of every step in the order they settled; what has not settled is last."""
    execution = execution_of(request, execution_id, caller)
    tries = services_of(request).watching.logs(execution)
    return tagged(request, tries[offset : offset + limit])


@router.get(
    f"{ONE}/events",
    response_model=shapes.EventPage,
    responses={
        **documented(404),
        200: {
            "description": "A page, or with `stream` or `Accept: text/event-stream` all events as they come.",
            "content": {STREAM: {"schema": {"type": "string"}}},
        },
        204: {"description": "A stream was asked for, and nothing can come any more."},
    },
)
async def list_events(
    request: Request,
    execution_id: bodies.ExecutionId,
    caller: Viewer,
    after: Annotated[int, Query(ge=0, le=bodies.LARGEST_ID, description="Cursor of the last one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 500,
    stream: bool = False,
    last_event_id: LastEventId = None,
) -> Response:
    """Return the events of an execution in order, none missing and none twice, page by page or as they come.

    A stream ends after the execution has; a client that lost it sends `Last-Event-ID`, which browsers do by
    themselves.
    """
    execution = await run_in_threadpool(execution_of, request, execution_id, caller)
    store = services_of(request).store
    after = max(after, int(last_event_id or 0))
    if not (stream or STREAM in request.headers.get("accept", "")):
        events, has_ended = await run_in_threadpool(read, store, execution.id, after, limit)
        is_last = has_ended and len(events) < limit
        following = None if is_last else (events[-1].cursor if events else after)
        items = [rows.event_row(event) for event in events]
        return tagged(request, {"items": items, "next_cursor": following, "ended": has_ended})
    events, has_ended = await run_in_threadpool(read, store, execution.id, after, 1)
    if has_ended and not events:
        return Response(status_code=204, headers=HEADERS)
    streams: StreamCount = request.app.state.event_streams
    try:
        streams.check()
    except TooManyStreamsError as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from error
    return EventStream(store, execution.id, after, streams, workflows_of(request).longest_stream_s)


@router.post(f"{ONE}/cancel", response_model=shapes.ExecutionShape, responses=documented(400, 404, 409, 413))
def cancel_execution(request: Request, execution_id: bodies.ExecutionId, write: OperatorWrite) -> Response:
    """End an execution: what runs is cancelled, within seconds."""
    return _changed(request, execution_id, write, services_of(request).ordering.cancel)


@router.post(f"{ONE}/pause", response_model=shapes.ExecutionShape, responses=documented(400, 404, 409, 413))
def pause_execution(request: Request, execution_id: bodies.ExecutionId, write: OperatorWrite) -> Response:
    """Let nothing new start; what runs ends, then the execution is paused until it is resumed."""
    return _changed(request, execution_id, write, services_of(request).ordering.pause)


@router.post(f"{ONE}/resume", response_model=shapes.ExecutionShape, responses=documented(400, 404, 409, 413))
def resume_execution(
    request: Request,
    execution_id: bodies.ExecutionId,
    write: OperatorWrite,
    body: bodies.Resumption | None = None,
) -> Response:
    """Let an execution go on that failed, was interrupted, cancelled or paused."""
    wanted = body or bodies.Resumption()
    wish = Wish(
        strategy=wanted.recovery_strategy,
        **wanted.model_dump(exclude={"recovery_strategy"}),
    )
    recovering = services_of(request).recovering
    return _changed(request, execution_id, write, lambda number, by: recovering.resume(number, wish, by))


@router.post(f"{ONE}/step", response_model=shapes.ExecutionShape, responses=documented(400, 404, 409, 413))
def step_execution(request: Request, execution_id: bodies.ExecutionId, write: OperatorWrite) -> Response:
    """Let one more node run of an execution that goes step by step."""
    return _changed(request, execution_id, write, services_of(request).ordering.step)


@router.post(
    f"{ONE}/rerun",
    status_code=202,
    response_model=shapes.ExecutionShape,
    responses=documented(400, 404, 409, 413),
)
def rerun_execution(request: Request, execution_id: bodies.ExecutionId, write: OperatorWrite) -> Response:
    """Execute the same workflow again with the same input."""
    return _changed(request, execution_id, write, services_of(request).ordering.rerun, 202)


@router.get(
    "/monitor/active",
    response_model=list[dict[str, Any]],
    responses=documented(),
    tags=["monitor"],
)
def list_active(
    request: Request,
    caller: Viewer,
    workflow_id: Annotated[int | None, Query(ge=1, le=bodies.LARGEST_ID)] = None,
) -> Response:
    """List what waits, runs or is paused, newest first, with its current node and elapsed time."""
    query = ExecutionQuery(workflow_id=workflow_id, among=reach_of(caller))
    return tagged(request, services_of(request).watching.active(query))


@router.get("/monitor/metrics", response_model=dict[str, Any], responses=documented(), tags=["monitor"])
def show_real_time_metrics(request: Request, caller: Viewer) -> Response:
    """Return how much is going on now, in all workflows together."""
    must_reach_all(caller)
    return tagged(request, services_of(request).watching.real_time_metrics())


def _changed(
    request: Request,
    execution_id: str,
    write: Write,
    change: Callable[[int, str], Execution],
    status: int = 200,
) -> Response:
    execution = execution_of(request, execution_id, write.caller)
    return write.once(lambda: _row(request, change(execution.id, write.caller.name)), status)


def _row(request: Request, execution: Execution) -> dict[str, Any]:
    names = services_of(request).watching.step_names([execution])
    return rows.execution_row(execution, names.get(execution.id))
