"""What opens a Dify console, how a person logs in to each release, and the tokens it returns."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import SecretStr

from flowledger.dify.answers import Answer

_NUMBERS = re.compile(r"\s*v?(\d+)\.(\d+)(?:\.(\d+))?", re.ASCII)


class LoginForm(Enum):
    """What a console login sends and receives."""

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
        """Return the release in the text of ``X-Version``; None where it names none, as a fork's may."""
        match = _NUMBERS.match(text)
        return cls(*(int(part or 0) for part in match.groups())) if match else None

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


COOKIES_SINCE = Release(1, 9, 2)
ADMIN_KEY_WITHOUT_CSRF_SINCE = Release(1, 11, 0)
BASE64_SINCE = Release(1, 11, 2)


def login_form(release: Release | None) -> LoginForm:
    """Return the login form of a release; the newest for an unknown one (docs/dify-api.md "Log-in")."""
    if release is None or release >= BASE64_SINCE:
        return LoginForm.COOKIES_BASE64
    return LoginForm.COOKIES if release >= COOKIES_SINCE else LoginForm.BEARER


HOST_PREFIX = "__Host-"


@dataclass(frozen=True, slots=True)
class EmailPassword:
    """A person's e-mail and password, and the workspace to switch the account to; "" leaves it alone."""

    email: str
    password: SecretStr
    switch_to: str = ""


@dataclass(frozen=True, slots=True)
class ConsoleToken:
    """An access token taken from elsewhere; opens releases before 1.9.2 only."""

    token: SecretStr


@dataclass(frozen=True, slots=True)
class AdminKey:
    """The server's own admin API key, and the workspace to read."""

    key: SecretStr
    workspace_id: str


Credentials = EmailPassword | ConsoleToken | AdminKey


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie under the name the server gave it, which may carry the prefix ``__Host-``."""

    name: str
    value: SecretStr

    def __str__(self) -> str:
        return f"{self.name}={self.value.get_secret_value()}"


@dataclass(frozen=True, slots=True)
class BearerTokens:
    """The tokens of releases before 1.9.2; ``refresh`` is None for a ``ConsoleToken``."""

    access: SecretStr
    refresh: SecretStr | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of a console request."""
        return {"Authorization": f"Bearer {self.access.get_secret_value()}"}

    def refresh_request(self) -> tuple[dict[str, str], dict[str, str]] | None:
        """Return headers and document of a refresh; None where there is no refresh token."""
        return ({}, {"refresh_token": self.refresh.get_secret_value()}) if self.refresh else None


@dataclass(frozen=True, slots=True)
class CookieTokens:
    """The tokens of releases since 1.9.2.

    They are sent as plain headers, because a cookie jar drops Secure cookies over http.
    """

    access: Cookie
    csrf: Cookie
    refresh: Cookie | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of a console request: both cookies, and the CSRF token once more."""
        return {"Cookie": f"{self.access}; {self.csrf}", "X-CSRF-Token": self.csrf.value.get_secret_value()}

    def refresh_request(self) -> tuple[dict[str, str], dict[str, str]] | None:
        """Return headers and document of a refresh; None where there is no refresh token."""
        if self.refresh is None:
            return None
        plain = Cookie(self.refresh.name.removeprefix(HOST_PREFIX), self.refresh.value)
        # 1.9.2 gives __Host-refresh_token but reads refresh_token (docs/dify-api.md "Log-in").
        both = [self.refresh] if plain == self.refresh else [self.refresh, plain]
        return {"Cookie": "; ".join(map(str, both))}, {}


@dataclass(frozen=True, slots=True)
class AdminTokens:
    """An admin key as headers; nothing to refresh."""

    key: SecretStr
    workspace_id: str

    def headers(self) -> dict[str, str]:
        """Return the headers of a console request."""
        return {
            "Authorization": f"Bearer {self.key.get_secret_value()}",
            "X-WORKSPACE-ID": self.workspace_id,
        }

    def refresh_request(self) -> None:
        """Return None: an admin key does not expire."""


Tokens = BearerTokens | CookieTokens | AdminTokens


def login_document(credentials: EmailPassword, form: LoginForm) -> dict[str, Any]:
    """Return what a login sends: since 1.11.2 the password is base64 of its UTF-8."""
    password = credentials.password.get_secret_value()
    if form is LoginForm.COOKIES_BASE64:
        password = b64encode(password.encode()).decode()
    return {"email": credentials.email, "password": password, "remember_me": True}


def read_tokens(answer: Answer) -> Tokens | None:
    """Return the tokens of a login or refresh, from cookies or JSON, whichever has them; None for neither."""
    cookies = {
        name.removeprefix(HOST_PREFIX): Cookie(name, SecretStr(value))
        for name, value in answer.cookies.items()
    }
    if {"access_token", "csrf_token"} <= cookies.keys():
        return CookieTokens(cookies["access_token"], cookies["csrf_token"], cookies.get("refresh_token"))
    document = answer.document
    return _from_json(document.get("data")) if isinstance(document, dict) else None


def _from_json(data: Any) -> BearerTokens | None:
    if isinstance(data, str) and data.count(".") == 2:  # up to 0.9.1 the JWT itself
        return BearerTokens(SecretStr(data))
    if not isinstance(data, Mapping) or not isinstance(data.get("access_token"), str):
        return None
    refresh = data.get("refresh_token")
    return BearerTokens(
        SecretStr(data["access_token"]), SecretStr(refresh) if isinstance(refresh, str) else None
    )
