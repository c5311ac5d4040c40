"""No more messages through one robot than its maker allows; what is beyond waits, nobody sleeps.

Only this process is counted.  Where several share a robot its own refusal tells.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from flowledger.errors import ChannelBusyError


@dataclass(frozen=True, slots=True)
class Budget:
    """So many requests within so many seconds."""

    requests: int
    seconds: float


@dataclass(slots=True)
class _Record:
    """When a robot was asked, oldest first, and until when it is muted (monotonic seconds)."""

    asked: deque[float] = field(default_factory=deque)
    muted_until: float = float("-inf")


class Pacer:
    """Counts the requests to each robot of one maker; threads share it."""

    def __init__(self, budgets: Sequence[Budget], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing asked; ``clock`` gives monotonic seconds."""
        self._budgets = tuple(budgets)
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._lock = Lock()

    def take(self, robot: str, requests: int = 1) -> None:
        """Count requests that are about to be sent together.

        :raises ChannelBusyError: with the wait in seconds, when they are too many now; none is counted then.
        """
        with self._lock:
            record = self._records.setdefault(robot, _Record())
            now = self._clock()
            self._forget(record, now)
            wait = max(self._wait(record, requests, now), record.muted_until - now)
            if wait > 0:
                raise ChannelBusyError(
                    f"the robot has had as many messages as it takes; the next may go in {wait:.0f} s",
                    retry_after_s=wait,
                )
            record.asked.extend([now] * requests)

    def mute(self, robot: str, seconds: float) -> None:
        """Send nothing through a robot for so many seconds: its maker punishes those who go on."""
        with self._lock:
            self._records.setdefault(robot, _Record()).muted_until = self._clock() + seconds

    def _forget(self, record: _Record, now: float) -> None:
        longest = max(budget.seconds for budget in self._budgets)
        while record.asked and record.asked[0] <= now - longest:
            record.asked.popleft()

    def _wait(self, record: _Record, requests: int, now: float) -> float:
        return max(_wait_for(budget, record.asked, requests, now) for budget in self._budgets)


def _wait_for(budget: Budget, asked: Sequence[float], requests: int, now: float) -> float:
    """Give how long until so many requests fit into a budget; more than all of it count as all of it."""
    too_many = len(asked) + min(requests, budget.requests) - budget.requests
    if too_many <= 0:
        return 0.0
    return asked[too_many - 1] + budget.seconds - now
