"""``DifySession``: all requests to one Dify server, and the one place where they are repeated."""

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urljoin

import orjson
from loguru import logger
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from flowledger.dify.answers import Answer, Attempt, Sent, failure_of, refusal
from flowledger.dify.concurrency import AdaptiveLimiter
from flowledger.dify.credentials import Release
from flowledger.errors import RetriableError, SettingsError, SourceGarbledError, SourceRefusedError
from flowledger.http.errors import CONNECTION_ERRORS, http_date, retry_after_s
from flowledger.http.session import HttpOptions, HttpReply, HttpSession, check_headers, proxy_variable
from flowledger.http.urls import base_url as base_url_of
from flowledger.http.urls import host_of, join, origin, path_of
from flowledger.ports import Clock

MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NOTHING: Mapping[str, str] = {}
LONGEST_WAIT_S = 60.0
LOG_EVERY_S = 60.0
T = TypeVar("T")


@dataclass(slots=True)
class FailureLog:
    """One log line for each kind of failure and minute; what comes in between is counted in the next one.

    A busy server fails hundreds of requests of hundreds of runs: a line for each try would bury what matters.
    """

    lock: Lock = field(default_factory=Lock)
    lines: dict[tuple[type[BaseException], int], tuple[float, int]] = field(default_factory=dict)

    def add(self, failure: BaseException, attempt: int, wait_s: float, now: float) -> None:
        """Log a failed attempt, or count it; ``now`` is in clock seconds."""
        kind = (type(failure), getattr(failure, "status", 0))
        with self.lock:
            logged_at, unlogged = self.lines.get(kind, (now - LOG_EVERY_S, 0))
            if now - logged_at < LOG_EVERY_S:
                self.lines[kind] = (logged_at, unlogged + 1)
                return
            self.lines[kind] = (now, 0)
        # One failure is everyday life on a busy server; the second in a row may need an operator.
        log = logger.info if attempt == 1 and not unlogged else logger.warning
        more = f" ({unlogged} more like it since the last line)" if unlogged else ""
        log("attempt {} failed, next one in {:.1f} s: {}{}", attempt, wait_s, failure, more)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a request is repeated; all times in seconds.

    Waits double from ``first_wait_s`` with jitter; no new try begins later than ``total_s`` after the first.
    ``sleep``, ``clock`` and ``jitter`` (0 to 1) are exchangeable, so that tests need not wait.
    """

    tries: int = 5
    first_wait_s: float = 0.5
    total_s: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    log: FailureLog = field(default_factory=FailureLog, compare=False, repr=False)

    def call(self, request: Callable[[], T]) -> T:
        """Send until it succeeds, fails for good, or tries or time run out.

        :raises RetriableError: the last one; any other error at once.
        """
        ends = self.clock() + self.total_s
        try:
            return request()  # what usually succeeds; the machinery below costs more than a request
        except RetriableError as error:
            failed: list[RetriableError] = [error]

        def again() -> T:
            if failed:
                raise failed.pop()
            return request()

        attempts = Retrying(
            retry=retry_if_exception_type(RetriableError),
            wait=self._wait,
            stop=lambda state: self._is_over(state, ends),
            sleep=self.sleep,
            before_sleep=self._log,
            reraise=True,
        )
        return attempts(again)

    def _wait(self, state: RetryCallState) -> float:
        failure = _failure(state)
        server_s = failure.retry_after_s if isinstance(failure, RetriableError) else None
        return wait_s(state.attempt_number, server_s, first_s=self.first_wait_s, jitter=self.jitter())

    def _is_over(self, state: RetryCallState, ends: float) -> bool:
        return state.attempt_number >= self.tries or self.clock() + state.upcoming_sleep > ends

    def _log(self, state: RetryCallState) -> None:
        failure = _failure(state)
        if failure is not None:
            self.log.add(failure, state.attempt_number, state.upcoming_sleep, self.clock())


def wait_s(attempt: int, server_s: float | None, *, first_s: float, jitter: float) -> float:
    """Return the wait after the n-th try (from 1), in seconds, at most 60.

    ``server_s`` is the server's Retry-After, met with a little more so that not all threads return at once.
    """
    growing = first_s * 2.0 ** min(attempt - 1, 10) * (0.5 + jitter / 2)
    return min(LONGEST_WAIT_S, growing if server_s is None else server_s + first_s * jitter)


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def utc_now() -> datetime:
    """Return the present, aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session behaves; ``now`` is the wall clock, for Retry-After dates and the clock difference."""

    http: HttpOptions = field(default_factory=HttpOptions)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    now: Clock = utc_now


def normalise(address: str) -> str:
    """Return a Dify's base URL in its one form.

    :raises SettingsError: naming the setting, when it is no address.
    """
    try:
        return base_url_of(address)
    except ValueError as error:
        raise SettingsError([f"DIFY_BASE_URL: {error}, such as https://dify.example.com"]) from error


class DifySession:
    """One server's connections, limiter, retries release and clock; shared by threads."""

    def __init__(
        self,
        base_url: str,
        *,
        limiter: AdaptiveLimiter | None = None,
        options: SessionOptions | None = None,
    ) -> None:
        """Prepare the connections; nothing is sent.

        :raises SettingsError: for an address or a file of authorities that cannot be used.
        """
        self.base_url = normalise(base_url)
        self.limiter = limiter or AdaptiveLimiter()
        self._options = options or SessionOptions()
        limits = self._options.http
        self._http = HttpSession(self.base_url, limits)
        self._attempt = Attempt(
            self.host, self._http.proxy, proxy_variable(self.base_url), limits.connect_s, limits.deadline_s
        )
        self._lock = Lock()
        self._requests = 0
        self._release_text = ""
        self._release: Release | None = None
        self._dated: tuple[str, datetime] | None = None

    @property
    def host(self) -> str:
        """The server's host, for messages."""
        return host_of(self.base_url)

    @property
    def retry(self) -> RetryPolicy:
        """How patiently requests are repeated."""
        return self._options.retry

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far: retries, redirects and logins included."""
        return self._requests

    @property
    def release(self) -> Release | None:
        """The server's release by X-Version; None before any answer, or where a fork names none."""
        return self._release

    @property
    def clock_difference_s(self) -> float | None:
        """How far the server's clock is ahead of ours, in seconds, exact to about one; None if unknown."""
        dated = self._dated
        moment = http_date(dated[0]) if dated else None
        return (moment - dated[1]).total_seconds() if moment and dated else None

    def server_now(self) -> datetime | None:
        """Return the present by the server's clock, aware UTC; None before any dated answer."""
        dated = self._dated
        moment = http_date(dated[0]) if dated else None
        return moment + (self._options.now() - dated[1]) if moment and dated else None

    def get(
        self,
        path: str,
        params: Mapping[str, str] = NOTHING,
        *,
        headers: Mapping[str, str] = NOTHING,
        fields: Collection[str] = (),
    ) -> Answer:
        """Return the answer to a GET of JSON data, repeated while that may help.

        ``path`` starts at the base URL (``/v1/workflows/logs``); ``fields`` are those the data must have.

        :raises AuthenticationError: 401; SourceRefusedError: other 4xx or a redirect to another server;
            RetriableError: when tries or time are used up.
        """
        url = join(self.base_url, path, dict(params))
        sent = Sent(headers)

        def request() -> Answer:
            answer = self._follow(url, sent)
            answer.require(fields)
            return answer

        return self._options.retry.call(request)

    def post(
        self,
        path: str,
        document: Mapping[str, Any],
        *,
        headers: Mapping[str, str] = NOTHING,
        secrets: Collection[str] = (),
    ) -> Answer:
        """Return the answer to a POST of JSON, sent exactly once: what a login changes must not happen twice.

        No string of the document, nor any of ``secrets`` that it encodes, comes back in a message.

        :raises AuthenticationError: 401; SourceRefusedError: other 4xx or any redirect;
            RetriableError: when no usable answer came.
        """
        url = f"{self.base_url}{path}"
        strings = [value for value in document.values() if isinstance(value, str)]
        answer = self._exchange(
            "POST", url, Sent(headers, [*strings, *secrets]), orjson.dumps(dict(document))
        )
        if answer.status in REDIRECTS:
            raise _misdirected(answer, self._target(answer))
        answer.require(())
        return answer

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self, url: str, sent: Sent) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._exchange("GET", url, sent)
            if answer.status not in REDIRECTS:
                return answer
            url = self._target(answer)
            if origin(url) != origin(self.base_url):
                raise _misdirected(answer, url)
        raise SourceGarbledError(f"{answer.place}: redirected more than {MOST_REDIRECTS} times")

    def _exchange(self, method: str, url: str, sent: Sent, body: bytes | None = None) -> Answer:
        # The status is judged inside the slot, so that the limiter learns of a server that is too busy.
        with self.limiter.slot():
            with self._lock:
                self._requests += 1
            answer = self._send(method, url, sent, body)
            self._learn(answer)
            if answer.status in REDIRECTS:
                return answer
            wait = retry_after_s(
                answer.headers.get("Retry-After"), now=self._options.now(), longest_s=LONGEST_WAIT_S
            )
            refused = refusal(answer, method, retry_after_s=wait)
            if refused is not None:
                raise refused
        return answer

    def _send(self, method: str, url: str, sent: Sent, body: bytes | None) -> Answer:
        check_headers(sent.headers)
        headers = sent.headers if body is None else {**sent.headers, "Content-Type": "application/json"}
        try:
            reply = self._http.send(method, url, headers, body)
        except CONNECTION_ERRORS as error:
            raise failure_of(error, self._attempt) from error
        if reply.is_cut:
            raise self._too_large(reply)
        return Answer(reply.status, reply.headers, reply.body, url, sent)

    def _too_large(self, reply: HttpReply) -> SourceRefusedError | SourceGarbledError:
        most = self._options.http.max_bytes
        text = f"{self.host}: an answer of more than {most:,} bytes was cut off (DIFY_MAX_ANSWER_MB)"
        # Data will be as large again, so no further try; a broken server's page may not.
        return SourceRefusedError(text, status=200) if reply.status == 200 else SourceGarbledError(text)

    def _learn(self, answer: Answer) -> None:
        text = answer.headers.get("X-Version", "")
        if text and text != self._release_text:
            self._release, self._release_text = Release.parse(text), text
        date = answer.headers.get("Date")
        if date:
            self._dated = (date, self._options.now())

    def _target(self, answer: Answer) -> str:
        location = answer.headers.get("Location")
        if not location:
            raise SourceGarbledError(f"{answer.place}: a redirect ({answer.status}) without an address")
        return urljoin(answer.url, location)


def _misdirected(answer: Answer, url: str) -> SourceRefusedError:
    scheme = url.partition(":")[0]
    return SourceRefusedError(
        f"{answer.place} redirects to {scheme}://{host_of(url)}{path_of(url)}; the keys are not sent there: "
        "if that is your Dify, put its address into DIFY_BASE_URL",
        status=answer.status,
    )
