"""The cursor walk against a model of the console's list and counts."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.cursor_scan import (
    MAX_PAGES,
    MAX_REPEATS,
    QUIET,
    RunCounts,
    begin,
    is_repeated,
    observe,
    quiet_after,
    quiet_before,
    repeat,
    verdict,
)
from flowledger.domain.window_scan import Verdict
from flowledger.domain.windows import Window

WINDOW = Window(1000, 1099)
PAGE = 4


def walk_through(
    seconds: list[int], *, lost: int | None = None, step: int = PAGE
) -> tuple[Verdict, list[int]]:
    """Walk a list of run seconds, which the source counts wholly although its list may have lost one."""
    listed = sorted((s for i, s in enumerate(seconds) if i != lost), reverse=True)
    counted = sorted(seconds)
    walk, seen = begin(WINDOW), list[int]()
    for start in range(0, len(listed) + 1, step):
        page = listed[start : start + step]
        seen += [second for second in page if WINDOW.after <= second <= WINDOW.before]
        walk = observe(walk, page, is_last=start + step >= len(listed))
        if walk.finished:
            break
    return verdict(walk, lambda second: RunCounts(len(counted) - bisect_left(counted, second))), seen


around = st.lists(st.integers(900, 1200), max_size=60)


@given(around)
def test_a_whole_list_is_certified_with_the_runs_of_the_window(seconds: list[int]) -> None:
    """Whatever lies around it, a window is proved, or not for want of a quiet stretch; never wrongly."""
    result, seen = walk_through(seconds)
    inside = sorted(second for second in seconds if WINDOW.after <= second <= WINDOW.before)
    assert sorted(seen) == inside
    assert result.distinct == len(inside)
    assert result.certified or "quiet" in result.reason


@given(around.filter(lambda seconds: any(1000 <= s <= 1099 for s in seconds)))
def test_a_lost_run_of_the_window_is_noticed(seconds: list[int]) -> None:
    """A row hidden at a page's border is missed by the list and found by the counts."""
    lost = next(i for i, second in enumerate(seconds) if 1000 <= second <= 1099)
    result, _ = walk_through(seconds, lost=lost)
    assert not result.certified


def test_reading_stops_at_the_first_quiet_stretch_before_the_window() -> None:
    """Old history costs nothing."""
    seconds = [1050, 1040, *range(0, 900, 20)]
    walk = observe(begin(WINDOW), sorted(seconds, reverse=True)[:PAGE], is_last=False)
    assert walk.finished
    assert walk.older == 1000


def test_a_source_that_counts_nothing_leaves_the_window_uncertified() -> None:
    """Consoles up to 1.9.1 have no count."""
    walk = observe(begin(WINDOW), [1050], is_last=True)
    result = verdict(walk, lambda _second: None)
    assert not result.certified
    assert "counts no runs" in result.reason


@pytest.mark.fault(9)
def test_a_page_that_contradicts_itself_is_read_again_and_then_proves_nothing() -> None:
    """Its rows count, the window is not certified."""
    walk = begin(WINDOW)
    for _ in range(MAX_REPEATS):
        assert is_repeated(walk, "listed one run twice")
        walk = repeat(walk)
    assert not is_repeated(walk, "listed one run twice")
    walk = observe(walk, [1050], is_last=True, problem="listed one run twice")
    result = verdict(walk, lambda second: RunCounts(int(second <= 1050)))
    assert result == Verdict(False, "the source listed one run twice", None, 1)


@pytest.mark.fault(9)
@pytest.mark.parametrize("step", [0, 1])
def test_a_list_without_end_is_given_up(step: int) -> None:
    """Runs that are invented for ever, in one second or newer than the window, end the walk."""
    walk, newest = begin(WINDOW), 10_000_000
    for page in range(MAX_PAGES + 1):
        walk = observe(walk, [newest - page * step] * PAGE, is_last=False)
        if walk.finished:
            break
    assert walk.finished
    assert "does not end" in verdict(walk, lambda _second: RunCounts(0)).reason


@given(around)
def test_instants_around_a_window_are_quiet_as_far_as_runs_are_known(seconds: list[int]) -> None:
    """No run is so close that a clock could tip it over; nothing quiet lies nearer to the window."""

    def is_quiet(instant: int) -> bool:
        return not any(instant - QUIET - 1 < second < instant + QUIET for second in seconds)

    newer, older = quiet_after(WINDOW, seconds), quiet_before(WINDOW, seconds)
    assert is_quiet(newer)
    assert is_quiet(older)
    assert not any(is_quiet(instant) for instant in range(WINDOW.before + 1, newer))
    assert not any(is_quiet(instant) for instant in range(older + 1, WINDOW.after + 1))
