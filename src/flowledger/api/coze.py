"""``/coze/workflows/{id}/history…``, also under ``/api``: the contract that programs of Coze know."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from flowledger.api.auth import Operator, Viewer, must_reach
from flowledger.api.backend import Backend, CozeHistory, backend_of
from flowledger.api.idempotency import IdempotencyKey, once
from flowledger.api.problems import documented
from flowledger.api.query_params import RecordId
from flowledger.api.responses import Answer, tagged
from flowledger.domain.record_kinds import COZE
from flowledger.domain.runs import AppKey

router = APIRouter(prefix="/coze/workflows/{workflow_id}/history", tags=["coze"])
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
    """What was deleted."""

    success: bool
    deleted: int


@router.get("", response_model=HistoryShape, responses=documented(404))
async def list_history(
    request: Request,
    workflow_id: RecordId,
    caller: Viewer,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    page_index: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
) -> Response:
    """List a workflow's executions, newest first, by page numbers."""
    must_reach(caller, AppKey(COZE, workflow_id))
    found = await _history(backend_of(request)).get_execution_history(workflow_id, page_size, page_index)
    answer = {name: found[name] for name in ("histories", "total", "has_more")}
    return tagged(request, {"success": True, **answer})


@router.get("/{execute_id}", response_model=DetailShape, responses=documented(404))
async def show_execution(
    request: Request, workflow_id: RecordId, execute_id: RecordId, caller: Viewer
) -> Response:
    """Show one execution."""
    must_reach(caller, AppKey(COZE, workflow_id))
    found = await _history(backend_of(request)).get_execution_detail(workflow_id, execute_id)
    if found is None:
        raise _none(workflow_id, execute_id)
    return tagged(request, {"success": True, "execution": found})


@router.delete("", response_model=DeletedShape, responses=documented(400, 404, 409, 413))
def clear_history(
    request: Request, workflow_id: RecordId, caller: Operator, key: IdempotencyKey = None
) -> Response:
    """Delete all executions of a workflow."""
    must_reach(caller, AppKey(COZE, workflow_id))
    history = _history(backend_of(request))

    def work() -> Answer:
        # The service works for an event loop; this is a thread without one.
        deleted = asyncio.run(history.clear_workflow_history(workflow_id, caller.name))
        return Answer({"success": True, "deleted": deleted})

    return once(request, key, caller, work)


@router.delete("/{execute_id}", response_model=DeletedShape, responses=documented(400, 404, 409, 413))
def delete_execution(
    request: Request,
    workflow_id: RecordId,
    execute_id: RecordId,
    caller: Operator,
    key: IdempotencyKey = None,
) -> Response:
    """Delete one execution."""
    must_reach(caller, AppKey(COZE, workflow_id))
    history = _history(backend_of(request))

    def work() -> Answer:
        if not asyncio.run(history.delete_execution_record(workflow_id, execute_id, caller.name)):
            raise _none(workflow_id, execute_id)
        return Answer({"success": True, "deleted": 1})

    return once(request, key, caller, work)


def _history(backend: Backend) -> CozeHistory:
    if backend.coze is None:
        raise HTTPException(404, "this server keeps no executions of Coze")
    return backend.coze


def _none(workflow_id: str, execute_id: str) -> HTTPException:
    return HTTPException(404, f"the workflow {workflow_id} has no execution {execute_id}")
