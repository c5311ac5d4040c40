"""Events of an execution as server-sent events: each once and in order, until it has ended.

The ledger counts the events of an execution without gaps, so that a cursor says all: a stream that breaks off
is continued with ``Last-Event-ID``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from loguru import logger
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from flowledger.api.http_protocol import STOP
from flowledger.errors import LedgerError
from flowledger.io.json_text import dumps_strict
from flowledger.services.workflows import rows
from flowledger.workflow_ports import Event, WorkflowStore

HEARTBEAT_S = 15.0
"""Pause after which a comment is sent: proxies close connections that are silent for long."""
SHORTEST_POLL_S, LONGEST_POLL_S = 0.05, 0.5
AT_ONCE = 500
HEADERS = {"Cache-Control": "no-cache, no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = b": nothing new\n\n"
MOST_STREAMS = 100


class TooManyStreamsError(Exception):
    """As many streams as may be are open."""


@dataclass(slots=True)
class StreamCount:
    """How many streams are open in this process; only the event loop's thread uses it."""

    most: int = MOST_STREAMS
    open: int = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a stream while it is open."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def check(self) -> None:
        """Refuse a further stream where there are too many.

        :raises TooManyStreamsError: then.
        """
        if self.open >= self.most:
            raise TooManyStreamsError(f"{self.open} streams of events are open: come again later")


class EventStream(StreamingResponse):
    """The events of one execution after a cursor."""

    media_type = "text/event-stream"

    def __init__(
        self, store: WorkflowStore, execution: int, after: int, streams: StreamCount, longest_s: float
    ) -> None:
        self._stop = asyncio.Event()
        super().__init__(frames(store, execution, after, longest_s, self._stop), headers=HEADERS)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until the execution has ended, the client has gone or the server is stopped."""
        scope[STOP] = self._stop
        with self._streams.one_more():
            await super().__call__(scope, receive, send)


async def frames(
    store: WorkflowStore,
    execution: int,
    after: int,
    longest_s: float = 3600.0,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[bytes]:
    """Yield the frames of a stream; after the longest time, or when stopped, a client continues elsewhere."""
    stop = stop or asyncio.Event()
    began = heard = time.monotonic()
    pause = SHORTEST_POLL_S
    while not stop.is_set():
        try:
            events, has_ended = await run_in_threadpool(read, store, execution, after)
        except LedgerError as error:
            # The answer has begun: all that can be done is to end it, and the client asks again.
            logger.error("events of execution {}: {}", execution, error)
            return
        now = time.monotonic()
        if events:
            after, heard, pause = events[-1].cursor, now, SHORTEST_POLL_S
            yield b"".join(frame(event.cursor, event.event.value, rows.event_row(event)) for event in events)
        if (has_ended and len(events) < AT_ONCE) or now - began >= longest_s:
            return
        if len(events) == AT_ONCE:
            continue
        if now - heard >= HEARTBEAT_S:
            heard = now
            yield HEARTBEAT
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        pause = min(pause * 1.5, LONGEST_POLL_S)


def read(store: WorkflowStore, execution: int, after: int, limit: int = AT_ONCE) -> tuple[list[Event], bool]:
    """Return the events after a cursor, and whether the execution had ended before they were read."""
    current = store.execution(execution)
    has_ended = current is None or not current.status.is_open
    return list(store.events(execution, after=after, limit=limit)), has_ended


def frame(cursor: int, event: str, data: Mapping[str, object]) -> bytes:
    """Return an event as bytes; JSON in UTF-8 has no line breaks of its own, so that one line holds it."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (cursor, event.encode(), dumps_strict(data))
