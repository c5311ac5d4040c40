"""``/apis`` and ``/admin/node-types``: what nodes can call, and which types of nodes there are."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flowledger.api import workflow_bodies as bodies
from flowledger.api import workflow_shapes as shapes
from flowledger.api.auth import Operator, Viewer
from flowledger.api.problems import documented
from flowledger.api.responses import JSON, tagged
from flowledger.api.workflow_access import (
    AdminWrite,
    engine_lifespan,
    must_reach_all,
    services_of,
    workflows_of,
)
from flowledger.bootstrap.node_handlers import node_kinds
from flowledger.io.json_text import dumps_strict
from flowledger.services.workflows.calling import call_api

router = APIRouter(tags=["apis"], lifespan=engine_lifespan)
ONE = "/apis/{api_id}"


@router.get("/apis", response_model=list[shapes.ApiShape], responses=documented())
def list_apis(request: Request, caller: Viewer) -> Response:
    """List the APIs that nodes can call, by number."""
    must_reach_all(caller)
    return tagged(request, [shapes.api_row(api) for api in services_of(request).store.apis()])


@router.post("/apis", status_code=201, response_model=shapes.ApiShape, responses=documented(400, 409, 413))
def add_api(request: Request, body: bodies.ApiEntry, write: AdminWrite) -> Response:
    """Register an API; its secrets are referred to as `{{secrets.NAME}}`."""
    must_reach_all(write.caller)

    def work() -> Mapping[str, Any]:
        api = services_of(request).registry.save_api(None, body.fields())
        write.record("CREATE_API", api=api.id)
        return shapes.api_row(api)

    return write.once(work, 201)


@router.get(ONE, response_model=shapes.ApiShape, responses=documented(404))
def show_api(request: Request, api_id: bodies.EntryId, caller: Viewer) -> Response:
    """Show an API."""
    must_reach_all(caller)
    return tagged(request, shapes.api_row(services_of(request).registry.api(api_id)))


@router.put(ONE, response_model=shapes.ApiShape, responses=documented(400, 404, 409, 413))
def change_api(
    request: Request, api_id: bodies.EntryId, body: bodies.ApiEntry, write: AdminWrite
) -> Response:
    """Change what is given of an API; null takes a field away."""
    must_reach_all(write.caller)

    def work() -> Mapping[str, Any]:
        registry = services_of(request).registry
        api = registry.save_api(api_id, {**registry.api(api_id).fields, **body.fields()})
        write.record("CHANGE_API", api=api.id)
        return shapes.api_row(api)

    return write.once(work)


@router.delete(ONE, status_code=204, responses=documented(404))
def delete_api(request: Request, api_id: bodies.EntryId, write: AdminWrite) -> Response:
    """Delete an API; nodes that call it fail from then on."""
    must_reach_all(write.caller)
    services_of(request).registry.delete_api(api_id)
    write.record("DELETE_API", api=api_id)
    return Response(status_code=204)


@router.post(f"{ONE}/call", response_model=shapes.TrialShape, responses=documented(400, 404, 413))
async def try_api(
    request: Request, api_id: bodies.EntryId, caller: Operator, body: bodies.ApiTrial | None = None
) -> Response:
    """Call an API once as a node would, to try it; 200 however that ended, secrets masked in the answer."""
    must_reach_all(caller)
    await run_in_threadpool(services_of(request).registry.api, api_id)
    given = (body or bodies.ApiTrial()).fields()
    answer = await call_api(workflows_of(request).engine[0], api_id, given)
    return Response(dumps_strict(answer), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.get("/admin/node-types", response_model=list[shapes.NodeTypeShape], responses=documented())
def list_node_types(request: Request, caller: Viewer) -> Response:
    """List the types of nodes: Flowledger's own, then those that were made known."""
    must_reach_all(caller)
    return tagged(request, [shapes.node_type_row(kind) for kind in node_kinds(services_of(request).store)])


@router.post(
    "/admin/node-types",
    status_code=201,
    response_model=shapes.NodeTypeShape,
    responses=documented(400, 409, 413),
)
def add_node_type(request: Request, body: bodies.NewNodeType, write: AdminWrite) -> Response:
    """Make a type of nodes known that an installed handler executes; one of that name is replaced."""
    must_reach_all(write.caller)

    def work() -> Mapping[str, Any]:
        services = services_of(request)
        made = services.registry.save_node_type(body.fields())
        write.record("SAVE_NODE_TYPE", node_type=made.type_name, handler=made.handler)
        kinds = {kind.type_name: kind for kind in node_kinds(services.store)}
        return shapes.node_type_row(kinds[made.type_name])

    return write.once(work, 201)
