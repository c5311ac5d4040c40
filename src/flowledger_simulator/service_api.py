"""The service API: what an app's key may read and start (docs/dify-api.md "The log list", "Run detail")."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from flowledger_simulator.http_messages import (
    RefusedError,
    Request,
    Response,
    error_response,
    internal_error,
    json_response,
)
from flowledger_simulator.log_list import list_logs, read_log_query
from flowledger_simulator.payloads import (
    UNKNOWN_SERVICE_RUN,
    ended_run,
    info_of,
    parameters_of,
    service_run,
    site_of,
)
from flowledger_simulator.site import Site
from flowledger_simulator.world import SimulatedApp


def show_info(site: Site, request: Request) -> Response:
    """GET /v1/info."""
    return json_response(info_of(_authorise(site, request)))


def show_parameters(site: Site, request: Request) -> Response:
    """GET /v1/parameters."""
    return json_response(parameters_of(_authorise(site, request)))


def show_site(site: Site, request: Request) -> Response:
    """GET /v1/site."""
    return json_response(site_of(_authorise(site, request)))


def show_meta(site: Site, request: Request) -> Response:
    """GET /v1/meta."""
    _authorise(site, request)
    return json_response({"tool_icons": {}})


def show_logs(site: Site, request: Request) -> Response:
    """GET /v1/workflows/logs."""
    app = _authorise(site, request)
    query = read_log_query(request, site.release)
    site.before_page()  # as late as possible: a run may arrive between the parameters and the page
    return list_logs(site.world, site.release, app, replace(query, detailed=False))


def show_run(site: Site, request: Request) -> Response:
    """GET /v1/workflows/run/{id}; an id that is no UUID breaks the server (docs/dify-api.md "Run detail")."""
    app = _authorise(site, request)
    run_id = request.path.rpartition("/")[2]
    try:
        run = site.world.find(app.id, str(UUID(run_id)))
    except ValueError:
        # As on the server, where nobody catches this error.
        return internal_error()
    if run is not None:
        return json_response(service_run(run, site.release))
    if site.release.denies_unknown_run:
        return error_response(404, "not_found", "Workflow run not found.")
    return json_response(UNKNOWN_SERVICE_RUN)


def start_run(site: Site, request: Request) -> Response:
    """POST /v1/workflows/run: a made-up run that has ended by the time it is answered, streamed or whole."""
    app = _authorise(site, request)
    form = _form_of(request)
    if app.mode != "workflow":
        return error_response(
            400, "not_workflow_app", "Please check if your app mode matches the right API route."
        )
    mode = form.get("response_mode")
    if not isinstance(form.get("inputs"), dict) or mode not in ("blocking", "streaming"):
        return error_response(400, "invalid_param", "inputs or response_mode is missing or wrong")
    try:
        (run,) = site.world.add_runs(1, int(site.options.clock()), app_id=app.id)
    except LookupError:
        return internal_error()
    if run.finished_at is None:  # whoever started it waits for its end
        run = replace(run, status="succeeded", error=None, finished_at=run.created_at + 1)
        site.world.add([run])
    ids = {"task_id": str(uuid5(UUID(run.id), "task")), "workflow_run_id": run.id}
    finished = {**ids, "data": ended_run(run)}
    if mode == "blocking":
        return json_response(finished)
    started = {"id": run.id, "workflow_id": run.workflow_id, "inputs": form["inputs"]}
    events = [
        {"event": "workflow_started", **ids, "data": {**started, "created_at": run.created_at}},
        {"event": "workflow_finished", **finished},
    ]
    body = "event: ping\n\n" + "".join(f"data: {json.dumps(each)}\n\n" for each in events)
    return Response(200, body.encode(), (("content-type", "text/event-stream"),))


def _form_of(request: Request) -> dict[str, Any]:
    try:
        form = json.loads(request.body)
    except ValueError:
        form = None
    if not isinstance(form, dict):
        raise RefusedError(error_response(400, "bad_request", "Failed to decode JSON object"))
    return form


def _authorise(site: Site, request: Request) -> SimulatedApp:
    header = request.headers.get("authorization", "")
    if " " not in header.strip():
        raise _denied("Authorization header must be provided and start with 'Bearer'")
    if not header.lower().startswith("bearer "):
        raise _denied("Authorization scheme must be 'Bearer'")
    app = site.app_of_token(request.bearer())
    if app is None:
        raise _denied("Access token is invalid")
    if not app.enable_api:
        raise RefusedError(error_response(403, "forbidden", "The app's API service has been disabled."))
    return app


def _denied(message: str) -> RefusedError:
    return RefusedError(error_response(401, "unauthorized", message))


HANDLERS: dict[str, Callable[[Site, Request], Response]] = {
    "/v1/info": show_info,
    "/v1/parameters": show_parameters,
    "/v1/site": show_site,
    "/v1/meta": show_meta,
    "/v1/workflows/logs": show_logs,
    "/v1/workflows/run/*": show_run,
}
"""Every path the service API answers to GET; ``*`` stands for one segment."""
STARTS: dict[str, Callable[[Site, Request], Response]] = {"/v1/workflows/run": start_run}
"""Every path it answers to POST."""
