"""A Dify console on loopback that follows a release's login rules and counts what it is asked."""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier, Lock

from loopback import Asked, Loopback, reply, serving
from pydantic import SecretStr

from flowledger.dify.concurrency import AdaptiveLimiter
from flowledger.dify.credentials import Credentials, EmailPassword, LoginForm, Release, login_form
from flowledger.dify.login import ConsoleLogin
from flowledger.dify.session import DifySession, RetryPolicy, SessionOptions

EMAIL, PASSWORD = "ops@example.com", "pass-wörd-of-nobody"
APPS = "/console/api/apps"


@dataclass
class ScriptedConsole:
    """Hands out numbered tokens; only those of number ``opening`` open, ``issued`` is the newest refresh."""

    version: str = "1.12.1"
    prefix: str = ""
    password: str = PASSWORD
    login_answers: list[bytes] = field(default_factory=list)
    refreshes: bool = True
    issued: int = 0
    opening: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    barrier: Barrier | None = None
    lock: Lock = field(default_factory=Lock)

    @property
    def form(self) -> LoginForm:
        """The login form of its release."""
        return login_form(Release.parse(self.version))

    def __call__(self, asked: Asked) -> bytes:
        """Answer one request."""
        path = asked.target.partition("?")[0]
        with self.lock:
            self.counted[path.removeprefix("/console/api/")] += 1
        if path.endswith("/login"):
            return self.log_in(asked)
        if path.endswith("/refresh-token"):
            return self.refresh(asked)
        return self.show_apps(asked) if path == APPS else self.answer({"step": "finished"})

    def expire(self) -> None:
        """Let the access tokens run out."""
        self.opening = -1

    def answer(self, body: object, status: int = 200, cookies: tuple[str, ...] = ()) -> bytes:
        """Write an answer with the version header and cookies."""
        lines = [f"{line}; Path=/; Secure; HttpOnly" for line in cookies]
        headers = {"X-Version": self.version}
        if lines:
            headers["Set-Cookie"] = "\r\nSet-Cookie: ".join(lines)
        return reply(body, status, headers)

    def log_in(self, asked: Asked) -> bytes:
        """Check the password in the form of the release."""
        if self.login_answers:
            return self.login_answers.pop(0)
        form = json.loads(asked.body)
        given = form["password"]
        if self.form is LoginForm.COOKIES_BASE64:
            given = b64decode(given, validate=True).decode()
        if (form["email"], given) != (EMAIL, self.password):
            return self.answer(
                {"code": "authentication_failed", "message": f"Invalid: {given}", "status": 401}, 401
            )
        return self.hand_out()

    def refresh(self, asked: Asked) -> bytes:
        """Check the refresh token, which works once."""
        if self.form is LoginForm.BEARER:
            fits = json.loads(asked.body).get("refresh_token") == f"refresh-{self.issued}"
        else:
            fits = f"refresh_token=refresh-{self.issued}" in asked.headers.get("cookie", "").split("; ")
        if not fits or not self.refreshes:
            return self.answer({"result": "fail", "message": "Invalid refresh token"}, 401)
        return self.hand_out()

    def hand_out(self) -> bytes:
        """Give the next tokens; the ones before no longer open."""
        with self.lock:
            self.issued += 1
            number = self.opening = self.issued
        if self.form is LoginForm.BEARER:
            tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}
            return self.answer({"result": "success", "data": tokens})
        names = ("access", "refresh", "csrf")
        cookies = tuple(f"{self.prefix}{name}_token={name}-{number}" for name in names)
        return self.answer({"result": "success"}, cookies=cookies)

    def show_apps(self, asked: Asked) -> bytes:
        """Check access and CSRF."""
        if self.opens(asked):
            return self.answer({"data": []})
        if self.barrier is not None:
            self.barrier.wait(5)
        return self.answer({"code": "unauthorized", "message": "Token has expired.", "status": 401}, 401)

    def opens(self, asked: Asked) -> bool:
        """Whether a request carries what the release wants."""
        headers = asked.headers
        if headers.get("x-workspace-id") == "workspace-1":
            return headers.get("authorization") == "Bearer admin-key-of-nobody"
        if self.form is LoginForm.BEARER:
            return headers.get("authorization") == f"Bearer access-{self.opening}"
        wanted = {f"{self.prefix}{name}_token={name}-{self.opening}" for name in ("access", "csrf")}
        cookies = set(headers.get("cookie", "").split("; "))
        return wanted <= cookies and headers.get("x-csrf-token") == f"csrf-{self.opening}"


@contextmanager
def signed_to(
    console: ScriptedConsole, credentials: Credentials | None = None
) -> Iterator[tuple[ConsoleLogin, Loopback]]:
    """Open a login against a console."""
    policy = RetryPolicy(tries=1, sleep=lambda _: None)
    known = credentials or EmailPassword(EMAIL, SecretStr(PASSWORD))
    options, limiter = SessionOptions(retry=policy), AdaptiveLimiter.fixed(8)
    with serving(console) as server, DifySession(server.url, limiter=limiter, options=options) as session:
        yield ConsoleLogin(session, known), server
