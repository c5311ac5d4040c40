"""Connections that say nothing, or a little at a time, are dropped; honest ones are answered."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from flowledger.api.http_protocol import STOP, BoundedProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Connection]]


class Hasty(BoundedProtocol):
    """With bounds that a test can wait for."""

    headers_s = body_s = 0.4
    most_connections = 3


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, wait longer than a request may take to arrive, and answer."""
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return
    await asyncio.sleep(0.6 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def served() -> AsyncIterator[Connect]:
    """Serve at a free port of loopback."""
    config = uvicorn.Config(answer, port=0, http=Hasty, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        server.should_exit = server.force_exit = True
        await server.shutdown()


async def drip(connection: Connection, first: bytes, drop: bytes) -> float:
    """Send something, then a little again and again; return after how many seconds it was dropped."""
    reader, writer = connection
    begun = time.monotonic()
    ended = asyncio.ensure_future(reader.read())
    writer.write(first)
    while not ended.done() and time.monotonic() - begun < 5:
        await asyncio.wait([ended], timeout=0.05)
        if drop and not writer.is_closing():
            writer.write(drop)
    ended.cancel()
    await asyncio.gather(ended, return_exceptions=True)
    return time.monotonic() - begun


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: local", b""),
        (b"GET / HTTP/1.1\r\nX: ", b"x"),
        (POST, b""),
        (POST.replace(b"5", b"500"), b"x"),
        (REQUEST + b"GET / HT", b""),
        (REQUEST + b"GET / HTTP/1.1\r\nX: ", b"x"),
    ],
    ids=["silent", "half", "dripping", "no body", "dripping body", "half of the next", "dripping next"],
)
def test_a_request_that_does_not_arrive_is_dropped(first: bytes, drop: bytes) -> None:
    """In headers and in the body, of the first request and of a later one."""

    async def run() -> float:
        async with served() as connect:
            return await drip(await connect(), first, drop)

    assert asyncio.run(run()) < 4


def test_a_slow_answer_is_no_slow_request() -> None:
    """The bounds are for what clients send; the next request on the connection is answered too."""

    async def run() -> list[bytes]:
        async with served() as connect:
            reader, writer = await connect()
            answers = []
            for request in (REQUEST.replace(b"/", b"/slow", 1), POST + b"12345", REQUEST):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                answers.append(head.split(b"\r\n")[0] + b" " + await reader.readexactly(2))
            return answers

    assert asyncio.run(run()) == [b"HTTP/1.1 200 OK ok"] * 3


def test_connections_have_a_bound() -> None:
    """One too many is told so at once, and can come again when others have gone."""

    async def run() -> list[bytes]:
        async with served() as connect:
            for _ in range(3):
                await connect()
            reader, _ = await connect()
            refused = await reader.readline()
            await asyncio.sleep(0.8)
            reader, writer = await connect()
            writer.write(REQUEST)
            return [refused, await reader.readline()]

    refused, answered = asyncio.run(run())
    assert refused.startswith(b"HTTP/1.1 503")
    assert answered.startswith(b"HTTP/1.1 200")


def test_an_answer_without_an_end_ends_when_the_server_is_stopped() -> None:
    """It would hold up the server's end for as long as a request may take."""

    async def endless(scope: Scope, _receive: Receive, send: Send) -> None:
        scope[STOP] = stop = asyncio.Event()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await stop.wait()
        await send({"type": "http.response.body", "body": b"ended"})

    async def read_to_the_end() -> bytes:
        config = uvicorn.Config(endless, port=0, http=Hasty, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        begun = await reader.readuntil(b"begun")
        await asyncio.wait_for(server.shutdown(), 5)
        rest = await reader.read()
        writer.close()
        return begun + rest

    assert b"ended" in asyncio.run(read_to_the_end())
