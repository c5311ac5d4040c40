"""Reports that this process makes itself, one after another, where no Prefect is configured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any

from loguru import logger

from flowledger import bootstrap
from flowledger.domain.operations import Operation
from flowledger.errors import FlowledgerError
from flowledger.ports import Clock, Ledger
from flowledger.services.report_requests import ReportRequest, RunOrder
from flowledger.services.secret_masking import redacted

ORDER_ENDED = "ORDER_ENDED"
ENDED = ("done", "failed")
CUT_SHORT = {"state": "failed", "reason": "the server was stopped: order it again"}


def checked(order: RunOrder, clock: Clock) -> ReportRequest:
    """Read an order without doing anything.

    :raises UsageError: for words that cannot be read.
    """
    return bootstrap.check(order, clock())


def run_order(order: RunOrder, order_id: str) -> dict[str, Any]:
    """Run all stages of an order in this thread and return its result as JSON values."""
    result = bootstrap.run_directly(order, bootstrap.clock.utc_now(), run_id=order_id[:8])
    return result.to_json()


@dataclass(slots=True)
class DirectDesk:
    """Makes reports in a thread; how each ended is an operation, so that every process can tell.

    The thread ends with the process, whatever it is doing: a run that was cut short goes on where it stopped
    when it is ordered again.
    """

    ledger: Ledger
    clock: Clock
    user: str
    run: Callable[[RunOrder, str], dict[str, Any]] = field(default=run_order, repr=False)
    waiting: SimpleQueue[tuple[RunOrder, str]] = field(default_factory=SimpleQueue, repr=False)
    states: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    """What is known of the orders whose end the ledger does not hold."""
    thread: Thread | None = None

    def check(self, order: RunOrder) -> ReportRequest:
        """Read an order without doing anything."""
        return checked(order, self.clock)

    def place(self, order: RunOrder, order_id: str) -> str:
        """Put an order behind those that wait."""
        self.states[order_id] = {"state": "waiting"}
        self.waiting.put((order, order_id))
        if self.thread is None:
            self.thread = Thread(target=self._work, name="reports", daemon=True)
            self.thread.start()
        return ""

    def state(self, reference: str) -> dict[str, Any] | None:
        """Say whether an order of this process waits or runs, or its end that the ledger did not take."""
        return self.states.get(reference)

    def close(self) -> None:
        """Say of what has not ended that it will not; say once more what the ledger did not take."""
        for order_id, known in list(self.states.items()):
            self._end(order_id, known if known["state"] in ENDED else CUT_SHORT)

    def _work(self) -> None:
        while True:
            order, order_id = self.waiting.get()
            self.states[order_id] = {"state": "running"}
            try:
                ended = {"state": "done", "result": self.run(order, order_id)}
            except FlowledgerError as error:
                logger.error("the report {} failed: {}", order_id, error)
                ended = {"state": "failed", "reason": redacted(str(error))}
            except Exception as error:  # noqa: BLE001  # named boundary: the desk goes on with the next order
                logger.exception("the report {} failed", order_id)
                ended = {"state": "failed", "reason": f"a defect: {type(error).__name__}; see the log"}
            self._end(order_id, ended)

    def _end(self, order_id: str, ended: dict[str, Any]) -> None:
        operation_id = f"order-{order_id}-end"
        try:
            self.ledger.record(Operation(operation_id, ORDER_ENDED, self.clock(), self.user, data=ended))
        except FlowledgerError as error:
            # Those who ask this process are told still; and the orders that wait shall not wait for this one.
            logger.error("how the report {} ended is not in the ledger: {}", order_id, error)
            self.states[order_id] = ended
        else:
            self.states.pop(order_id, None)
