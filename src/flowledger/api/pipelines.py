"""``/pipelines``: workflows in the words of pipelines, their steps, what they are tied to elsewhere."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from flowledger.api import pipeline_bodies as bodies
from flowledger.api import pipeline_shapes as shapes
from flowledger.api.auth import Viewer
from flowledger.api.problems import documented
from flowledger.api.responses import JSON, tagged
from flowledger.api.workflow_access import (
    AdminWrite,
    OperatorWrite,
    app_of,
    must_reach_all,
    must_reach_workflow,
    reach_of,
    services_of,
    workflow_of,
)
from flowledger.api.workflow_bodies import EntryId, WorkflowId
from flowledger.domain.access_keys import Caller
from flowledger.domain.workflows.steps import WaitKind
from flowledger.io.json_text import dumps_strict
from flowledger.services.workflows import pipeline_rows as rows
from flowledger.services.workflows import pipelines
from flowledger.workflow_ports import ExecutionQuery, StoredWorkflow

router = APIRouter(prefix="/pipelines", tags=["pipelines"])
mappings = APIRouter(tags=["pipelines"])
ONE = "/{pipeline_id}"
STEP = f"{ONE}/steps/{{step_id}}"
MAPPINGS = "/pipeline-mappings"
NO_STORE = {"Cache-Control": "no-store"}


@router.get("", response_model=list[shapes.PipelineShape], responses=documented())
def list_pipelines(
    request: Request, params: Annotated[bodies.ListParams, Query()], caller: Viewer
) -> Response:
    """List pipelines, newest first, without their steps."""
    found = islice(_all(request, caller), params.offset, params.offset + params.limit)
    return tagged(request, [rows.pipeline_row(stored) for stored in found])


@router.post("", status_code=201, response_model=shapes.PipelineShape, responses=documented(400, 409, 413))
def create_pipeline(request: Request, body: bodies.NewPipeline, write: AdminWrite) -> Response:
    """Create a pipeline; its steps are the nodes of the workflow of the same number."""
    must_reach_all(write.caller)

    def work() -> Mapping[str, Any]:
        stored = services_of(request).authoring.create(body.fields())
        write.record("CREATE_WORKFLOW", stored.id, name=stored.document["name"])
        return rows.pipeline_row(stored)

    return write.once(work, 201)


@router.get(ONE, response_model=shapes.PipelineShape, responses=documented(404))
def show_pipeline(request: Request, pipeline_id: WorkflowId, caller: Viewer) -> Response:
    """Show a pipeline with its steps, and how its newest execution was approved."""
    stored = workflow_of(request, pipeline_id, caller)
    return tagged(request, {**rows.pipeline_row(stored), "steps": _steps(request, stored)})


@router.put(ONE, response_model=shapes.PipelineShape, responses=documented(400, 404, 409, 413))
def change_pipeline(
    request: Request, pipeline_id: WorkflowId, body: bodies.PipelineChanges, write: AdminWrite
) -> Response:
    """Change what is given of a pipeline."""
    must_reach_workflow(write.caller, pipeline_id)
    authoring = services_of(request).authoring
    return write.once(lambda: rows.pipeline_row(authoring.update(pipeline_id, body.fields())))


@router.delete(ONE, status_code=204, responses=documented(404, 409))
def delete_pipeline(request: Request, pipeline_id: WorkflowId, write: AdminWrite) -> Response:
    """Delete a pipeline whose executions have all ended; they stay in the history."""
    must_reach_workflow(write.caller, pipeline_id)
    services_of(request).authoring.delete(pipeline_id)
    write.record("DELETE_WORKFLOW", pipeline_id)
    return Response(status_code=204)


# ---------------------------------------------------------------- steps


@router.get(f"{ONE}/steps", response_model=list[shapes.StepShape], responses=documented(404))
def list_steps(request: Request, pipeline_id: WorkflowId, caller: Viewer) -> Response:
    """List the steps of a pipeline in the order they were added."""
    return tagged(request, _steps(request, workflow_of(request, pipeline_id, caller)))


@router.get(f"{STEP}/advanced-config", response_model=shapes.StepConfigShape, responses=documented(404))
def show_step_config(request: Request, pipeline_id: WorkflowId, step_id: EntryId, caller: Viewer) -> Response:
    """Show condition, parallel group, approval, retry policy and notifications of a step."""
    must_reach_workflow(caller, pipeline_id)
    return tagged(request, services_of(request).pipelines.config_of(pipeline_id, step_id))


@router.put(
    f"{STEP}/advanced-config", response_model=shapes.ChangedShape, responses=documented(400, 404, 409, 413)
)
def change_step_config(
    request: Request, pipeline_id: WorkflowId, step_id: EntryId, body: bodies.StepConfig, write: AdminWrite
) -> Response:
    """Change what is given of a step; executions that run keep their version."""
    must_reach_workflow(write.caller, pipeline_id)

    def work() -> Mapping[str, Any]:
        services_of(request).pipelines.configure(pipeline_id, step_id, body.fields())
        return {"message": "the step is changed", "step_id": step_id}

    return write.once(work)


@router.post(
    f"{STEP}/evaluate-condition", response_model=shapes.EvaluationShape, responses=documented(404, 413)
)
def evaluate_condition(
    request: Request, pipeline_id: WorkflowId, step_id: EntryId, body: bodies.ConditionTrial, caller: Viewer
) -> Response:
    """Evaluate a condition with a context; without one, the step's own. Nothing changes."""
    must_reach_workflow(caller, pipeline_id)
    node = services_of(request).pipelines.step(pipeline_id, step_id)
    condition = body.condition if "condition" in body.model_fields_set else node.get("conditions")
    return Response(dumps_strict(pipelines.evaluated(condition, body.context)), 200, NO_STORE, JSON)


