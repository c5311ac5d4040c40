"""Which request goes wrong, and how: by chance (seeded) or by number; well-formed wrong answers too."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from flowledger.errors import UsageError
from flowledger_simulator.exchange import Request, Response, answer, refuse
from flowledger_simulator.login import locked_out, refresh_refused, token_expired

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
    r"(?P<kind>[\w-]+):(?:(?P<rate>\d*\.?\d+)|#(?P<first>\d+)(?:-(?P<last>\d+))?)(?:@(?P<prefix>/\S*))?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule: ``kind`` for a share ``rate`` of the requests under ``prefix``, or for those numbered.

    ``first`` and ``last`` number the matching requests from 1; 0 means by chance.
    """

    kind: str
    rate: float = 0.0
    first: int = 0
    last: int = 0
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise UsageError(f"unknown fault {self.kind!r}; known are:\n{_catalogue()}")
        if not 0.0 <= self.rate <= 1.0:
            raise UsageError(f"fault {self.kind}: a rate lies between 0 and 1, not {self.rate}")

    def concerns(self, request: Request) -> bool:
        """Tell whether the rule looks at this request at all."""
        return request.path.startswith(self.prefix or _PLACES.get(self.kind, "/"))


@dataclass(slots=True)
class Faults:
    """All rules of one server; the first that strikes wins.

    Numbers count per rule, chance is seeded, ``struck`` counts what struck; ``rules`` may be replaced while
    the server runs.
    """

    rules: tuple[Fault, ...] = ()
    seed: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    _seen: Counter[Fault] = field(default_factory=Counter)
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def choose(self, request: Request) -> str:
        """Give the fault that strikes this request, empty for none."""
        for rule in self.rules:
            if rule.concerns(request) and self._strikes(rule):
                self.struck[rule.kind] += 1
                return rule.kind
        return ""

    def _strikes(self, rule: Fault) -> bool:
        self._seen[rule] += 1
        if rule.first:
            return rule.first <= self._seen[rule] <= max(rule.first, rule.last)
        return self._rng.random() < rule.rate


def parse_faults(text: str, *, seed: int = 0) -> Faults:
    """Read "503:0.05,reset:#3@/v1/,429:#2-4": a share, one number or a range; @ limits to a path prefix.

    :raises UsageError: listing the known faults, for anything else.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    return Faults(tuple(_parse_rules(words)), seed=seed)


def _parse_rules(words: Iterable[str]) -> Iterable[Fault]:
    for word in words:
        found = _RULE.fullmatch(word)
        if not found:
            raise UsageError(
                f"cannot read the fault {word!r}: write kind:0.05, kind:#3 or kind:#2-5, each with @/path "
                f"if wanted; known are:\n{_catalogue()}"
            )
        yield Fault(
            found["kind"],
            rate=float(found["rate"] or 0),
            first=int(found["first"] or 0),
            last=int(found["last"] or 0),
            prefix=found["prefix"] or "",
        )


def _catalogue() -> str:
    return "\n".join(f"  {name:<16} {what}" for name, what in FAULTS.items())


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
