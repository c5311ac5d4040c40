"""Group commit: what several threads want to write at the same moment goes into one transaction.

A durable transaction costs a wait for the disk; so do ten of them, but not the ten changes of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    is_done: bool = False
    result: Result | BaseException | None = None


@dataclass(eq=False, slots=True)
class GroupCommit(Generic[Item, Result]):
    """Hands items to ``write``, all that wait at once, and returns to each caller what became of its own.

    ``write`` returns a result or an error for each item, in order; what it raises is everybody's.
    """

    write: Callable[[Sequence[Item]], Sequence[Result | Exception]]
    most: int = 64
    _waiting: list[_Entry[Item, Result]] = field(default_factory=list)
    _queue: Lock = field(default_factory=Lock)
    _turn: Lock = field(default_factory=Lock)

    def submit(self, item: Item) -> Result:
        """Write an item, together with those of other threads; return when it is written."""
        entry: _Entry[Item, Result] = _Entry(item)
        with self._queue:
            self._waiting.append(entry)
        while not entry.is_done:
            with self._turn:
                if not entry.is_done:
                    self._write_batch()
        if isinstance(entry.result, BaseException):
            raise entry.result
        return entry.result  # type: ignore[return-value]  # set by whoever wrote it

    def _write_batch(self) -> None:
        """Write what waits, its own item or those before it; the caller has the turn."""
        with self._queue:
            batch, self._waiting[:] = self._waiting[: self.most], self._waiting[self.most :]
        try:
            results: Sequence[Result | BaseException] = self.write([entry.item for entry in batch])
        except BaseException as error:
            results = [error] * len(batch)
            if not isinstance(error, Exception):
                raise
        finally:
            for entry, result in zip(batch, results, strict=True):
                entry.result, entry.is_done = result, True
