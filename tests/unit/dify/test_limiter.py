"""The limiter finds what a server does best, and never lets more through than it decided."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_load import Load, Server, peaking, smooth

from flowledger.dify.concurrency import AdaptiveLimiter, Outcome, SearchState
from flowledger.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FlowledgerError,
    SourceBusyError,
    SourceGarbledError,
    SourceUnreachableError,
)


@pytest.mark.parametrize(
    ("server", "share"),
    [
        pytest.param(Server(peaking(4, 146, 0.1)), 0.9, id="peaks at 4"),
        pytest.param(Server(smooth(4, 146)), 0.9, id="bends at 4"),
        pytest.param(Server(peaking(16, 400, 0.1)), 0.9, id="peaks at 16"),
        pytest.param(Server(smooth(16, 400)), 0.9, id="bends at 16"),
        pytest.param(Server(lambda n: 20.0 * n, refuses_above=10), 0.9, id="refuses above 10"),
        pytest.param(Server(lambda _: 1000.0, latency_s=0.2), 0.9, id="far away"),
        # Its best is an upper bound here: requests arrive in bursts, so even 32 at once reach 90 % of it.
        pytest.param(Server(peaking(4, 100, 0.0), latency_s=0.2), 0.8, id="far away with 4 cores"),
    ],
)
def test_throughput_comes_near_the_best(server: Server, share: float) -> None:
    """Over 2,000 requests, learning included, throughput is near the best fixed one and few are refused."""
    load = Load(server)
    assert load.run(2000) >= share * server.best()
    assert load.refused <= 0.02 * load.done


def test_far_away_the_most_is_reached_after_three_rounds_of_answers() -> None:
    """4, 8, 16, 32: three rounds of answers that take 0.1 s are enough to allow the fourth."""
    load = Load(Server(lambda n: 1000.0 * n, latency_s=0.1), scatter=0.0)
    load.run(4 + 8 + 16)
    assert (load.limiter.limit, round(load.now, 1)) == (32, 0.3)


def test_the_slow_round_after_a_refusal_is_not_taken_for_what_the_limit_brings() -> None:
    """Measured with half of the places taken, the limit would seem poor, and half of it would do as well."""
    load = Load(Server(lambda n: 35.0 * n, refuses_above=10))
    assert load.run(150) >= 0.72 * load.server.best()


def test_scattered_work_does_not_mislead() -> None:
    """With times from nothing to double, a server that peaks at 16 is still found."""
    load = Load(Server(peaking(16, 400, 0.1)), scatter=1.0)
    assert load.run(2500) >= 0.85 * load.server.best()


def test_chance_failures_do_not_bring_it_to_its_knees() -> None:
    """A server that fails 2 % of all requests by chance keeps most of its throughput."""
    load = Load(Server(peaking(4, 146, 0.1), fails=0.02))
    assert load.run(1500) >= 0.8 * load.server.best()


def breaking(bears: int, *, wanders_s: float = 0.0, latency_s: float = 0.0) -> Server:
    """Make a server that takes 50 ms and answers 500 at once to more than it bears."""
    return Server(
        (lambda n: 1000.0 * n) if latency_s else (lambda n: 20.0 * n),
        latency_s=latency_s,
        breaks_above=bears,
        wanders_s=wanders_s,
    )


@pytest.mark.parametrize("bears", [2, 4, 8, 16])
@pytest.mark.parametrize("wanders_s", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("latency_s", [0.0, 0.05], ids=["busy", "waiting"])
def test_a_level_that_breaks_the_server_is_a_ceiling(bears: int, wanders_s: float, latency_s: float) -> None:
    """At most 3 % of 1,000 requests get 500, in at most 1.3 times the time of so many plain threads.

    That holds too where requests do not arrive in the order in which they were let through.
    """
    server = breaking(bears, wanders_s=wanders_s, latency_s=latency_s)
    load = Load(server)
    load.run(1000)
    plain_s = 1000 / bears * (wanders_s / 2 + 0.05)
    assert load.now <= 1.3 * plain_s
    assert load.refused <= 0.03 * (load.done + load.refused)


@settings(max_examples=10)
@given(bears=st.integers(2, 16), seed=st.integers(0, 1000), wanders_s=st.sampled_from([0.0, 0.002, 0.005]))
def test_whatever_a_server_bears_few_requests_are_refused(bears: int, seed: int, wanders_s: float) -> None:
    """Between powers of two, which doubling meets, the limit climbs in steps, and so takes longer."""
    load = Load(breaking(bears, wanders_s=wanders_s), seed=seed)
    load.run(1000)
    assert load.refused <= 0.035 * (load.done + load.refused)
    assert load.now <= 2 * 1000 / bears * (wanders_s / 2 + 0.05)


@pytest.mark.parametrize(("before", "after"), [(16, 4), (8, 2), (4, 16), (2, 8)])
def test_a_server_whose_strength_changes_is_followed(before: int, after: int) -> None:
    """After 500 requests it bears another number, and the limit comes down, or climbs, to it."""
    load = Load(breaking(before))
    load.run(500)
    began, refused = load.now, load.refused
    load.server = breaking(after)
    load.run(2000)
    assert load.now - began <= (1.3 if after < before else 2) * 1500 / after * 0.05
    assert load.refused - refused <= 0.03 * 1500


def test_a_slow_server_that_bears_more_is_not_mistaken_for_a_weak_one() -> None:
    """Answers of 2 s each, all right: as many at once as are allowed."""
    load = Load(Server(lambda n: 0.5 * n))
    load.run(1000)
    assert load.refused == 0
    assert load.limiter.limit == 32


@pytest.mark.parametrize("bears", [2, 4, 8, 16])
def test_chance_failures_do_not_hide_the_level(bears: int) -> None:
    """Where a few requests fail by chance as well, the level is still found."""
    load = Load(Server(lambda n: 20.0 * n, breaks_above=bears, fails=0.01))
    assert load.run(1400) >= load.server.best() / 1.6
    assert load.refused <= 0.06 * load.done


def test_failures_at_every_level_are_no_ceiling() -> None:
    """A server that fails a tenth of all requests, however few, is not strained by their number."""
    load = Load(Server(peaking(4, 146, 0.1), fails=0.1))
    assert load.run(1500) >= 0.4 * load.server.best()


def test_few_callers_do_not_raise_the_limit() -> None:
    """Two callers never fill four places, so nothing is concluded."""
    load = Load(Server(peaking(16, 400, 0.1)), callers=2)
    load.run(500)
    assert load.limiter.limit == 4


def test_a_failure_halves_once_per_round() -> None:
    """Of eight that were under way together, the first failure halves; the others tell nothing new."""
    limiter = AdaptiveLimiter(SearchState(limit=8))
    admissions = [limiter.acquire() for _ in range(8)]
    for admission in admissions:
        limiter.release(admission, Outcome.FAILED)
    assert limiter.limit == 4
    limiter.release(limiter.acquire(), Outcome.FAILED)
    assert limiter.limit == 2


def test_a_round_of_answers_ends_the_slowdown() -> None:
    """After as many answers as were let through, the limit is what it was."""
    limiter = AdaptiveLimiter(SearchState(limit=8))
    limiter.release(limiter.acquire(), Outcome.FAILED)
    for _ in range(4):
        assert limiter.limit == 4
        limiter.release(limiter.acquire())
    assert limiter.limit == 8


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (SourceBusyError("503", status=503), 2),
        (SourceUnreachableError("reset"), 2),
        (DeadlineExceededError("late"), 2),
        (SourceGarbledError("html"), 4),
        (AuthenticationError("401"), 4),
        (KeyboardInterrupt(), 4),
    ],
)
def test_errors_that_tell_of_strain(error: BaseException, after: int) -> None:
    """Busy, broken and late answers slow down; other errors pass on without."""
    limiter = AdaptiveLimiter()
    with pytest.raises(type(error)), limiter.slot():
        raise error
    assert limiter.limit == after
    assert limiter.try_acquire() is not None


@pytest.mark.fault(1)
def test_a_refused_request_sets_the_ceiling() -> None:
    """A 429 says that the number then in flight was too much."""
    limiter = AdaptiveLimiter(SearchState(limit=8))
    for _ in range(5):
        limiter.acquire()
    with pytest.raises(FlowledgerError), limiter.slot():
        raise SourceBusyError("429", status=429)
    assert limiter.limit == 2


def test_fixed_never_changes() -> None:
    """A fixed limiter keeps its number whatever happens."""
    limiter = AdaptiveLimiter.fixed(3)
    limiter.release(limiter.acquire(), Outcome.REFUSED)
    assert limiter.limit == 3
    assert [limiter.try_acquire() is not None for _ in range(4)] == [True, True, True, False]


def test_the_cap_counts_from_the_start() -> None:
    """A cap below the usual beginning is kept."""
    assert AdaptiveLimiter(SearchState(cap=2)).limit == 2


def test_threads_never_exceed_the_limit() -> None:
    """Of 16 threads at most three are inside at once, and all get through."""
    limiter, lock, inside, most = AdaptiveLimiter.fixed(3), threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with limiter.slot():
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(400)))
    assert (inside, most <= 3) == (0, True)
