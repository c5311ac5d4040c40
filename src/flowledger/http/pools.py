"""Pooled connections whose answers obey one total deadline, and which are never reused too late."""

import io
import socket
import time
from collections.abc import Mapping
from http.client import HTTPResponse as WireResponse
from typing import TYPE_CHECKING, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import InvalidHeader

if TYPE_CHECKING:  # urllib3 declares these for type checkers only
    from urllib3._base_connection import BaseHTTPConnection, BaseHTTPSConnection


MOST_PIECE = 64 * 1024
"""Bytes read from the socket at once: a usual answer, headers and all, is one read."""
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
        """Return what http.client reads from."""
        return io.BufferedReader(self, MOST_PIECE)

    def readable(self) -> bool:
        """Return True, which the buffer above checks."""
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
        """Release the socket."""
        self._incoming.close()
        super().close()


IDLE_S = 1.5
"""gunicorn closes idle connections after 2 s (docs/dify-api.md "Timing and load"); we close ours earlier."""


class DeadlineResponse(WireResponse):
    """A response whose socket's timeout, as it is now, counts for all of it."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        allowed = sock.gettimeout()
        if allowed is None:
            super().__init__(sock, debuglevel, method)
        else:
            reader = DeadlineReader(sock, time.monotonic() + allowed)
            super().__init__(reader, debuglevel, method)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Read status and headers.

        :raises InvalidHeader: for several lengths that differ; urllib3 refuses those too, but only when
            nobody can close this response any more, and its socket would stay open.
        """
        super().begin()
        lines = self.headers.get_all("Content-Length", [])
        lengths = {each.strip() for line in lines for each in line.split(",")}
        if len(lengths) > 1:
            raise InvalidHeader(f"the lengths {', '.join(sorted(lengths))}")


class _Timed:
    idle_since = 0.0


class _PlainConnection(_Timed, HTTPConnection):
    response_class = DeadlineResponse


class _TlsConnection(_Timed, HTTPSConnection):
    response_class = DeadlineResponse


class PlainPool(HTTPConnectionPool):
    """Connections over http, closed when idle for too long."""

    ConnectionCls: "type[BaseHTTPConnection] | type[BaseHTTPSConnection]" = _PlainConnection

    def _get_conn(self, timeout: float | None = None) -> "BaseHTTPConnection":
        conn = super()._get_conn(timeout)
        if not conn.is_closed and time.monotonic() - cast("_Timed", conn).idle_since > IDLE_S:
            conn.close()
        return conn

    def _put_conn(self, conn: "BaseHTTPConnection | None") -> None:
        if conn is not None:
            cast("_Timed", conn).idle_since = time.monotonic()
        super()._put_conn(conn)


class TlsPool(PlainPool, HTTPSConnectionPool):
    """Connections over https, closed when idle for too long."""

    ConnectionCls = _TlsConnection


POOLS: Mapping[str, type[HTTPConnectionPool]] = {"http": PlainPool, "https": TlsPool}
