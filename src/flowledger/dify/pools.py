"""Pooled connections whose answers obey one total deadline, and which are never reused too late.

http.client applies a socket's timeout to each read, so a server that sends one byte now and then holds a
request for ever.  Here every read gets only what is left of the whole, for http, https and proxy tunnels.
"""

import socket
import time
from collections.abc import Mapping
from http.client import HTTPResponse as WireResponse
from typing import TYPE_CHECKING, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from flowledger.deadlines import DeadlineReader

if TYPE_CHECKING:  # urllib3 declares these for type checkers only
    from urllib3._base_connection import BaseHTTPConnection, BaseHTTPSConnection

IDLE_S = 1.5
"""gunicorn closes idle connections after 2 s (contract.md §0.10); ours are closed before that."""


class DeadlineResponse(WireResponse):
    """A response whose socket's timeout, as it is now, counts for all of it."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        allowed = sock.gettimeout()
        if allowed is None:
            super().__init__(sock, debuglevel, method)
        else:
            reader = DeadlineReader(sock, time.monotonic() + allowed)
            super().__init__(reader, debuglevel, method)  # type: ignore[arg-type]


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
