"""Calls that may take long and cannot be interrupted, each in a thread of its own.

The event loop's common threads store what happens meanwhile: none of them may be held for minutes.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class OwnThreads:
    """Threads of one name, at most so many at once; it belongs to one event loop."""

    name: str
    at_once: int
    _places: asyncio.Semaphore = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", asyncio.Semaphore(self.at_once))

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what the work returns, or raise what it raises.

        Who is cancelled waits no longer, but the work goes on; the process ends without waiting for it.
        """
        async with self._places:
            return await _in_thread(work, self.name)


async def _in_thread(work: Callable[[], Result], name: str) -> Result:
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()  # from here on it cannot be cancelled under the thread
    context = contextvars.copy_context()

    def call() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001  whoever waits for it gets it
            future.set_exception(error)
        else:
            future.set_result(result)

    Thread(target=call, name=name, daemon=True).start()
    return await asyncio.wrap_future(future)
