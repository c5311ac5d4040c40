"""``/apps`` and ``/windows``: what is held of each app, and what was proved of it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import Field
from starlette.responses import Response

from flowledger.api.auth import Viewer
from flowledger.api.backend import Backend, backend_of
from flowledger.api.problems import documented
from flowledger.api.query_params import InTime, Paged, SomeApps, read_cursor, write_cursor
from flowledger.api.responses import tagged
from flowledger.api.schemas import AppShape, Page, WindowShape, app_row, window_row
from flowledger.domain.certificates import Certificate
from flowledger.domain.history import Place
from flowledger.domain.runs import AppKey
from flowledger.domain.windows import LATEST, Window

router = APIRouter(tags=["apps"])
EPOCH = datetime.fromtimestamp(0, UTC)


class AppList(SomeApps, Paged):
    """Which apps, page by page."""


class WindowList(InTime, SomeApps, Paged):
    """Which certificates: those of windows that lie wholly in the stretch of time."""

    certified: bool | None = Field(default=None, description="Only those that are, or are not.")
    filtered: bool = Field(default=False, description="Also those of collections with a filter.")


@router.get("/apps", response_model=Page[AppShape], responses=documented(400))
def list_apps(request: Request, asked: Annotated[AppList, Query()], caller: Viewer) -> Response:
    """List the apps that are configured or have runs, by source and id."""
    backend, question = backend_of(request), asked.question(caller)
    after = read_cursor(asked.cursor, question)
    held = {summary.app: summary for summary in backend.ledger.apps()}
    rest = [
        app
        for app in sorted(_meant(asked, asked.apps(caller), {*held, *backend.names}), key=str)
        if after is None or str(app) > after.tie
    ]
    shown = rest[: asked.limit]
    following = Place(EPOCH, str(shown[-1])) if len(rest) > len(shown) else None
    rows = [app_row(app, backend.names.get(app), held.get(app)) for app in shown]
    return tagged(request, {"items": rows, "next_cursor": write_cursor(following, question)})


@router.get("/windows", response_model=Page[WindowShape], responses=documented(400))
def list_windows(request: Request, asked: Annotated[WindowList, Query()], caller: Viewer) -> Response:
    """List the newest certificate of each window, newest window first."""
    backend, question = backend_of(request), asked.question(caller)
    after = read_cursor(asked.cursor, question)
    apps = _meant(asked, asked.apps(caller), _known(backend, asked.apps(caller)))
    found = sorted(_certificates(backend, asked, apps), key=_place, reverse=True)
    rest = [each for each in found if after is None or _place(each) < after]
    shown = rest[: asked.limit]
    following = _place(shown[-1]) if len(rest) > len(shown) else None
    rows = [window_row(each) for each in shown]
    return tagged(request, {"items": rows, "next_cursor": write_cursor(following, question)})


def _meant(asked: SomeApps, wanted: tuple[AppKey, ...] | None, known: set[AppKey]) -> set[AppKey]:
    chosen = known if wanted is None else known & set(wanted)
    return {app for app in chosen if not asked.source or app.source in asked.source}


def _known(backend: Backend, wanted: tuple[AppKey, ...] | None) -> set[AppKey]:
    if wanted is not None:
        return set(wanted)
    return {*backend.names, *(summary.app for summary in backend.ledger.apps())}


def _certificates(backend: Backend, asked: WindowList, apps: set[AppKey]) -> Iterator[Certificate]:
    first = int(asked.since.timestamp()) if asked.since else 0
    last = int(asked.before.timestamp()) - 1 if asked.before else LATEST
    if first > last:
        raise HTTPException(422, "since must lie before before: swap them")
    for app in apps:
        for each in backend.ledger.certificates(app, Window(first, last), None if asked.filtered else ""):
            if asked.certified is None or each.certified is asked.certified:
                yield each


def _place(certificate: Certificate) -> Place:
    scope = certificate.scope
    tie = [scope.window.after, scope.app.source, scope.app.app_id, scope.query]
    return Place(scope.window.before_at, json.dumps(tie))
