"""A worker beside something else in one process: its own thread, with an event loop of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger

from flowledger.bootstrap.workers import reporting_worker
from flowledger.errors import FlowledgerError
from flowledger.ports import Ledger
from flowledger.settings import Settings

STARTS_WITHIN_S = 30.0


@contextmanager
def worker_thread(settings: Settings, ledger: Ledger) -> Iterator[None]:
    """Execute what is due while the context lives; at its end steps that run may end."""
    thread = _WorkerThread(settings, ledger)
    thread.start()
    try:
        yield
    finally:
        thread.stop()


class _WorkerThread(threading.Thread):
    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        super().__init__(name="workflow worker", daemon=True)
        self._settings, self._ledger = settings, ledger
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._work())
        except FlowledgerError as error:
            logger.error("the worker of this server has stopped: {}", error)
        except Exception as error:  # noqa: BLE001  the server goes on, and its log says what is missing
            logger.opt(exception=error).critical("the worker of this server has stopped: a defect")
        finally:
            self._begun.set()

    async def _work(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with reporting_worker(self._settings, self._ledger) as worker:
            logger.info("the worker {} takes executions, {} at once", worker.owner, worker.options.at_once)
            self._begun.set()
            await worker.run(self._end)

    def stop(self) -> None:
        """Ask it to stop, and wait until it has given back what it had."""
        self._begun.wait(STARTS_WITHIN_S)
        if self._loop is not None and self._end is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self.join()
