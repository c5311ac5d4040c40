"""Which executions Prefect has to be told of: a bounded queue that is filled beside them and costs nothing.

What is told is read from the ledger when its turn comes: an execution that changed ten times meanwhile is
told once.  What the queue cannot hold, or Prefect could not be told, the ledger knows as not reported.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from loguru import logger

from flowledger.workflow_ports import Claim, Execution, Progressed

LONGEST_QUEUE = 1_000
REGISTERS_WITHIN_S = 10.0
"""An execution that is to be in Prefect before it starts does not wait longer for that."""


class ReportQueue:
    """Executions by number that have changed, each once: an observer of executions fills it."""

    def __init__(self, *, registers_first: bool = False) -> None:
        self._registers_first = registers_first
        self._changed: dict[int, None] = {}
        self._in_hand: set[int] = set()
        self._registered: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}
        self._lock = Lock()

    async def began(self, claim: Claim) -> None:
        """Queue an execution; where it shall be in Prefect before it starts, wait until it is."""
        number = claim.execution.id
        if not self._registers_first or claim.execution.flow_run_id is not None:
            self.add(number)
            return
        event = asyncio.Event()
        self._registered[number] = asyncio.get_running_loop(), event
        self.add(number)
        try:
            await asyncio.wait_for(event.wait(), REGISTERS_WITHIN_S)
        except TimeoutError:
            logger.warning("the execution {} starts before Prefect knows it", claim.execution.execution_id)
        finally:
            self._registered.pop(number, None)

    async def progressed(self, execution: Execution, progressed: Progressed) -> None:
        """Queue an execution whose steps have changed."""
        if progressed.steps:
            self.add(execution.id)

    async def ended(self, execution: Execution) -> None:
        """Queue an execution that has ended or is parked."""
        self.add(execution.id)

    def add(self, number: int) -> None:
        """Queue an execution, unless the queue is full."""
        with self._lock:
            if len(self._changed) < LONGEST_QUEUE:
                self._changed[number] = None

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is queued or in hand."""
        with self._lock:
            return not (self._changed or self._in_hand)

    @contextmanager
    def taken(self) -> Iterator[int | None]:
        """Yield the execution that is next, None where there is none; nobody else gets it meanwhile."""
        with self._lock:
            number = next((each for each in self._changed if each not in self._in_hand), None)
            if number is not None:
                del self._changed[number]
                self._in_hand.add(number)
        try:
            yield number
        finally:
            with self._lock:
                self._in_hand.discard(number)

    def close(self) -> None:
        """Let all start that wait: nobody will tell Prefect."""
        self._registers_first = False
        for number in list(self._registered):
            self.registered(number)

    def registered(self, number: int) -> None:
        """Let an execution start that waited until Prefect knows it."""
        waiting = self._registered.get(number)
        if waiting is not None:
            loop, event = waiting
            loop.call_soon_threadsafe(event.set)
