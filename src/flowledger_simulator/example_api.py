"""A small API on loopback that examples of workflows call: log in, users, orders, jobs that take a while.

``POST /login {user, password}`` gives a token; ``GET`` and ``PUT /users/N`` want it as a bearer token.
``GET /stock/WAREHOUSE`` gives the number of pieces there, and fails where ``?fail=`` names the warehouse.
``POST /jobs`` starts a job, ``GET /jobs/N`` is ``running`` a few times and then ``done``.
Requests with the same ``Idempotency-Key`` have one effect and the same answer.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HOST = "127.0.0.1"
USER = "ann"
PASSWORD = "simulated"  # noqa: S105  it opens only this
TOKEN = "example-token"  # noqa: S105  likewise
LOOKS = 2
"""How often a job is still running when it is asked about."""
LONGEST_BODY = 2**20
Answer = tuple[int, Any]


@dataclass(slots=True)
class ExampleApi:
    """A running API: its address, what it holds, and each effect that a request had."""

    base_url: str = ""
    users: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "7": {"id": 7, "name": "张三", "verified": True, "score": 82},
            "8": {"id": 8, "name": "李四", "verified": False, "score": 40},
        }
    )
    stock: Mapping[str, int] = field(default_factory=lambda: {"north": 3, "south": 5, "east": 0})
    looks: dict[str, int] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: Any) -> Answer:
        """Return status and body of the answer to one request."""
        key = headers.get("idempotency-key")
        with self._lock:
            if method != "GET" and key in self._answers:
                return self._answers[key]
            answer = self._answer(method, target, headers, body)
            if method != "GET" and key and answer[0] < 400:
                self._answers[key] = answer
            return answer

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: Any) -> Answer:
        url = urlsplit(target)
        parts = url.path.strip("/").split("/")
        query = dict(parse_qsl(url.query))
        answer: Answer = 404, {"message": f"there is no {url.path}"}
        match (method, *parts):
            case ("POST", "login"):
                answer = self._login(body)
            case ("GET" | "PUT", "users", _) if headers.get("authorization") != f"Bearer {TOKEN}":
                answer = 401, {"message": "log in first"}
            case ("GET" | "PUT", "users", number):
                answer = self._user(method, number, body)
            case ("GET", "stock", warehouse) if query.get("fail") == warehouse:
                answer = 500, {"message": f"the warehouse {warehouse} is closed"}
            case ("GET", "stock", warehouse) if warehouse in self.stock:
                answer = 200, {"data": {"warehouse": warehouse, "pieces": self.stock[warehouse]}}
            case ("POST", "jobs"):
                answer = self._new_job()
            case ("GET", "jobs", number) if number in self.looks:
                answer = self._job(number)
        return answer

    def _login(self, body: Any) -> Answer:
        if body != {"user": USER, "password": PASSWORD}:
            return 401, {"message": "user or password is wrong"}
        return 200, {"data": {"access_token": TOKEN, "user_id": 7}}

    def _user(self, method: str, number: str, body: Any) -> Answer:
        if number not in self.users:
            return 404, {"message": f"there is no user {number}"}
        if method == "PUT":
            if not isinstance(body, dict):
                return 400, {"message": "an object is wanted"}
            self.users[number] |= {name: value for name, value in body.items() if name != "id"}
            self.effects.append(f"user {number} changed")
        return 200, {"data": self.users[number], "message": "success"}

    def _new_job(self) -> Answer:
        number = str(len(self.looks) + 1)
        self.looks[number] = LOOKS
        self.effects.append(f"job {number} started")
        return 202, {"data": {"id": int(number), "state": "running"}}

    def _job(self, number: str) -> Answer:
        self.looks[number] -= 1
        is_done = self.looks[number] < 0
        state = {"state": "done", "result": "42 rows"} if is_done else {"state": "running"}
        return 200, {"data": {"id": int(number), **state}}


@contextmanager
def serve_example_api(*, port: int = 0) -> Iterator[ExampleApi]:
    """Run the API in threads on loopback; port 0 takes a free one."""
    server = _Server((HOST, port), _Handler)
    server.api = ExampleApi(f"http://{HOST}:{server.server_address[1]}")
    # The poll interval is only how long stopping takes.
    thread = Thread(target=server.serve_forever, args=(0.02,), name="example-api", daemon=True)
    thread.start()
    try:
        yield server.api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: ExampleApi


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer a request."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            self._send(413, {"message": "the body is too long"})
            self.close_connection = True
            return
        text = self.rfile.read(int(length))
        try:
            body = json.loads(text) if text else None
        except ValueError:
            self._send(400, {"message": "the body is no JSON"})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(*self.server.api.answer(self.command, self.path, headers, body))

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _send(self, status: int, body: Any) -> None:
        text = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
