"""Reading from a socket within one deadline for all of it, however slowly the bytes arrive.

A socket's own timeout counts for each read, so a server that sends a byte now and then holds one for ever.
"""

import io
import socket
import time

MOST_PIECE = 64 * 1024
"""Bytes asked of the socket at once: a usual answer, headers and all, is one read."""
LEEWAY_S, LEEWAY_SHARE = 0.25, 0.05
"""A timeout that is longer than the rest of the deadline by no more than this stays: changing it costs as
much as reading."""


class DeadlineReader(io.RawIOBase):
    """A socket's incoming bytes, of which the last must arrive before ``ends`` (monotonic seconds)."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self.ends = ends
        self._sock = sock
        self._allowed_s = 0.0
        # The unbuffered file keeps the socket open after the connection has let go of it.
        self._incoming = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Give what http.client reads from."""
        return io.BufferedReader(self, MOST_PIECE)

    def readable(self) -> bool:
        """Always true; the buffer asks."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override]
        """Read what has arrived, waiting no longer than the rest of the deadline.

        :raises TimeoutError: when the deadline has passed.
        """
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total deadline has passed")
        if not left <= self._allowed_s <= left + min(LEEWAY_S, LEEWAY_SHARE * left):
            self._sock.settimeout(left)
            self._allowed_s = left
        return self._incoming.readinto(buffer)

    def close(self) -> None:
        """Give the socket free."""
        self._incoming.close()
        super().close()
