"""A receiver of webhooks on loopback that keeps what it is sent, and can be told to be away."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Receiver:
    """What has arrived; ``status`` is what the next message is answered with."""

    url: str = ""
    status: int = 200
    asked: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Receive on a free port."""
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        """Answers every POST."""

        def do_POST(self) -> None:
            """Keep an accepted message."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.asked += 1
            if received.status == 200:
                received.messages.append(json.loads(body))
            self.send_response(received.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        received.url = f"http://127.0.0.1:{server.server_port}/hook"
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
