"""Finds the handler of a request (contract.md §5: unknown paths answer in HTML)."""

import re
from collections.abc import Callable

from flowledger.simulator import console_api, login, service_api
from flowledger.simulator.exchange import (
    AnsweredError,
    Request,
    Response,
    answer,
    no_such_method,
    no_such_page,
)
from flowledger.simulator.releases import Release
from flowledger.simulator.site import Site

Handler = Callable[[Site, Request], Response]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RUN = "/v1/workflows/run/"
_LOGOUT = "/console/api/logout"
_LATER: dict[str, Callable[[Release], bool]] = {
    "/console/api/apps/?/workflow-archived-logs": lambda release: release.has_archive,
    "/console/api/apps/?/workflow-runs/count": lambda release: release.filters_workflow_runs,
    "/console/api/apps/?/advanced-chat/workflow-runs/count": lambda release: release.filters_workflow_runs,
}


def show_health(site: Site, request: Request) -> Response:  # noqa: ARG001  # asked without any login
    """GET /health."""
    return answer({"pid": 1, "status": "ok", "version": str(site.release)})


_GET: dict[str, Handler] = {
    **service_api.HANDLERS,
    **console_api.OPEN,
    **console_api.LOGGED_IN,
    "/health": show_health,
}
_POST: dict[str, Handler] = login.HANDLERS


def respond(site: Site, request: Request) -> Response:
    """Answer a request as the site's release does."""
    template = _generalise(request.path)
    known_later = _LATER.get(template)
    if known_later is not None and not known_later(site.release):
        return no_such_page()
    handler = _find(site.release, request.method, template)
    if handler is None:
        return no_such_method() if template in _GET or template in _POST else no_such_page()
    try:
        response = handler(site, request)
    except AnsweredError as error:
        response = error.response
    if template in console_api.LOGGED_IN or site.release.varies_by_cookie:
        response = response.with_headers(("vary", "Cookie"))
    return response


def _find(release: Release, method: str, template: str) -> Handler | None:
    if template == _LOGOUT:
        return login.log_out if method == ("POST" if release.logs_in_by_cookie else "GET") else None
    return {"GET": _GET, "POST": _POST}.get(method, {}).get(template)


def _generalise(path: str) -> str:
    """Put ``?`` in the place of each UUID, ``*`` in that of the service API's run id."""
    if path.startswith(_RUN) and "/" not in path[len(_RUN) :]:
        return f"{_RUN}*"
    return "/".join("?" if _UUID.fullmatch(part) else part for part in path.split("/"))
