"""One thread that waits in the place of an event loop."""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")
_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class OwnThread:
    """A thread for calls that may wait long, one after the other; the process ends without waiting for it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, call: Callable[[], Result]) -> Result:
        """Call it there, and wait for what it gives; who is cancelled does not stop it."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.put((call, future))
        result: Result = await future
        return result

    def stop(self) -> None:
        """End the thread after the call that it is in."""
        self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            try:
                result = call()
            except Exception as error:  # noqa: BLE001  # whoever waits for it gets it
                self._tell(_fail, future, error)
            else:
                self._tell(_succeed, future, result)
        self._tell(_succeed, self.finished, None)

    def _tell(self, tell: Callable[..., None], future: "asyncio.Future[Any]", value: object) -> None:
        try:
            self._loop.call_soon_threadsafe(tell, future, value)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _succeed(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
