"""Asks a simulated site without a network."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flowledger_simulator import Options, Recipe, Release, World, credentials, make_world
from flowledger_simulator.http_messages import Request, Response
from flowledger_simulator.server import respond
from flowledger_simulator.site import Site

KEY = {"authorization": f"Bearer {credentials.API_TOKEN}"}
ADMIN = {"authorization": f"Bearer {credentials.ADMIN_KEY}", "x-workspace-id": credentials.WORKSPACE_ID}
RUNS = f"/console/api/apps/{credentials.WORKFLOW_APP_ID}/workflow-runs"


def make_site(version: str = "1.12.1", world: World | None = None, options: Options | None = None) -> Site:
    """Make a site of a release, of a small made-up world where none is given."""
    return Site(world or make_world(Recipe(runs=120)), Release.parse(version), options or Options())


def ask(site: Site, path: str, headers: Mapping[str, str] = KEY, /, **query: str) -> Response:
    """Send a GET with the app's key, or other headers."""
    return respond(site, Request("GET", path, query, dict(headers)))


def ask_logs(site: Site, **query: str) -> dict[str, Any]:
    """Give a page of the service API's log list."""
    response = ask(site, "/v1/workflows/logs", **query)
    assert response.status == 200, response.body
    page: dict[str, Any] = json.loads(response.body)
    return page


def ask_console(site: Site, path: str, **query: str) -> dict[str, Any]:
    """Give a console answer, asked with the admin key."""
    value: dict[str, Any] = json.loads(ask(site, path, ADMIN, **query).body)
    return value


def post(site: Site, path: str, form: object, **headers: str) -> Response:
    """Post JSON."""
    known = {"content-type": "application/json", **headers}
    return respond(site, Request("POST", path, {}, known, json.dumps(form).encode()))


def walk_by_number(site: Site, limit: int, **query: str) -> list[str]:
    """Collect log ids by page numbers until ``has_more`` is false."""
    ids: list[str] = []
    page = 0
    more = True
    while more:
        page += 1
        answer = ask_logs(site, page=str(page), limit=str(limit), **query)
        ids += [row["id"] for row in answer["data"]]
        more = answer["has_more"]
    return ids


def walk_back(site: Site, limit: int = 100) -> set[str]:
    """Collect log ids by asking page 1 up to the oldest second seen, until ``has_more`` is false."""
    ids: set[str] = set()
    query: dict[str, str] = {}
    more = True
    while more:
        answer = ask_logs(site, limit=str(limit), **query)
        ids |= {row["id"] for row in answer["data"]}
        query = {"created_at__before": iso(answer["data"][-1]["created_at"])}
        more = answer["has_more"]
    return ids


def iso(second: int) -> str:
    """Write seconds since 1970 as the log list's bounds want them."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
