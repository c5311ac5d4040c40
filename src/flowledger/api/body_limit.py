"""Bodies of requests: how large, how deep, what none may hold; decided before anything looks at them."""

from hashlib import sha256
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowledger.api.problems import problem

DEEPEST = 100
LARGE = 65_536
"""Bytes from which a body is looked through in another thread."""
WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Bodies:
    """ASGI middleware: takes a body whole, and refuses it or hands it on.

    ``scope["fingerprint"]`` tells requests apart.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, and go on with it or answer."""
        if scope["type"] != "http" or scope["method"] not in WITH_BODY:
            await self.app(scope, receive, send)
            return
        body = await self._whole(Headers(scope=scope), receive)
        if body is None:
            detail = f"the body is larger than {self.most_bytes} bytes"
            await problem(scope["path"], 413, detail, headers={"Connection": "close"})(scope, receive, send)
            return
        wrong = await run_in_threadpool(fault_of, body) if len(body) > LARGE else fault_of(body)
        if wrong:
            await problem(scope["path"], 400, wrong)(scope, receive, send)
            return
        request = (scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        scope["fingerprint"] = sha256("\n".join(request).encode() + b"\n" + body).hexdigest()
        await self.app(scope, _again(body, receive), send)

    async def _whole(self, headers: Headers, receive: Receive) -> bytes | None:
        """Give the body; None where it is too large, read no further than that, or breaks off."""
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > self.most_bytes:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.most_bytes:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give the body once more, then whatever comes after it: that the client has gone."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received


def fault_of(body: bytes) -> str | None:
    """Say what is wrong with a body as JSON; None where nothing is, or there is none."""
    if not body.strip():
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return f"the body is no JSON: {error.msg} at character {error.pos}"
    return _fault_in(value)


def _fault_in(value: Any) -> str | None:
    level = [value]
    for _ in range(DEEPEST):
        texts = (each for each in level if isinstance(each, str))
        if any("\0" in text for text in texts):
            return "the body holds NUL (\\u0000), which no database keeps: leave it out"
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return None
    return f"the body is nested deeper than {DEEPEST} levels"


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []
