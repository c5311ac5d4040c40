"""The console's API: what a person's session or the admin key may read (docs/dify-api.md "Console")."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from flowledger_simulator import conversations, credentials
from flowledger_simulator.console_login import check_access
from flowledger_simulator.http_messages import RefusedError, Request, Response, error_response, json_response
from flowledger_simulator.log_list import (
    CONSOLE_STATUSES,
    CURSOR_STATUSES,
    Checker,
    cut_newest,
    list_logs,
    read_log_query,
)
from flowledger_simulator.payloads import (
    UNKNOWN_CONSOLE_RUN,
    app_detail,
    app_row,
    console_run,
    cursor_row,
    node_rows,
)
from flowledger_simulator.site import Site
from flowledger_simulator.world import Json, SimulatedApp, SimulatedRun, by_microsecond, by_start

Handler = Callable[[Site, Request], Response]
Item = TypeVar("Item")

CONVERSATION_ORDERS = ("created_at", "-created_at", "updated_at", "-updated_at")

_RANGE = re.compile(r"(\d+)([dhms])")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def show_setup(site: Site, request: Request) -> Response:  # noqa: ARG001  # asked without any login
    """GET /console/api/setup: the cheapest way to learn the release."""
    return json_response({"step": "finished", "setup_at": "2026-11-01T00:00:00"})


def show_version(site: Site, request: Request) -> Response:
    """GET /console/api/version?current_version=…"""
    if "current_version" not in request.query:
        message = "Validation error for parameter 'query'"
        error = {"type": "validation_error", "message": message, "status": 422, "details": message}
        return json_response({"error": error}, 422)
    features = {"can_replace_logo": False, "model_load_balancing_enabled": False}
    return json_response(
        {
            "version": str(site.release),
            "release_date": "",
            "release_notes": "",
            "can_auto_update": False,
            "features": features,
        }
    )


def show_profile(site: Site, request: Request) -> Response:
    """GET /console/api/account/profile."""
    check_access(site, request)
    return json_response(
        {
            "avatar": None,
            "id": credentials.ACCOUNT_ID,
            "name": credentials.ACCOUNT_NAME,
            "email": credentials.EMAIL,
            "is_password_set": True,
            "interface_language": "zh-Hans",
            "interface_theme": "light",
            "timezone": "Asia/Shanghai",
            "last_login_at": site.world.app.created_at,
            "last_login_ip": "127.0.0.1",
            "created_at": site.world.app.created_at,
            "avatar_url": None,
        }
    )


def show_workspaces(site: Site, request: Request) -> Response:
    """GET /console/api/workspaces."""
    check_access(site, request)
    names = {credentials.WORKSPACE_ID: "Simulated Workspace"}
    if site.workspace != credentials.WORKSPACE_ID:
        names[site.workspace] = "Another Workspace"
    workspaces = [
        {
            "id": id_,
            "name": name,
            "plan": "sandbox",
            "status": "normal",
            "created_at": site.world.app.created_at,
            "current": id_ == site.workspace,
        }
        for id_, name in names.items()
    ]
    return json_response({"workspaces": workspaces})


def show_apps(site: Site, request: Request) -> Response:
    """GET /console/api/apps."""
    check_access(site, request)
    checker = Checker(request, site.release, "AppListQuery")
    page, limit = checker.whole("page", 1, 1, 99_999), checker.whole("limit", 20, 1, 100)
    mode, name = request.query.get("mode", "all"), request.query.get("name", "").lower()
    apps = [
        app for app in _visible_apps(site).values() if mode in ("all", app.mode) and name in app.name.lower()
    ]
    return json_response(_paged(page, limit, apps, lambda app: app_row(app, site.release)))


def show_app(site: Site, request: Request) -> Response:
    """GET /console/api/apps/{app_id}."""
    return json_response(app_detail(_find_app(site, request)))


def show_logs(site: Site, request: Request) -> Response:
    """GET …/workflow-app-logs: as the service API's list, with every status and ``detail``."""
    app = _find_app(site, request, "workflow")
    query = read_log_query(request, site.release, CONSOLE_STATUSES)
    site.before_page()
    return list_logs(site.world, site.release, app, query)


