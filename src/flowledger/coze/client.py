"""Runs workflows in Coze: ``POST /v1/workflow/stream_run``, read as it comes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
import requests.exceptions as lost
from pydantic import SecretStr
from urllib3.exceptions import HTTPError, ReadTimeoutError

from flowledger import __version__
from flowledger.coze.event_stream import EventParser, ServerSentEvent
from flowledger.domain.coze_runs import CozeEvent, WorkflowOrder
from flowledger.domain.texts import clip, one_line
from flowledger.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FlowledgerError,
    SettingsError,
    SourceBusyError,
    SourceGarbledError,
    SourceRefusedError,
    SourceUnreachableError,
)

EVENTS = "text/event-stream"
WRONG_TOKEN = frozenset({4100, 4101, 700012006})
TOO_MANY = frozenset({4013, 4020, 4021})
SHOWN = 300


def coze_event(raw: ServerSentEvent) -> CozeEvent:
    """Read an event.

    :raises SourceGarbledError: when its data is no JSON object.
    """
    number = int(raw.id) if raw.id.isascii() and raw.id.isdecimal() and len(raw.id) < 10 else None
    if not raw.data.strip():
        return CozeEvent(raw.event, {}, number)
    data = _json(raw.data)
    if not isinstance(data, dict):
        raise SourceGarbledError(f"Coze: the data of an event {_shown(raw.event)} is no JSON object")
    return CozeEvent(raw.event, data, number)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> FlowledgerError:
    """Give the error for an answer that holds no events."""
    text = body.decode("utf-8", "replace")
    told = _json(text)
    code, msg = (told.get("code"), told.get("msg")) if isinstance(told, dict) else (None, None)
    why = f"{status}" if code is None else f"{status}, code {_shown(code)}: {_shown(msg or 'no reason')}"
    if status in (401, 403) or code in WRONG_TOKEN:
        return AuthenticationError(
            f"Coze refuses the token ({why}): see that COZE_API_TOKEN is valid and may run this workflow",
            status=status,
            body=text,
        )
    if status == 429 or status >= 500 or code in TOO_MANY:
        wait = headers.get("Retry-After", "")
        after = float(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 6 else None
        return SourceBusyError(f"Coze is busy ({why}): try later", status=status, retry_after_s=after)
    if status == 200 and code is None:
        kind = _shown(headers.get("Content-Type", "nothing named"))
        return SourceGarbledError(
            f"Coze answered {kind} instead of events: see that COZE_BASE_URL is the address of its API"
        )
    return SourceRefusedError(
        f"Coze refuses to run the workflow ({why}): see that it is published, and its parameters",
        status=status,
        body=text,
    )


def _json(text: str) -> Any:
    """Read JSON; None where it is none, as numbers that JSON does not have."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _shown(value: object) -> str:
    return clip(one_line(str(value)), SHOWN)


PATH = "/v1/workflow/stream_run"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
READ_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class CozeClient:
    """One Coze, and how long it may take: to connect, and between two bytes, in seconds."""

    base_url: str
    token: SecretStr
    connect_s: float = 10.0
    silence_s: float = 300.0
    max_event_bytes: int = 8 * 2**20

    def prepare(self, order: WorkflowOrder) -> "CozeRun":
        """Give a run that ``open`` will begin; nothing is sent."""
        return CozeRun(self, order)


