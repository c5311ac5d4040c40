"""A server on loopback whose every byte a test decides."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Asked:
    """One request as it arrived, and on the how many-th connection."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


Drip = Callable[[socket.socket, Event], None]
Script = Callable[[Asked], "bytes | Drip"]
"""Gives the bytes of an answer (empty: hang up), or writes to the socket itself until the event is set."""


def reply(body: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """Write a whole answer; anything but bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"Content-Type": "application/json", "Content-Length": str(len(content))} | (headers or {})
    lines = [f"HTTP/1.1 {status} Some Reason", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join(lines).encode() + HEAD_END + content


@dataclass
class Loopback:
    """Answers by its script; ``asked`` holds every request."""

    script: Script
    asked: list[Asked] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    port: int = 0
    stopped: Event = field(default_factory=Event)
    connections: list[socket.socket] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def accept(self, listener: socket.socket) -> None:
        """Serve each connection in a thread until the listener is closed."""
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.append(conn)
                number = len(self.connections)
            Thread(target=self.serve, args=(conn, number), daemon=True).start()

    def serve(self, conn: socket.socket, number: int) -> None:
        """Answer the requests of one connection until it ends."""
        try:
            wrapped = self.context.wrap_socket(conn, server_side=True) if self.context else conn
            with wrapped:
                while (asked := self.read(wrapped, number)) and self.answer(wrapped, asked):
                    pass
        except OSError:
            return

    def answer(self, conn: socket.socket, asked: Asked) -> bool:
        """Send what the script says; False when that is to hang up."""
        with self.lock:
            self.asked.append(asked)
        said = self.script(asked)
        if isinstance(said, bytes):
            conn.sendall(said)
            return bool(said)
        said(conn, self.stopped)
        return False

    def read(self, conn: socket.socket, number: int) -> Asked | None:
        """Read one request; None when the client has gone."""
        data = b""
        while HEAD_END not in data:
            chunk = conn.recv(65536)
            if not chunk:
                return None
            data += chunk
        head, _, body = data.partition(HEAD_END)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += conn.recv(65536)
        method, target, _ = first.split(" ")
        return Asked(method, target, headers, body, number)


@contextmanager
def serving(script: Script, context: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Run a server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Loopback(script, context=context, port=listener.getsockname()[1])
        Thread(target=server.accept, args=(listener,), daemon=True).start()
        yield server
        server.stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
    for conn in server.connections:
        conn.close()
