"""Console sessions: tokens given out and signed, wrong passwords counted, accounts locked."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from typing import Any

from flowledger_simulator import credentials


class BadTokenError(Exception):
    """A token is not one of ours, or its time is over; the text is the server's message."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and checks tokens with one key; times are seconds since 1970."""

    key: bytes

    def sign(self, claims: dict[str, Any]) -> str:
        """Write a token."""
        head = _pack({"alg": "HS256", "typ": "JWT"})
        body = _pack(claims)
        return f"{head}.{body}.{self._seal(f'{head}.{body}')}"

    def check(self, token: str, now: float) -> dict[str, Any]:
        """Give a token's claims.

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
REFRESH_LIFETIME_S = 2_592_000


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What a login or refresh gives."""

    access: str
    refresh: str
    csrf: str


@dataclass(slots=True)
class Sessions:
    """The login state of one server.

    ``clock`` gives seconds since 1970; access and CSRF tokens live for ``lifetime_s`` seconds.
    """

    clock: Callable[[], float]
    lifetime_s: int
    signer: Signer = field(default_factory=lambda: Signer(b"simulated"))
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _refresh_tokens: set[str] = field(default_factory=set)
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    def locked(self, email: str) -> bool:
        """Tell whether the account has too many wrong passwords."""
        number, last = self._failures.get(email, (0, 0.0))
        return number >= FREE_FAILURES and self.clock() < last + LOCKOUT_S

    def log_in(self, email: str, password: str) -> TokenSet | None:
        """Give tokens, or count a failure and give None."""
        if (email, password) != (credentials.EMAIL, credentials.PASSWORD):
            number, last = self._failures.get(email, (0, 0.0))
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
        """Forget a refresh token; access tokens stay valid, as on the server."""
        self._refresh_tokens.discard(token)

    def check(self, access: str) -> None:
        """Check an access token.

        :raises BadTokenError: with the server's message.
        """
        if "sub" not in self.signer.check(access, self.clock()):
            raise BadTokenError("Invalid token.")

    def check_csrf(self, cookie: str, header: str) -> bool:
        """Tell whether the CSRF cookie is ours and the header repeats it."""
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
        access = {"user_id": user, "exp": expiry, "iss": "SELF_HOSTED", "sub": "Console API Passport"}
        return TokenSet(
            access=self.signer.sign({**access, "jti": number}),
            refresh=refresh,
            csrf=self.signer.sign({"exp": expiry, "sub": user, "jti": number}),
        )
