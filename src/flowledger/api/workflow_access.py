"""What the operations of workflows share: their services, who may reach which workflow, writing, auditing."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.responses import Response

from flowledger.api.auth import Admin, Operator, must_reach
from flowledger.api.backend import WorkflowBackend, backend_of
from flowledger.api.idempotency import IdempotencyKey, once
from flowledger.api.responses import Answer
from flowledger.bootstrap.workflows import WorkflowServices
from flowledger.domain.access_keys import Caller
from flowledger.domain.operations import Operation
from flowledger.domain.runs import AppKey
from flowledger.domain.workflows.execution_runs import LOCAL
from flowledger.workflow_ports import Execution, StoredWorkflow


def services_of(request: Request) -> WorkflowServices:
    """Return the services of workflows.

    :raises HTTPException: 404, where this server has none.
    """
    return workflows_of(request).services


def workflows_of(request: Request) -> WorkflowBackend:
    """Return what the operations of workflows work with.

    :raises HTTPException: 404, where this server has none.
    """
    backend = backend_of(request).workflows
    if backend is None:
        raise HTTPException(404, "this server has no workflows")
    return backend


@asynccontextmanager
async def engine_lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the engine that calls APIs open while the server lives."""
    backend: WorkflowBackend | None = app.state.backend.workflows
    if backend is None:
        yield
        return
    async with backend.open_engine() as engine:
        backend.engine.append(engine)
        try:
            yield
        finally:
            backend.engine.clear()


def app_of(workflow_id: int) -> AppKey:
    """Return the app whose runs a workflow's executions are."""
    return AppKey(LOCAL, str(workflow_id))


def must_reach_workflow(caller: Caller, workflow_id: int) -> None:
    """Refuse a workflow that is not within the key's reach, as if it did not exist.

    :raises HTTPException: 404.
    """
    must_reach(caller, app_of(workflow_id))


def must_reach_all(caller: Caller) -> None:
    """Refuse a key of some apps what is about none of them.

    :raises HTTPException: 403.
    """
    if caller.apps is not None:
        raise HTTPException(403, "this is for keys that reach all apps")


def reach_of(caller: Caller) -> Collection[int] | None:
    """Return the numbers of the workflows within a key's reach; None for all."""
    if caller.apps is None:
        return None
    ids = (app.app_id for app in caller.apps if app.source == LOCAL)
    return [int(each) for each in ids if each.isascii() and each.isdecimal() and len(each) < 19]


def workflow_of(request: Request, workflow_id: int, caller: Caller) -> StoredWorkflow:
    """Return a workflow within the caller's reach.

    :raises RecordNotFoundError: when there is none; HTTPException: 404, when it is out of reach.
    """
    must_reach_workflow(caller, workflow_id)
    return services_of(request).authoring.get(workflow_id)


def execution_of(request: Request, execution_id: str, caller: Caller) -> Execution:
    """Return an execution within the caller's reach, by its number or its execution_id.

    :raises RecordNotFoundError: when there is none; HTTPException: 404, when it is out of reach.
    """
    execution = services_of(request).ordering.get(execution_id)
    if not caller.reaches(app_of(execution.workflow_id)):
        raise HTTPException(404, f"there is no execution {execution_id!s:.80}")
    return execution


@dataclass(frozen=True, slots=True)
class Write:
    """A request that writes: who sends it, and its Idempotency-Key."""

    request: Request
    caller: Caller
    key: str | None

    def once(self, work: Callable[[], Any], status: int = 200) -> Response:
        """Do the work and answer with its value; the same key again gives the same answer."""
        return once(self.request, self.key, self.caller, lambda: Answer(work(), status))

    def record(self, kind: str, workflow_id: int | None = None, **data: Any) -> None:
        """Append what was done to the audit trail."""
        backend = backend_of(self.request)
        app = None if workflow_id is None else app_of(workflow_id)
        operation = Operation(
            f"workflow-{uuid4().hex}", kind, backend.clock(), self.caller.name, app, data=data
        )
        backend.ledger.record(operation)


def _admin_write(request: Request, caller: Admin, key: IdempotencyKey = None) -> Write:
    return Write(request, caller, key)


def _operator_write(request: Request, caller: Operator, key: IdempotencyKey = None) -> Write:
    return Write(request, caller, key)


AdminWrite = Annotated[Write, Depends(_admin_write)]
OperatorWrite = Annotated[Write, Depends(_operator_write)]
