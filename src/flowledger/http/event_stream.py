"""Parses server-sent events from bytes as they come, in pieces of any size (WHATWG HTML, 9.2.6).

Unlike a browser it yields an event without data too, and a last one without its blank line: a workflow's
``Done`` must not be lost over either.
"""

from collections.abc import Iterator
from typing import NamedTuple

from flowledger.errors import SourceGarbledError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event: its name, its data (lines joined by LF), and its own id; each "" where there is none."""

    event: str
    data: str
    id: str


class EventParser:
    """Cuts bytes into events; however they are split, the events are the same.

    No event may be larger than ``max_bytes``, nor any line.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._is_first_line = True
        self._after_cr = False
        self._event, self._id, self._size = "", "", 0
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that the next bytes complete.

        :raises SourceGarbledError: when an event is too large.
        """
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        for piece in chunk.splitlines(keepends=True):
            ends = piece[-1:] in (b"\r", b"\n")
            self._line += piece.rstrip(b"\r\n") if ends else piece
            if len(self._line) + self._size > self._max_bytes:
                raise SourceGarbledError(f"an event of more than {self._max_bytes:,} bytes")
            if ends:
                yield from self._ended_line()
        # Its LF may be the first byte of the next chunk, and ends no line of its own then.
        self._after_cr = self._after_cr or chunk.endswith(b"\r")

    def finish(self) -> Iterator[ServerSentEvent]:
        """Yield the event that was not ended by a blank line, if there is one."""
        if self._line:
            yield from self._ended_line()
        yield from self._dispatched()

    def _ended_line(self) -> Iterator[ServerSentEvent]:
        line = bytes(self._line)
        self._line.clear()
        if self._is_first_line:
            line = line.removeprefix(BYTE_ORDER_MARK)
            self._is_first_line = False
        if not line:
            yield from self._dispatched()
        elif not line.startswith(b":"):
            self._take(line)

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if name == b"data":
            self._data.append(text)
            self._size += len(value) + 1
        elif name == b"event":
            self._event = text
        elif name == b"id" and "\0" not in text:
            self._id = text

    def _dispatched(self) -> Iterator[ServerSentEvent]:
        if self._event or self._data:
            yield ServerSentEvent(self._event, "\n".join(self._data), self._id)
        self._clear()

    def _clear(self) -> None:
        self._event, self._id, self._size = "", "", 0
        self._data = []
