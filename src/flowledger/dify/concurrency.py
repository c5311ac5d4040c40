"""How many requests one server gets at once: pure decisions over a window of requests, and the limiter."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from math import log
from threading import Condition, Lock
from typing import Self

from flowledger.errors import DeadlineExceededError, SourceBusyError, SourceUnreachableError

FLOOR = 1
PAYS_UP = 0.2
"""Accept more in flight from this elasticity on: for a smooth curve that is 98 % of its peak."""
PAYS_DOWN = 0.08
"""Accept fewer in flight up to this elasticity: the same throughput with less waiting."""
SCALES = 0.5
"""From this elasticity on a server is far from its peak."""
SMALL_STEP = 0.33
CERTAINTY = 20.0
"""Answers per unit of (relative scatter / logarithm of the step)²: an error of a quarter in elasticity."""
FEWEST, MOST = 8, 400
AS_QUICK = 1.1
"""A doubling after which answers take at most so many times as long pays at once."""
STEADY = 0.01
"""Scatter of a server whose answers all take as long: most of their time they are on the way."""
FULL_SHARE = 0.5
"""Below this share of time at the limit, callers are the bottleneck and nothing can be learned."""
LONGEST_REST = 32
CONTENT = 8
"""Windows to rest at the most that is allowed, while the server scales."""
LONGEST_CAUTION = 64


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen at one limit: how many answers in how many seconds, their mean time in seconds.

    ``full`` is the share of the time in which all places were taken; ``scatter`` the variance of the
    answers' times over the square of their mean.
    """

    limit: int
    completed: int
    seconds: float
    latency_s: float
    full: float = 1.0
    scatter: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.completed / self.seconds


@dataclass(frozen=True, slots=True)
class Course:
    """Where the search stands: the limit in force, and what the next window is compared with.

    ``rest`` and ``caution`` count windows: before the next probe, and before the ceiling is tried again.
    """

    limit: int = 4
    cap: int = 32
    anchor: Window | None = None
    upward: bool = True
    step: float = 1.0
    rest: int = 0
    patience: int = 1
    ceiling: int | None = None
    caution: int = 0
    wariness: int = 4


def is_telling(course: Course, seen: Window) -> bool:
    """Decide whether a window has enough answers to steer by."""
    wanted = CERTAINTY * seen.scatter / log(1 + course.step) ** 2
    # Answers come in rounds: what twice as many bring shows in one, a smaller step in two.
    rounds = 1 if course.step >= 1 else 2
    return seen.completed >= max(FEWEST, rounds * course.limit, min(MOST, wanted))


def is_promising(course: Course, glimpse: Window) -> bool:
    """Decide whether the first answers while the limit doubles are so clear that no more need be seen.

    ``glimpse`` counts only answers to requests sent since the last move; its rate follows from their times
    (Little's law).  Clear are answers that take as long as each other at first, and no longer than before
    after a doubling.
    """
    if course.step < 1 or glimpse.full < FULL_SHARE:
        return False
    if course.anchor is None:
        return glimpse.completed >= glimpse.limit and glimpse.scatter <= STEADY
    sent_at_once = glimpse.limit - course.anchor.limit
    return glimpse.completed >= sent_at_once > 0 and glimpse.latency_s <= AS_QUICK * course.anchor.latency_s


def steer(course: Course, seen: Window) -> Course:
    """Decide the course after a telling window."""
    course = replace(course, caution=max(0, course.caution - 1))
    if seen.full < FULL_SHARE:
        return _hold(course)
    if course.anchor is None:
        return _probe(replace(course, anchor=seen))
    if seen.limit == course.anchor.limit:
        return _rest(course, course.anchor, seen)
    return _judge(course, course.anchor, seen)


def refuse(course: Course, *, in_flight: int) -> Course:
    """Decide the course after a 429 to a request that was one of so many in flight: that was too much."""
    ceiling = max(FLOOR, in_flight - 1)
    return replace(
        course,
        limit=min(course.limit, ceiling),
        anchor=None,
        ceiling=ceiling,
        caution=course.wariness,
        wariness=min(LONGEST_CAUTION, 2 * course.wariness),
    )


def halved(limit: int, times: int) -> int:
    """Give what is let through after so many failures in a row."""
    return max(FLOOR, limit >> times)


def _hold(course: Course) -> Course:
    # A probe that the callers could not fill goes back to where they could.
    limit = min(course.limit, course.anchor.limit) if course.anchor else course.limit
    return replace(course, limit=limit, anchor=None)


def _rest(course: Course, anchor: Window, seen: Window) -> Course:
    rested = replace(course, anchor=seen, rest=max(0, course.rest - 1))
    if seen.rate < 0.7 * anchor.rate and seen.latency_s > 1.4 * anchor.latency_s:
        return _probe(replace(rested, upward=False, step=SMALL_STEP, patience=1))
    return rested if rested.rest else _probe(rested)


def _judge(course: Course, anchor: Window, seen: Window) -> Course:
    elasticity = log(seen.rate / anchor.rate) / log(seen.limit / anchor.limit)
    accepted = elasticity >= PAYS_UP if seen.limit > anchor.limit else elasticity <= PAYS_DOWN
    return _accept(course, seen, elasticity) if accepted else _reject(course, anchor)


def _accept(course: Course, seen: Window, elasticity: float) -> Course:
    passed = course.ceiling is not None and seen.limit > course.ceiling
    ceiling = None if passed else course.ceiling
    step = min(1.0, 2 * course.step)
    accepted = replace(course, anchor=seen, step=step, patience=1, ceiling=ceiling)
    if elasticity >= SCALES and _above(accepted) == seen.limit:
        # The last step up paid in full and there is no further one: one back can only cost.
        accepted = replace(accepted, patience=CONTENT)
    return _probe(accepted)


def _reject(course: Course, anchor: Window) -> Course:
    turned = replace(course, limit=anchor.limit, step=SMALL_STEP, upward=not course.upward)
    return _wait(turned) if course.step < 1 else replace(turned, upward=True, anchor=None)


def _probe(course: Course) -> Course:
    target = _above(course) if course.upward else _below(course)
    if target == course.limit:
        return _wait(replace(course, upward=not course.upward, step=SMALL_STEP))
    return replace(course, limit=target)


def _wait(course: Course) -> Course:
    return replace(course, rest=course.patience, patience=min(LONGEST_REST, 2 * course.patience))


def _above(course: Course) -> int:
    roof = course.cap
    if course.ceiling is not None:
        roof = min(roof, course.ceiling + (0 if course.caution else 1))
    return max(course.limit, min(roof, course.limit + max(1, int(course.limit * course.step))))


def _below(course: Course) -> int:
    return max(FLOOR, min(course.limit - 1, int(course.limit / (1 + course.step))))


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
