"""What is measured at one limit of requests at once: how many answers, how quickly, and what failed."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured at one limit: how many answers in how many seconds, their mean time in seconds.

    ``full`` is the share of the time in which all places were taken; ``scatter`` is the variance of the
    answers' times over the square of their mean; ``failed`` counts requests that failed meanwhile.
    """

    limit: int
    completed: int
    seconds: float
    latency_s: float
    full: float = 1.0
    scatter: float = 0.0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.completed / self.seconds


class Sampler:
    """Measures since the limit was last moved: answers, their times, and how long all places were taken.

    It makes two samples: of the answers after the first ``skip`` ones, which were in flight at the move, and
    earlier of the answers to what was sent since the move.
    """

    def __init__(self, moved: float, *, skip: int) -> None:
        self._moved = self._began = self._noted = moved
        self._skip = skip
        self._full_s = self._full_before_s = 0.0
        self._failed = 0
        self._settled = AnswerTimes()
        self._fresh = AnswerTimes()

    def pass_time(self, now: float, *, is_full: bool) -> None:
        """Record whether all places were taken until now."""
        if is_full:
            self._full_s += now - self._noted
        self._noted = now

    def fail(self) -> None:
        """Record a request that failed."""
        self._failed += 1

    def complete(self, sent: float, now: float) -> None:
        """Record an answer."""
        if sent >= self._moved:
            self._fresh.add(now - sent)
        if not self._skip:
            self._settled.add(now - sent)
            return
        self._skip -= 1
        self._began, self._full_before_s = now, self._full_s

    def sample(self, limit: int, now: float) -> Sample | None:
        """Return what was measured at the new limit; None while nothing was."""
        seconds = now - self._began
        if not self._settled.count or seconds <= 0:
            return None
        full = (self._full_s - self._full_before_s) / seconds
        return replace(self._settled.sample(limit, seconds, full), failed=self._failed)

    def early(self, limit: int, now: float) -> Sample | None:
        """Return what answers to requests sent since the move predict; None while there are none."""
        if not self._fresh.spent_s or now <= self._moved:
            return None
        # By Little's law so many answers take this long with all places taken.
        seconds = self._fresh.spent_s / limit
        early = self._fresh.sample(limit, seconds, self._full_s / (now - self._moved))
        return replace(early, failed=self._failed)


@dataclass(slots=True)
class AnswerTimes:
    """A number of answers, the sum of their times in seconds, and the sum of the squares of these."""

    count: int = 0
    spent_s: float = 0.0
    squares: float = 0.0

    def add(self, took_s: float) -> None:
        """Add one answer."""
        self.count += 1
        self.spent_s += took_s
        self.squares += took_s * took_s

    def sample(self, limit: int, seconds: float, full: float) -> Sample:
        """Return them as a sample of so many seconds; there is at least one answer."""
        mean = self.spent_s / self.count
        scatter = max(0.0, self.squares / self.count / mean**2 - 1) if mean else 0.0
        return Sample(limit, self.count, seconds, mean, full, scatter)
