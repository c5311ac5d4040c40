"""Dify releases, and how each lets a person log in (contract.md §3, §7)."""

import re
from dataclasses import dataclass
from enum import Enum

_NUMBERS = re.compile(r"\s*v?(\d+)\.(\d+)(?:\.(\d+))?", re.ASCII)


class LoginForm(Enum):
    """What a console login sends and gets back."""

    BEARER = "plain password, tokens in the JSON answer, Authorization: Bearer"
    COOKIES = "plain password, tokens as cookies, X-CSRF-Token"
    COOKIES_BASE64 = "base64 password, tokens as cookies, X-CSRF-Token"


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """A Dify release, comparable; suffixes such as ``-fix1`` or ``-beta.1`` do not count."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> "Release | None":
        """Read the text of ``X-Version``; None when it names no release (a fork's own word)."""
        found = _NUMBERS.match(text)
        return cls(*(int(part or 0) for part in found.groups())) if found else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


COOKIES_SINCE = Release(1, 9, 2)
ADMIN_KEY_WITHOUT_CSRF_SINCE = Release(1, 11, 0)
BASE64_SINCE = Release(1, 11, 2)


def login_form(release: Release | None) -> LoginForm:
    """Choose the login form of a release; the newest for an unknown one (contract.md §3)."""
    if release is None or release >= BASE64_SINCE:
        return LoginForm.COOKIES_BASE64
    return LoginForm.COOKIES if release >= COOKIES_SINCE else LoginForm.BEARER
