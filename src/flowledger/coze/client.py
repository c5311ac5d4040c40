"""Runs workflows in Coze by ``POST /v1/workflow/stream_run``, whose answer is read as it comes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Lock
from typing import Any, NoReturn

from pydantic import SecretStr

from flowledger import errors
from flowledger.domain.coze_runs import CozeEvent, WorkflowOrder
from flowledger.domain.texts import clip, one_line
from flowledger.http.errors import CONNECTION_ERRORS, FailureKind, classify, retry_after_s
from flowledger.http.event_stream import EventParser, ServerSentEvent
from flowledger.http.session import HttpOptions, HttpSession, HttpStream, check_headers, proxy_variable
from flowledger.http.urls import host_of

EVENTS = "text/event-stream"
WRONG_TOKEN = frozenset({4100, 4101, 700012006})
TOO_MANY = frozenset({4013, 4020, 4021})
EXCERPT_CHARACTERS = 300


def coze_event(raw: ServerSentEvent) -> CozeEvent:
    """Return a server-sent event as an event of a workflow.

    :raises SourceGarbledError: when its data is no JSON object.
    """
    number = int(raw.id) if raw.id.isascii() and raw.id.isdecimal() and len(raw.id) < 10 else None
    if not raw.data.strip():
        return CozeEvent(raw.event, {}, number)
    data = _json(raw.data)
    if not isinstance(data, dict):
        raise errors.SourceGarbledError(f"Coze: the data of an event {_excerpt(raw.event)} is no JSON object")
    return CozeEvent(raw.event, data, number)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> errors.FlowledgerError:
    """Return the error for an answer that holds no events."""
    text = body.decode("utf-8", "replace")
    document = _json(text)
    code, msg = (document.get("code"), document.get("msg")) if isinstance(document, dict) else (None, None)
    why = f"{status}" if code is None else f"{status}, code {_excerpt(code)}: {_excerpt(msg or 'no reason')}"
    if status in (401, 403) or code in WRONG_TOKEN:
        return errors.AuthenticationError(
            f"Coze refuses the token ({why}): check that COZE_API_TOKEN is valid and may run this workflow",
            status=status,
            body=text,
        )
    if status == 429 or status >= 500 or code in TOO_MANY:
        wait = retry_after_s(headers.get("Retry-After"), now=datetime.now(UTC))
        return errors.SourceBusyError(f"Coze is busy ({why}): try later", status=status, retry_after_s=wait)
    if status == 200 and code is None:
        kind = _excerpt(headers.get("Content-Type", "nothing named"))
        return errors.SourceGarbledError(
            f"Coze answered {kind} instead of events: check that COZE_BASE_URL is the address of its API"
        )
    return errors.SourceRefusedError(
        f"Coze refuses to run the workflow ({why}): check that it is published, and its parameters",
        status=status,
        body=text,
    )


def _json(text: str) -> Any:
    """Return parsed JSON; None where it is none, NaN and Infinity included."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _excerpt(value: object) -> str:
    return clip(one_line(str(value)), EXCERPT_CHARACTERS)


PATH = "/v1/workflow/stream_run"
READ_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class CozeClient:
    """One Coze, and its time limits in seconds: to connect, and between two bytes."""

    base_url: str
    token: SecretStr
    connect_s: float = 10.0
    silence_s: float = 300.0
    max_event_bytes: int = 8 * 2**20

    def prepare(self, order: WorkflowOrder) -> "CozeRun":
        """Return a run that ``open`` will begin; nothing is sent."""
        return CozeRun(self, order)


