"""A simulated Coze on loopback: ``POST /v1/workflow/stream_run``, each workflow by its own script."""

import json
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

EVENT_STREAM = "text/event-stream"
TOKENS = {"input_count": 50, "output_count": 100, "token_count": 150}
DEBUG_URL = "https://www.coze.example/work_flow?execute_id=1"


class Act(Enum):
    """A step that is no event: silence until the client leaves, or a connection cut without an end."""

    SILENCE = "silence"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event; it is numbered when it is sent."""

    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait, in seconds."""

    seconds: float


Step = StreamEvent | Pause | Act | bytes
"""``bytes`` go out as they are."""


@dataclass(frozen=True, slots=True)
class Script:
    """One way to respond; each step goes out in pieces of ``piece_bytes``, 0 for whole."""

    steps: Sequence[Step] = ()
    status: int = 200
    content_type: str = EVENT_STREAM
    headers: dict[str, str] = field(default_factory=dict)
    piece_bytes: int = 0
    wait_before_answer_s: float = 0.0


def message(
    content: str, *, title: str = "Output", number: int = 0, is_last: bool = False, **more: Any
) -> StreamEvent:
    """Return the event of one piece of a node's output."""
    data = {
        "content": content,
        "content_type": "text",
        "node_title": title,
        "node_seq_id": str(number),
        "node_is_finish": is_last,
        **more,
    }
    return StreamEvent("Message", data)


def spoken(text: str, *, title: str = "Output", pieces: int = 3) -> list[StreamEvent]:
    """Return the events of a node's output, cut into pieces."""
    size = max(1, -(-len(text) // pieces))
    cut = [text[at : at + size] for at in range(0, len(text), size)]
    return [
        message(each, title=title, number=number, is_last=number == len(cut) - 1)
        for number, each in enumerate(cut)
    ]


def end_node(output: str) -> StreamEvent:
    """Return the message of the end node, which has the token usage."""
    content = json.dumps({"output": output}, ensure_ascii=False)
    return message(content, title="End", is_last=True, usage=TOKENS)


def done() -> StreamEvent:
    """Return the last event of a run that went well."""
    return StreamEvent("Done", {"debug_url": DEBUG_URL})


def failed(code: int = 4000, text: str = "Request parameter error") -> StreamEvent:
    """Return the event of a run that fails."""
    return StreamEvent("Error", {"error_code": code, "error_message": text})


def interrupted(event_id: str = "7404830425073352713/2769808280134765896") -> StreamEvent:
    """Return the event of a run that waits for an answer."""
    question = {"data": "", "event_id": event_id, "type": 2}
    return StreamEvent("Interrupt", {"interrupt_data": question, "node_title": "Question"})


def ping() -> StreamEvent:
    """Return the event that keeps a connection open."""
    return StreamEvent("PING", {})


def refused(code: int, text: str, status: int = 200) -> Script:
    """Return an error instead of events, which Coze sends with status 200 as well."""
    body = json.dumps({"code": code, "msg": text, "detail": {"logid": "simulated"}}).encode()
    return Script((body,), status, "application/json")


GOOD = Script((*spoken("Why did the ruler go to the cinema?"), ping(), end_node("It was long."), done()))
"""The script of every workflow that has none of its own."""


HOST = "127.0.0.1"
PATH = "/v1/workflow/stream_run"
TOKEN = "pat_simulated"  # noqa: S105  it opens only this
LONGEST_S = 30.0
"""The longest silence, so that no test hangs."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One request as it came: its body and its headers."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


@dataclass(slots=True)
class SimulatedCoze:
    """A running server: its address, its requests, and the workflows whose clients left before the end."""

    base_url: str
    scripts: dict[str, Script] = field(default_factory=dict)
    token: str = TOKEN
    requests: list[RunRequest] = field(default_factory=list)
    left: "SimpleQueue[str]" = field(default_factory=SimpleQueue)
    most_at_once: int = 0
    stopping: Event = field(default_factory=Event)
    _at_once: int = 0
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the requests that are served at once."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def script_of(self, path: str, headers: Mapping[str, str], workflow_id: str) -> Script:
        """Return the script that a request gets."""
        if path != PATH:
            return refused(4200, "no such path", status=404)
        if headers.get("Authorization") != f"Bearer {self.token}":
            return refused(4100, "authentication is invalid", status=401)
        return self.scripts.get(workflow_id, GOOD)


@contextmanager
def serve_coze(scripts: Mapping[str, Script] | None = None, *, port: int = 0) -> Iterator[SimulatedCoze]:
    """Run a server in threads on loopback; port 0 takes a free one."""
    server = _Server((HOST, port), _Handler)
    coze = SimulatedCoze(f"http://{HOST}:{server.server_address[1]}", dict(scripts or {}))
    server.coze = coze
    # The poll interval is only how long stopping takes.
    thread = Thread(target=server.serve_forever, args=(0.02,), name="simulated-coze", daemon=True)
    thread.start()
    try:
        yield coze
    finally:
        coze.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 256
    coze: SimulatedCoze


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """Play the workflow's script."""
        coze = self.server.coze
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        coze.requests.append(RunRequest(body, dict(self.headers)))
        workflow_id = str(body.get("workflow_id"))
        script = coze.script_of(self.path, dict(self.headers), workflow_id)
        self.close_connection = True
        try:
            with coze.counted():
                self._play(script)
        except (BrokenPipeError, ConnectionResetError, _ClientLeft):
            coze.left.put(workflow_id)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: tests read standard error."""

    def _play(self, script: Script) -> None:
        self._wait(script.wait_before_answer_s)
        self.send_response(script.status)
        for name, value in {"Content-Type": script.content_type, **script.headers}.items():
            self.send_header(name, value)
        self.send_header("X-Tt-Logid", "simulated-log-id")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        number = 0
        for step in script.steps:
            if step is Act.CUT:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if step is Act.SILENCE:
                self._wait(LONGEST_S)
            elif isinstance(step, Pause):
                self._wait(step.seconds)
            else:
                self._send(_bytes_of(step, number), script.piece_bytes)
                number += isinstance(step, StreamEvent)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, content: bytes, piece_bytes: int) -> None:
        size = piece_bytes or len(content)
        for at in range(0, len(content), size):
            piece = content[at : at + size]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def _wait(self, seconds: float) -> None:
        """Wait, but notice a client that leaves, and the end of the server."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0 and not self.server.coze.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], min(left, 0.02))
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise _ClientLeft


class _ClientLeft(Exception):
    """The client closed the connection."""


def _bytes_of(step: Step, number: int) -> bytes:
    if isinstance(step, bytes):
        return step
    assert isinstance(step, StreamEvent)
    data = json.dumps(step.data, ensure_ascii=False)
    return f"id: {number}\nevent: {step.event}\ndata: {data}\n\n".encode()
