"""Whatever a list does between and within its answers: no certificate where a run is not stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from fake_source import APP, NOW, START, FakeSource, decode, make_run
from hypothesis import given, settings
from hypothesis import strategies as st

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.run_filters import FilterSplit
from flowledger.domain.runs import Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import CursorPage, LogPage, SilentProgress
from flowledger.services.collect import Collector

WINDOW = Window(START, START + 599)
WIDE = Window(START - 10, START + 609)
Lie = tuple[int, str, int]
"""At which request, which lie, and of which row."""


def without(page: LogPage, pick: int) -> LogPage:
    """Hide one row of a page."""
    return replace(page, rows=[row for place, row in enumerate(page.rows) if place != pick % 100])


def repeated(page: LogPage, pick: int) -> LogPage:
    """Show one row in the place of the next."""
    rows = list(page.rows)
    if len(rows) > 1:
        place = pick % (len(rows) - 1)
        rows[place + 1] = replace(rows[place], listed_at=rows[place + 1].listed_at)
    return replace(page, rows=rows)


SAID: Mapping[str, Callable[[LogPage, int], LogPage]] = {
    "hide": without,
    "repeat": repeated,
    "total above": lambda page, pick: replace(page, total=page.total + 1 + pick % 3),
    "total below": lambda page, _pick: replace(page, total=max(0, page.total - 1)),
    "has_more": lambda page, _pick: replace(page, has_more=not page.has_more),
    "page": lambda page, pick: replace(page, page=pick + 2),
    "limit": lambda page, _pick: replace(page, limit=20),
    "error": lambda page, _pick: replace(page, problem="answered with an error"),
    "empty": lambda page, _pick: replace(page, rows=[]),
    "out of order": lambda page, _pick: replace(page, rows=page.rows[::-1]),
}
DONE = ("appear", "vanish")


@dataclass
class LyingSource(FakeSource):
    """Lies at the requests it is told to; changes of its rows stay."""

    lies: Sequence[Lie] = ()
    throughout: set[str] = field(default_factory=set)
    arrived: int = 0

    def page(self, window: Window, remote: Mapping[str, str], *, page: int = 1, limit: int = 100) -> LogPage:
        due = [(kind, pick) for at, kind, pick in self.lies if at == self.requests]
        for kind, pick in due:
            self.change(kind, pick)
        answer = super().page(window, remote, page=page, limit=limit)
        for kind, pick in due:
            answer = SAID[kind](answer, pick) if kind in SAID else answer
        return answer

    def change(self, kind: str, pick: int) -> None:
        """Change the rows themselves."""
        place = pick % max(1, len(self.runs))
        if kind == "appear":
            self.arrived += 1
            self.runs.append(make_run(1000 + self.arrived, second=pick % 600))
        elif kind == "vanish" and self.runs:
            self.throughout.discard(self.runs.pop(place).run_id)
        elif kind == "fail" and self.runs:
            self.runs[place] = replace(self.runs[place], status=RunStatus.FAILED, source_status="failed")
        elif kind == "move" and self.runs:
            moved = self.runs[place]
            at = WINDOW.after_at + timedelta(seconds=(pick * 7) % 600)
            self.runs[place] = replace(moved, listed_at=at)


def lies_of(kinds: Sequence[str]) -> st.SearchStrategy[list[Lie]]:
    """Make up to a dozen lies of some kinds at the first requests."""
    return st.lists(st.tuples(st.integers(0, 12), st.sampled_from(kinds), st.integers(0, 599)), max_size=12)


lists = st.lists(st.integers(0, 599), min_size=90, max_size=280)


@pytest.mark.fault(9, 10, 12)
@settings(max_examples=30)
@given(lists, lies_of([*SAID, *DONE]) | lies_of([*SAID, "move"]))
def test_no_lie_of_the_log_list_gets_a_certificate_without_a_run(seconds: list[int], lies: list[Lie]) -> None:
    """A certified window holds every run that was listed in it all the time."""
    runs = [make_run(number, second) for number, second in enumerate(seconds)]
    source = LyingSource(runs, lies=lies, throughout={run.run_id for run in runs})
    ledger = SqlLedger.open("memory://", {"dify": decode})
    collector = Collector(source, ledger, lambda: NOW, SilentProgress(), at_once=1)
    certificate = collector.collect(WINDOW, FilterSplit())
    stored = {entry.run.run_id for entry in ledger.entries(Scope(APP, WINDOW), with_details=False)}
    assert not certificate.certified or source.throughout <= stored
    if not lies:
        assert certificate.certified


changes_of_rows = st.lists(
    st.tuples(st.sampled_from([*DONE, "move", "fail"]), st.integers(0, 599)), max_size=5
)


def collected_before(
    seconds: list[int], changes: list[tuple[str, int]], *, log_list: bool = True
) -> tuple[LyingSource, SqlLedger]:
    """Give a source that was collected whole and has changed since, and the ledger that holds it."""
    source = LyingSource([make_run(n, second) for n, second in enumerate(seconds)], log_list=log_list)
    ledger = SqlLedger.open("memory://", {"dify": decode})
    assert again(source, ledger, log_list=log_list).certified
    for kind, pick in changes:
        source.change(kind, pick)
    source.requests, source.throughout = 0, {run.run_id for run in source.runs}
    return source, ledger


def again(
    source: LyingSource, ledger: SqlLedger, read_since: datetime | None = None, *, log_list: bool = True
) -> Certificate:
    """Collect the window, or a longer one where a list by cursor needs quiet around it."""
    collector = Collector(source, ledger, lambda: NOW, SilentProgress(), at_once=1)
    window = WINDOW if log_list else WIDE
    return collector.collect(window, FilterSplit(), read_since=read_since)


def stored_in(ledger: SqlLedger) -> set[str]:
    """Return the ids that a ledger holds."""
    return {entry.run.run_id for entry in ledger.entries(Scope(APP, WIDE), with_details=False)}


@pytest.mark.fault(9, 10, 12)
@settings(max_examples=15)
@given(lists, changes_of_rows, lies_of(list(SAID)))
def test_no_lie_at_a_second_reading_gets_a_certificate_without_a_run(
    seconds: list[int], changes: list[tuple[str, int]], lies: list[Lie]
) -> None:
    """What an earlier collection proved does not stand in for what is read now."""
    source, ledger = collected_before(seconds, changes)
    source.lies = lies
    certificate = again(source, ledger, NOW + timedelta(hours=1))
    assert not certificate.certified or source.throughout <= stored_in(ledger)


@pytest.mark.fault(10)
@settings(max_examples=25)
@given(seconds=lists, changes=changes_of_rows, log_list=st.booleans())
def test_what_a_comparison_trusts_is_what_it_saw(
    seconds: list[int], changes: list[tuple[str, int]], *, log_list: bool
) -> None:
    """A run that is left out is not among the newest, and another of its status is gone for it."""
    source, ledger = collected_before(seconds, changes, log_list=log_list)
    before = stored_in(ledger)
    certificate = again(source, ledger, log_list=log_list)
    assert certificate.certified
    left_out = source.throughout - stored_in(ledger)
    if not left_out:
        return
    assert source.requests <= 3
    newest = sorted(source.runs, key=lambda run: run.listed_at, reverse=True)[: 100 if log_list else 4]
    oldest = newest[-1].listed_at
    assert not left_out & {run.run_id for run in newest if run.listed_at > oldest}
    assert certificate.distinct == len(source.runs) == len(before)
    assert not any(run.source_status == "failed" for run in source.runs if run.run_id in left_out)


@dataclass
class LyingCursor(FakeSource):
    """A cursor list that hides and repeats runs, while the counts are right."""

    listed: Sequence[Run] = ()

    def cursor_page(self, cursor: str | None) -> CursorPage:
        return FakeSource(list(self.listed)).cursor_page(cursor)


@pytest.mark.fault(9, 10, 12)
@settings(max_examples=30)
@given(
    st.lists(st.integers(-200, 800), min_size=1, max_size=60),
    st.lists(st.tuples(st.sampled_from(["hide", "repeat"]), st.integers(0, 999)), max_size=6),
)
def test_no_lie_of_the_cursor_list_gets_a_certificate_without_a_run(
    seconds: list[int], lies: list[tuple[str, int]]
) -> None:
    """A run that is listed at its own time and at another does not stand in for one that is hidden."""
    runs = [make_run(number, second) for number, second in enumerate(seconds)]
    shown = {pick % len(runs) for kind, pick in lies if kind == "repeat"}
    hidden = {pick % len(runs) for kind, pick in lies if kind == "hide"} - shown
    listed = [run for number, run in enumerate(runs) if number not in hidden]
    for kind, pick in lies:
        if kind == "repeat":
            at = WINDOW.after_at + timedelta(seconds=pick % 600)
            listed.append(replace(runs[pick % len(runs)], listed_at=at))
    source = LyingCursor(runs, log_list=False, listed=listed)
    ledger = SqlLedger.open("memory://", {"dify": decode})
    certificate = Collector(source, ledger, lambda: NOW, SilentProgress()).collect(WINDOW, FilterSplit())
    stored = {entry.run.run_id for entry in ledger.entries(Scope(APP, WINDOW), with_details=False)}
    inside = {run.run_id for run in runs if run.listed_at in WINDOW}
    assert not certificate.certified or inside <= stored
    if not lies:
        assert certificate.certified or "quiet" in certificate.reason