class CozeRun:
    """One run of a workflow.  One thread opens and reads it; ``close`` may be called by any, at any time."""

    def __init__(self, client: CozeClient, order: WorkflowOrder) -> None:
        self._client = client
        self._order = order
        self._parser = EventParser(client.max_event_bytes)
        self._lock = Lock()
        self._response: HttpStream | None = None
        self._closed = Event()
        self._is_busy = self._is_over = False
        self._fault: errors.FlowledgerError | None = None

    @property
    def log_id(self) -> str | None:
        """The id by which Coze's support finds the run, once it is open."""
        return None if self._response is None else self._response.headers.get("X-Tt-Logid")

    def open(self) -> None:
        """Begin the run, and return when Coze has accepted it.

        :raises AuthenticationError, SourceRefusedError, SourceBusyError: when it refuses;
            SourceUnreachableError, DeadlineExceededError: when there is no connection, or no answer in time;
            SourceGarbledError: when something else than Coze answers.
        """
        try:
            response = self._send()
        except CONNECTION_ERRORS as error:
            raise self._lost(error) from error
        with self._lock:
            self._response = response
            is_closed = self._closed.is_set()
        if is_closed:
            response.close()
        elif not self._holds_events(response):
            raise self._refused(response)

    def read(self) -> Sequence[CozeEvent]:
        """Wait for the next events and return them; none at all at the end, or once it is closed.

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
        """End the connection at once, even while another thread waits in ``read``."""
        with self._lock:
            self._closed.set()
            response, is_busy = self._response, self._is_busy
        if response is None:
            return
        if is_busy:
            # The reader wakes up and closes: only it may touch the buffer that it reads into.
            response.cut()
        else:
            response.close()

    def _send(self) -> HttpStream:
        client = self._client
        headers = {
            "Accept": EVENTS,
            # A compressed stream would come in blocks, long after the events in them.
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {client.token.get_secret_value()}",
        }
        check_headers(headers)
        body = json.dumps(_body(self._order), ensure_ascii=False).encode()
        options = HttpOptions(connect_s=client.connect_s, silence_s=client.silence_s, pool_size=1)
        with HttpSession(client.base_url, options) as session:
            return session.stream("POST", client.base_url + PATH, headers, body)

    def _holds_events(self, response: HttpStream) -> bool:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        is_plain = response.headers.get("Content-Encoding", "identity").lower() == "identity"
        return response.status == 200 and kind == EVENTS and is_plain

    def _refused(self, response: HttpStream) -> errors.FlowledgerError:
        try:
            body = response.read(READ_AT_ONCE)
        except CONNECTION_ERRORS:
            body = b""  # the status says enough
        finally:
            response.close()
        return refusal(response.status, response.headers, body)

    def _chunk(self) -> bytes:
        with self._lock:
            response = self._response
            if self._closed.is_set() or response is None:
                return b""
            self._is_busy = True
        try:
            chunk = response.read_available(READ_AT_ONCE)
        except (*CONNECTION_ERRORS, ValueError) as error:
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
        """Return the events of a chunk; an error after good events is raised by the next ``read``."""
        events: list[CozeEvent] = []
        try:
            for raw in self._parser.feed(chunk) if chunk else self._parser.finish():
                events.append(coze_event(raw))  # those before a wrong one count
        except errors.SourceGarbledError as error:
            self._fault, self._is_over = error, False
        return events

    def _lost(self, error: Exception) -> errors.FlowledgerError:
        host, kind = host_of(self._client.base_url), classify(error).kind
        if kind is FailureKind.DEADLINE:
            return errors.DeadlineExceededError(f"{host}: Coze sent nothing for {self._client.silence_s:g} s")
        if kind is FailureKind.ADDRESS:
            return errors.SettingsError(
                [f"COZE_BASE_URL: {host!r} is not an address that requests can be sent to"]
            )
        if kind in (FailureKind.TLS, FailureKind.CERTIFICATE):
            return errors.SourceUnreachableError(
                f"{host}: no secure connection; check that the port speaks https and its certificate is"
                " trusted (REQUESTS_CA_BUNDLE names the file of another authority)"
            )
        if kind in (FailureKind.PROXY, FailureKind.PROXY_ADDRESS, FailureKind.SOCKS):
            return _proxy_error(host, kind, proxy_variable(self._client.base_url))
        if self._response is None:
            return errors.SourceUnreachableError(
                f"{host}: no connection, or none that lasted; check COZE_BASE_URL and the network"
            )
        return errors.SourceUnreachableError(f"{host}: the connection to Coze broke ({type(error).__name__})")


def _proxy_error(host: str, kind: FailureKind, variable: str) -> errors.FlowledgerError:
    if kind is FailureKind.PROXY:
        return errors.SourceUnreachableError(f"{host}: the proxy refuses the connection; check {variable}")
    why = "a SOCKS proxy is not supported" if kind is FailureKind.SOCKS else "not the address of a proxy"
    return errors.SettingsError([f"{variable}: {why}; name one that speaks HTTP, or {host} in NO_PROXY"])


def _body(order: WorkflowOrder) -> dict[str, Any]:
    body: dict[str, Any] = {"workflow_id": order.workflow_id, "parameters": order.parameters}
    if order.bot_id is not None:
        body["bot_id"] = order.bot_id
    if order.user_id is not None:
        body["ext"] = {"user_id": order.user_id}
    return body
