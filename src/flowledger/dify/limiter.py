"""``AdaptiveLimiter``: how many requests one server gets at once; ``steering`` decides, this counts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from threading import Condition, Lock
from typing import Self

from flowledger.dify.steering import Course, Window, halved, is_promising, is_telling, refuse, steer
from flowledger.errors import DeadlineExceededError, SourceBusyError, SourceUnreachableError


@dataclass(frozen=True, slots=True)
class Admission:
    """One request let through: when (clock seconds), as the how many-th in flight, in which era."""

    at: float
    place: int
    era: int


class Outcome(Enum):
    """What came of a request, as far as the server's strength is concerned."""

    ANSWERED = "answered"
    FAILED = "5xx, broken or late"
    REFUSED = "429"


class AdaptiveLimiter:
    """Lets through as many requests at once as the server answers best; one per server, threads share it."""

    def __init__(
        self,
        course: Course | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        adapts: bool = True,
    ) -> None:
        course = course or Course()
        self._course = replace(course, limit=min(course.limit, course.cap))
        self._clock = clock
        self._adapts = adapts
        self._gate = Condition(Lock())
        self._in_flight = 0
        self._failures = 0
        self._calm_in = 0
        self._rests = False
        self._era = 0
        self._tally = Tally(clock(), skip=1)

    @classmethod
    def fixed(cls, limit: int) -> Self:
        """Make one that always lets through the same number."""
        return cls(Course(limit=limit, cap=limit), adapts=False)

    @property
    def limit(self) -> int:
        """How many it lets through now."""
        return halved(self._course.limit, self._failures)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a place while one request is under way; its error, if any, teaches and passes on."""
        admission = self.acquire()
        outcome = Outcome.ANSWERED
        try:
            yield
        except SourceBusyError as error:
            outcome = Outcome.REFUSED if error.status == 429 else Outcome.FAILED
            raise
        except (SourceUnreachableError, DeadlineExceededError):
            outcome = Outcome.FAILED
            raise
        finally:
            self.release(admission, outcome)

    def acquire(self) -> Admission:
        """Wait for a place."""
        with self._gate:
            while self._in_flight >= self.limit:
                self._gate.wait()
            return self._admit()

    def try_acquire(self) -> Admission | None:
        """Take a place if one is free."""
        with self._gate:
            return self._admit() if self._in_flight < self.limit else None

    def release(self, admission: Admission, outcome: Outcome = Outcome.ANSWERED) -> None:
        """Give the place back and learn from what came of it."""
        with self._gate:
            now = self._clock()
            self._tally.pass_time(now, is_full=self._in_flight >= self.limit)
            self._in_flight -= 1
            if self._adapts:
                self._learn(admission, outcome, now)
            self._gate.notify(max(0, self.limit - self._in_flight))

    def _admit(self) -> Admission:
        now = self._clock()
        self._tally.pass_time(now, is_full=False)
        self._in_flight += 1
        return Admission(now, self._in_flight, self._era)

    def _learn(self, admission: Admission, outcome: Outcome, now: float) -> None:
        if outcome is Outcome.ANSWERED:
            self._credit(admission, now)
        elif admission.era == self._era:
            # What was admitted before the last slowdown says nothing about what came after it.
            self._slow_down(admission, outcome, now)

    def _credit(self, admission: Admission, now: float) -> None:
        self._calm_in = max(0, self._calm_in - 1)
        if not self._calm_in:
            self._failures = 0
        if self._rests:
            # The slow round after a refusal shows nothing of the limit that it is followed by.
            self._rests = bool(self._calm_in)
            self._tally = Tally(now, skip=self._in_flight)
            return
        self._tally.complete(admission.at, now)
        seen = self._tally.window(self._course.limit, now)
        if seen is not None and is_telling(self._course, seen):
            self._turn(steer(self._course, seen), now)
            return
        glimpse = self._tally.glimpse(self._course.limit, now)
        if glimpse is not None and is_promising(self._course, glimpse):
            self._turn(steer(self._course, glimpse), now)

    def _slow_down(self, admission: Admission, outcome: Outcome, now: float) -> None:
        self._era += 1
        self._failures += 1
        self._calm_in = self._in_flight + self.limit
        if outcome is Outcome.REFUSED:
            self._turn(refuse(self._course, in_flight=admission.place), now)
            self._rests = True

    def _turn(self, course: Course, now: float) -> None:
        moved = course.limit != self._course.limit
        self._course = course
        # After a move one round of answers passes before it shows what the new limit does.
        self._tally = Tally(now, skip=self._in_flight if moved else 0)


class Tally:
    """Counts what came since a move: answers, their times, and how long all places were taken.

    Two ways of looking: the answers after the first ``skip`` ones, which were in flight at the move, and the
    answers to what was sent since the move.
    """

    def __init__(self, moved: float, *, skip: int) -> None:
        self._moved = self._began = self._noted = moved
        self._skip = skip
        self._full_s = self._full_before_s = 0.0
        self._settled = Answers()
        self._fresh = Answers()

    def pass_time(self, now: float, *, is_full: bool) -> None:
        """Note whether all places were taken until now."""
        if is_full:
            self._full_s += now - self._noted
        self._noted = now

    def complete(self, sent: float, now: float) -> None:
        """Note an answer."""
        if sent >= self._moved:
            self._fresh.add(now - sent)
        if not self._skip:
            self._settled.add(now - sent)
            return
        self._skip -= 1
        self._began, self._full_before_s = now, self._full_s

    def window(self, limit: int, now: float) -> Window | None:
        """Give what was seen at the new limit; None while nothing was."""
        seconds = now - self._began
        if not self._settled.count or seconds <= 0:
            return None
        full = (self._full_s - self._full_before_s) / seconds
        return self._settled.window(limit, seconds, full)

    def glimpse(self, limit: int, now: float) -> Window | None:
        """Give what the answers to requests sent since the move foretell; None while there are none."""
        if not self._fresh.spent_s or now <= self._moved:
            return None
        seconds = self._fresh.spent_s / limit
        return self._fresh.window(limit, seconds, self._full_s / (now - self._moved))


@dataclass(slots=True)
class Answers:
    """How many there were, the sum of their times in seconds, and of the squares of these."""

    count: int = 0
    spent_s: float = 0.0
    squares: float = 0.0

    def add(self, took_s: float) -> None:
        """Add one."""
        self.count += 1
        self.spent_s += took_s
        self.squares += took_s * took_s

    def window(self, limit: int, seconds: float, full: float) -> Window:
        """Say what they show of so many seconds; there is at least one."""
        mean = self.spent_s / self.count
        scatter = max(0.0, self.squares / self.count / mean**2 - 1) if mean else 0.0
        return Window(limit, self.count, seconds, mean, full, scatter)
