"""How many requests a server should get at once: pure decisions over what one window of requests showed.

Hill climbing on throughput.  A window is compared with the last accepted one (the anchor) by elasticity: the
share of an added request in flight that comes back as throughput.  1 means the server scales, 0 that
requests only queue, below 0 that it suffers.  Steps double while they pay and shrink when they do not; the
more the answers' times scatter and the smaller the step, the more answers a window needs to tell.

A failure halves what is let through for one round of answers (``halved``); that belongs to what a window
measures, so a limit that makes the server fail loses by its own figures.  A 429 says how much is too much:
it leaves a ceiling, which is tried again rarely.
"""

from dataclasses import dataclass, replace
from math import log

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
