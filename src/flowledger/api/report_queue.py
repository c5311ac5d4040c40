"""Orders for reports: carried out by Prefect, or one after another in a thread of this process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from loguru import logger

from flowledger import bootstrap, plugins
from flowledger.errors import FlowledgerError
from flowledger.ports import Clock, KeyValueStore
from flowledger.services.report_requests import ReportRequest, RunOrder
from flowledger.services.secret_masking import redacted
from flowledger.settings import Settings

ENDED = ("done", "failed")
CUT_SHORT = {"state": "failed", "reason": "the server was stopped: order it again"}


class ReportQueue(Protocol):
    """Takes orders for reports, and reports their state."""

    def check(self, order: RunOrder) -> ReportRequest:
        """Read an order without doing anything.

        :raises UsageError: for a value that cannot be read.
        """

    def enqueue(self, order: RunOrder, order_id: str) -> str:
        """Have a report made, once for each id; return a reference for ``state``, empty for the id itself."""

    def state(self, reference: str) -> dict[str, Any] | None:
        """Return an order's ``state`` (waiting, running, done, failed), result or reason; None if unknown."""


@contextmanager
def open_report_queue(settings: Settings, ledger: KeyValueStore) -> Iterator[ReportQueue | None]:
    """Open the queue that the settings mean: Prefect's, this process's, or none where there is no app."""
    if settings.prefect_api_url:
        # Before anything imports Prefect: it reads its settings from the environment only then.
        plugins.load("prefect", "point_at")(os.environ, api_url=settings.prefect_api_url)
        yield PrefectReportQueue(settings)
        return
    if not settings.apps:
        yield None
        return
    queue = DirectReportQueue(ledger, bootstrap.clock.utc_now)
    try:
        yield queue
    finally:
        queue.close()


@dataclass(frozen=True, slots=True)
class PrefectReportQueue:
    """Has reports made by the deployments in Prefect.

    The functions are loaded by name when they are called: Prefect takes seconds and a hundred megabytes to
    import, which a server that is never asked for a report should not pay.
    """

    settings: Settings

    def check(self, order: RunOrder) -> ReportRequest:
        """Read an order without doing anything."""
        return bootstrap.check(order, bootstrap.clock.utc_now())

    def enqueue(self, order: RunOrder, order_id: str) -> str:
        """Start the app's deployment, and return the id of the flow run."""
        app = self.settings.app(order.app).key
        flow_run_id: str = plugins.load("prefect", "place_order")(app, order, f"order-{order_id}")
        return flow_run_id

    def state(self, reference: str) -> dict[str, Any]:
        """Return the state that Prefect has of a flow run."""
        state: dict[str, Any] = plugins.load("prefect", "state_of_order")(reference)
        return state

    def check_connection(self) -> None:
        """Check that Prefect answers.

        :raises SchedulerError: when it does not.
        """
        plugins.load("prefect", "check_scheduler")()


def run_order(order: RunOrder, order_id: str) -> dict[str, Any]:
    """Run all stages of an order in this thread and return its result as JSON values."""
    result = bootstrap.run_directly(order, bootstrap.clock.utc_now(), run_id=order_id[:8])
    return result.to_json()


@dataclass(slots=True)
class DirectReportQueue:
    """Makes reports in a thread; how each ended is a value in the ledger, where every process sees it.

    The thread is a daemon and ends with the process: a run cut short resumes when it is ordered again.
    """

    ledger: KeyValueStore
    clock: Clock
    run: Callable[[RunOrder, str], dict[str, Any]] = field(default=run_order, repr=False)
    waiting: SimpleQueue[tuple[RunOrder, str]] = field(default_factory=SimpleQueue, repr=False)
    states: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    """Orders whose end is not in the ledger, by id."""
    thread: Thread | None = None

    def check(self, order: RunOrder) -> ReportRequest:
        """Read an order without doing anything."""
        return bootstrap.check(order, self.clock())

    def enqueue(self, order: RunOrder, order_id: str) -> str:
        """Append an order to the queue; its own id is the reference."""
        self.states[order_id] = {"state": "waiting"}
        self.waiting.put((order, order_id))
        if self.thread is None:
            self.thread = Thread(target=self._work, name="reports", daemon=True)
            self.thread.start()
        return ""

    def state(self, reference: str) -> dict[str, Any] | None:
        """Return the state of an order of this process, or an end that the ledger did not accept."""
        return self.states.get(reference)

    def close(self) -> None:
        """Write to the ledger that unfinished orders failed, and again each end that it did not accept."""
        for order_id, state in list(self.states.items()):
            self._record_end(order_id, state if state["state"] in ENDED else CUT_SHORT)

    def _work(self) -> None:
        while True:
            order, order_id = self.waiting.get()
            self.states[order_id] = {"state": "running"}
            try:
                end = {"state": "done", "result": self.run(order, order_id)}
            except FlowledgerError as error:
                logger.error("the report {} failed: {}", order_id, error)
                end = {"state": "failed", "reason": redacted(str(error))}
            except Exception as error:  # noqa: BLE001  # named boundary: the queue goes on with the next order
                logger.exception("the report {} failed", order_id)
                end = {"state": "failed", "reason": f"a defect: {type(error).__name__}; see the log"}
            self._record_end(order_id, end)

    def _record_end(self, order_id: str, end: dict[str, Any]) -> None:
        try:
            self.ledger.put_value(f"order-{order_id}-end", end, self.clock())
        except FlowledgerError as error:
            # This process can still answer for it, and the orders behind it must not wait for the ledger.
            logger.error("the end of the report {} could not be written to the ledger: {}", order_id, error)
            self.states[order_id] = end
        else:
            self.states.pop(order_id, None)
