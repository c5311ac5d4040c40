"""Pacing: no more through one robot than it takes, nobody sleeps."""

from dataclasses import dataclass

import pytest

from flowledger.errors import ChannelBusyError
from flowledger.notify.chat_bots import Budget, Pacer


@dataclass
class Clock:
    """A clock that is set by hand, in seconds."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def wait_of(pacer: Pacer, robot: str = "a", requests: int = 1) -> float:
    """Give how long a robot has to wait."""
    with pytest.raises(ChannelBusyError) as caught:
        pacer.take(robot, requests)
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


def test_a_used_up_budget_says_when_there_is_room() -> None:
    """The third of two in a minute waits until the first is a minute old."""
    clock = Clock()
    pacer = Pacer([Budget(2, 60)], clock)
    pacer.take("a")
    clock.now += 10
    pacer.take("a")
    assert wait_of(pacer) == 50
    clock.now += 50
    pacer.take("a")
    assert wait_of(pacer) == 10


def test_what_was_refused_is_not_counted() -> None:
    """Trying in vain puts nothing off."""
    clock = Clock()
    pacer = Pacer([Budget(1, 60)], clock)
    pacer.take("a")
    assert [wait_of(pacer) for _ in range(3)] == [60, 60, 60]


def test_every_budget_holds() -> None:
    """Of five in a second and six in a minute the longer wait counts."""
    clock = Clock()
    pacer = Pacer([Budget(5, 1), Budget(6, 60)], clock)
    pacer.take("a", 5)
    assert wait_of(pacer) == 1
    clock.now += 1
    pacer.take("a")
    assert wait_of(pacer) == 59


def test_robots_are_counted_apart() -> None:
    """One robot's haste is nothing to another."""
    pacer = Pacer([Budget(1, 60)], Clock())
    pacer.take("a")
    pacer.take("b")
    assert wait_of(pacer) == 60


def test_more_than_the_whole_budget_goes_when_it_is_untouched() -> None:
    """A message of more requests than a budget is not put off for ever."""
    clock = Clock()
    pacer = Pacer([Budget(2, 60)], clock)
    pacer.take("a")
    assert wait_of(pacer, requests=5) == 60
    clock.now += 60
    pacer.take("a", 5)
    assert wait_of(pacer) == 60


def test_a_muted_robot_waits_for_its_end() -> None:
    """Whatever is left of a budget, a mute holds."""
    clock = Clock()
    pacer = Pacer([Budget(20, 60)], clock)
    pacer.mute("a", 600)
    clock.now += 599
    assert wait_of(pacer) == 1
    clock.now += 1
    pacer.take("a")
