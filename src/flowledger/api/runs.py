"""``/runs`` and ``/dify/apps/{id}/runs``: the runs of all sources, newest first."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from flowledger.api.auth import Viewer, must_reach
from flowledger.api.backend import Backend, backend_of
from flowledger.api.problems import documented
from flowledger.api.query_params import Id, Paged, RunWords, SomeApps, Source, read_cursor, write_cursor
from flowledger.api.responses import tagged
from flowledger.api.schemas import NodesShape, Page, RunDetailShape, RunShape, nodes_of, run_row, run_whole
from flowledger.domain.access_keys import Caller
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.runs import AppKey, Entry

router = APIRouter(tags=["runs"])
DIFY = "dify"


class RunList(RunWords, SomeApps, Paged):
    """Which runs of which apps, page by page."""


class AppRunList(RunWords, Paged):
    """Which runs of one app, page by page."""


@router.get("/runs", response_model=Page[RunShape], responses=documented(400))
def list_runs(request: Request, asked: Annotated[RunList, Query()], caller: Viewer) -> Response:
    """List runs of all sources, newest first."""
    query = asked.query(sources=tuple(asked.source), apps=asked.apps(caller))
    return tagged(request, _page(backend_of(request), query, asked, asked.question(caller)))


@router.get("/dify/apps/{app_id}/runs", response_model=Page[RunShape], responses=documented(400, 404))
def list_runs_of_dify_app(
    request: Request, app_id: Id, asked: Annotated[AppRunList, Query()], caller: Viewer
) -> Response:
    """List the runs of one Dify app, newest first."""
    backend, app = backend_of(request), AppKey(DIFY, app_id)
    must_reach(caller, app)
    page = _page(backend, asked.query(apps=(app,)), asked, asked.question(caller, app=str(app)))
    if not page["items"] and app not in backend.names and not _has_runs(backend, app):
        raise HTTPException(404, f"there is no app {app} in the settings or in the ledger")
    return tagged(request, page)


@router.get("/runs/{source}/{app_id}/{run_id}", response_model=RunDetailShape, responses=documented(404))
def show_run(request: Request, source: Source, app_id: Id, run_id: Id, caller: Viewer) -> Response:
    """Show one run with its inputs and outputs."""
    return tagged(request, run_whole(_entry(request, RunKey(AppKey(source, app_id), run_id), caller)))


@router.get("/runs/{source}/{app_id}/{run_id}/nodes", response_model=NodesShape, responses=documented(404))
def list_nodes(request: Request, source: Source, app_id: Id, run_id: Id, caller: Viewer) -> Response:
    """List the node executions of one run, in the order of the source."""
    return tagged(request, nodes_of(_entry(request, RunKey(AppKey(source, app_id), run_id), caller)))


def _page(backend: Backend, query: RunQuery, asked: Paged, question: dict[str, Any]) -> dict[str, Any]:
    after = read_cursor(asked.cursor, question)
    page = backend.ledger.history(query, after=after, limit=asked.limit)
    return {
        "items": [run_row(entry.run) for entry in page.entries],
        "next_cursor": write_cursor(page.following, question),
    }


def _has_runs(backend: Backend, app: AppKey) -> bool:
    return bool(backend.ledger.history(RunQuery(apps=(app,)), limit=1).entries)


def _entry(request: Request, key: RunKey, caller: Caller) -> Entry:
    must_reach(caller, key.app)
    entry = backend_of(request).ledger.entry(key)
    if entry is None:
        raise HTTPException(404, f"there is no run {key}, or not within this key's reach")
    return entry
