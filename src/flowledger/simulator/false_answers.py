"""Answers that are well-formed HTTP and still wrong: refusals, foreign pages, twisted lists."""

import json
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate

from flowledger.simulator.exchange import Request, Response, answer, refuse
from flowledger.simulator.login import locked_out, refresh_refused, token_expired

_HTML = (("content-type", "text/html; charset=utf-8"),)
_CURSORS = ("created_at__before", "created_at__after", "page", "last_id")
_LONG_AGO_S = 1_000_000_000


def give_instead(kind: str, now: float) -> Response | None:
    """Give the answer a fault puts in the place of the real one, None where it leaves that alone.

    ``now`` is in seconds since 1970, for Retry-After dates.
    """
    if kind.startswith("429"):
        return _too_many(kind, now)
    make = _INSTEAD.get(kind)
    return make() if make else None


def twist_request(kind: str, request: Request) -> Request:
    """Forget where the client was, for "repeat"."""
    if kind != "repeat":
        return request
    return replace(
        request, query={name: text for name, text in request.query.items() if name not in _CURSORS}
    )


def twist_answer(kind: str, response: Response) -> Response:
    """Cut the JSON, double a row or promise more; only lists can promise more."""
    if kind == "cut-json":
        return replace(response, body=response.body[: len(response.body) // 2])
    if kind not in ("endless", "repeat", "duplicate") or response.status != 200:
        return response
    value = json.loads(response.body)
    if not isinstance(value.get("data"), list):
        return response
    if kind == "duplicate":
        value["data"] += value["data"][-1:]
    elif "has_more" in value:
        value["has_more"] = True
    return answer(value)


def _too_many(kind: str, now: float) -> Response:
    waits = {
        "429": "1",
        "429-date": formatdate(now + 2, usegmt=True),
        "429-past": formatdate(_LONG_AGO_S, usegmt=True),
        "429-absurd": "999999999",
    }
    response = refuse(429, "too_many_requests", "Too many requests. Please try again later.")
    return response.with_headers(("retry-after", waits[kind])) if kind in waits else response


def _page(status: int, title: str) -> Callable[[], Response]:
    body = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    return lambda: Response(status, body.encode(), _HTML)


_INSTEAD: dict[str, Callable[[], Response]] = {
    "500": _page(500, "500 Internal Server Error"),
    "502": _page(502, "502 Bad Gateway"),
    "503": _page(503, "503 Service Temporarily Unavailable"),
    "504": _page(504, "504 Gateway Time-out"),
    "html": _page(200, "Sign in to continue"),
    "error-object": lambda: answer({"code": "internal_server_error", "message": "something went wrong"}),
    "locked": locked_out,
    "expired": token_expired,
    "refresh-refused": refresh_refused,
}