def show_archived_logs(site: Site, request: Request) -> Response:
    """GET …/workflow-archived-logs: empty, as where archiving is not configured."""
    _find_app(site, request, "workflow")
    checker = Checker(request, site.release, "WorkflowAppLogQuery")
    page, limit = checker.whole("page", 1, 1, 99_999), checker.whole("limit", 20, 1, 100)
    return json_response(_paged(page, limit, [], dict))


def show_runs(site: Site, request: Request) -> Response:
    """GET …/workflow-runs: the cursor list."""
    return _list_runs(site, request, _find_app(site, request), cursor_row)


def show_chat_runs(site: Site, request: Request) -> Response:
    """GET …/advanced-chat/workflow-runs: the cursor list with conversation and message ids."""
    return _list_runs(site, request, _find_app(site, request, "advanced-chat"), _chat_row)


def show_count(site: Site, request: Request) -> Response:
    """GET …/workflow-runs/count: by status, of the runs of a ``time_range`` that ends now."""
    app = _find_app(site, request)
    matches = _read_filter(site, request)
    runs = site.world.between(app.id, by_microsecond, _range_start(site, request), None)
    counts_by_status = Counter(run.status for run in runs if matches(run))
    words = ("running", "succeeded", "failed", "stopped", "partial-succeeded")
    # Paused runs are in the total only, and the key of partial-succeeded has an underscore.
    counts = {word.replace("-", "_"): counts_by_status[word] for word in words}
    return json_response({"total": counts_by_status.total(), **counts})


def show_run(site: Site, request: Request) -> Response:
    """GET …/workflow-runs/{run_id}: every field null for an unknown run."""
    run = _find_run(site, request)
    return json_response(UNKNOWN_CONSOLE_RUN if run is None else console_run(run))


def show_nodes(site: Site, request: Request) -> Response:
    """GET …/workflow-runs/{run_id}/node-executions: empty for an unknown run."""
    run = _find_run(site, request)
    return json_response({"data": [] if run is None else node_rows(run, site.release)})


def show_conversations(site: Site, request: Request) -> Response:
    """GET …/chat-conversations: of its parameters, page, limit and order."""
    app = _find_chatflow(site, request)
    checker = Checker(request, site.release, "ChatConversationQuery")
    page, limit = checker.whole("page", 1, 1, 99_999), checker.whole("limit", 20, 1, 100)
    order = checker.choice("sort_by", CONVERSATION_ORDERS) or "-updated_at"
    site.before_page()
    runs = site.world.between(app.id, by_start, None, None)
    found = conversations.conversations_of(runs, order, site.world.shuffler)
    return json_response(_paged(page, limit, found, conversations.conversation_row))


def show_messages(site: Site, request: Request) -> Response:
    """GET …/chat-messages?conversation_id=…: by a cursor over whole seconds."""
    app = _find_chatflow(site, request)
    limit = Checker(request, site.release, "ChatMessagesQuery").whole("limit", 20, 1, 100)
    runs = [
        run
        for run in site.world.between(app.id, by_start, None, None)
        if conversations.conversation_id_of(run) == request.query.get("conversation_id")
    ]
    if not runs:
        return error_response(404, "not_found", "Conversation Not Exists.")
    first_id = request.query.get("first_id", "")
    first = next((run for run in runs if conversations.message_id_of(run) == first_id), None)
    if first_id and first is None:
        return error_response(404, "not_found", "First message not found")
    return json_response(conversations.message_page(runs, first, limit, site.world.shuffler))


def _paged(page: int, limit: int, items: Sequence[Item], write: Callable[[Item], Json]) -> Json:
    start = (page - 1) * limit
    more = len(items) > page * limit
    data = [write(item) for item in items[start : start + limit]]
    return {"page": page, "limit": limit, "total": len(items), "has_more": more, "data": data}


def _list_runs(
    site: Site, request: Request, app: SimulatedApp, write: Callable[[SimulatedRun], Json]
) -> Response:
    limit = Checker(request, site.release, "WorkflowRunListQuery").whole("limit", 20, 1, 100)
    matches = _read_filter(site, request)
    last_id = request.query.get("last_id", "")
    last = site.world.find(app.id, last_id) if last_id else None
    if last_id and (last is None or not matches(last)):
        return error_response(400, "invalid_param", "Last workflow run not exists")
    # The server goes on strictly below the last row's time: runs of the same microsecond are skipped.
    newest = None if last is None else last.started_us - 1
    page, more = cut_newest(site.world.between(app.id, by_microsecond, None, newest), matches, limit)
    return json_response({"limit": limit, "has_more": more, "data": [write(run) for run in page]})


