"""Request and response as plain values, and the bodies of the server's errors (docs/dify-api.md "Errors")."""

import json
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote

Header = tuple[str, str]

_NOT_FOUND_PAGE = (
    b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"
    b"<p>The requested URL was not found on the server. If you entered the URL manually please check "
    b"your spelling and try again.</p>\n"
)
CHALLENGE: Header = ("www-authenticate", 'Bearer realm="api"')


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are lower case, and of a repeated parameter the first value counts."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def cookie(self, name: str) -> str:
        """Return a cookie's value, empty where it was not sent."""
        for pair in self.headers.get("cookie", "").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return unquote(value)
        return ""

    def bearer(self) -> str:
        """Return the bearer token, empty where there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Response:
    """One response."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (("content-type", "application/json"),)

    def with_headers(self, *headers: Header) -> "Response":
        """Return the response with more headers."""
        return replace(self, headers=(*self.headers, *headers))


class RefusedError(Exception):
    """Ends the handling of a request with an error response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def parse_query(raw: bytes) -> dict[str, str]:
    """Read a query string; the first of repeated parameters wins."""
    if not raw:
        return {}
    # Latin-1 keeps stray bytes, which a browser or a test may send unencoded.
    parsed = parse_qs(raw.decode("latin-1"), keep_blank_values=True)
    return {name: values[0] for name, values in parsed.items()}


def json_response(value: Any, status: int = 200) -> Response:
    """Return JSON as the server does: ASCII-escaped, compact, "/" as "\\/", with a final newline."""
    # Clients must parse: escaped slashes and the newline are there to catch those that compare text.
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Response(status, text.replace("/", "\\/").encode("ascii") + b"\n")


def error_response(status: int, code: str, message: str) -> Response:
    """Return an error as ``{"code", "message", "status"}``; a 401 names its challenge."""
    response = json_response({"code": code, "message": message, "status": status}, status)
    return response.with_headers(CHALLENGE) if status == 401 else response


def old_parameter_error(errors: dict[str, str]) -> Response:
    """Return a parameter error as releases up to 1.10.1 do, without code and status."""
    return json_response({"errors": errors, "message": "Input payload validation failed"}, 400)


def page_not_found() -> Response:
    """Return the router's own 404, which is HTML."""
    return Response(404, _NOT_FOUND_PAGE, (("content-type", "text/html; charset=utf-8"),))


def method_not_allowed() -> Response:
    """Return the 405."""
    return error_response(405, "method_not_allowed", "The method is not allowed for the requested URL.")


def internal_error() -> Response:
    """Return the 500 of an exception that nobody caught."""
    return json_response({"message": "Internal Server Error", "code": "unknown", "status": 500}, 500)