@router.put(
    f"{STEP}/notifications",
    response_model=shapes.NotificationsShape,
    responses=documented(400, 404, 409, 413),
)
def change_notifications(
    request: Request,
    pipeline_id: WorkflowId,
    step_id: EntryId,
    body: bodies.Notifications,
    write: AdminWrite,
) -> Response:
    """Set what of a step is told, through which channels."""
    must_reach_workflow(write.caller, pipeline_id)

    def work() -> Mapping[str, Any]:
        config = body.fields()
        changes = {"notification_config": config}
        services_of(request).pipelines.configure(pipeline_id, step_id, changes)
        return {"message": "the notifications are changed", "step_id": step_id, "config": config}

    return write.once(work)


# ---------------------------------------------------------------- analysis


@router.get(f"{ONE}/analyze-workflow", response_model=shapes.AnalysisShape, responses=documented(404))
def analyze_workflow(request: Request, pipeline_id: WorkflowId, caller: Viewer) -> Response:
    """Return how steps depend on each other, what decides the duration, and what could run in parallel."""
    workflow_of(request, pipeline_id, caller)
    return tagged(request, services_of(request).metrics.analysis(pipeline_id))


@router.get(f"{ONE}/workflow-metrics", response_model=shapes.MetricsShape, responses=documented(404))
def show_workflow_metrics(request: Request, pipeline_id: WorkflowId, caller: Viewer) -> Response:
    """Return figures of a pipeline and of its executions; rates are percent."""
    workflow_of(request, pipeline_id, caller)
    return tagged(request, services_of(request).metrics.metrics(pipeline_id))


