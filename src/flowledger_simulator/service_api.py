"""The service API: what an app's key may read (docs/dify-api.md "The log list", "Run detail", "Errors")."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from flowledger_simulator.http_messages import (
    RefusedError,
    Request,
    Response,
    error_response,
    internal_error,
    json_response,
)
from flowledger_simulator.log_list import list_logs, read_log_query
from flowledger_simulator.payloads import UNKNOWN_SERVICE_RUN, info_of, parameters_of, service_run, site_of
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
