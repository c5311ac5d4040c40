"""Log-in, refresh and logout of the console, and the check of each request (docs/dify-api.md "Log-in")."""

import json
import re
from base64 import b64decode
from binascii import Error as NotBase64Error
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from flowledger_simulator import credentials
from flowledger_simulator.http_messages import (
    Header,
    RefusedError,
    Request,
    Response,
    error_response,
    json_response,
)
from flowledger_simulator.site import REFRESH_LIFETIME_S, BadTokenError, Site, TokenSet

_EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+\.[\w-]+")
_NOT_JSON = "Did not attempt to load JSON data because the request Content-Type was not 'application/json'."
_UNREADABLE = "The browser (or proxy) sent a request that this server could not understand."


def log_in(site: Site, request: Request) -> Response:
    """POST /console/api/login, in the form of the release."""
    form = _read_json(request)
    email, password = str(form.get("email", "")), str(form.get("password", ""))
    # The server decodes before it checks, so a plain password is refused without counting as a try.
    if site.release.wants_base64_password:
        password = _decode(password)
    if not _EMAIL.fullmatch(email):
        return error_response(400, "invalid_param", f"{email} is not a valid email.")
    # The lock comes before the password: even the right one is refused.
    if site.sessions.locked(email):
        return locked_out()
    tokens = site.sessions.log_in(email, password)
    if tokens is None:
        return error_response(401, "authentication_failed", "Invalid email or password.")
    return _token_response(site, tokens, ("access", "refresh", "csrf"))


def locked_out() -> Response:
    """Return the answer to a locked account; there is no Retry-After."""
    message = "Too many incorrect password attempts. Please try again later."
    return error_response(429, "email_code_login_limit", message)


def refresh(site: Site, request: Request) -> Response:
    """POST /console/api/refresh-token: a refresh token works once."""
    if not site.release.logs_in_by_cookie:
        tokens = site.sessions.refresh(str(_read_json(request).get("refresh_token", "")))
        if tokens is None:
            # Up to 1.9.1 the text is in ``data``, later in ``message``.
            return json_response({"result": "fail", "data": "Invalid refresh token"}, 401)
        return _token_response(site, tokens, ())
    offered = request.cookie(_cookie_name(site, "refresh_token"))
    if not offered:
        return json_response({"result": "fail", "message": "No refresh token provided"}, 401)
    tokens = site.sessions.refresh(offered)
    return used_up_token() if tokens is None else _token_response(site, tokens, ("csrf", "access", "refresh"))


def used_up_token() -> Response:
    """Return the answer to a refresh token that is unknown or used up."""
    return json_response({"result": "fail", "message": "Invalid refresh token"}, 401)


def log_out(site: Site, request: Request) -> Response:
    """POST (up to 1.9.1 GET) /console/api/logout: cookies are emptied, access tokens stay valid."""
    if not site.release.logs_in_by_cookie:
        return json_response({"result": "success"})
    site.sessions.log_out(request.cookie(_cookie_name(site, "refresh_token")))
    cookies = [_write_cookie(site, name, "", None) for name in ("access", "refresh", "csrf")]
    return json_response({"result": "success"}).with_headers(*cookies, ("vary", "Cookie"))


def check_access(site: Site, request: Request) -> None:
    """Check a console request's admin key, or its access and CSRF tokens.

    :raises AnsweredError: with the 401 that says what is missing.
    """
    if site.release.knows_admin_key and request.bearer() == credentials.ADMIN_KEY:
        if request.headers.get("x-workspace-id") == credentials.WORKSPACE_ID:
            return
        raise _denied("Invalid Authorization token.")
    by_cookie = site.release.logs_in_by_cookie
    access = request.bearer() or (request.cookie(_cookie_name(site, "access_token")) if by_cookie else "")
    if not access:
        raise _denied("Invalid Authorization token.")
    try:
        site.sessions.check(access)
    except BadTokenError as error:
        raise _denied(str(error)) from error
    if by_cookie:
        csrf = request.cookie(_cookie_name(site, "csrf_token"))
        if not site.sessions.check_csrf(csrf, request.headers.get("x-csrf-token", "")):
            raise _denied("CSRF token is missing or invalid.")


def token_expired() -> Response:
    """Return the answer to an access token whose time is over."""
    return error_response(401, "unauthorized", "Token has expired.")


def _denied(message: str) -> RefusedError:
    return RefusedError(error_response(401, "unauthorized", message))


def _read_json(request: Request) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise RefusedError(error_response(415, "unsupported_media_type", _NOT_JSON))
    try:
        form = json.loads(request.body)
    except ValueError as error:
        raise RefusedError(error_response(400, "bad_request", _UNREADABLE)) from error
    return form if isinstance(form, dict) else {}


def _decode(password: str) -> str:
    try:
        return b64decode(password, validate=True).decode("utf-8")
    except (NotBase64Error, ValueError) as error:
        refusal = error_response(401, "authentication_failed", "Invalid encrypted data")
        raise RefusedError(refusal) from error


def _token_response(site: Site, tokens: TokenSet, order: tuple[str, ...]) -> Response:
    if not site.release.logs_in_by_cookie:
        data = {"access_token": tokens.access, "refresh_token": tokens.refresh}
        return json_response({"result": "success", "data": data})
    values = {"access": tokens.access, "refresh": tokens.refresh, "csrf": tokens.csrf}
    ages = {"refresh": REFRESH_LIFETIME_S}
    lifetime = site.options.token_lifetime_s
    cookies = [_write_cookie(site, name, values[name], ages.get(name, lifetime)) for name in order]
    return json_response({"result": "success"}).with_headers(*cookies)


def _cookie_name(site: Site, name: str) -> str:
    return f"__Host-{name}" if site.options.secure_cookies else name


def _write_cookie(site: Site, name: str, value: str, max_age_s: int | None) -> Header:
    """Return a Set-Cookie header; without an age it deletes the cookie."""
    expires = 0 if max_age_s is None else site.options.clock() + max_age_s
    parts = [
        f"{_cookie_name(site, name + '_token')}={value}",
        f"Expires={formatdate(expires, usegmt=True)}",
        *([] if max_age_s is None else [f"Max-Age={max_age_s}"]),
        *(["Secure"] if site.options.secure_cookies else []),
        # The page's script has to copy the CSRF token into a header.
        *([] if name == "csrf" else ["HttpOnly"]),
        "Path=/",
        "SameSite=Lax",
    ]
    return ("set-cookie", "; ".join(parts))


def switch_workspace(site: Site, request: Request) -> Response:
    """POST /console/api/workspaces/switch: every session of the account looks at another workspace."""
    check_access(site, request)
    tenant = str(_read_json(request).get("tenant_id", ""))
    if tenant not in (credentials.WORKSPACE_ID, site.workspace):
        return error_response(403, "account_not_link_tenant", "Account not link tenant.")
    site.workspace = tenant
    return json_response({"result": "success", "new_tenant": {"id": tenant}})


HANDLERS: dict[str, Callable[[Site, Request], Response]] = {
    "/console/api/login": log_in,
    "/console/api/refresh-token": refresh,
    "/console/api/logout": log_out,
    "/console/api/workspaces/switch": switch_workspace,
}
"""Every path of the log-in, all of them POST (logout is GET up to 1.9.1)."""
