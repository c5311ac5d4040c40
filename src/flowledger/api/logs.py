"""``/logs/executions`` and ``/logs/operations``: what programs record themselves, and the audit log."""

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from flowledger.api import query_params
from flowledger.api.auth import Operator, Viewer, must_reach
from flowledger.api.backend import Backend, backend_of
from flowledger.api.idempotency import IdempotencyKey, once
from flowledger.api.problems import documented
from flowledger.api.responses import Answer, tagged
from flowledger.api.schemas import FreeShape, OperationShape, Page, operation_row
from flowledger.domain.access_keys import Caller
from flowledger.domain.history import OperationQuery, Place, RunKey
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import LOG, record_of
from flowledger.domain.runs import AppKey
from flowledger.errors import RecordConflictError
from flowledger.records.log_service import LogService

router = APIRouter(prefix="/logs", tags=["logs"])
LOG_EXECUTION = "LOG_EXECUTION"


class ExecutionList(query_params.RunParams, query_params.PageParams):
    """Which logged executions."""


class OperationList(query_params.TimeParams, query_params.AppParams, query_params.PageParams):
    """Which operations."""

    type: list[query_params.Word] = Field(default=[], max_length=50, examples=[["REPORT", "DELETE"]])
    subject: str = Field(default="", max_length=255, pattern=r"^[^\x00]*$")
    user: str = Field(default="", max_length=255, pattern=r"^[^\x00]*$")


class ExecutionBody(BaseModel):
    """An execution as its program describes it; further fields are stored as they are."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "execution_id": "nightly-2026-11-22",
                    "workflow_id": "wf-nightly",
                    "status": "completed",
                    "start_time": "2026-11-22T02:00:00+08:00",
                    "end_time": "2026-11-22T02:03:10+08:00",
                    "context": {"rows": 120},
                    "messages": [],
                }
            ]
        },
    )

    workflow_id: Annotated[str, Field(pattern=query_params.RECORD_ID)]
    execution_id: Annotated[str, Field(pattern=query_params.RECORD_ID)] | None = None


class ChangeBody(BaseModel):
    """Changes of an execution: messages are appended, task results merged with its own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"status": "completed", "messages": ["all rows read"]}]},
    )

    status: query_params.Word | None = None
    messages: list[Any] | None = None
    task_results: dict[str, Any] | None = None


