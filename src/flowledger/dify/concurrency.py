"""How many requests one server gets at once: a search for the best limit, and the limiter that enforces it.

The search compares throughput at two limits by its elasticity, d log(rate) / d log(limit): 1 while a server
scales, 0 once more requests only queue.  Everything above ``AdaptiveLimiter`` is a pure decision on values.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from math import log
from threading import Condition, Lock
from typing import Self

from flowledger.dify.load_samples import Sample, Sampler
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
"""Answers that a sample has at least, and after which it is used however much they scatter."""
AS_QUICK = 1.1
"""A doubling is accepted at once where answers take at most this many times as long."""
STEADY = 0.01
"""Scatter of answers that all take equally long: the network takes most of their time, not the server."""
FULL_SHARE = 0.5
"""Below this share of time at the limit, callers are the bottleneck and nothing can be learned."""
LONGEST_REST = 32
"""Samples between two probes at most: a server's strength changes during a long collection."""
LONGEST_REST_SCALING = 8
"""Samples to rest at the cap while the server still scales."""
FIRST_CAUTION, LONGEST_CAUTION = 8, 64
"""Samples at first, and at most, before a limit that was answered by 429 is tried again."""
STRAINED_SHARE = 0.05
"""From this share of failures on, so many requests at once are taken to be more than the server bears."""
FEWEST_FAILURES = 2
"""One failure may be chance."""
MEMORY = 200
"""Requests after which what was counted by place loses half of its weight: a server's strength changes."""


@dataclass(frozen=True, slots=True)
class SearchState:
    """Where the search stands: the limit in force, and ``anchor``, which the next sample is compared with.

    ``step`` is the relative size of the next probe, in the direction of ``upward``.  ``ceiling`` is the most
    that the server did not refuse, ``stride`` how far above it the next probe goes, and ``held`` the highest
    limit at which nothing failed.  ``rest`` and ``caution`` count samples: before the next probe, and before
    the ceiling is tried again; ``patience`` and ``wariness`` are what they start from next time.
    """

    limit: int = 4
    cap: int = 32
    anchor: Sample | None = None
    upward: bool = True
    step: float = 1.0
    rest: int = 0
    patience: int = 1
    ceiling: int | None = None
    stride: int = 1
    held: int = 0
    caution: int = 0
    wariness: int = FIRST_CAUTION


def is_sufficient(state: SearchState, sample: Sample) -> bool:
    """Return whether a sample has enough answers to decide by."""
    required = CERTAINTY * sample.scatter / log(1 + state.step) ** 2
    # Answers come in rounds: one shows what a doubling brings, a smaller step needs two.
    rounds = 1 if state.step >= 1 else 2
    return sample.completed >= max(FEWEST, rounds * state.limit, min(MOST, required))


def is_promising(state: SearchState, early: Sample) -> bool:
    """Decide whether the first answers while the limit doubles are clear enough to decide by at once.

    ``early`` counts only answers to requests sent since the last move; its rate follows from their times
    (Little's law).  The first sample is clear where all answers take equally long, the next ones where they
    take no longer than before the doubling.
    """
    if state.step < 1 or early.full < FULL_SHARE or early.failed:
        return False
    if state.anchor is None:
        return early.completed >= early.limit and early.scatter <= STEADY
    sent_at_once = early.limit - state.anchor.limit
    return early.completed >= sent_at_once > 0 and early.latency_s <= AS_QUICK * state.anchor.latency_s


def steer(state: SearchState, sample: Sample) -> SearchState:
    """Return the state after a sufficient sample."""
    state = replace(state, caution=max(0, state.caution - 1))
    if sample.full < FULL_SHARE:
        return _hold(state)
    if not sample.failed:
        state = replace(state, held=max(state.held, sample.limit))
    if state.anchor is None:
        return _probe(replace(state, anchor=sample))
    if sample.limit == state.anchor.limit:
        return _rest(state, state.anchor, sample)
    return _judge(state, state.anchor, sample)


def after_refusal(state: SearchState, *, in_flight: int) -> SearchState:
    """Return the state after a request that was the ``in_flight``-th at once proved one too many.

    Requests do not arrive in the order in which they were let through, so that the first of many may be the
    one too many.  A limit is therefore left for one that held, or for half of it, and not for less.
    """
    least = state.held if state.limit > state.held else halved(state.limit, 1)
    ceiling = max(FLOOR, least, in_flight - 1)
    return replace(
        state,
        limit=min(state.limit, ceiling),
        anchor=None,
        ceiling=ceiling,
        stride=1,
        held=min(state.held, ceiling),
        caution=state.wariness,
        wariness=min(LONGEST_CAUTION, 2 * state.wariness),
    )