def _read_filter(site: Site, request: Request) -> Callable[[SimulatedRun], bool]:
    """Return the filter that the parameters describe; without a trigger, only editor previews pass."""
    # The server's default: API runs seem absent to whoever names no trigger.
    trigger, status = "debugging", None
    if site.release.filters_workflow_runs:
        checker = Checker(request, site.release, "WorkflowRunListQuery")
        trigger = checker.choice("triggered_from", ("debugging", "app-run")) or trigger
        status = checker.choice("status", CURSOR_STATUSES)
    return lambda run: run.triggered_from == trigger and status in (None, run.status)


def _range_start(site: Site, request: Request) -> int | None:
    """Return the microsecond since 1970 at which ``time_range`` begins, None without one."""
    text = request.query.get("time_range", "")
    if not text:
        return None
    match = _RANGE.fullmatch(text)
    if not match:
        message = "Invalid time_range format. Use 7d, 4h, 30m or 30s."
        raise RefusedError(error_response(400, "invalid_param", message))
    return int((site.options.clock() - int(match[1]) * _SECONDS[match[2]]) * 1_000_000)


def _chat_row(run: SimulatedRun) -> Json:
    row = cursor_row(run)
    ids = {
        "conversation_id": conversations.conversation_id_of(run),
        "message_id": conversations.message_id_of(run),
    }
    return {"id": row.pop("id"), **ids, **row}


def _find_run(site: Site, request: Request) -> SimulatedRun | None:
    app = _find_app(site, request)
    return site.world.find(app.id, request.path.split("/")[6])


def _visible_apps(site: Site) -> Mapping[str, SimulatedApp]:
    return site.world.apps if site.workspace == credentials.WORKSPACE_ID else {}


def _find_app(site: Site, request: Request, mode: str = "") -> SimulatedApp:
    """Check the session, then the app and its mode.

    :raises RefusedError: with 401 or 404.
    """
    check_access(site, request)
    app = _visible_apps(site).get(request.path.split("/")[4])
    if app is None:
        raise _no_app("App not found.", request)
    if mode and app.mode != mode:
        raise _no_app(f"App mode is not in the supported list: {{{mode!r}}}.", request)
    return app


def _find_chatflow(site: Site, request: Request) -> SimulatedApp:
    """Find a chatflow whose conversations are asked for, which only editors may read.

    :raises RefusedError: with 401, 403 or 404.
    """
    app = _find_app(site, request, "advanced-chat")
    if not site.options.is_editor:
        message = "You don't have the permission to access the requested resource."
        raise RefusedError(error_response(403, "forbidden", message))
    return app


def _no_app(message: str, request: Request) -> RefusedError:
    # flask-restx appends this hint to each 404 of a known route.
    template = re.sub(r"(?<=/apps/)[^/]+", "<uuid:app_id>", request.path)
    hint = f"You have requested this URI [{request.path}] but did you mean {template} ?"
    return RefusedError(error_response(404, "app_not_found", f"{message} {hint}"))


OPEN: dict[str, Handler] = {
    "/console/api/setup": show_setup,
    "/console/api/version": show_version,
}
"""Paths that need no login."""
LOGGED_IN: dict[str, Handler] = {
    "/console/api/account/profile": show_profile,
    "/console/api/workspaces": show_workspaces,
    "/console/api/apps": show_apps,
    "/console/api/apps/?": show_app,
    "/console/api/apps/?/workflow-app-logs": show_logs,
    "/console/api/apps/?/workflow-archived-logs": show_archived_logs,
    "/console/api/apps/?/workflow-runs": show_runs,
    "/console/api/apps/?/workflow-runs/count": show_count,
    "/console/api/apps/?/workflow-runs/?": show_run,
    "/console/api/apps/?/workflow-runs/?/node-executions": show_nodes,
    "/console/api/apps/?/advanced-chat/workflow-runs": show_chat_runs,
    "/console/api/apps/?/advanced-chat/workflow-runs/count": show_count,
    "/console/api/apps/?/chat-conversations": show_conversations,
    "/console/api/apps/?/chat-messages": show_messages,
}
"""Every path the console answers to GET; ``?`` stands for one UUID."""
