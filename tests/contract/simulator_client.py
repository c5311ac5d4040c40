"""How to ask the simulator what a recording asked the real server, and what is not asked and why."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from recorded_answers import Recording

from flowledger_simulator import Release, SimulatedApp, SimulatedRun, SimulatedServer, credentials

DISABLED = SimulatedApp(
    "00000000-0000-4000-8000-00000000eeee", "disabled", api_token="app-off", enable_api=False
)
TIMEOUT_S = 10

NOT_SERVED: Mapping[str, str] = {
    r"v1_run_blocking_.*|v1_run_missing_input_400": "starts a run; the simulator is only read",
    r"v1_chatflow_(messages|conversations)": "needs the end user's id; Flowledger never asks for it",
    r"console_(workflow|chatflow)_statistics_.*": "figures come from the ledger; never asked for",
}
"""Recordings the simulator does not serve, by a pattern of their names, with the reason."""


@dataclass(slots=True)
class SimulatorClient:
    """Asks one server; ``clock`` is the list [now] its tokens expire by."""

    server: SimulatedServer
    release: Release
    clock: list[float]
    session: requests.Session = field(default_factory=requests.Session)

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request without credentials."""
        return requests.request(method, self.server.base_url + path, timeout=TIMEOUT_S, **options)

    def log_in(
        self, email: str = credentials.EMAIL, password: str = credentials.PASSWORD
    ) -> requests.Response:
        """Log in with a fresh session, in the form of the release."""
        self.session.close()
        self.session = requests.Session()
        secret = self.encode(password) if self.release.wants_base64_password else password
        return self.login_post(json={"email": email, "password": secret, "remember_me": True})

    def login_post(self, **options: Any) -> requests.Response:
        """Post something to the login."""
        url = f"{self.server.base_url}/console/api/login"
        return self.session.post(url, timeout=TIMEOUT_S, **options)

    def console_headers(self) -> dict[str, str]:
        """Log in and give what a console request needs beside the session's cookies."""
        response = self.log_in()
        if self.release.logs_in_by_cookie:
            return {"X-CSRF-Token": self.session.cookies["csrf_token"]}
        return {"Authorization": f"Bearer {response.json()['data']['access_token']}"}

    def console(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a console request, logged in."""
        headers = {**self.console_headers(), **options.pop("headers", {})}
        return self.session.request(
            method, self.server.base_url + path, headers=headers, timeout=TIMEOUT_S, **options
        )

    def refresh(self, token: str | None = None) -> requests.Response:
        """Post to the refresh with the session's cookies, or a token as releases up to 1.9.1 want it."""
        body = None if token is None else {"refresh_token": token}
        url = f"{self.server.base_url}/console/api/refresh-token"
        return self.session.post(url, json=body, timeout=TIMEOUT_S)

    def a_run(self, status: str, app_id: str | None = None) -> SimulatedRun:
        """Find a run of a status that is still there."""
        runs = self.server.world.runs(app_id)
        return next(run for run in runs if run.status == status and not run.gone)

    @staticmethod
    def encode(password: str) -> str:
        """Give the base64 of a password."""
        return base64.b64encode(password.encode()).decode("ascii")


Ask = Callable[[SimulatorClient, Recording], requests.Response]
_STATUSES = {
    "partial": "partial-succeeded",
    "failed": "failed",
    "stopped": "stopped",
    "running": "running",
    "paused": "paused",
}


def find_ask(name: str) -> Ask | None:
    """Give the way to ask a recording's question, None where it is not served."""
    if any(re.fullmatch(pattern, name) for pattern in NOT_SERVED):
        return None
    return next((ask for pattern, ask in _ASKS.items() if re.fullmatch(pattern, name)), None)


def _service(key: str) -> Ask:
    def ask(asker: SimulatorClient, recording: Recording) -> requests.Response:
        headers = {"Authorization": key} if key else {}
        path = _own_path(asker, recording)
        return asker.send("GET", path, params=_own_query(recording), headers=headers)

    return ask


def _plus(asker: SimulatorClient, recording: Recording) -> requests.Response:
    headers = {"Authorization": f"Bearer {credentials.API_TOKEN}"}
    raw = "?created_at__after=2026-11-21T10:54:19+08:00"
    return asker.send("GET", recording.path + raw, headers=headers)


def _console(asker: SimulatorClient, recording: Recording) -> requests.Response:
    query = _own_query(recording)
    if "last_id" in query and "bad" not in recording.name:
        query["last_id"] = asker.a_run("succeeded").id
    if "conversation_id" in query:
        conversations = asker.console(
            "GET", _own_path(asker, recording).replace("chat-messages", "chat-conversations")
        )
        query["conversation_id"] = conversations.json()["data"][0]["id"]
    return asker.console(recording.method, _own_path(asker, recording), params=query)


def _open(asker: SimulatorClient, recording: Recording) -> requests.Response:
    return asker.send(recording.method, _own_path(asker, recording), params=recording.query)


def _no_csrf(asker: SimulatorClient, recording: Recording) -> requests.Response:
    asker.log_in()
    url = asker.server.base_url + _own_path(asker, recording)
    return asker.session.get(url, timeout=TIMEOUT_S)


def _bad_jwt(asker: SimulatorClient, recording: Recording) -> requests.Response:
    headers = {"Authorization": "Bearer not.a.token"}
    return asker.send("GET", _own_path(asker, recording), headers=headers)


def _expired(asker: SimulatorClient, recording: Recording) -> requests.Response:
    headers = asker.console_headers()
    headers["Authorization"] = f"Bearer {asker.session.cookies['access_token']}"
    asker.clock[0] += 7200
    try:
        return asker.send("GET", _own_path(asker, recording), headers=headers)
    finally:
        asker.clock[0] -= 7200


def _locked(asker: SimulatorClient, recording: Recording) -> requests.Response:
    for _ in range(6):
        asker.log_in("locked@example.com", "wrong")
    return asker.log_in("locked@example.com", "wrong")


def _plain_login(asker: SimulatorClient, recording: Recording) -> requests.Response:
    return asker.login_post(json={"email": "plain@example.com", "password": "no base64!"})


def _base64_login(asker: SimulatorClient, recording: Recording) -> requests.Response:
    return asker.log_in("plain@example.com", asker.encode(credentials.PASSWORD))


def _refresh(asker: SimulatorClient, recording: Recording) -> requests.Response:
    tokens = asker.log_in().json().get("data", {})
    return asker.refresh(tokens.get("refresh_token"))


def _refresh_reused(asker: SimulatorClient, recording: Recording) -> requests.Response:
    asker.log_in()
    used = asker.session.cookies["refresh_token"]
    asker.refresh()
    return asker.send("POST", "/console/api/refresh-token", cookies={"refresh_token": used})


def _own_path(asker: SimulatorClient, recording: Recording) -> str:
    """Put the simulator's app and a comparable run in the place of the recorded ids."""
    chat = "chatflow" in recording.name
    app_id = credentials.CHATFLOW_APP_ID if chat else credentials.WORKFLOW_APP_ID
    parts = recording.path.split("/")
    unknown = "0" * 8
    for place, part in enumerate(parts):
        if len(part) != 36 or part.startswith(unknown):
            continue
        word = next((word for word in _STATUSES if f"_{word}" in recording.name), "")
        is_app = parts[place - 1] == "apps"
        parts[place] = app_id if is_app else asker.a_run(_STATUSES.get(word, "succeeded"), app_id).id
    return "/".join(parts)


def _own_query(recording: Recording) -> dict[str, str]:
    """Leave out the bounds of single recorded seconds."""
    bounds = ("created_at__after", "created_at__before")
    return {
        name: text
        for name, text in recording.query.items()
        if "bulk" not in recording.name or name not in bounds
    }


_ASKS: Mapping[str, Ask] = {
    r"error_400_v1_logs_plus_not_escaped": _plus,
    r"error_401_v1_no_header": _service(""),
    r"error_401_v1_not_bearer": _service(f"Basic {credentials.API_TOKEN}"),
    r"error_401_v1_bad_key": _service("Bearer app-unknown"),
    r"error_403_v1_api_disabled": _service(f"Bearer {DISABLED.api_token}"),
    r"error_401_console_no_token": _open,
    r"error_401_console_no_csrf_header": _no_csrf,
    r"error_401_console_bad_jwt": _bad_jwt,
    r"error_401_console_expired": _expired,
    r"v1_.*chatflow.*": _service(f"Bearer {credentials.CHATFLOW_API_TOKEN}"),
    r"v1_.*|error_\d+_v1_.*": _service(f"Bearer {credentials.API_TOKEN}"),
    r"health|console_setup|console_version|error_422_console_version_without_param": _open,
    r"console_.*|error_404_console_.*|error_405": _console,
    r"auth_login_ok": lambda asker, _: asker.log_in(),
    r"auth_login_wrong_password_401": lambda asker, _: asker.log_in("other@example.com", "wrong"),
    r"auth_login_plain_password_401|auth_login_bad_email_400": _plain_login,
    r"auth_login_base64_401": _base64_login,
    r"auth_login_form_415": lambda asker, _: asker.login_post(data={"email": "a@example.com"}),
    r"auth_login_not_json_400": lambda asker, _: asker.login_post(
        data="{", headers={"Content-Type": "application/json"}
    ),
    r"auth_login_locked_429": _locked,
    r"auth_refresh_ok": _refresh,
    r"auth_refresh_reused_401": _refresh_reused,
    r"auth_refresh_missing_401": lambda asker, _: asker.send("POST", "/console/api/refresh-token"),
    r"auth_refresh_bad_401": lambda asker, _: asker.refresh("unknown"),
    r"auth_logout": lambda asker, _: asker.console("POST", "/console/api/logout"),
}
