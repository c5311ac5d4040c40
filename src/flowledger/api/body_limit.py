"""Bodies of requests: how large and how deep they may be, and what none may contain."""

from hashlib import sha256
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowledger.api.problems import problem

MAX_DEPTH = 100
"""Levels of nesting; no real body comes near, and what is accepted must be writable again (orjson: 254)."""
LARGE = 65_536
OPEN_PAGES = "/approvals/"
"""Pages whose address is signed begin so; what is sent to them is a form, and its key comes with it."""
LARGEST_FORM = 65_536
"""Bytes: the longest comment, percent-encoded."""
"""Bytes from which a body is checked in another thread, so that the event loop goes on."""
WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class BodyLimitMiddleware:
    """ASGI middleware: reads a body whole, and refuses it or passes it on.

    ``scope["fingerprint"]`` (method, path, query and body, hashed) then tells requests apart.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, and pass it on or answer with a problem."""
        if scope["type"] != "http" or scope["method"] not in WITH_BODY:
            await self.app(scope, receive, send)
            return
        is_form = scope["path"].startswith(OPEN_PAGES)
        max_bytes = min(LARGEST_FORM, self.max_bytes) if is_form else self.max_bytes
        body = await self._read(Headers(scope=scope), receive, max_bytes)
        if body is None:
            detail = f"the body is larger than {max_bytes} bytes"
            # The rest of the body is not read, so that the connection cannot be used again.
            await problem(scope["path"], 413, detail, headers={"Connection": "close"})(scope, receive, send)
            return
        fault = None
        if not is_form:
            fault = await run_in_threadpool(fault_of, body) if len(body) > LARGE else fault_of(body)
        if fault:
            await problem(scope["path"], 400, fault)(scope, receive, send)
            return
        request = (scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        scope["fingerprint"] = sha256("\n".join(request).encode() + b"\n" + body).hexdigest()
        await self.app(scope, _replaying(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive, max_bytes: int) -> bytes | None:
        """Return the body; None where it is larger than allowed (the rest is not read) or breaks off."""
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > max_bytes:
            return None
        # A chunked body announces no length, and any client may announce a wrong one: count as well.
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > max_bytes:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that yields the body again, then what comes after it: that the client has gone."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return pending.pop() if pending else await receive()

    return received


def fault_of(body: bytes) -> str | None:
    """Return what is wrong with a body as JSON; None for a good one, or an empty one."""
    if not body.strip():
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return f"the body is no JSON: {error.msg} at character {error.pos}"
    return _fault_in(value)


def _fault_in(value: Any) -> str | None:
    level = [value]
    for _ in range(MAX_DEPTH):
        texts = (each for each in level if isinstance(each, str))
        if any("\0" in text for text in texts):
            return "the body holds NUL (\\u0000), which no database keeps: leave it out"
        level = [inner for each in level for inner in _children(each)]
        if not level:
            return None
    return f"the body is nested deeper than {MAX_DEPTH} levels"


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []
