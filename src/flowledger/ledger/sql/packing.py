"""Compresses many bodies beside other work: zlib leaves the other threads free."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from flowledger.ledger.sql.bodies import pack

WORTH_A_THREAD = 1024 * 1024
"""Bytes that take longer to compress than a thread to start."""


class Packing:
    """Bodies that are being compressed, by the thread that waits for them and perhaps a helper."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self._waiting = deque(enumerate(bodies))
        self._packed = [b""] * len(bodies)
        self._helper: Future[None] | None = None

    def start(self, pool: ThreadPoolExecutor) -> None:
        """Let a helper begin."""
        self._helper = pool.submit(self._work)

    def stop(self) -> None:
        """Leave what has not been begun."""
        self._waiting.clear()

    def finished(self) -> Sequence[bytes]:
        """Compress what is waiting still, and give all, in the order of the bodies."""
        self._work()
        if self._helper is not None:
            self._helper.result()
        return self._packed

    def _work(self) -> None:
        while self._waiting:
            try:
                place, body = self._waiting.popleft()
            except IndexError:  # the other thread took the last one
                return
            self._packed[place] = pack(body)


@contextmanager
def packing(bodies: Sequence[bytes]) -> Iterator[Packing]:
    """Compress bodies while the caller does something else, where that is worth it."""
    job = Packing(bodies)
    if sum(map(len, bodies)) < WORTH_A_THREAD:
        yield job
        return
    with ThreadPoolExecutor(1) as pool:
        job.start(pool)
        try:
            yield job
        finally:
            job.stop()
