"""A gate before a bucket's server: hands requests on, or fails them as servers and networks do."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Wanted = Callable[[str, str], bool]
"""Whether a request is failed, by method and path with query."""


@dataclass
class Fault:
    """What becomes of the next requests that it is about; ``times`` None means all."""

    kind: str
    status: int = 0
    times: int | None = None
    wanted: Wanted = lambda method, path: True


class FaultGate(ThreadingHTTPServer):
    """The gate on a free port of the loopback; ``requests`` has all that came."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.behind = port
        self.fault: Fault | None = None
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), GateHandler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that were meant to break."""

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(
        self,
        kind: str,
        status: int = 0,
        *,
        times: int | None = None,
        wanted: Wanted = lambda method, path: True,
    ) -> None:
        """Let requests fail from now on: ``kind`` is an error's code, ``reset``, ``spoil`` or ``cut``."""
        self.fault = Fault(kind, status, times, wanted)

    def mend(self) -> None:
        """Let everything through again."""
        self.fault = None

    def next_fault(self, method: str, path: str) -> Fault | None:
        """Give the fault of a request, and count it."""
        with self.lock:
            self.requests.append((method, path))
            fault = self.fault
            if fault is None or not fault.wanted(method, path) or fault.times == 0:
                return None
            if fault.times is not None:
                fault.times -= 1
            return fault


class GateHandler(BaseHTTPRequestHandler):
    """One connection through the gate."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultGate

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Hand one request on, or fail it."""
        fault = self.server.next_fault(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault and fault.kind == "reset":
            self.reset()
        elif fault and fault.status:
            self.refuse(fault)
        else:
            spoil = fault is not None and fault.kind == "spoil"
            self.hand_on(body, spoil=spoil, cut=fault is not None and fault.kind == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def hand_on(self, body: bytes, *, spoil: bool, cut: bool) -> None:
        """Ask the server behind and give its answer; spoilt or cut short where that is wanted."""
        # A server may refuse and hang up before the body is all sent, so close in every case.
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)) as behind:
            behind.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = behind.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, '"spoilt"' if spoil and name.lower() == "etag" else value)
        if answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            if spoil and content and self.command == "GET":
                content = bytes([content[0] ^ 1]) + content[1:]
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    def refuse(self, fault: Fault) -> None:
        """Answer with an error of the vendor."""
        text = f"<Error><Code>{fault.kind}</Code><Message>said by the server</Message></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def reset(self) -> None:
        """Break the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