@router.post("/notifications/test", response_model=shapes.TriedShape, responses=documented(400, 409, 413))
def try_notifications(
    request: Request, write: OperatorWrite, body: bodies.NotificationTrial | None = None
) -> Response:
    """Send a test message through channels, now; `message` says what went wrong."""
    must_reach_all(write.caller)
    wanted = body or bodies.NotificationTrial()
    names = [*([wanted.type] if wanted.type else []), *(wanted.channels or ())]

    def work() -> Mapping[str, Any]:
        problems = services_of(request).try_channels(names)
        failed = [f"{name}: {problem}" for name, problem in problems.items() if problem]
        if not problems:
            return {"success": False, "message": "no channel is set up, or notifications are off"}
        return {"success": not failed, "message": "; ".join(failed) or f"sent: {', '.join(problems)}"}

    return write.once(work)


# ---------------------------------------------------------------- mappings


@mappings.get(MAPPINGS, response_model=list[shapes.MappingShape], responses=documented())
def list_mappings(
    request: Request, params: Annotated[bodies.MappingParams, Query()], caller: Viewer
) -> Response:
    """List what ties pipelines to jobs of other tools."""
    found = [
        each
        for each in services_of(request).mappings.all()
        if caller.reaches(app_of(each["pipeline"]))
        and params.pipeline in (None, each["pipeline"])
        and params.tool in (None, each["tool"])
    ]
    return tagged(request, found[params.offset : params.offset + params.limit])


@mappings.post(
    MAPPINGS, status_code=201, response_model=shapes.MappingShape, responses=documented(400, 404, 409, 413)
)
def add_mapping(request: Request, body: bodies.NewMapping, write: AdminWrite) -> Response:
    """Tie a pipeline to a job elsewhere; the same again is refused (409)."""
    workflow_of(request, body.pipeline, write.caller)
    fields = body.model_dump(mode="json", exclude_unset=True)
    return write.once(lambda: services_of(request).mappings.add(fields), 201)


@mappings.get(f"{MAPPINGS}/{{mapping_id}}", response_model=shapes.MappingShape, responses=documented(404))
def show_mapping(request: Request, mapping_id: EntryId, caller: Viewer) -> Response:
    """Show one."""
    return tagged(request, _mapping(request, mapping_id, caller))


@mappings.put(
    f"{MAPPINGS}/{{mapping_id}}",
    response_model=shapes.MappingShape,
    responses=documented(400, 404, 409, 413),
)
def change_mapping(
    request: Request, mapping_id: EntryId, body: bodies.MappingChanges, write: AdminWrite
) -> Response:
    """Change what is given of one; null changes nothing."""
    _mapping(request, mapping_id, write.caller)
    fields = body.model_dump(mode="json", exclude_none=True)
    if "pipeline" in fields:
        workflow_of(request, fields["pipeline"], write.caller)
    return write.once(lambda: services_of(request).mappings.change(mapping_id, fields))


@mappings.delete(f"{MAPPINGS}/{{mapping_id}}", status_code=204, responses=documented(404, 409))
def delete_mapping(request: Request, mapping_id: EntryId, write: AdminWrite) -> Response:
    """Delete one; neither the pipeline nor the job changes."""
    _mapping(request, mapping_id, write.caller)
    services_of(request).mappings.delete(mapping_id)
    return Response(status_code=204)


# ---------------------------------------------------------------- the rest


def _mapping(request: Request, number: int, caller: Caller) -> Mapping[str, Any]:
    found = services_of(request).mappings.get(number)
    must_reach_workflow(caller, found["pipeline"])
    return found


def _all(request: Request, caller: Caller) -> Any:
    """Yield the workflows within reach, newest first."""
    store, among = services_of(request).store, reach_of(caller)
    after: int | None = None
    while True:
        page = store.workflows(among=among, after=after, limit=100)
        yield from page.workflows
        after = page.following
        if after is None:
            return


def _steps(request: Request, stored: StoredWorkflow) -> Any:
    store = services_of(request).store
    newest = store.executions(ExecutionQuery(workflow_id=stored.id), limit=1).executions
    if not newest:
        return rows.step_rows(stored)
    number = newest[0].id
    return rows.step_rows(stored, store.steps(number), store.waits(number, kind=WaitKind.APPROVAL))