def overload(answered: Sequence[float], failed: Sequence[float]) -> int | None:
    """Return the number in flight from which on requests fail for the load; None where load is not the cause.

    Both are counts by how many were in flight, from 1 (index 0).  Failures at every level are chance, or a
    server that is down; those of a server that bears only so many begin at a level and are rare below it.
    """
    best, place = STRAINED_SHARE, None
    failures, requests = sum(failed), sum(failed) + sum(answered)
    below_failed = below = 0.0
    for index in range(1, len(failed)):
        below_failed += failed[index - 1]
        below += failed[index - 1] + answered[index - 1]
        above_failed, above = failures - below_failed, requests - below
        if above_failed < FEWEST_FAILURES:
            break
        excess = above_failed / above - (below_failed / below if below else 0.0)
        if excess > best:
            best, place = excess, index + 1
    return place


def fails_anyway(answered: float, failed: float) -> bool:
    """Return whether so many requests fail that a ceiling, which should have ended it, is not the remedy."""
    return answered + failed >= MEMORY / 2 and failed > STRAINED_SHARE * (answered + failed)


def halved(limit: int, times: int) -> int:
    """Return the limit after so many failures in a row."""
    return max(FLOOR, limit >> times)


def _hold(state: SearchState) -> SearchState:
    # A probe that the callers could not fill goes back to where they could.
    limit = min(state.limit, state.anchor.limit) if state.anchor else state.limit
    return replace(state, limit=limit, anchor=None)


def _rest(state: SearchState, anchor: Sample, sample: Sample) -> SearchState:
    rested = replace(state, anchor=sample, rest=max(0, state.rest - 1))
    if sample.rate < 0.7 * anchor.rate and sample.latency_s > 1.4 * anchor.latency_s:
        return _probe(replace(rested, upward=False, step=SMALL_STEP, patience=1))
    return rested if rested.rest else _probe(rested)


def _judge(state: SearchState, anchor: Sample, sample: Sample) -> SearchState:
    elasticity = log(sample.rate / anchor.rate) / log(sample.limit / anchor.limit)
    accepted = elasticity >= PAYS_UP if sample.limit > anchor.limit else elasticity <= PAYS_DOWN
    return _accept(state, sample, elasticity) if accepted else _reject(state, anchor)


def _accept(state: SearchState, sample: Sample, elasticity: float) -> SearchState:
    accepted = replace(state, anchor=sample, step=min(1.0, 2 * state.step), patience=1)
    if state.ceiling is not None and sample.limit > state.ceiling:
        accepted = replace(accepted, ceiling=sample.limit, stride=2 * state.stride)
    if elasticity >= SCALES and _above(accepted) == sample.limit:
        # The last step up paid in full and there is no further one: one back can only cost.
        accepted = replace(accepted, patience=LONGEST_REST_SCALING)
    return _probe(accepted)


def _reject(state: SearchState, anchor: Sample) -> SearchState:
    turned = replace(state, limit=anchor.limit, step=SMALL_STEP, upward=not state.upward)
    return _wait(turned) if state.step < 1 else replace(turned, upward=True, anchor=None)


def _probe(state: SearchState) -> SearchState:
    target = _above(state) if state.upward else _below(state)
    if target == state.limit:
        return _wait(replace(state, upward=not state.upward, step=SMALL_STEP))
    return replace(state, limit=target)


def _wait(state: SearchState) -> SearchState:
    return replace(state, rest=state.patience, patience=min(LONGEST_REST, 2 * state.patience))


def _above(state: SearchState) -> int:
    roof = state.cap
    if state.ceiling is not None:
        roof = min(roof, state.ceiling + (0 if state.caution else state.stride))
    return max(state.limit, min(roof, state.limit + max(1, int(state.limit * state.step))))


def _below(state: SearchState) -> int:
    return max(FLOOR, min(state.limit - 1, int(state.limit / (1 + state.step))))


@dataclass(frozen=True, slots=True)
class Admission:
    """One request let through: when (clock seconds), as which in flight (from 1), in which era.

    An era ends with each slowdown, so that one overload of many requests is counted once.
    """

    at: float
    place: int
    era: int


class Outcome(Enum):
    """How a request ended, as far as the server's load is concerned."""

    ANSWERED = "answered"
    FAILED = "5xx, broken or late"
    REFUSED = "429"


