"""``/runs``, ``/apps``, ``/windows`` and ``/stats``: what the ledger has, newest first."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import Field
from starlette.responses import Response

from flowledger.api import query_params, schemas
from flowledger.api.auth import Viewer, must_reach
from flowledger.api.backend import Backend, backend_of
from flowledger.api.problems import documented
from flowledger.api.responses import tagged
from flowledger.domain.access_keys import Caller
from flowledger.domain.certificates import Certificate
from flowledger.domain.history import Place, RunKey, RunQuery
from flowledger.domain.runs import AppKey, Entry
from flowledger.domain.statistics import days_between, statistics_of
from flowledger.domain.windows import LATEST, Window, zone

router = APIRouter()
DIFY = "dify"
EPOCH = datetime.fromtimestamp(0, UTC)
"""The time in cursors of ``/apps``, which is in the order of names and has no times."""
DEFAULT_SPAN, MAX_SPAN = timedelta(days=30), timedelta(days=400)
"""Of ``/stats``, which reads every run of its span."""


class RunList(query_params.RunParams, query_params.AppParams, query_params.PageParams):
    """Which runs of which apps, page by page."""


class AppRunList(query_params.RunParams, query_params.PageParams):
    """Which runs of one app, page by page."""


class AppList(query_params.AppParams, query_params.PageParams):
    """Which apps, page by page."""


class WindowList(query_params.TimeParams, query_params.AppParams, query_params.PageParams):
    """Which certificates: those of windows that lie wholly between the two times."""

    certified: bool | None = Field(default=None, description="Only those that are, or are not.")
    filtered: bool = Field(default=False, description="Also those of collections with a filter.")


class StatsParams(query_params.RunParams, query_params.AppParams):
    """Which runs, and the time zone that defines days."""

    timezone: str | None = Field(
        default=None, max_length=64, examples=["Asia/Shanghai"], description="IANA name."
    )


@router.get("/runs", response_model=schemas.Page[schemas.RunShape], responses=documented(400), tags=["runs"])
def list_runs(request: Request, params: Annotated[RunList, Query()], caller: Viewer) -> Response:
    """List runs of all sources, newest first."""
    query = params.query(sources=tuple(params.source), apps=params.apps_for(caller))
    return tagged(request, _page(backend_of(request), query, params, params.cursor_scope(caller)))


@router.get(
    "/dify/apps/{app_id}/runs",
    response_model=schemas.Page[schemas.RunShape],
    responses=documented(400, 404),
    tags=["runs"],
)
def list_runs_of_dify_app(
    request: Request, app_id: query_params.Id, params: Annotated[AppRunList, Query()], caller: Viewer
) -> Response:
    """List the runs of one Dify app, newest first."""
    backend, app = backend_of(request), AppKey(DIFY, app_id)
    must_reach(caller, app)
    page = _page(backend, params.query(apps=(app,)), params, params.cursor_scope(caller, app=str(app)))
    if not page["items"] and app not in backend.names and not _has_runs(backend, app):
        raise HTTPException(404, f"there is no app {app} in the settings or in the ledger")
    return tagged(request, page)


@router.get(
    "/runs/{source}/{app_id}/{run_id}",
    response_model=schemas.RunDetailShape,
    responses=documented(404),
    tags=["runs"],
)
def show_run(
    request: Request,
    source: query_params.Source,
    app_id: query_params.Id,
    run_id: query_params.Id,
    caller: Viewer,
) -> Response:
    """Show one run with its inputs and outputs."""
    return tagged(
        request, schemas.run_detail_row(_entry(request, RunKey(AppKey(source, app_id), run_id), caller))
    )


@router.get(
    "/runs/{source}/{app_id}/{run_id}/nodes",
    response_model=schemas.NodesShape,
    responses=documented(404),
    tags=["runs"],
)
def list_nodes(
    request: Request,
    source: query_params.Source,
    app_id: query_params.Id,
    run_id: query_params.Id,
    caller: Viewer,
) -> Response:
    """List the node executions of one run, in the order of the source."""
    return tagged(request, schemas.nodes_of(_entry(request, RunKey(AppKey(source, app_id), run_id), caller)))


def _page(
    backend: Backend, query: RunQuery, params: query_params.PageParams, cursor_scope: dict[str, Any]
) -> dict[str, Any]:
    after = query_params.read_cursor(params.cursor, cursor_scope)
    page = backend.ledger.history(query, after=after, limit=params.limit)
    return {
        "items": [schemas.run_row(entry.run) for entry in page.entries],
        "next_cursor": query_params.write_cursor(page.following, cursor_scope),
    }


def _has_runs(backend: Backend, app: AppKey) -> bool:
    return bool(backend.ledger.history(RunQuery(apps=(app,)), limit=1).entries)


def _entry(request: Request, key: RunKey, caller: Caller) -> Entry:
    must_reach(caller, key.app)
    entry = backend_of(request).ledger.entry(key)
    if entry is None:
        raise HTTPException(404, f"there is no run {key}, or not within this key's reach")
    return entry


@router.get("/apps", response_model=schemas.Page[schemas.AppShape], responses=documented(400), tags=["apps"])
def list_apps(request: Request, params: Annotated[AppList, Query()], caller: Viewer) -> Response:
    """List the apps that are configured or have runs, by source and id."""
    backend, cursor_scope = backend_of(request), params.cursor_scope(caller)
    after = query_params.read_cursor(params.cursor, cursor_scope)
    summaries = {summary.app: summary for summary in backend.ledger.apps()}
    rest = [
        app
        for app in sorted(_selected(params, params.apps_for(caller), {*summaries, *backend.names}), key=str)
        if after is None or str(app) > after.tie
    ]
    page = rest[: params.limit]
    following = Place(EPOCH, str(page[-1])) if len(rest) > len(page) else None
    rows = [schemas.app_row(app, backend.names.get(app), summaries.get(app)) for app in page]
    return tagged(request, {"items": rows, "next_cursor": query_params.write_cursor(following, cursor_scope)})


@router.get(
    "/windows", response_model=schemas.Page[schemas.WindowShape], responses=documented(400), tags=["apps"]
)
def list_windows(request: Request, params: Annotated[WindowList, Query()], caller: Viewer) -> Response:
    """List the newest certificate of each window, newest window first."""
    backend, cursor_scope = backend_of(request), params.cursor_scope(caller)
    after = query_params.read_cursor(params.cursor, cursor_scope)
    requested = params.apps_for(caller)
    apps = _selected(params, requested, _all_apps(backend) if requested is None else set(requested))
    certificates = sorted(_certificates(backend, params, apps), key=_position, reverse=True)
    rest = [each for each in certificates if after is None or _position(each) < after]
    page = rest[: params.limit]
    following = _position(page[-1]) if len(rest) > len(page) else None
    rows = [schemas.window_row(each) for each in page]
    return tagged(request, {"items": rows, "next_cursor": query_params.write_cursor(following, cursor_scope)})


def _selected(
    params: query_params.AppParams, requested: tuple[AppKey, ...] | None, existing: set[AppKey]
) -> set[AppKey]:
    apps = existing if requested is None else existing & set(requested)
    return {app for app in apps if not params.source or app.source in params.source}


def _all_apps(backend: Backend) -> set[AppKey]:
    return {*backend.names, *(summary.app for summary in backend.ledger.apps())}


def _certificates(backend: Backend, params: WindowList, apps: set[AppKey]) -> Iterator[Certificate]:
    first = int(params.since.timestamp()) if params.since else 0
    # Windows are whole seconds, both ends included; ``before`` is excluded.
    last = int(params.before.timestamp()) - 1 if params.before else LATEST
    if first > last:
        raise HTTPException(422, "since must lie before before: swap them")
    for app in apps:
        for each in backend.ledger.certificates(app, Window(first, last), None if params.filtered else ""):
            if params.certified is None or each.certified is params.certified:
                yield each


def _position(certificate: Certificate) -> Place:
    scope = certificate.scope
    tie = [scope.window.after, scope.app.source, scope.app.app_id, scope.query]
    return Place(scope.window.before_at, json.dumps(tie))


@router.get("/stats", response_model=schemas.StatsShape, responses=documented(), tags=["statistics"])
def show_stats(request: Request, params: Annotated[StatsParams, Query()], caller: Viewer) -> Response:
    """Count runs, by default those of the last 30 days; days without runs have 0."""
    backend = backend_of(request)
    tz = zone(params.timezone) if params.timezone else backend.tz
    before = params.before or (params.since + DEFAULT_SPAN if params.since else backend.clock())
    since = params.since or before - DEFAULT_SPAN
    if not timedelta() < before - since <= MAX_SPAN:
        raise HTTPException(
            422, f"since must lie before before, and at most {MAX_SPAN.days} days: ask in parts"
        )
    params = params.model_copy(update={"since": since, "before": before})
    query = params.query(sources=tuple(params.source), apps=params.apps_for(caller))
    days = days_between(since, before, tz)
    row = schemas.stats_row(statistics_of(backend.ledger.facts(query), tz, days))
    return tagged(request, {"since": since, "before": before, "timezone": str(tz), **row})
