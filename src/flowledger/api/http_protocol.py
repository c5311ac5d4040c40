"""HTTP connections that cannot be occupied: silent and dripping ones are dropped, their number is bounded.

Uvicorn limits only the pause after an answer.  A client that sends nothing, or a byte now and then, would
hold its connection for ever, before its key is known.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 10.0
"""From the beginning of a connection, or of a further request, until its headers are complete."""
BODY_S = 30.0
"""From the headers until the body is complete."""
MOST_CONNECTIONS = 512
"""At once in one process; far below the usual limit of open files (1,024)."""
STOP = "flowledger.stop"
"""Key of a request's scope: the event that ends an answer which would go on after the server was stopped."""
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(H11Protocol):
    """Drops a connection whose request takes too long to arrive; answers may take as long as they need."""

    headers_s = HEADERS_S
    body_s = BODY_S
    most_connections = MOST_CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None
    _awaited: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a request, or refuse the connection where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.write(_FULL)
            transport.close()
            return
        self._watch(started=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._set_deadline(None, 0)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection, or after the answer that it is giving; an endless answer is ended."""
        stop: asyncio.Event | None = (getattr(self, "scope", None) or {}).get(STOP)
        if stop is not None:
            stop.set()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived in; it does not extend the time that is left for the rest."""
        super().data_received(data)
        self._watch(started=True)

    def on_response_complete(self) -> None:
        """Let the next request begin: until its first byte uvicorn's own time limit holds."""
        super().on_response_complete()
        self._watch(started=bool(self.conn.trailing_data[0]))

    def _watch(self, *, started: bool) -> None:
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._set_deadline(cycle if cycle.more_body else None, self.body_s)
        else:
            self._set_deadline(("headers after", cycle) if started else None, self.headers_s)

    def _set_deadline(self, awaited: object, seconds: float) -> None:
        """Begin to wait for something, unless that is what has been waited for already."""
        if awaited is not None and awaited == self._awaited:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._awaited = awaited
        self._deadline = None if awaited is None else self.loop.call_later(seconds, self._drop)

    def _drop(self) -> None:
        self.transport.abort()
