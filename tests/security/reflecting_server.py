"""A server that tells callers what they sent, in every usual spelling, as whoever it stands for would."""

import html
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

BUCKET = "/reports"


@contextmanager
def mirror(status: int) -> Iterator[str]:
    """Answer every request with a status and an echo, buckets in XML; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
            # Keys first: messages are cut.
            keys = [self.headers[name] for name in ("Authorization", "Cookie") if name in self.headers]
            sent = [*(key.rpartition(" ")[2] for key in keys), self.path, body, *self.headers.values()]
            said = " ".join(
                f"{part} {quote(part, safe='')} {json.dumps(part)} {b64encode(part.encode()).decode()}"
                for part in sent
            )
            answer = self._as_xml(said) if self.path.startswith(BUCKET) else self._as_json(said)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

        def _as_json(self, said: str) -> bytes:
            told = dict.fromkeys(("message", "errmsg", "msg"), said)
            return json.dumps({**told, "code": 9, "errcode": 9, "status": status}).encode()

        def _as_xml(self, said: str) -> bytes:
            return f"<Error><Code>AccessDenied</Code><Message>{html.escape(said)}</Message></Error>".encode()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
