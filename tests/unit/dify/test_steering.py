"""The limiter's decisions, without time and threads."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from flowledger.dify.concurrency import (
    FLOOR,
    LONGEST_CAUTION,
    LONGEST_REST,
    LONGEST_REST_SCALING,
    SearchState,
    after_refusal,
    halved,
    is_promising,
    is_sufficient,
    steer,
)
from flowledger.dify.load_samples import Sample


def sample(limit: int, rate: float, **changes: float) -> Sample:
    """Return a sample of a hundred answers."""
    even = Sample(limit, 100, 100 / rate, limit / rate)
    return replace(even, **changes)  # type: ignore[arg-type]  # floats only


def climb(state: SearchState, *rates: float) -> list[int]:
    """Return the limits that follow from these throughputs, one after the other."""
    limits = []
    for rate in rates:
        state = steer(state, sample(state.limit, rate))
        limits.append(state.limit)
    return limits


def test_steps_double_while_they_pay() -> None:
    """A server that scales is given 4, 8, 16, 32 at once."""
    assert climb(SearchState(), 40, 80, 160, 320) == [8, 16, 32, 32]


def early(limit: int, completed: int, took_s: float, **changes: float) -> Sample:
    """Return a sample of the first answers after a move."""
    even = Sample(limit, completed, completed * took_s / limit, took_s)
    return replace(even, **changes)  # type: ignore[arg-type]  # floats only


def test_the_first_answers_tell_where_they_are_clear() -> None:
    """All as quick as each other at first, as quick as before after a doubling; and places were wanted."""
    first = early(4, 4, 0.1)
    assert is_promising(SearchState(), first)
    assert not is_promising(SearchState(), replace(first, completed=3))
    assert not is_promising(SearchState(), replace(first, scatter=0.1))
    assert not is_promising(SearchState(), replace(first, full=0.4))
    doubled = steer(SearchState(), first)
    assert is_promising(doubled, early(8, 4, 0.105))
    assert not is_promising(doubled, early(8, 3, 0.105))
    assert not is_promising(doubled, early(8, 4, 0.12))
    assert not is_promising(replace(doubled, step=0.33), early(8, 4, 0.1))
    assert not is_promising(replace(doubled, limit=4), early(4, 9, 0.1))


def test_at_the_most_that_is_allowed_a_server_that_scales_is_left_alone_for_long() -> None:
    """What the last doubling brought in full, one step back would only cost."""
    state = SearchState(limit=16)
    for rate in (160, 320):
        state = steer(state, sample(state.limit, rate))
    assert (state.limit, state.rest) == (32, LONGEST_REST_SCALING)
    state = SearchState(limit=16)
    for rate in (160, 200):
        state = steer(state, sample(state.limit, rate))
    assert (state.limit, state.rest) == (32, 1)


def test_a_step_that_does_not_pay_is_taken_back() -> None:
    """Throughput that stays when requests double means that they only queue."""
    assert climb(SearchState(), 40, 41) == [8, 4]


def test_fewer_stay_where_they_do_as_well() -> None:
    """Going down is accepted when throughput stays."""
    anchored = SearchState(limit=8, anchor=sample(16, 100), upward=False, step=0.33)
    assert steer(anchored, sample(8, 99)).limit < 8
    assert steer(anchored, sample(8, 60)).limit == 16


def test_idle_callers_teach_nothing() -> None:
    """When callers leave places empty, a probe goes back and nothing is concluded."""
    probing = SearchState(limit=8, anchor=sample(4, 40))
    assert steer(probing, sample(8, 40, full=0.1)) == replace(probing, limit=4, anchor=None)


def test_slowing_down_is_answered_by_fewer() -> None:
    """A server that falls behind at the same limit gets less at once."""
    resting = SearchState(limit=16, anchor=sample(16, 100), rest=9)
    assert steer(resting, sample(16, 50)).limit < 16


def test_a_refusal_leaves_a_ceiling() -> None:
    """After a 429 at 11 in flight, 10 is the most, until caution ends."""
    state = after_refusal(SearchState(limit=16, anchor=sample(8, 80)), in_flight=11)
    assert (state.limit, state.ceiling, state.anchor) == (10, 10, None)
    state = steer(state, sample(10, 100))
    assert state.limit <= 10
    tried = steer(replace(state, limit=10, caution=0, rest=0, upward=True), sample(10, 100))
    assert tried.limit == 11
    passed = steer(tried, sample(11, 110))
    assert (passed.ceiling, passed.limit) == (11, 13)


def test_scatter_asks_for_more_answers() -> None:
    """Even times tell after two rounds, scattered ones later, small steps later still."""
    even, scattered = sample(4, 40, completed=8), sample(4, 40, completed=8, scatter=1.0)
    assert is_sufficient(SearchState(), even)
    assert not is_sufficient(SearchState(), scattered)
    enough = replace(scattered, completed=42)
    assert is_sufficient(SearchState(), enough)
    assert not is_sufficient(SearchState(step=0.33), enough)


states = st.builds(
    SearchState,
    limit=st.integers(1, 32),
    anchor=st.none() | st.builds(sample, st.integers(1, 32), st.floats(0.01, 1e5)),
    upward=st.booleans(),
    step=st.sampled_from([0.33, 0.66, 1.0]),
    rest=st.integers(0, LONGEST_REST),
    patience=st.integers(1, LONGEST_REST),
    ceiling=st.none() | st.integers(1, 40),
    caution=st.integers(0, LONGEST_CAUTION),
)


@settings(max_examples=50)
@given(state=states, rate=st.floats(0.01, 1e5), full=st.floats(0, 1))
def test_limits_stay_within_bounds(state: SearchState, rate: float, full: float) -> None:
    """Whatever is seen, the next limit lies between floor and cap, and at most doubles."""
    after = steer(state, sample(state.limit, rate, full=full))
    reach = max(2 * state.limit, state.anchor.limit if state.anchor else 0)
    assert FLOOR <= after.limit <= min(state.cap, reach)
    assert 0 < after.step <= 1
    assert 1 <= after.patience <= LONGEST_REST


@settings(max_examples=50)
@given(state=states, rate=st.floats(0.01, 1e5))
def test_the_ceiling_is_respected_while_cautious(state: SearchState, rate: float) -> None:
    """No probe goes above the ceiling before caution has ended."""
    careful = replace(state, ceiling=10, caution=5, limit=min(state.limit, 10), anchor=None)
    assert steer(careful, sample(careful.limit, rate)).limit <= 10


@settings(max_examples=50)
@given(limit=st.integers(1, 32), times=st.integers(0, 40))
def test_failures_halve_down_to_one(limit: int, times: int) -> None:
    """Each failure halves what is let through; one is always let through."""
    assert halved(limit, 0) == limit
    assert halved(limit, times + 1) == max(1, halved(limit, times) // 2)


@settings(max_examples=50)
@given(state=states, in_flight=st.integers(1, 40))
def test_a_refusal_never_raises_the_limit(state: SearchState, in_flight: int) -> None:
    """A 429 lowers the limit below what was refused, but not below one."""
    after = after_refusal(state, in_flight=in_flight)
    assert 1 <= after.limit <= max(1, min(state.limit, in_flight - 1))


def test_a_limit_that_fails_is_left_for_one_that_held() -> None:
    """Requests overtake one another, so a low number in flight proves little; half is the least otherwise."""
    climbed = steer(steer(SearchState(), sample(4, 100)), sample(8, 200))
    assert (climbed.limit, climbed.held) == (16, 8)
    assert after_refusal(climbed, in_flight=3).limit == 8
    assert after_refusal(climbed, in_flight=12).limit == 11
    assert after_refusal(SearchState(limit=16, held=16), in_flight=3).limit == 8


def test_a_limit_at_which_something_failed_did_not_hold() -> None:
    """It may still be accepted for its rate."""
    assert steer(SearchState(), sample(4, 100, failed=1)).held == 0
