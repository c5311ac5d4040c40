"""``/workflows/{id}/schedule``: the cron by which a workflow is executed."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from flowledger.api import workflow_bodies as bodies
from flowledger.api.auth import Viewer
from flowledger.api.problems import documented
from flowledger.api.responses import tagged
from flowledger.api.workflow_access import AdminWrite, must_reach_workflow, services_of, workflow_of
from flowledger.api.workflow_shapes import ScheduleShape

router = APIRouter(prefix="/workflows/{workflow_id}/schedule", tags=["workflows"])


class ScheduleBody(bodies.Body):
    """When a workflow is executed: a cron of five fields in a time zone, and with which input."""

    cron: Annotated[str, Field(max_length=100, examples=["0 2 * * *"])]
    timezone: Annotated[str, Field(max_length=100, examples=["Asia/Shanghai"])] | None = None
    input: bodies.Document | None = None


@router.get("", response_model=ScheduleShape, responses=documented(404))
def show_schedule(request: Request, workflow_id: bodies.WorkflowId, caller: Viewer) -> Response:
    """Show by which cron Prefect executes a workflow."""
    workflow_of(request, workflow_id, caller)
    return tagged(request, asdict(services_of(request).scheduling().get(workflow_id)))


@router.put("", response_model=ScheduleShape, responses=documented(400, 404, 409, 413))
def put_schedule(
    request: Request, workflow_id: bodies.WorkflowId, body: ScheduleBody, write: AdminWrite
) -> Response:
    """Let Prefect execute a workflow by a cron, in place of the one it has."""
    must_reach_workflow(write.caller, workflow_id)

    def work() -> dict[str, Any]:
        scheduling = services_of(request).scheduling()
        schedule = scheduling.put(workflow_id, body.fields(), write.caller.name)
        write.record("SCHEDULE_WORKFLOW", workflow_id, cron=schedule.cron, timezone=schedule.timezone)
        return asdict(schedule)

    return write.once(work)


@router.delete("", status_code=204, responses=documented(404))
def delete_schedule(request: Request, workflow_id: bodies.WorkflowId, write: AdminWrite) -> Response:
    """Let a workflow be executed by no cron any more; runs that have not begun are cancelled."""
    must_reach_workflow(write.caller, workflow_id)
    services_of(request).scheduling().remove(workflow_id)
    write.record("UNSCHEDULE_WORKFLOW", workflow_id)
    return Response(status_code=204)
