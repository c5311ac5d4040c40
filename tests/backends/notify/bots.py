"""Robots on loopback that check signature, time, size and rate as the real ones do.

Their errors come with HTTP 200.  ``Receiver`` takes whatever a webhook sends, as a receiver of values does.
"""

import hashlib
import hmac
import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

KEY = "key-of-the-robot-in-tests"
SECRET = "secret-of-the-robot-in-tests"
HOUR_S = 3600
FILE_NAME = re.compile(rb'filename="([^"]*)"')


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; ``query`` is decoded once."""

    path: str
    query: dict[str, str]
    raw_query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body as values."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is answered: bytes or values, and how fast (``drip_s`` seconds for each byte of endless ones)."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: bool = False


@dataclass
class Bot:
    """A robot of any maker; ``fault`` answers instead of it, ``clock`` is its time in seconds."""

    secret: str | None = SECRET
    clock: Callable[[], float] = time.time
    fault: Answer | None = None
    asked: list[Asked] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)
    base: str = ""

    path = "/hook/" + KEY

    @property
    def address(self) -> str:
        """The address of the robot, its key in it."""
        return self.base + self.path

    @property
    def accepted(self) -> list[Any]:
        """The values of the messages it showed."""
        return [asked.json for asked in self.asked]

    def answer(self, asked: Asked) -> Answer:
        """Check a request and take it, or say why not."""
        return Answer({"taken": True})

    def too_fast(self, most: int, seconds: float) -> bool:
        """Count this request, and tell whether there were too many."""
        now = self.clock()
        self.times = [at for at in self.times if at > now - seconds] + [now]
        return len(self.times) > most


@dataclass
class DingTalkBot(Bot):
    """Signature in the address, in milliseconds; muted for ten minutes after 20 messages in a minute."""

    muted_until: float = 0.0
    shown: list[Any] = field(default_factory=list)

    path = f"/robot/send?access_token={KEY}"

    @property
    def accepted(self) -> list[Any]:
        """The values of the messages it showed."""
        return self.shown

    def answer(self, asked: Asked) -> Answer:
        """Check key, signature, rate, size and form, in this order."""
        code, words = self.judge(asked)
        if code == 0:
            self.shown.append(asked.json)
        return Answer({"errcode": code, "errmsg": words})

    def judge(self, asked: Asked) -> tuple[int, str]:
        """Give code and words for a request."""
        if asked.query.get("access_token") != KEY:
            return 300001, "token is not exist"
        if self.secret and not self.signed(asked.query):
            return 310000, "sign not match"
        if self.clock() < self.muted_until or self.too_fast(20, 60):
            self.muted_until = max(self.muted_until, self.clock() + 600)
            return 130101, "send too fast, exceed 20 times per minute"
        if len(asked.body) > 20_000:
            return 460101, "message too long"
        values = asked.json
        if (
            values.get("msgtype") != "markdown"
            or not values["markdown"]["text"]
            or not values["markdown"]["title"]
        ):
            return 40035, "param error"
        return 0, "ok"

    def signed(self, query: dict[str, str]) -> bool:
        """Whether the signature fits and is not an hour old; the query was decoded once."""
        stamp = query.get("timestamp", "")
        if not stamp.isdigit() or abs(self.clock() * 1000 - int(stamp)) > HOUR_S * 1000:
            return False
        text = f"{stamp}\n{self.secret}".encode()
        wanted = b64encode(hmac.new(str(self.secret).encode(), text, hashlib.sha256).digest()).decode()
        return query.get("sign") == wanted


@dataclass
class WeChatBot(Bot):
    """The key in the address; texts, Markdown, and files that were handed over before."""

    shown: list[Any] = field(default_factory=list)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    path = f"/cgi-bin/webhook/send?key={KEY}"

    @property
    def accepted(self) -> list[Any]:
        """The values of the messages it showed."""
        return self.shown

    def answer(self, asked: Asked) -> Answer:
        """Check key and rate, then what is asked for."""
        if asked.query.get("key") != KEY:
            return Answer({"errcode": 93000, "errmsg": "invalid webhook url"})
        if self.too_fast(20, 60):
            return Answer({"errcode": 45009, "errmsg": "api freq out of limit"})
        if asked.path.endswith("/upload_media"):
            return self.keep(asked)
        code = self.judge(asked.json)
        if code == 0:
            self.shown.append(asked.json)
        return Answer({"errcode": code, "errmsg": "ok" if code == 0 else "Invalid parameter"})

    def keep(self, asked: Asked) -> Answer:
        """Keep a file of a form for a message to come."""
        name = FILE_NAME.search(asked.body)
        content = asked.body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
        if name is None or b'name="media"' not in asked.body or asked.query.get("type") != "file":
            return Answer({"errcode": 40058, "errmsg": "media missing"})
        if not 5 < len(content) <= 20 * 2**20:
            return Answer({"errcode": 40006, "errmsg": "invalid file size"})
        media = f"media-{len(self.files)}"
        self.files[media] = (name[1].decode(), content)
        return Answer({"errcode": 0, "errmsg": "ok", "type": "file", "media_id": media})

    def judge(self, values: Any) -> int:
        """Give the code for a message."""
        kind = values.get("msgtype")
        limits = {"markdown": 4096, "text": 2048}
        if kind == "file":
            return 0 if values["file"]["media_id"] in self.files else 40007
        content = values[kind]["content"] if kind in limits else ""
        return 0 if content and len(content.encode()) <= limits[kind] else 40058


@dataclass
class FeishuBot(Bot):
    """Signature in the body, in seconds; 5 messages in a second, 100 in a minute."""

    shown: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    path = f"/open-apis/bot/v2/hook/{KEY}"

    @property
    def accepted(self) -> list[Any]:
        """The values of the messages it showed."""
        return self.shown

    def answer(self, asked: Asked) -> Answer:
        """Check key, rate, size, signature and form."""
        code, words = self.judge(asked)
        if code == 0:
            self.shown.append(asked.json)
            return Answer(
                {"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}
            )
        return Answer({"code": code, "data": {}, "msg": words})

    def judge(self, asked: Asked) -> tuple[int, str]:
        """Give code and words for a request."""
        now = self.clock()
        self.seconds = [at for at in self.seconds if at > now - 1] + [now]
        if asked.path != self.path:
            return 19001, "param invalid: incoming webhook access token invalid"
        if self.too_fast(100, 60) or len(self.seconds) > 5:
            return 11232, "frequency limited psm[lark.oapi.app_platform_runtime]"
        if len(asked.body) > 20 * 1024:
            return 9499, "Bad Request"
        values = asked.json
        if self.secret and not self.signed(values):
            return 19021, "sign match fail or timestamp is not within one hour from current time"
        card = values.get("card") or {}
        if values.get("msg_type") != "interactive" or not card["elements"][0]["content"]:
            return 19002, "params error, msg_type need"
        return 0, "success"

    def signed(self, values: Any) -> bool:
        """Whether the signature fits and is not an hour old."""
        stamp = str(values.get("timestamp", ""))
        if not stamp.isdigit() or abs(self.clock() - int(stamp)) > HOUR_S:
            return False
        key = f"{stamp}\n{self.secret}".encode()
        return bool(values.get("sign") == b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode())


@dataclass
class Receiver(Bot):
    """Takes values once for each idempotency key, signed and not older than five minutes."""

    def answer(self, asked: Asked) -> Answer:
        """Check time and signature."""
        stamp = asked.headers["x-flowledger-timestamp"]
        if abs(self.clock() - int(stamp)) > 300:
            return Answer({"error": "too old"}, status=401)
        if self.secret:
            text = stamp.encode() + b"." + asked.body
            wanted = "sha256=" + hmac.new(self.secret.encode(), text, hashlib.sha256).hexdigest()
            if asked.headers.get("x-flowledger-signature") != wanted:
                return Answer({"error": "not signed"}, status=401)
        return Answer(b"", status=204)


def _handler(bot: Bot) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            target = urlsplit(self.path)
            # Pairs as a server decodes them: once.
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            asked = Asked(target.path, query, target.query, headers, body)
            bot.asked.append(asked)
            self.reply(bot.fault or bot.answer(asked))

        def reply(self, answer: Answer) -> None:
            if answer.hang:
                bot.stopped.wait(10)
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if not answer.drip:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.close_connection = answer.drip
            while answer.drip and not bot.stopped.wait(0.02):
                self.wfile.write(b"{")
            self.wfile.write(content)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the other side has given up

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                return

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


AnyBot = TypeVar("AnyBot", bound=Bot)


@contextmanager
def running(bot: AnyBot) -> Iterator[AnyBot]:
    """Let a robot answer on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(bot))
    server.daemon_threads = True
    server.block_on_close = False
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    bot.base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield bot
    finally:
        bot.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
