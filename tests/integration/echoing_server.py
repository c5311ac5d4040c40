"""A server that stands before a simulated Dify and tells callers what they sent, secrets included."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import requests

HOP_BY_HOP = frozenset(
    {"connection", "content-encoding", "content-length", "transfer-encoding", "date", "server"}
)


@contextmanager
def echoing_server(behind: str, path: str, status: int) -> Iterator[str]:
    """Answer what lies below a path with a status and an echo, pass on all else; gives the base URL."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith(path):
                self._send(status, {"Content-Type": "application/json"}, self._echo(body))
                return
            asked = requests.request(
                self.command, behind + self.path, headers=dict(self.headers), data=body, timeout=30
            )
            kept = {name: text for name, text in asked.headers.items() if name.lower() not in HOP_BY_HOP}
            self._send(asked.status_code, kept, asked.content)

        def _echo(self, body: bytes) -> bytes:
            said = f"you sent {dict(self.headers)} {body.decode(errors='replace')} to {self.path}"
            return json.dumps({"code": "echo", "message": said, "status": status}).encode()

        def _send(self, code: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(code)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
