"""What the handlers of one server work on: its world, release, options and console sessions."""

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from typing import Any

from flowledger_simulator import credentials
from flowledger_simulator.releases import Release
from flowledger_simulator.world import PageHook, SimulatedApp, World


class BadTokenError(Exception):
    """A token is not one of ours, or its time is over; the text is the server's message."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and checks tokens with one key; times are seconds since 1970."""

    key: bytes

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a token."""
        head = _pack({"alg": "HS256", "typ": "JWT"})
        body = _pack(claims)
        return f"{head}.{body}.{self._seal(f'{head}.{body}')}"

    def check(self, token: str, now: float) -> dict[str, Any]:
        """Return a token's claims.

        :raises BadTokenError: "Invalid token." or "Token has expired."
        """
        text, _, seal = token.rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(text).encode()):
            raise BadTokenError("Invalid token.")
        claims: dict[str, Any] = json.loads(urlsafe_b64decode(text.partition(".")[2] + "=="))
        if claims["exp"] <= now:
            raise BadTokenError("Token has expired.")
        return claims

    def _seal(self, text: str) -> str:
        return _encode(hmac.digest(self.key, text.encode(), sha256))


def _pack(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


LOCKOUT_S = 86_400
FREE_FAILURES = 6
"""Wrong passwords that are answered with 401; the next try is 429 (docs/dify-api.md "Log-in")."""
REFRESH_LIFETIME_S = 2_592_000


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The tokens of a log-in or refresh."""

    access: str
    refresh: str
    csrf: str


@dataclass(slots=True)
class Sessions:
    """The sessions of one server: tokens, wrong passwords, locks.

    ``clock`` gives seconds since 1970; access and CSRF tokens live for ``lifetime_s`` seconds.
    """

    clock: Callable[[], float]
    lifetime_s: int
    password: str = credentials.PASSWORD
    signer: Signer = field(default_factory=lambda: Signer(b"simulated"))
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _refresh_tokens: set[str] = field(default_factory=set)
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    def locked(self, email: str) -> bool:
        """Return whether the account is locked by wrong passwords."""
        number, last = self._failures.get(email, (0, 0.0))
        return number >= FREE_FAILURES and self.clock() < last + LOCKOUT_S

    def log_in(self, email: str, password: str) -> TokenSet | None:
        """Return tokens, or count a failure and return None."""
        if (email, password) != (credentials.EMAIL, self.password):
            number, last = self._failures.get(email, (0, 0.0))
            # Each failure starts the 24 hours again.
            fresh = self.clock() < last + LOCKOUT_S
            self._failures[email] = (number + 1 if fresh else 1, self.clock())
            return None
        self._failures.pop(email, None)
        return self._give()

    def refresh(self, token: str) -> TokenSet | None:
        """Exchange a refresh token, which then is used up; None for an unknown one."""
        if token not in self._refresh_tokens:
            return None
        self._refresh_tokens.remove(token)
        return self._give()

    def log_out(self, token: str) -> None:
        """End a refresh token; access tokens stay valid, as on the server."""
        self._refresh_tokens.discard(token)

    def check(self, access: str) -> None:
        """Check an access token.

        :raises BadTokenError: with the server's message.
        """
        if "sub" not in self.signer.check(access, self.clock()):
            raise BadTokenError("Invalid token.")

    def check_csrf(self, cookie: str, header: str) -> bool:
        """Return whether the CSRF cookie is one of ours and the header equals it."""
        if not cookie or cookie != header:
            return False
        try:
            claims = self.signer.check(cookie, self.clock())
        except BadTokenError:
            return False
        return bool(claims["sub"] == credentials.ACCOUNT_ID)

    def _give(self) -> TokenSet:
        expiry = int(self.clock()) + self.lifetime_s
        number = next(self._numbers)
        user = credentials.ACCOUNT_ID
        refresh = f"{number:032x}"
        self._refresh_tokens.add(refresh)
        # ``jti``, which real tokens lack, makes those of one second differ.
        access = {"user_id": user, "exp": expiry, "iss": "SELF_HOSTED", "sub": "Console API Passport"}
        return TokenSet(
            access=self.signer.sign({**access, "jti": number}),
            refresh=refresh,
            csrf=self.signer.sign({"exp": expiry, "sub": user, "jti": number}),
        )


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a server.

    ``secure_cookies`` gives the ``__Host-`` names with ``Secure``; ``token_lifetime_s`` is the access
    token's; ``clock`` gives seconds since 1970 for tokens and ``time_range``; ``keep_alive_s`` closes idle
    connections.
    """

    keep_alive_s: float = 2.0
    secure_cookies: bool = False
    token_lifetime_s: int = 3600
    clock: Callable[[], float] = time.time
    on_page: PageHook | None = None
    is_editor: bool = True


@dataclass(slots=True)
class Site:
    """The state of one server."""

    world: World
    release: Release
    options: Options = field(default_factory=Options)
    sessions: Sessions = field(init=False)
    workspace: str = credentials.WORKSPACE_ID
    """The one that the account looks at; the world's apps are in the first."""

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.options.clock, self.options.token_lifetime_s)

    def app_of_token(self, token: str) -> SimulatedApp | None:
        """Return the app that an API key opens, or None."""
        return next((app for app in self.world.apps.values() if app.api_token == token), None)

    def before_page(self) -> None:
        """Call the hook that changes the world before a page of the log list."""
        if self.options.on_page is not None:
            self.options.on_page(self.world)
