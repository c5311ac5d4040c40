"""Parallel groups of pipelines, under ``/pipelines/parallel-groups`` and ``/parallel-groups``."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from flowledger.api import pipeline_bodies as bodies
from flowledger.api import pipeline_shapes as shapes
from flowledger.api.auth import Viewer
from flowledger.api.problems import documented
from flowledger.api.responses import tagged
from flowledger.api.workflow_access import AdminWrite, app_of, must_reach_workflow, services_of, workflow_of
from flowledger.domain.access_keys import Caller
from flowledger.services.workflows import pipeline_rows as rows
from flowledger.services.workflows.pipelines import Grouped

router = APIRouter(prefix="/parallel-groups", tags=["pipelines"])
ONE = "/{group_id}"
OfPipeline = Annotated[
    bodies.Number | None,
    Query(description="Ids are unique in their pipeline: needed where several have this one."),
]


@router.get("", response_model=list[shapes.GroupShape] | shapes.GroupList, responses=documented(404))
def list_groups(
    request: Request, params: Annotated[bodies.PipelineParams, Query()], caller: Viewer
) -> Response:
    """List parallel groups: a plain list, or with `pipeline` those of one with their numbers."""
    found = services_of(request).pipelines
    if params.pipeline is None:
        groups = islice(
            found.groups(reaches=lambda number: caller.reaches(app_of(number))),
            params.offset,
            params.offset + params.limit,
        )
        return tagged(request, [rows.group_row(each) for each in groups])
    must_reach_workflow(caller, params.pipeline)
    listed = [rows.group_row(each) for each in found.groups(params.pipeline)]
    answer = {
        "parallel_groups": listed[params.offset : params.offset + params.limit],
        "total_groups": len(listed),
        "total_steps": sum(len(each["steps"]) for each in listed),
    }
    return tagged(request, answer)


@router.post("", status_code=201, response_model=shapes.GroupShape, responses=documented(400, 404, 409, 413))
def add_group(request: Request, body: bodies.NewGroup, write: AdminWrite) -> Response:
    """Add a parallel group to a pipeline; steps that depend on each other are refused (422)."""
    workflow_of(request, body.pipeline, write.caller)
    fields = body.model_dump(exclude_none=True, exclude={"pipeline", "id"})
    if body.id is not None:
        fields["key"] = body.id

    def work() -> Mapping[str, Any]:
        return rows.group_row(services_of(request).pipelines.add_group(body.pipeline, fields))

    return write.once(work, 201)


@router.get(ONE, response_model=shapes.GroupShape, responses=documented(404, 409))
def show_group(
    request: Request, group_id: bodies.GroupId, caller: Viewer, pipeline: OfPipeline = None
) -> Response:
    """Show a parallel group."""
    return tagged(request, rows.group_row(_group(request, group_id, pipeline, caller)))


@router.put(ONE, response_model=shapes.GroupShape, responses=documented(400, 404, 409, 413))
def change_group(
    request: Request,
    group_id: bodies.GroupId,
    body: bodies.GroupChanges,
    write: AdminWrite,
    pipeline: OfPipeline = None,
) -> Response:
    """Change what is given of a parallel group; it stays in its pipeline."""
    found = _group(request, group_id, pipeline or body.pipeline, write.caller)
    fields = body.model_dump(exclude_unset=True, exclude={"pipeline"})
    kept = {name: each for name, each in fields.items() if each is not None or name == "timeout_seconds"}
    return write.once(lambda: rows.group_row(services_of(request).pipelines.change_group(found, kept)))


@router.delete(ONE, status_code=204, responses=documented(404, 409))
def delete_group(
    request: Request, group_id: bodies.GroupId, write: AdminWrite, pipeline: OfPipeline = None
) -> Response:
    """Delete a parallel group; its steps stay."""
    found = _group(request, group_id, pipeline, write.caller)
    services_of(request).pipelines.delete_group(found)
    return Response(status_code=204)


def _group(request: Request, group_id: str, pipeline: int | None, caller: Caller) -> Grouped:
    if pipeline is not None:
        must_reach_workflow(caller, pipeline)
    return services_of(request).pipelines.group(
        group_id, pipeline, reaches=lambda number: caller.reaches(app_of(number))
    )
