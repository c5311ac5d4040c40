"""``/coze/workflows/…``, also under ``/api``: the recorded executions of Coze workflows, and new ones.

The history has the paths and fields that programs of Coze know.  ``POST /coze/workflows/stream_run`` runs a
workflow, streams it and records it.  Its answer is a stream of ``data: {"event", "data", "timestamp"}``:
first ``workflow_started``, then ``data`` with each event of Coze, ``error`` where it fails, and at the end
``data: [DONE]``.  Comment lines between them keep the connection open.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

from fastapi import APIRouter, FastAPI, Header, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from flowledger.api.auth import Operator, Viewer, must_reach
from flowledger.api.backend import backend_of
from flowledger.api.idempotency import IdempotencyKey, once
from flowledger.api.problems import MEDIA_TYPE, documented
from flowledger.api.query_params import RECORD_ID, RecordId, Word
from flowledger.api.responses import Answer, tagged
from flowledger.domain import coze_runs
from flowledger.domain.access_keys import Caller
from flowledger.domain.record_kinds import COZE
from flowledger.domain.runs import AppKey
from flowledger.errors import FlowledgerError, RecordConflictError, SourceBusyError
from flowledger.io.json_text import dumps_strict
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.services.secret_masking import redacted
from flowledger.services.streaming import StreamedRun, StreamItem, Streams, TooManyStreamsError

history_router = APIRouter(prefix="/coze/workflows/{workflow_id}/history", tags=["coze"])
LAST_PAGE = 1_000_000


class ExecutionShape(BaseModel):
    """A Coze execution as it was recorded; times are milliseconds since 1970."""

    model_config = ConfigDict(extra="allow")

    execute_id: str = Field(examples=["7504134755689087002"])
    workflow_id: str
    create_time: int = Field(examples=[1795334400000])
    execute_status: str = Field(examples=["success"])


class HistoryShape(BaseModel):
    """A page of executions, newest first."""

    success: bool
    histories: list[ExecutionShape]
    total: int
    has_more: bool


class DetailShape(BaseModel):
    """One execution."""

    success: bool
    execution: ExecutionShape


class DeletedShape(BaseModel):
    """How many were deleted."""

    success: bool
    deleted: int


@history_router.get("", response_model=HistoryShape, responses=documented(404))
async def list_history(
    request: Request,
    workflow_id: RecordId,
    caller: Viewer,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    page_index: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
) -> Response:
    """List a workflow's executions, newest first, by page numbers."""
    must_reach(caller, AppKey(COZE, workflow_id))
    page = await _history(request).get_execution_history(workflow_id, page_size, page_index)
    answer = {name: page[name] for name in ("histories", "total", "has_more")}
    return tagged(request, {"success": True, **answer})


@history_router.get("/{execute_id}", response_model=DetailShape, responses=documented(404))
async def show_execution(
    request: Request, workflow_id: RecordId, execute_id: RecordId, caller: Viewer
) -> Response:
    """Show one execution."""
    must_reach(caller, AppKey(COZE, workflow_id))
    record = await _history(request).get_execution_detail(workflow_id, execute_id)
    if record is None:
        raise _not_found(workflow_id, execute_id)
    return tagged(request, {"success": True, "execution": record})


@history_router.delete("", response_model=DeletedShape, responses=documented(400, 404, 409, 413))
def clear_history(
    request: Request, workflow_id: RecordId, caller: Operator, key: IdempotencyKey = None
) -> Response:
    """Delete all executions of a workflow."""
    must_reach(caller, AppKey(COZE, workflow_id))
    history = _history(request)

    def work() -> Answer:
        # The service works for an event loop; this is a thread without one.
        deleted = asyncio.run(history.clear_workflow_history(workflow_id, caller.name))
        return Answer({"success": True, "deleted": deleted})

    return once(request, key, caller, work)


@history_router.delete("/{execute_id}", response_model=DeletedShape, responses=documented(400, 404, 409, 413))
def delete_execution(
    request: Request,
    workflow_id: RecordId,
    execute_id: RecordId,
    caller: Operator,
    key: IdempotencyKey = None,
) -> Response:
    """Delete one execution."""
    must_reach(caller, AppKey(COZE, workflow_id))
    history = _history(request)

    def work() -> Answer:
        if not asyncio.run(history.delete_execution_record(workflow_id, execute_id, caller.name)):
            raise _not_found(workflow_id, execute_id)
        return Answer({"success": True, "deleted": 1})

    return once(request, key, caller, work)


def _history(request: Request) -> ExecutionHistoryService:
    history = backend_of(request).coze
    if history is None:
        raise HTTPException(404, "this server keeps no executions of Coze")
    return history


def _not_found(workflow_id: str, execute_id: str) -> HTTPException:
    return HTTPException(404, f"the workflow {workflow_id} has no execution {execute_id}")


HEARTBEAT_S = 15.0
"""Pause of a run after which a comment is sent: proxies close connections that are silent for long."""
REFUSAL_WAIT_S = 5.0
"""A refusal of Coze within this time becomes an HTTP error; later, when the answer has begun, an event."""
HEARTBEAT = b": waiting for Coze\n\n"
LAST = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-cache, no-store", "X-Accel-Buffering": "no"}