class OperationBody(BaseModel):
    """An operation on a workflow; without a user it is by the key that records it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"operation_type": "PUBLISH", "workflow_id": "wf-nightly", "data": {"version": 7}}]
        },
    )

    operation_type: query_params.Word
    workflow_id: Annotated[str, Field(pattern=query_params.RECORD_ID)]
    data: dict[str, Any] | None = None
    user: query_params.Word | None = None


@router.get("/executions", response_model=Page[FreeShape], responses=documented(400))
def list_executions(request: Request, params: Annotated[ExecutionList, Query()], caller: Viewer) -> Response:
    """List the executions that programs have logged, with all their fields, newest first."""
    cursor_scope = params.cursor_scope(caller)
    after = query_params.read_cursor(params.cursor, cursor_scope)
    query = params.query(sources=(LOG,), apps=caller.apps)
    page = backend_of(request).ledger.history(query, after=after, limit=params.limit, with_details=True)
    rows = [record_of(entry.run) for entry in page.entries]
    return tagged(
        request, {"items": rows, "next_cursor": query_params.write_cursor(page.following, cursor_scope)}
    )


@router.get("/executions/{execution_id}", response_model=FreeShape, responses=documented(404))
def show_execution(request: Request, execution_id: query_params.RecordId, caller: Viewer) -> Response:
    """Show one logged execution with all its fields."""
    app = _app_of(backend_of(request), execution_id, caller)
    entry = backend_of(request).ledger.entry(RunKey(app, execution_id))
    if entry is None:
        raise _not_found(execution_id)
    return tagged(request, record_of(entry.run))


@router.post("/executions", response_model=FreeShape, responses=documented(400, 404, 409, 413))
def log_execution(
    request: Request, body: ExecutionBody, caller: Operator, key: IdempotencyKey = None
) -> Response:
    """Store an execution; an existing one of that id is updated with these fields."""
    backend = backend_of(request)
    must_reach(caller, AppKey(LOG, body.workflow_id))
    execution = body.model_dump(exclude_unset=True)

    def work() -> Answer:
        try:
            return _recorded(backend, caller, _logs(backend).log_workflow_execution(execution))
        except RecordConflictError as error:
            owner = backend.ledger.locate(LOG, body.execution_id) if body.execution_id else None
            if owner is None or caller.reaches(owner):
                raise
            # Its conflict would name a workflow that this key must not know of.
            raise _not_found(str(body.execution_id)) from error

    return once(request, key, caller, work)


@router.patch(
    "/executions/{execution_id}", response_model=FreeShape, responses=documented(400, 404, 409, 413)
)
def change_execution(
    request: Request,
    execution_id: query_params.RecordId,
    body: ChangeBody,
    caller: Operator,
    key: IdempotencyKey = None,
) -> Response:
    """Change a logged execution: its status, more messages, more results of tasks."""
    backend = backend_of(request)
    _app_of(backend, execution_id, caller)
    changes = body.model_dump(exclude_unset=True)

    def work() -> Answer:
        return _recorded(backend, caller, _logs(backend).update_workflow_execution(execution_id, **changes))

    return once(request, key, caller, work)


@router.get("/operations", response_model=Page[OperationShape], responses=documented(400))
def list_operations(request: Request, params: Annotated[OperationList, Query()], caller: Viewer) -> Response:
    """List the audit log: who did what, newest first."""
    cursor_scope = params.cursor_scope(caller)
    after = query_params.read_cursor(params.cursor, cursor_scope)
    apps = params.apps_for(caller)
    if params.source and apps is None:
        apps = tuple(summary.app for summary in backend_of(request).ledger.apps())
    if params.source and apps is not None:
        apps = tuple(app for app in apps if app.source in params.source)
    query = OperationQuery(apps, tuple(params.type), params.subject, params.user, params.since, params.before)
    # One more than the page, to see whether another page follows.
    operations = backend_of(request).ledger.operations(query, after=after, limit=params.limit + 1)
    page = operations[: params.limit]
    following = Place(page[-1].at, page[-1].operation_id) if len(operations) > len(page) else None
    rows = [operation_row(each) for each in page]
    return tagged(request, {"items": rows, "next_cursor": query_params.write_cursor(following, cursor_scope)})


@router.post("/operations", response_model=FreeShape, responses=documented(400, 404, 409, 413))
def log_operation(
    request: Request, body: OperationBody, caller: Operator, key: IdempotencyKey = None
) -> Response:
    """Append an operation to the audit log."""
    backend = backend_of(request)
    must_reach(caller, AppKey(LOG, body.workflow_id))

    def work() -> Answer:
        user = body.user or caller.name
        operation = _logs(backend).log_workflow_operation(
            body.operation_type, body.workflow_id, body.data, user
        )
        return Answer(dict(operation))

    return once(request, key, caller, work)


def _logs(backend: Backend) -> LogService:
    if backend.logs is None:
        raise HTTPException(409, "this server records nothing for other programs")
    return backend.logs


def _recorded(backend: Backend, caller: Caller, execution: dict[str, Any]) -> Answer:
    """Answer with a stored execution, and write to the audit log who recorded it."""
    operation = Operation(
        operation_id=str(uuid4()),
        operation_type=LOG_EXECUTION,
        at=backend.clock(),
        user=caller.name,
        app=AppKey(LOG, str(execution.get("workflow_id", ""))),
        subject=str(execution.get("execution_id", "")),
        data={"status": execution.get("status")},
    )
    backend.ledger.record(operation)
    return Answer(execution)


def _app_of(backend: Backend, execution_id: str, caller: Caller) -> AppKey:
    app = backend.ledger.locate(LOG, execution_id)
    if app is None or not caller.reaches(app):
        raise _not_found(execution_id)
    return app


def _not_found(execution_id: str) -> HTTPException:
    return HTTPException(404, f"there is no execution {execution_id}, or not within this key's reach")
