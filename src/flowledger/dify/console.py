"""Dify's console API as far as it is read: run list, counts, detail, node executions (contract.md §4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowledger.dify.answers import Answer
from flowledger.dify.login import ConsoleLogin
from flowledger.domain.windows import Window, iso

ROOT = "/console/api"
PAGE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Console:
    """What a console log-in opens; any member of the workspace may read all of it."""

    login: ConsoleLogin

    def workflow_runs(self, app_id: str, last_id: str | None) -> Mapping[str, Any]:
        """Read a page of the app's runs, newest first, older than ``last_id``."""
        params = {"triggered_from": "app-run", "limit": str(PAGE_ROWS)}
        if last_id:
            params["last_id"] = last_id
        return self._document(f"/apps/{app_id}/workflow-runs", params, ("data", "has_more"))

    def count(self, app_id: str, age_s: int) -> Mapping[str, Any]:
        """Count the app's runs of the last so many seconds."""
        params = {"triggered_from": "app-run", "time_range": f"{age_s}s"}
        return self._document(f"/apps/{app_id}/workflow-runs/count", params, ("total",))

    def app_logs(self, app_id: str, window: Window, status: str, page: int) -> Mapping[str, Any]:
        """Read a page of log rows with a status; the console knows words that the service refuses."""
        params = {
            "created_at__after": iso(window.after),
            "created_at__before": iso(window.before),
            "status": status,
            "page": str(page),
            "limit": str(PAGE_ROWS),
        }
        return self._document(f"/apps/{app_id}/workflow-app-logs", params, ("data", "total", "has_more"))

    def run_detail(self, app_id: str, run_id: str) -> Answer:
        """Read one run, its canvas included."""
        return self.login.get(
            f"{ROOT}/apps/{app_id}/workflow-runs/{run_id}", fields=("id", "status", "inputs")
        )

    def node_executions(self, app_id: str, run_id: str) -> Answer:
        """Read all node executions of one run."""
        return self.login.get(
            f"{ROOT}/apps/{app_id}/workflow-runs/{run_id}/node-executions", fields=("data",)
        )

    def apps(self, name: str) -> Mapping[str, Any]:
        """Find the apps whose name contains a text (the first hundred)."""
        return self._document("/apps", {"page": "1", "limit": "100", "name": name}, ("data",))

    def _document(self, path: str, params: Mapping[str, str], fields: tuple[str, ...]) -> Mapping[str, Any]:
        document: Mapping[str, Any] = self.login.get(ROOT + path, params, fields=fields).document
        return document
