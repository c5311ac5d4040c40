"""Trying again: when, how long, and when no more."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger

from flowledger.dify.session import RetryPolicy, wait_s
from flowledger.errors import AuthenticationError, FlowledgerError, SourceBusyError, SourceUnreachableError

NOW = datetime(2026, 11, 22, 1, 19, 19, tzinfo=UTC)


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Pass time."""
        self.slept.append(seconds)
        self.now += seconds

    def policy(self, tries: int = 5, total_s: float = 300.0) -> RetryPolicy:
        """Make a policy on this time."""
        return RetryPolicy(
            tries=tries, total_s=total_s, sleep=self.sleep, clock=lambda: self.now, jitter=lambda: 1.0
        )


def failing(*errors: FlowledgerError) -> "list[FlowledgerError]":
    """Give errors in the order in which they strike."""
    return list(errors)


def call(policy: RetryPolicy, errors: list[FlowledgerError]) -> str:
    """Call something that fails so often and then succeeds."""

    def request() -> str:
        if errors:
            raise errors.pop(0)
        return "data"

    return policy.call(request)


@pytest.mark.fault(3)
def test_retriable_errors_are_retried_with_growing_waits() -> None:
    """Three failures cost three waits, each twice the one before."""
    time = FakeTime()
    assert call(time.policy(), [SourceUnreachableError("gone")] * 3) == "data"
    assert time.slept == [0.5, 1.0, 2.0]


def test_fatal_errors_are_not_retried() -> None:
    """A refused key is offered once."""
    time, errors = FakeTime(), failing(AuthenticationError("no"), AuthenticationError("no"))
    with pytest.raises(AuthenticationError):
        call(time.policy(), errors)
    assert (time.slept, len(errors)) == ([], 1)


@pytest.mark.fault(3)
def test_tries_are_bounded() -> None:
    """After the last try its own error comes out."""
    errors: list[FlowledgerError] = [SourceUnreachableError(str(number)) for number in range(9)]
    with pytest.raises(SourceUnreachableError, match="4"):
        call(FakeTime().policy(), errors)
    assert len(errors) == 4


def test_total_time_is_bounded() -> None:
    """No try begins after the total, so no wait goes beyond it."""
    time = FakeTime()
    with pytest.raises(SourceBusyError):
        call(time.policy(total_s=100.0), [SourceBusyError("busy", status=503, retry_after_s=45.0)] * 9)
    assert time.slept == [45.5, 45.5]


@pytest.mark.fault(1)
@settings(max_examples=50)
@given(
    attempt=st.integers(1, 10_000),
    asked=st.none() | st.floats(0, 60),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_waits_stay_within_a_minute(attempt: int, asked: float | None, jitter: float) -> None:
    """Every wait is bounded, and never shorter than what the server asked for."""
    wait = wait_s(attempt, asked, first_s=0.5, jitter=jitter)
    assert (asked or 0) <= wait <= 60


def test_one_line_for_each_kind_of_failure_and_minute() -> None:
    """Hundreds of failed attempts are one line a minute; the next line counts what came in between."""
    time, lines = FakeTime(), list[str]()
    policy = time.policy(tries=2)
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    try:
        for _ in range(100):
            call(policy, [SourceBusyError("500", status=500)])
        call(policy, [SourceUnreachableError("gone")])
        assert [line.partition(": ")[2] for line in lines] == ["500", "gone"]
        time.now += 60
        call(policy, [SourceBusyError("500", status=500)])
    finally:
        logger.remove(sink)
    assert lines[-1].endswith("500 (99 more like it since the last line)")
