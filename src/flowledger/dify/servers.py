"""``Servers``: the Dify servers that are open, each with one session and one login for all its apps."""

from contextlib import ExitStack
from threading import Lock
from types import TracebackType
from typing import Self

from flowledger.dify.concurrency import AdaptiveLimiter, Course
from flowledger.dify.credentials import Credentials
from flowledger.dify.login import ConsoleLogin
from flowledger.dify.session import DifySession, SessionOptions, normalise


class Servers:
    """Opens each server once and logs in once with the same credentials; closes all at the end.

    Apps of one server also share its limiter, whose bound is that of the app opened first.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._open = ExitStack()
        self._sessions: dict[tuple[str, SessionOptions], DifySession] = {}
        self._logins: dict[tuple[DifySession, Credentials], ConsoleLogin] = {}

    def session(self, base_url: str, options: SessionOptions, most_at_once: int) -> DifySession:
        """Give the session of a server, opening it at first.

        :raises SettingsError: for an address or a file of authorities that cannot be used.
        """
        key = (normalise(base_url), options)
        with self._lock:
            if key not in self._sessions:
                limiter = AdaptiveLimiter(Course(cap=most_at_once))
                session = DifySession(base_url, limiter=limiter, options=options)
                self._sessions[key] = self._open.enter_context(session)
            return self._sessions[key]

    def login(self, session: DifySession, credentials: Credentials) -> ConsoleLogin:
        """Give the login of these credentials on a session; a refused one stays refused for all."""
        key = (session, credentials)
        with self._lock:
            if key not in self._logins:
                self._logins[key] = ConsoleLogin(session, credentials)
            return self._logins[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