class CozeRun:
    """One run of a workflow.  One thread opens and reads it; ``close`` may be called by any, at any time."""

    def __init__(self, client: CozeClient, order: WorkflowOrder) -> None:
        self._client = client
        self._order = order
        self._parser = EventParser(client.max_event_bytes)
        self._lock = Lock()
        self._response: requests.Response | None = None
        self._closed = Event()
        self._is_busy = self._is_over = False
        self._fault: FlowledgerError | None = None

    @property
    def log_id(self) -> str | None:
        """What Coze's support finds the run by, once it is open."""
        return None if self._response is None else self._response.headers.get("X-Tt-Logid")

    def open(self) -> None:
        """Begin the run, and return when Coze has accepted it.

        :raises AuthenticationError, SourceRefusedError, SourceBusyError: when it refuses;
            SourceUnreachableError, DeadlineExceededError: when it cannot be asked;
            SourceGarbledError: when what answers is no Coze.
        """
        try:
            response = self._send()
        except requests.RequestException as error:
            raise self._lost(error) from error
        with self._lock:
            self._response = response
            is_closed = self._closed.is_set()
        if is_closed:
            response.close()
        elif not self._holds_events(response):
            raise self._refused(response)

    def read(self) -> Sequence[CozeEvent]:
        """Wait for the next events and give them; none at all at the end, or once it is closed.

        :raises SourceGarbledError: for what is no event; SourceUnreachableError: when the connection broke;
            DeadlineExceededError: after too long a silence.
        """
        while not self._is_over and not self._closed.is_set():
            if self._fault is not None:
                raise self._fault
            chunk = self._chunk()
            self._is_over = not chunk
            events = self._events(chunk)
            if events:
                return events
        return ()

    def close(self) -> None:
        """End the connection at once, also under a thread that waits in ``read``."""
        with self._lock:
            self._closed.set()
            response, is_busy = self._response, self._is_busy
        if response is None:
            return
        if is_busy:
            # The reader wakes up and closes: only it may touch the buffer that it reads into.
            _cut(response)
        else:
            response.close()

    def _send(self) -> requests.Response:
        client, order = self._client, self._order
        with requests.Session() as session:
            session.trust_env = urlsplit(client.base_url).hostname not in LOOPBACK
            return session.post(
                client.base_url + PATH,
                data=json.dumps(_body(order), ensure_ascii=False).encode(),
                headers={
                    "User-Agent": f"flowledger/{__version__}",
                    "Accept": EVENTS,
                    "Accept-Encoding": "identity",
                    "Content-Type": "application/json",
                },
                auth=_Bearer(client.token),
                stream=True,
                allow_redirects=False,
                timeout=(client.connect_s, client.silence_s),
            )

    def _holds_events(self, response: requests.Response) -> bool:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        is_plain = response.headers.get("Content-Encoding", "identity").lower() == "identity"
        return response.status_code == 200 and kind == EVENTS and is_plain

    def _refused(self, response: requests.Response) -> FlowledgerError:
        try:
            body = response.raw.read(READ_AT_ONCE, decode_content=True)
        except HTTPError:
            body = b""  # the status says enough
        finally:
            response.close()
        return refusal(response.status_code, response.headers, body)

    def _chunk(self) -> bytes:
        with self._lock:
            response = self._response
            if self._closed.is_set() or response is None:
                return b""
            self._is_busy = True
        try:
            chunk: bytes = response.raw.read1(READ_AT_ONCE, decode_content=False) or b""
        except (HTTPError, OSError, ValueError) as error:
            if self._closed.is_set():
                return b""
            response.close()
            raise self._lost(error) from error
        finally:
            with self._lock:
                self._is_busy = False
                is_closed = self._closed.is_set()
            if is_closed:
                response.close()
        return chunk

    def _events(self, chunk: bytes) -> list[CozeEvent]:
        """Read what came; what is wrong after good events is told when those are taken."""
        events: list[CozeEvent] = []
        try:
            for raw in self._parser.feed(chunk) if chunk else self._parser.finish():
                events.append(coze_event(raw))  # those before a wrong one are kept
        except SourceGarbledError as error:
            self._fault, self._is_over = error, False
        return events

    def _lost(self, error: Exception) -> FlowledgerError:
        host = urlsplit(self._client.base_url).netloc
        if isinstance(error, lost.ReadTimeout | ReadTimeoutError | TimeoutError):
            return DeadlineExceededError(f"{host}: Coze said nothing for {self._client.silence_s:g} s")
        if isinstance(error, lost.InvalidURL | lost.MissingSchema | lost.InvalidSchema):
            return SettingsError([f"COZE_BASE_URL: {host!r} is not an address that can be asked"])
        if isinstance(error, lost.SSLError):
            return SourceUnreachableError(
                f"{host}: no secure connection; see that the port speaks https and its certificate is trusted"
                " (REQUESTS_CA_BUNDLE names the file of another authority)"
            )
        if isinstance(error, lost.ProxyError):
            return SourceUnreachableError(f"{host}: the proxy does not let us through; check HTTPS_PROXY")
        if isinstance(error, lost.ConnectionError) and self._response is None:
            return SourceUnreachableError(
                f"{host}: no connection, or none that lasted; check COZE_BASE_URL and the network"
            )
        return SourceUnreachableError(f"{host}: the connection to Coze broke ({type(error).__name__})")


@dataclass(frozen=True, slots=True)
class _Bearer(requests.auth.AuthBase):
    """The token, set last, so that no .netrc can take its place."""

    token: SecretStr

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
        return request


def _body(order: WorkflowOrder) -> dict[str, Any]:
    body: dict[str, Any] = {"workflow_id": order.workflow_id, "parameters": order.parameters}
    if order.bot_id is not None:
        body["bot_id"] = order.bot_id
    if order.user_id is not None:
        body["ext"] = {"user_id": order.user_id}
    return body


def _cut(response: requests.Response) -> None:
    try:
        response.raw.shutdown()
    except (OSError, ValueError, RuntimeError):
        return  # it has ended by itself