class AdaptiveLimiter:
    """Lets through as many requests at once as the server answers best; one per server, shared by threads."""

    def __init__(
        self,
        state: SearchState | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        adapts: bool = True,
    ) -> None:
        state = state or SearchState()
        self._state = replace(state, limit=min(state.limit, state.cap))
        self._clock = clock
        self._adapts = adapts
        self._gate = Condition(Lock())
        self._in_flight = 0
        self._failures = 0
        self._held_before = 0
        self._answers_to_recover = 0
        self._is_recovering = False
        self._era = 0
        self._lowered = float("-inf")
        self._answered_at = [0.0] * self._state.cap
        self._failed_at = [0.0] * self._state.cap
        self._sampler = Sampler(clock(), skip=1)

    @classmethod
    def fixed(cls, limit: int) -> Self:
        """Return a limiter that always lets through the same number."""
        return cls(SearchState(limit=limit, cap=limit), adapts=False)

    @property
    def limit(self) -> int:
        """How many requests it lets through at once now."""
        # After the first failure above a limit that held, that one will do; after more, nothing is certain.
        least = min(self._state.limit, self._held_before) if self._failures == 1 else FLOOR
        return max(least, halved(self._state.limit, self._failures))

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a place while one request is under way; learn from its error, if any, and let it pass."""
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
        """Free the place, and learn from how the request ended."""
        with self._gate:
            now = self._clock()
            self._sampler.pass_time(now, is_full=self._in_flight >= self.limit)
            self._in_flight -= 1
            if self._adapts:
                self._learn(admission, outcome, now)
            self._gate.notify(max(0, self.limit - self._in_flight))

    def _admit(self) -> Admission:
        now = self._clock()
        self._sampler.pass_time(now, is_full=False)
        self._in_flight += 1
        return Admission(now, self._in_flight, self._era)

    def _learn(self, admission: Admission, outcome: Outcome, now: float) -> None:
        if outcome is Outcome.ANSWERED:
            self._count(self._answered_at, admission)
            self._credit(admission, now)
            return
        self._sampler.fail()
        if admission.at < self._lowered:
            # It was under way with more than are let through now, and tells nothing of these.
            return
        self._count(self._failed_at, admission)
        if outcome is Outcome.FAILED:
            if place := overload(self._answered_at, self._failed_at):
                self._set_ceiling(place, now)
            elif fails_anyway(sum(self._answered_at), sum(self._failed_at)):
                # It fails below the ceiling as above: that is not what makes it fail.
                self._state = replace(self._state, ceiling=None, wariness=FIRST_CAUTION)
        if admission.era == self._era:
            # A request from before the last slowdown failed for the load of that time.
            self._slow_down(admission, outcome, now)

    def _count(self, counts: list[float], admission: Admission) -> None:
        counts[min(admission.place, len(counts)) - 1] += 1
        if sum(self._answered_at) + sum(self._failed_at) > MEMORY:
            self._answered_at = [count / 2 for count in self._answered_at]
            self._failed_at = [count / 2 for count in self._failed_at]

    def _set_ceiling(self, place: int, now: float) -> None:
        """Stay below a level at which the server fails, as below one that it refuses."""
        if self._state.ceiling is None or place <= self._state.ceiling or self._state.limit >= place:
            self._move_to(after_refusal(self._state, in_flight=place), now)
            self._is_recovering = True
        # They have had their effect; counted again they would hide that the next level holds.
        self._failed_at[place - 1 :] = [0.0] * (len(self._failed_at) - place + 1)

    def _credit(self, admission: Admission, now: float) -> None:
        self._answers_to_recover = max(0, self._answers_to_recover - 1)
        if not self._answers_to_recover:
            self._failures = 0
        if self._is_recovering:
            # The server is still slow in the round after a refusal, whatever the new limit.
            self._is_recovering = bool(self._answers_to_recover)
            self._sampler = Sampler(now, skip=self._in_flight)
            return
        self._sampler.complete(admission.at, now)
        sample = self._sampler.sample(self._state.limit, now)
        if sample is not None and is_sufficient(self._state, sample):
            self._move_to(steer(self._state, sample), now)
            return
        early = self._sampler.early(self._state.limit, now)
        if early is not None and is_promising(self._state, early):
            self._move_to(steer(self._state, early), now)

    def _slow_down(self, admission: Admission, outcome: Outcome, now: float) -> None:
        self._era += 1
        self._failures += 1
        self._held_before = self._state.held if self._state.limit > self._state.held else FLOOR
        self._answers_to_recover = self._in_flight + self.limit
        if outcome is Outcome.REFUSED:
            self._move_to(after_refusal(self._state, in_flight=admission.place), now)
            self._is_recovering = True

    def _move_to(self, state: SearchState, now: float) -> None:
        moved = state.limit != self._state.limit
        if state.limit < self._state.limit:
            self._lowered = now
        self._state = state
        # The answers to what is in flight now were still made under the old limit.
        self._sampler = Sampler(now, skip=self._in_flight if moved else 0)
