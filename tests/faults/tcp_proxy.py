"""A TCP proxy on loopback between client and server that makes the network a bad one.

What it does to a connection is a value; it may be replaced while the proxy runs and counts for what comes
after.  It knows nothing of HTTP: bytes are late, few, cut into pieces, cut off, or never come.
"""

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Network:
    """How bytes travel from server to client; every time in seconds.

    ``latency_s``: before anything comes back.  ``bytes_per_s``: bandwidth, 0 for any.  ``slice_bytes``: the
    most that is passed on at once, each piece ``slice_wait_s`` after the one before.  ``cut_after_bytes``:
    a connection ends there, by a reset where ``resets`` is true, else by a close; -1 for never.  ``holds``:
    at that place it stays open instead, and nothing comes.  ``close_wait_s``: how long the end of a
    connection takes.  ``concerns``: the numbers of the connections, from 1; none for all.
    """

    latency_s: float = 0.0
    bytes_per_s: int = 0
    slice_bytes: int = CHUNK
    slice_wait_s: float = 0.0
    cut_after_bytes: int = -1
    resets: bool = False
    holds: bool = False
    close_wait_s: float = 0.0
    concerns: frozenset[int] = frozenset()
    down: bool = False


SOUND = Network()


@dataclass(slots=True)
class TcpProxy:
    """A running proxy: its port, how its network is now, and what it did by word."""

    server_port: int
    network: Network = SOUND
    port: int = 0
    did: Counter[str] = field(default_factory=Counter)
    stopped: Event = field(default_factory=Event)
    _open: set[socket.socket] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)
    _threads: list[Thread] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        """Where clients ask."""
        return f"http://127.0.0.1:{self.port}"

    def accept(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while not self.stopped.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.did["connections"] += 1
            self._start(client, self.did["connections"])

    def drop(self) -> None:
        """End all connections there are, as a firewall does that has forgotten them."""
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """End all connections and wait for their threads."""
        self.stopped.set()
        self.drop()
        for thread in self._threads:
            thread.join()

    def _start(self, client: socket.socket, number: int) -> None:
        if self._network_of(number).down:
            self.did["down"] += 1
            _linger_not(client)
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self.server_port))
        with self._lock:
            self._open |= {client, server}
        thread = Thread(target=self._serve, args=(client, server, number), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket, server: socket.socket, number: int) -> None:
        asking = Thread(target=_pump, args=(client, server), daemon=True)
        asking.start()
        with suppress(OSError):
            self._answer(client, server, asking, number)
        # Both sides are woken up before they are closed, or their last reader would keep them open.
        for each, how in ((client, socket.SHUT_RD), (server, socket.SHUT_RDWR)):
            with suppress(OSError):
                each.shutdown(how)
        asking.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _answer(self, client: socket.socket, server: socket.socket, asking: Thread, number: int) -> None:
        """Pass on what the server says, as the network has it, until one of them ends."""
        passed = 0
        while data := server.recv(CHUNK):
            network = self._network_of(number)
            self._wait(network.latency_s)
            end = network.cut_after_bytes
            whole = end < 0 or passed + len(data) <= end
            self._pass_on(client, data if whole else data[: max(0, end - passed)], network)
            passed += len(data)
            if not whole:
                self._cut(client, asking, network)
                return
        self._wait(self._network_of(number).close_wait_s)

    def _cut(self, client: socket.socket, asking: Thread, network: Network) -> None:
        if network.holds:
            self.did["held"] += 1
            asking.join()  # until the client hangs up
        elif network.resets:
            self.did["reset"] += 1
            _linger_not(client)
        else:
            self.did["cut"] += 1
            self._wait(network.close_wait_s)

    def _pass_on(self, client: socket.socket, data: bytes, network: Network) -> None:
        for start in range(0, len(data), network.slice_bytes):
            piece = data[start : start + network.slice_bytes]
            if start:
                self._wait(network.slice_wait_s)
            if network.bytes_per_s:
                self._wait(len(piece) / network.bytes_per_s)
            client.sendall(piece)

    def _network_of(self, number: int) -> Network:
        network = self.network
        return network if not network.concerns or number in network.concerns else SOUND

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.stopped.wait(seconds)


@contextmanager
def proxied(base_url: str, network: Network = SOUND) -> Iterator[TcpProxy]:
    """Run a proxy before a server on loopback."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        proxy = TcpProxy(int(base_url.rpartition(":")[2]), network, listener.getsockname()[1])
        accepting = Thread(target=proxy.accept, args=(listener,), daemon=True)
        accepting.start()
        try:
            yield proxy
        finally:
            proxy.stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            proxy.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on all bytes of one direction."""
    with suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _linger_not(client: socket.socket) -> None:
    """Let a close be a reset."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
