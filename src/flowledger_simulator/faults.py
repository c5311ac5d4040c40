"""Faults: which request goes wrong, by chance (seeded), by number or by load, and how.

Some responses are wrong as JSON, some as HTTP; the latter are written straight to the connection.
"""

import asyncio
import json
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from flowledger.errors import UsageError
from flowledger_simulator.console_login import locked_out, token_expired, used_up_token
from flowledger_simulator.http_messages import Request, Response, error_response, json_response
from flowledger_simulator.world import Json

TRANSPORT = "transport"
SLOW_PAUSE_S = 0.05
_LINGER_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with a time of zero: closing sends RST instead of FIN."""


class OpenProtocol(H11Protocol):
    """HTTP/1.1 whose connection the application can reach as ``scope["state"]["transport"]``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Hand the connection to the application through the requests' state."""
        self.app_state = {**self.app_state, TRANSPORT: transport}
        super().connection_made(transport)


async def send_short(transport: asyncio.Transport, response: Response) -> None:
    """Announce the whole body, send half of it and close."""
    transport.write(_head(response, {"content-length": str(len(response.body))}))
    transport.write(response.body[: len(response.body) // 2])
    transport.close()


async def send_bad_chunk(transport: asyncio.Transport, response: Response) -> None:
    """Send one good chunk and one whose size is no number, and close."""
    half = response.body[: len(response.body) // 2]
    transport.write(_head(response, {"transfer-encoding": "chunked"}))
    transport.write(b"%x\r\n%b\r\nno-size\r\n" % (len(half), half))
    transport.close()


async def reset(transport: asyncio.Transport, response: Response) -> None:
    """Send half of the body, then reset the connection."""
    transport.write(_head(response, {"content-length": str(len(response.body))}))
    transport.write(response.body[: len(response.body) // 2])
    _abort(transport)


async def drop(transport: asyncio.Transport, response: Response) -> None:  # noqa: ARG001  # nothing is sent
    """Close the connection without an answer."""
    transport.close()


async def trickle(transport: asyncio.Transport, response: Response) -> None:
    """Send the body byte by byte, until the client gives up."""
    transport.write(_head(response, {"content-length": str(len(response.body))}))
    for byte in response.body:
        if transport.is_closing():
            return
        transport.write(bytes([byte]))
        await asyncio.sleep(SLOW_PAUSE_S)
    transport.close()


async def hang(transport: asyncio.Transport, response: Response) -> None:  # nothing is sent
    """Leave the connection open and send nothing."""


WIRE_FAULTS: Mapping[str, Callable[[asyncio.Transport, Response], Awaitable[None]]] = {
    "short-body": send_short,
    "bad-chunk": send_bad_chunk,
    "reset": reset,
    "drop": drop,
    "slow": trickle,
    "hang": hang,
}


def _head(response: Response, framing: dict[str, str]) -> bytes:
    headers = [*response.headers, *framing.items()]
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _abort(transport: asyncio.Transport) -> None:
    connection: Any = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    transport.abort()


FAULTS = {
    "429": "too many requests, Retry-After 1 second",
    "429-date": "too many requests, Retry-After an HTTP date two seconds ahead",
    "429-past": "too many requests, Retry-After a date long past",
    "429-absurd": "too many requests, Retry-After 999,999,999 seconds",
    "429-bare": "too many requests, no Retry-After",
    "500": "internal error, HTML body",
    "502": "bad gateway, HTML body",
    "503": "unavailable, HTML body",
    "504": "gateway timeout, HTML body",
    "html": "200 with a proxy's HTML log-in page",
    "error-object": "200 with an error object",
    "cut-json": "200 with JSON cut in the middle",
    "short-body": "Content-Length longer than what is sent",
    "bad-chunk": "a chunk size that is no number",
    "reset": "connection reset in the middle of the body",
    "drop": "connection closed without an answer",
    "slow": "the body byte by byte",
    "hang": "no answer at all, the connection stays open",
    "endless": "has_more is always true",
    "repeat": "bounds, page and cursor are ignored: the first page again",
    "duplicate": "the last row of a list comes twice",
    "no-more": "has_more is always false",
    "wrong-page": "a list says it is another page",
    "wrong-limit": "a list says it has another limit",
    "total-above": "a list counts one row more than there are",
    "total-below": "a list counts one row less than there are",
    "hidden": "the first row of a list is left out",
    "emptied": "a list without rows whose total and has_more stay",
    "error-beside": "a list with an error beside its rows",
    "unfiltered": "status, keyword and user of the query are ignored",
    "locked": "login refused for 24 h",
    "expired": "the access token's time is over",
    "refresh-refused": "the refresh token is used up",
}
"""Every fault by name, with what it does."""

_LOGIN = "/console/api/login"
_REFRESH = "/console/api/refresh-token"
_CONSOLE = "/console/api/"
_PLACES = {"locked": _LOGIN, "refresh-refused": _REFRESH, "expired": f"{_CONSOLE}apps"}
_RULE = re.compile(
    r"(?P<kind>[\w-]+):(?:(?P<rate>\d*\.?\d+)|#(?P<first>\d+)(?:-(?P<last>\d+))?|>(?P<beyond>\d+))"
    r"(?:@(?P<prefix>/\S*))?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule: ``kind`` for a share ``rate`` of requests under ``prefix``, for those numbered, or by load.

    ``first`` and ``last`` number the matching requests from 1; 0 means by chance.  ``beyond`` is how many
    the server bears at once, which needs a latency: those that come while so many are being served fail at
    once; 0 is no bound.
    """

    kind: str
    rate: float = 0.0
    first: int = 0
    last: int = 0
    prefix: str = ""
    beyond: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise UsageError(f"unknown fault {self.kind!r}; known are:\n{_catalogue()}")
        if not 0.0 <= self.rate <= 1.0:
            raise UsageError(f"fault {self.kind}: a rate lies between 0 and 1, not {self.rate}")

    def concerns(self, request: Request) -> bool:
        """Return whether the rule applies to this request's path."""
        return request.path.startswith(self.prefix or _PLACES.get(self.kind, "/"))


@dataclass(slots=True)
class Faults:
    """All rules of one server; the first that applies wins.

    Numbers count per rule, chance is seeded, ``struck`` counts the faults that happened; ``rules`` may be
    replaced while the server runs.
    """

    rules: tuple[Fault, ...] = ()
    seed: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    _requests: Counter[Fault] = field(default_factory=Counter)
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def choose(self, request: Request) -> str:
        """Return the fault of this request, empty for none."""
        return self._first(request, lambda rule: not rule.beyond and self._strikes(rule))

    def overload(self, request: Request, served: int) -> str:
        """Return the fault of a request that comes while so many are being served, empty for none."""
        return self._first(request, lambda rule: 0 < rule.beyond <= served)

    def _first(self, request: Request, strikes: Callable[[Fault], bool]) -> str:
        for rule in self.rules:
            if rule.concerns(request) and strikes(rule):
                self.struck[rule.kind] += 1
                return rule.kind
        return ""

    def _strikes(self, rule: Fault) -> bool:
        self._requests[rule] += 1
        # A number alone means that request only; a range ends at ``last``.
        if rule.first:
            return rule.first <= self._requests[rule] <= max(rule.first, rule.last)
        return self._rng.random() < rule.rate


def parse_faults(text: str, *, seed: int = 0) -> Faults:
    """Read "503:0.05,reset:#3@/v1/,429:#2-4,500:>8": a share, a number, a range, or those beyond 8 at once.

    @ limits to a path prefix.

    :raises UsageError: listing the known faults, for anything else.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    return Faults(tuple(_parse_rules(words)), seed=seed)


def _parse_rules(words: Iterable[str]) -> Iterable[Fault]:
    for word in words:
        match = _RULE.fullmatch(word)
        if not match:
            raise UsageError(
                f"cannot read the fault {word!r}: write kind:0.05, kind:#3, kind:#2-5 or kind:>8, each with "
                f"@/path if wanted; known are:\n{_catalogue()}"
            )
        yield Fault(
            match["kind"],
            rate=float(match["rate"] or 0),
            first=int(match["first"] or 0),
            last=int(match["last"] or 0),
            prefix=match["prefix"] or "",
            beyond=int(match["beyond"] or 0),
        )


def _catalogue() -> str:
    return "\n".join(f"  {name:<16} {what}" for name, what in FAULTS.items())


_HTML = (("content-type", "text/html; charset=utf-8"),)
_CURSORS = ("created_at__before", "created_at__after", "page", "last_id", "first_id")
_LONG_AGO_S = 1_000_000_000


def replacement_of(kind: str, now: float) -> Response | None:
    """Return the response that replaces the real one, or None when the fault keeps it.

    ``now`` is in seconds since 1970, for Retry-After dates.
    """
    if kind.startswith("429"):
        return _too_many(kind, now)
    make = _INSTEAD.get(kind)
    return make() if make else None


_FILTERS = ("status", "keyword", "created_by_end_user_session_id", "created_by_account")
_IGNORED = {"repeat": _CURSORS, "unfiltered": _FILTERS}


def alter_request(kind: str, request: Request) -> Request:
    """Drop bounds, page and cursor from the query, for "repeat", or its filters, for "unfiltered"."""
    ignored = _IGNORED.get(kind, ())
    return replace(request, query={name: text for name, text in request.query.items() if name not in ignored})


def alter_response(kind: str, response: Response) -> Response:
    """Cut the JSON, or let a list say or show something that is not so."""
    if kind == "cut-json":
        return replace(response, body=response.body[: len(response.body) // 2])
    alter = _LIES.get(kind)
    if alter is None or response.status != 200:
        return response
    value = json.loads(response.body)
    # Run details and counts are objects without rows: only lists lie.
    if not isinstance(value.get("data"), list):
        return response
    return json_response(alter(value))


def _more(value: Json) -> Json:
    return {**value, "has_more": True} if "has_more" in value else value


_LIES: dict[str, Callable[[Json], Json]] = {
    "endless": _more,
    "repeat": _more,
    "duplicate": lambda value: {**value, "data": value["data"] + value["data"][-1:]},
    "no-more": lambda value: {**value, "has_more": False},
    "wrong-page": lambda value: {**value, "page": value.get("page", 1) + 1},
    "wrong-limit": lambda value: {**value, "limit": value.get("limit", 20) + 1},
    "total-above": lambda value: {**value, "total": value.get("total", 0) + 1},
    "total-below": lambda value: {**value, "total": max(0, value.get("total", 0) - 1)},
    "hidden": lambda value: {**value, "data": value["data"][1:]},
    "emptied": lambda value: {**value, "data": []},
    "error-beside": lambda value: {**value, "code": "internal_server_error", "message": "went wrong"},
}


def _too_many(kind: str, now: float) -> Response:
    waits = {
        "429": "1",
        "429-date": formatdate(now + 2, usegmt=True),
        "429-past": formatdate(_LONG_AGO_S, usegmt=True),
        "429-absurd": "999999999",
    }
    response = error_response(429, "too_many_requests", "Too many requests. Please try again later.")
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
    "error-object": lambda: json_response(
        {"code": "internal_server_error", "message": "something went wrong"}
    ),
    "locked": locked_out,
    "expired": token_expired,
    "refresh-refused": used_up_token,
}
