"""Workers, wired: what executes workflows, and what tells Prefect of it beside."""

import asyncio
import contextvars
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import Thread

from loguru import logger

from flowledger import plugins
from flowledger.bootstrap.workflows import open_engine, worker_name
from flowledger.ports import Ledger
from flowledger.services.workflows.reporting import ReportQueue
from flowledger.services.workflows.worker import Worker, WorkerOptions
from flowledger.settings import Settings
from flowledger.workflow_ports import Observer

ENDS_WITHIN_S = 15.0


@asynccontextmanager
async def opened_worker(
    settings: Settings,
    ledger: Ledger,
    options: WorkerOptions | None = None,
    *,
    observers: Sequence[Observer] = (),
) -> AsyncIterator[Worker]:
    """Open a worker whose executions do not show in Prefect, unless one of the observers sees to it."""
    options = options or WorkerOptions(at_once=settings.worker_at_once)
    async with open_engine(settings, ledger, observers=observers) as engine:
        yield Worker(engine, worker_name(), options)


@asynccontextmanager
async def reporting_worker(
    settings: Settings, ledger: Ledger, options: WorkerOptions | None = None
) -> AsyncIterator[Worker]:
    """Open a worker whose executions show in Prefect, where PREFECT_API_URL names one.

    Prefect's side has a thread and an event loop of its own, in which Prefect is imported, too.
    """
    if settings.workflows_in_prefect == "never" or settings.prefect_api_url is None:
        async with opened_worker(settings, ledger, options) as worker:
            yield worker
        return
    reporting = _Reporting(settings, ledger)
    try:
        async with opened_worker(settings, ledger, options, observers=[reporting.queue]) as worker:
            yield worker
    finally:
        await asyncio.to_thread(reporting.stop)


class _Reporting:
    """The thread that tells Prefect."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.queue = ReportQueue(registers_first=settings.workflows_in_prefect == "first")
        self._settings, self._ledger = settings, ledger
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        context = contextvars.copy_context()
        self._thread = Thread(target=context.run, args=(self._run,), name="Prefect", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            # Prefect reads its settings when it is imported, which happens with ``report``.
            plugins.load("prefect", "point_at")(os.environ, api_url=str(self._settings.prefect_api_url))
            report = plugins.load("prefect", "report")
            self._loop.run_until_complete(report(self._settings, self._ledger, self.queue, self._stop))
        except Exception as error:  # noqa: BLE001  named boundary: executions go on without Prefect
            logger.opt(exception=error).error("executions do not show in Prefect any more: a defect")
        finally:
            self.queue.close()
            self._loop.close()

    def stop(self) -> None:
        """Report what is queued, and end; what cannot be reported soon is left to the next worker."""
        if self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                logger.debug("Prefect's side has just ended by itself")
        self._thread.join(ENDS_WITHIN_S)
