"""Pacing: no more through one robot than it takes, nobody sleeps."""

from dataclasses import dataclass

import pytest

from flowledger.errors import ChannelBusyError
from flowledger.notify.chat_bots import RateLimit, RateLimiter


@dataclass
class Clock:
    """A clock that is set by hand, in seconds."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def wait_of(limiter: RateLimiter, robot: str = "a", requests: int = 1) -> float:
    """Give how long a robot has to wait."""
    with pytest.raises(ChannelBusyError) as caught:
        limiter.take(robot, requests)
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


def test_a_used_up_budget_says_when_there_is_room() -> None:
    """The third of two in a minute waits until the first is a minute old."""
    clock = Clock()
    limiter = RateLimiter([RateLimit(2, 60)], clock)
    limiter.take("a")
    clock.now += 10
    limiter.take("a")
    assert wait_of(limiter) == 50
    clock.now += 50
    limiter.take("a")
    assert wait_of(limiter) == 10


def test_what_was_refused_is_not_counted() -> None:
    """Trying in vain puts nothing off."""
    clock = Clock()
    limiter = RateLimiter([RateLimit(1, 60)], clock)
    limiter.take("a")
    assert [wait_of(limiter) for _ in range(3)] == [60, 60, 60]


def test_every_budget_holds() -> None:
    """Of five in a second and six in a minute the longer wait counts."""
    clock = Clock()
    limiter = RateLimiter([RateLimit(5, 1), RateLimit(6, 60)], clock)
    limiter.take("a", 5)
    assert wait_of(limiter) == 1
    clock.now += 1
    limiter.take("a")
    assert wait_of(limiter) == 59


def test_robots_are_counted_apart() -> None:
    """One robot's haste is nothing to another."""
    limiter = RateLimiter([RateLimit(1, 60)], Clock())
    limiter.take("a")
    limiter.take("b")
    assert wait_of(limiter) == 60


def test_more_than_the_whole_budget_goes_when_it_is_untouched() -> None:
    """A message of more requests than a budget is not put off for ever."""
    clock = Clock()
    limiter = RateLimiter([RateLimit(2, 60)], clock)
    limiter.take("a")
    assert wait_of(limiter, requests=5) == 60
    clock.now += 60
    limiter.take("a", 5)
    assert wait_of(limiter) == 60


def test_a_muted_robot_waits_for_its_end() -> None:
    """Whatever is left of a budget, a mute holds."""
    clock = Clock()
    limiter = RateLimiter([RateLimit(20, 60)], clock)
    limiter.mute("a", 600)
    clock.now += 599
    assert wait_of(limiter) == 1
    clock.now += 1
    limiter.take("a")
