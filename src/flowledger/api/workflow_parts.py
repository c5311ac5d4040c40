"""``/workflows/{id}/nodes`` and ``…/connections``: the parts of a workflow."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from flowledger.api import workflow_bodies as bodies
from flowledger.api import workflow_shapes as shapes
from flowledger.api.auth import Viewer
from flowledger.api.problems import documented
from flowledger.api.responses import tagged
from flowledger.api.workflow_access import AdminWrite, must_reach_workflow, services_of, workflow_of
from flowledger.errors import RecordNotFoundError
from flowledger.services.workflows import rows

router = APIRouter(prefix="/workflows/{workflow_id}", tags=["workflows"])


@router.get("/nodes", response_model=list[shapes.NodeShape], responses=documented(404))
def list_nodes_of(request: Request, workflow_id: bodies.WorkflowId, caller: Viewer) -> Response:
    """List the nodes of a workflow in the order they were added."""
    document = workflow_of(request, workflow_id, caller).document
    return tagged(request, [rows.node_row(workflow_id, node) for node in document.get("nodes") or ()])


@router.post(
    "/nodes", status_code=201, response_model=shapes.NodeShape, responses=documented(400, 404, 409, 413)
)
def add_node(
    request: Request, workflow_id: bodies.WorkflowId, body: bodies.NewNode, write: AdminWrite
) -> Response:
    """Add a node."""
    must_reach_workflow(write.caller, workflow_id)
    authoring = services_of(request).authoring
    return write.once(lambda: rows.node_row(workflow_id, authoring.add_node(workflow_id, body.fields())), 201)


@router.get("/nodes/{node_id}", response_model=shapes.NodeShape, responses=documented(404))
def show_node(
    request: Request, workflow_id: bodies.WorkflowId, node_id: bodies.EntryId, caller: Viewer
) -> Response:
    """Show a node."""
    return tagged(request, rows.node_row(workflow_id, _entry(request, workflow_id, caller, "nodes", node_id)))


@router.put("/nodes/{node_id}", response_model=shapes.NodeShape, responses=documented(400, 404, 409, 413))
def change_node(
    request: Request,
    workflow_id: bodies.WorkflowId,
    node_id: bodies.EntryId,
    body: bodies.NodeChanges,
    write: AdminWrite,
) -> Response:
    """Change what is given of a node; its alias stays when it is renamed."""
    must_reach_workflow(write.caller, workflow_id)
    authoring = services_of(request).authoring
    return write.once(
        lambda: rows.node_row(workflow_id, authoring.update_node(workflow_id, node_id, body.fields()))
    )


@router.delete("/nodes/{node_id}", status_code=204, responses=documented(404))
def delete_node(
    request: Request, workflow_id: bodies.WorkflowId, node_id: bodies.EntryId, write: AdminWrite
) -> Response:
    """Delete a node with the connections that lead to and from it."""
    must_reach_workflow(write.caller, workflow_id)
    services_of(request).authoring.delete_node(workflow_id, node_id)
    return Response(status_code=204)


@router.get("/connections", response_model=list[shapes.ConnectionShape], responses=documented(404))
def list_connections(request: Request, workflow_id: bodies.WorkflowId, caller: Viewer) -> Response:
    """List the connections of a workflow."""
    document = workflow_of(request, workflow_id, caller).document
    return tagged(
        request, [rows.connection_row(workflow_id, each) for each in document.get("connections") or ()]
    )


@router.post(
    "/connections", status_code=201, response_model=shapes.ConnectionShape,
    responses=documented(400, 404, 409, 413),
)  # fmt: skip
def add_connection(
    request: Request, workflow_id: bodies.WorkflowId, body: bodies.NewConnection, write: AdminWrite
) -> Response:
    """Add a connection."""
    must_reach_workflow(write.caller, workflow_id)
    authoring = services_of(request).authoring
    return write.once(
        lambda: rows.connection_row(workflow_id, authoring.add_connection(workflow_id, body.fields())), 201
    )


@router.get("/connections/{connection_id}", response_model=shapes.ConnectionShape, responses=documented(404))
def show_connection(
    request: Request, workflow_id: bodies.WorkflowId, connection_id: bodies.EntryId, caller: Viewer
) -> Response:
    """Show a connection."""
    entry = _entry(request, workflow_id, caller, "connections", connection_id)
    return tagged(request, rows.connection_row(workflow_id, entry))


@router.put(
    "/connections/{connection_id}", response_model=shapes.ConnectionShape,
    responses=documented(400, 404, 409, 413),
)  # fmt: skip
def change_connection(
    request: Request,
    workflow_id: bodies.WorkflowId,
    connection_id: bodies.EntryId,
    body: bodies.ConnectionChanges,
    write: AdminWrite,
) -> Response:
    """Change what is given of a connection."""
    must_reach_workflow(write.caller, workflow_id)
    authoring = services_of(request).authoring

    def work() -> Mapping[str, Any]:
        changed = authoring.update_connection(workflow_id, connection_id, body.fields())
        return rows.connection_row(workflow_id, changed)

    return write.once(work)


@router.delete("/connections/{connection_id}", status_code=204, responses=documented(404))
def delete_connection(
    request: Request, workflow_id: bodies.WorkflowId, connection_id: bodies.EntryId, write: AdminWrite
) -> Response:
    """Delete a connection."""
    must_reach_workflow(write.caller, workflow_id)
    services_of(request).authoring.delete_connection(workflow_id, connection_id)
    return Response(status_code=204)


def _entry(
    request: Request, workflow_id: int, caller: Viewer, part: Literal["nodes", "connections"], number: int
) -> Mapping[str, Any]:
    document = workflow_of(request, workflow_id, caller).document
    for entry in document.get(part) or ():
        if entry["id"] == number:
            found: Mapping[str, Any] = entry
            return found
    raise RecordNotFoundError(f"the workflow has no {part.removesuffix('s')} {number}")
