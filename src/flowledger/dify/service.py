"""Dify's service API of one app: log list, run detail, info (contract.md §1, §2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from flowledger.dify.answers import Answer
from flowledger.dify.session import DifySession
from flowledger.domain.windows import Window, iso
from flowledger.errors import AuthenticationError

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ServiceApi:
    """What an app's own key opens; ``app_name`` is for messages."""

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
        except AuthenticationError as error:
            raise AuthenticationError(
                f"app {self.app_name}: its API key (DIFY_API_TOKEN) was refused by {self.session.host}:"
                f" {error}; make a key in Dify under the app's API access, it begins with app-",
                status=error.status,
                body=error.body,
            ) from error
