"""The two APIs of a Dify server as far as they are read: the service API of one app, and the console's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from flowledger import errors
from flowledger.dify import workspaces
from flowledger.dify.answers import Answer
from flowledger.dify.login import ROOT, ConsoleLogin
from flowledger.dify.session import NOTHING, DifySession
from flowledger.domain.windows import Window, iso


@dataclass(frozen=True, slots=True)
class ServiceApi:
    """The service API with one app's key; ``app_name`` is for messages."""

    session: DifySession
    token: SecretStr
    app_name: str
    _headers: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bearer = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        object.__setattr__(self, "_headers", bearer)

    def info(self) -> Mapping[str, Any]:
        """Read name, mode and tags of the app."""
        document: Mapping[str, Any] = self._get("/v1/info", fields=("name",)).document
        return document

    def logs(
        self, window: Window | None, remote: Mapping[str, str], *, page: int, limit: int
    ) -> Mapping[str, Any]:
        """Read one page of the log list, bounded by a window (both ends inclusive) where one is given."""
        bounds = {}
        if window is not None:
            bounds = {"created_at__after": iso(window.after), "created_at__before": iso(window.before)}
        params = {"page": str(page), "limit": str(limit), **bounds, **remote}
        document: Mapping[str, Any] = self._get(
            "/v1/workflows/logs", params, fields=("data", "total", "has_more")
        ).document
        return document

    def run_detail(self, run_id: str) -> Answer:
        """Read one run's detail."""
        return self._get(f"/v1/workflows/run/{run_id}", fields=("id", "status", "inputs"))

    def _get(self, path: str, params: Mapping[str, str] = NOTHING, *, fields: tuple[str, ...]) -> Answer:
        try:
            return self.session.get(path, params, headers=self._headers, fields=fields)
        except errors.AuthenticationError as error:
            raise errors.AuthenticationError(
                f"app {self.app_name}: its API key (DIFY_API_TOKEN) was refused by {self.session.host}:"
                f" {error}; make a key in Dify under the app's API access, it begins with app-",
                status=error.status,
                body=error.body,
            ) from error


PAGE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Console:
    """The console API after a log-in; any member of the workspace may read all of it."""

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

    def conversations(self, app_id: str, page: int) -> Mapping[str, Any]:
        """Read a page of a chatflow's conversations, the last changed first."""
        params = {"sort_by": "-updated_at", "page": str(page), "limit": str(PAGE_ROWS)}
        return self._document(f"/apps/{app_id}/chat-conversations", params, ("data", "total", "has_more"))

    def messages(self, app_id: str, conversation_id: str, first_id: str | None) -> Mapping[str, Any]:
        """Read the newest messages of a conversation, or those before the second of ``first_id``."""
        params = {"conversation_id": conversation_id, "limit": str(PAGE_ROWS)}
        if first_id:
            params["first_id"] = first_id
        return self._document(f"/apps/{app_id}/chat-messages", params, ("data", "has_more"))

    def app_logs(self, app_id: str, window: Window, status: str, page: int) -> Mapping[str, Any]:
        """Read a page of log rows with a status; the console accepts statuses that the service refuses."""
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

    def why_without(self, app_id: str) -> str:
        """Return where the account looks instead of at an app that the console does not know."""
        if self.login.has_admin_key:
            return workspaces.app_elsewhere_by_admin_key(app_id)
        try:
            body = self._document("/workspaces", NOTHING, ("workspaces",))
        except (errors.AuthenticationError, errors.SourceRefusedError, errors.RetriableError):
            body = {}
        return workspaces.app_elsewhere(app_id, workspaces.read_workspaces(body))

    def _document(self, path: str, params: Mapping[str, str], fields: tuple[str, ...]) -> Mapping[str, Any]:
        document: Mapping[str, Any] = self.login.get(ROOT + path, params, fields=fields).document
        return document