class RunWorkflow(BaseModel):
    """Which workflow is to run, and with what."""

    model_config = ConfigDict(extra="forbid")

    workflow_id: str = Field(pattern=RECORD_ID, examples=["73505836754923"])
    parameters: dict[str, Any] = Field(
        default={}, description="What its start node takes.", examples=[{"city": "Kyiv"}]
    )
    bot_id: Word | None = Field(default=None, description="The bot whose database and variables it uses.")
    conversation_id: Word | None = Field(
        default=None, description="Recorded with the run; it is not sent to Coze."
    )
    user_id: Word | None = Field(default=None, description="For whom it runs; sent to Coze as ext.user_id.")

    def order(self) -> coze_runs.WorkflowOrder:
        """Return the order as services take it."""
        return coze_runs.WorkflowOrder(
            self.workflow_id, self.parameters, self.bot_id, self.conversation_id, self.user_id
        )


StreamKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key again runs nothing: it is answered 409 with the run's execute_id.",
    ),
]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    streams: Streams | None = app.state.backend.streams
    if streams is None:
        yield
        return
    await streams.start()
    try:
        yield
    finally:
        await streams.close()


stream_router = APIRouter(prefix="/coze/workflows", tags=["coze"], lifespan=_lifespan)


@stream_router.post(
    "/stream_run",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The run as server-sent events; it is recorded however it ends.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        502: {
            "description": "Coze refused, or could not be reached; the run is recorded as failed.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
        **documented(400, 404, 409, 413),
    },
)
async def stream_run(
    request: Request, body: RunWorkflow, caller: Operator, key: StreamKey = None
) -> Response:
    """Run a workflow in Coze and stream its events."""
    must_reach(caller, AppKey(COZE, body.workflow_id))
    run = await _begin(request, body, caller, key)
    try:
        await _wait_until_opened(run, request)
    except BaseException:
        run.stop(coze_runs.SERVER_STOPPED)
        raise
    location = f"/coze/workflows/{body.workflow_id}/history/{run.execute_id}"
    error = run.opened.result() if run.opened.done() else None
    if error is not None:
        raise _refused(error, location)
    return RunStream(run, {**HEADERS, "Content-Location": location})


async def _begin(request: Request, body: RunWorkflow, caller: Caller, key: str | None) -> StreamedRun:
    streams = backend_of(request).streams
    if streams is None:
        raise HTTPException(404, "this server runs no workflows of Coze: set COZE_API_TOKEN")
    execute_id = None if key is None else _id_of(caller, body.workflow_id, key)
    try:
        return await streams.begin(body.order(), caller.name, execute_id)
    except TooManyStreamsError as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from error
    except RecordConflictError as error:
        location = f"/coze/workflows/{body.workflow_id}/history/{execute_id}"
        detail = f"this Idempotency-Key has run already, as {execute_id}: see {location}"
        raise HTTPException(409, detail, {"Location": location}) from error


def _id_of(caller: Caller, workflow_id: str, key: str) -> str:
    """Return the same id for the same key of the same caller, in whichever process it arrives."""
    return str(uuid5(NAMESPACE_URL, f"stream_run\n{caller.key_id}\n{workflow_id}\n{key}"))


async def _wait_until_opened(run: StreamedRun, request: Request) -> None:
    """Wait until Coze has answered, ``REFUSAL_WAIT_S`` have passed, or the client has gone."""
    # After the body, the only message that ASGI still sends is that the client has gone.
    disconnect = asyncio.ensure_future(request.receive())
    either: set[asyncio.Future[Any]] = {run.opened, disconnect}
    try:
        await asyncio.wait(either, timeout=REFUSAL_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        if disconnect.done():
            run.stop(coze_runs.CLIENT_GONE)
    finally:
        disconnect.cancel()


def _refused(error: FlowledgerError, location: str) -> HTTPException:
    detail = f"{redacted(str(error))}; recorded as {location}"
    if isinstance(error, SourceBusyError):
        wait = max(1, round(error.retry_after_s or 5))
        return HTTPException(503, detail, {"Retry-After": str(wait), "Location": location})
    return HTTPException(502, detail, {"Location": location})


class RunStream(StreamingResponse):
    """The stream of one run; when it ends for whatever reason, so does the run."""

    media_type = "text/event-stream"

    def __init__(self, run: StreamedRun, headers: Mapping[str, str]) -> None:
        super().__init__(_frames(run), headers=headers)
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until the run ends or the client has gone."""
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            self._run.stop(coze_runs.SERVER_STOPPED)
            raise
        finally:
            # Of a run that has ended or been stopped already this changes nothing.
            self._run.stop(coze_runs.CLIENT_GONE)


async def _frames(run: StreamedRun) -> AsyncIterator[bytes]:
    order = run.record.order
    yield _frame(
        "workflow_started",
        {"workflow_id": order.workflow_id, "execute_id": run.execute_id},
        run.record.clock(),
    )
    events: list[StreamItem | None] = []
    while None not in events:  # None is the end of the run
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                events = await run.next()
        except TimeoutError:
            yield HEARTBEAT
        else:
            yield b"".join(LAST if each is None else _event_frame(each) for each in events)


def _event_frame(event: StreamItem) -> bytes:
    match event.what:
        case coze_runs.Ending(status=status, error_code=code, error_message=message):
            data = {"error_code": code, "error_message": redacted(message or ""), "execute_status": status}
            return _frame("error", data, event.at)
        case coze_runs.CozeEvent(event=word, data=data) if word == coze_runs.ERROR:
            return _frame("error", {**data, "execute_status": "failed"}, event.at)
        case coze_runs.CozeEvent(event=word, data=data, number=number):
            return _frame("data", {"event": word, "id": number, "data": data}, event.at)


def _frame(event: str, data: Mapping[str, Any], at: datetime) -> bytes:
    # JSON in UTF-8 has no line breaks of its own, so that one line holds it.
    return b"data: " + dumps_strict({"event": event, "data": data, "timestamp": at.isoformat()}) + b"\n\n"
