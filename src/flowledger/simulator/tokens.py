"""Signed tokens that look and expire like the console's (contract.md §3)."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any


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
