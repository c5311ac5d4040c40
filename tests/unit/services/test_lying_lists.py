"""Whatever a list does between and within its answers: no certificate where a run is not stored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from fake_source import APP, NOW, START, FakeSource, decode, make_run
from hypothesis import given, settings
from hypothesis import strategies as st

from flowledger.domain.certificates import Scope
from flowledger.domain.run_filters import FilterSplit
from flowledger.domain.runs import Run
from flowledger.domain.windows import Window
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import CursorPage, LogPage, SilentProgress
from flowledger.services.collect import Collector

WINDOW = Window(START, START + 599)
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

    def page(self, window: Window, remote: object, *, page: int = 1, limit: int = 100) -> LogPage:
        due = [(kind, pick) for at, kind, pick in self.lies if at == self.requests]
        for kind, pick in due:
            self.change(kind, pick)
        answer = super().page(window, {}, page=page, limit=limit)
        for kind, pick in due:
            answer = SAID[kind](answer, pick) if kind in SAID else answer
        return answer

    def change(self, kind: str, pick: int) -> None:
        """Change the rows themselves."""
        place = pick % max(1, len(self.runs))
        if kind == "appear":
            self.runs.append(make_run(1000 + len(self.runs), second=pick % 600))
        elif kind == "vanish" and self.runs:
            self.throughout.discard(self.runs.pop(place).run_id)
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
