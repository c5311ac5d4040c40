"""The one layer that tries again: bounded tries, growing jittered waits, the server's own Retry-After."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from loguru import logger
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from flowledger.errors import RetriableError

LONGEST_WAIT_S = 60.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a request is repeated; all times in seconds.

    Waits double from ``first_wait_s`` with jitter; no new try begins later than ``total_s`` after the first.
    ``sleep``, ``clock`` and ``jitter`` (0 to 1) are exchangeable, so that tests need not wait.
    """

    tries: int = 5
    first_wait_s: float = 0.5
    total_s: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def call(self, request: Callable[[], T]) -> T:
        """Send until it succeeds, fails for good, or tries or time run out.

        :raises RetriableError: the last one; any other error at once.
        """
        ends = self.clock() + self.total_s
        try:
            return request()  # what usually succeeds; the machinery below costs more than a request
        except RetriableError as error:
            failed: list[RetriableError] = [error]

        def again() -> T:
            if failed:
                raise failed.pop()
            return request()

        attempts = Retrying(
            retry=retry_if_exception_type(RetriableError),
            wait=self._wait,
            stop=lambda state: self._is_over(state, ends),
            sleep=self.sleep,
            before_sleep=_note,
            reraise=True,
        )
        return attempts(again)

    def _wait(self, state: RetryCallState) -> float:
        failure = _failure(state)
        asked = failure.retry_after_s if isinstance(failure, RetriableError) else None
        return wait_s(state.attempt_number, asked, first_s=self.first_wait_s, jitter=self.jitter())

    def _is_over(self, state: RetryCallState, ends: float) -> bool:
        return state.attempt_number >= self.tries or self.clock() + state.upcoming_sleep > ends


def wait_s(attempt: int, asked_s: float | None, *, first_s: float, jitter: float) -> float:
    """Decide the wait after the n-th try (from 1), in seconds, at most 60.

    What the server asked for is kept, plus a little so that not all threads return at once.
    """
    growing = first_s * 2.0 ** min(attempt - 1, 10) * (0.5 + jitter / 2)
    wanted = growing if asked_s is None else asked_s + first_s * jitter
    return min(LONGEST_WAIT_S, wanted)


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _note(state: RetryCallState) -> None:
    log = logger.info if state.attempt_number == 1 else logger.warning
    log("try {} failed, next in {:.1f} s: {}", state.attempt_number, state.upcoming_sleep, _failure(state))
