"""Answers that break HTTP itself, written straight to the connection."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from flowledger_simulator.exchange import Response

TRANSPORT = "transport"
SLOW_PAUSE_S = 0.05
_LINGER_RESET = struct.pack("ii", 1, 0)


class OpenProtocol(H11Protocol):
    """HTTP/1.1 whose connection the application can reach as ``scope["state"]["transport"]``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection for this protocol's requests."""
        self.app_state = {**self.app_state, TRANSPORT: transport}
        super().connection_made(transport)


async def send_short(transport: asyncio.Transport, response: Response) -> None:
    """Promise the whole body, send half of it and close."""
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
    """Send the body byte by byte, until the client is tired of it."""
    transport.write(_head(response, {"content-length": str(len(response.body))}))
    for byte in response.body:
        if transport.is_closing():
            return
        transport.write(bytes([byte]))
        await asyncio.sleep(SLOW_PAUSE_S)
    transport.close()


async def hang(transport: asyncio.Transport, response: Response) -> None:  # nothing is sent
    """Leave the connection open and say nothing."""


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
