"""The walk against a model of the source that behaves as badly as real ones were measured to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.window_scan import (
    MAX_PASSES,
    MAX_REPEATS,
    MAX_ROUNDS,
    Ask,
    Reply,
    Row,
    Strip,
    Verdict,
    begin,
    observe,
    plan,
)
from flowledger.domain.windows import Window

WINDOW = Window(1000, 1059)
LIMIT = 5


@dataclass
class Source:
    """A list ordered by second only: ties come back in another order for each request."""

    rows: dict[str, int]
    random: Random = field(default_factory=lambda: Random(7))
    between: Callable[["Source", int], None] = lambda _source, _turn: None
    asked: list[Ask] = field(default_factory=list)
    ever: set[str] = field(default_factory=set)
    throughout: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ever = set(self.rows)
        self.throughout = set(self.rows)

    def answer(self, ask: Ask) -> Reply:
        self.between(self, len(self.asked))
        self.ever |= set(self.rows)
        self.throughout &= set(self.rows)
        self.asked.append(ask)
        inside = [
            Row(second, log_id)
            for log_id, second in self.rows.items()
            if ask.window.after <= second <= ask.window.before
        ]
        self.random.shuffle(inside)
        inside.sort(key=lambda row: -row.second)
        start = (ask.page - 1) * ask.limit
        return Reply(inside[start : start + ask.limit], len(inside))


def walk_through(
    source: Source, known: list[Strip] | None = None, at_most: int = 3000, parts: int = 1
) -> tuple[Verdict, set[str]]:
    """Walk to the end, with up to so many questions under way, whose answers come in any order.

    Give the verdict and the ids seen.
    """
    walk, seen = begin(WINDOW, known or [], limit=LIMIT, parts=parts), set[str]()
    under_way: dict[Ask, Reply] = {}
    while not isinstance(steps := plan(walk), Verdict):
        assert len(source.asked) < at_most, "the walk must end"
        for step in [step for step in steps[:parts] if step not in under_way]:
            if not under_way or source.random.random() < 0.7:
                under_way[step] = source.answer(step)
        step = source.random.choice(list(under_way))
        reply = under_way.pop(step)
        seen |= {row.log_id for row in reply.rows}
        walk = observe(walk, step, reply)
    return steps, seen


at_once = st.sampled_from([1, 2, 4])
seconds = st.integers(WINDOW.after, WINDOW.before)
row_sets = st.lists(seconds, max_size=60).map(lambda times: {f"r{i}": t for i, t in enumerate(times)})


@pytest.mark.fault(12)
@given(row_sets, st.integers(), at_once)
def test_a_quiet_source_is_certified_with_exactly_its_rows(
    rows: dict[str, int], seed: int, parts: int
) -> None:
    """For any rows with any ties, nothing is lost and nothing doubled."""
    source = Source(rows, Random(seed))
    verdict, seen = walk_through(source, parts=parts)
    assert verdict.certified
    assert seen == set(rows)
    assert (verdict.expected, verdict.distinct) == (len(rows), len(rows))


changes = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["arrive", "vanish"]), seconds, st.integers(0, 10_000)),
    max_size=25,
)


@pytest.mark.fault(10)
@given(row_sets, changes, st.integers(), at_once)
def test_a_moving_source_is_certified_only_with_all_that_stayed(
    rows: dict[str, int], moves: list[tuple[int, str, int, int]], seed: int, parts: int
) -> None:
    """Rows arrive and vanish between requests: a certified window holds every row that was there throughout,
    and no row that never was."""

    def between(source: Source, turn: int) -> None:
        touched: set[tuple[int, str]] = set()
        for at, kind, second, pick in moves:
            if at != turn:
                continue
            if kind == "arrive":
                target = second
            elif source.rows:
                victim = sorted(source.rows)[pick % len(source.rows)]
                target = source.rows[victim]
            else:
                continue
            # Within one past second rows do not arrive and vanish between the same two requests.
            if (target, "vanish" if kind == "arrive" else "arrive") in touched:
                continue
            touched.add((target, kind))
            if kind == "arrive":
                source.rows[f"n{turn}-{second}-{pick}"] = second
            else:
                del source.rows[victim]

    source = Source(dict(rows), Random(seed), between)
    verdict, seen = walk_through(source, parts=parts)
    assert seen <= source.ever
    if verdict.certified:
        assert source.throughout <= seen
        assert verdict.expected == verdict.distinct


@given(row_sets, st.integers(), at_once)
def test_a_source_at_rest_again_is_certified(rows: dict[str, int], seed: int, parts: int) -> None:
    """Changes that stop after a few requests do not keep the window from its certificate."""

    def between(source: Source, turn: int) -> None:
        if turn in (1, 3):
            source.rows[f"n{turn}"] = WINDOW.before - turn
        if turn == 2:
            source.rows.pop("r0", None)

    verdict, _ = walk_through(Source(dict(rows), Random(seed), between), parts=parts)
    assert verdict.certified


@given(row_sets, st.lists(seconds, min_size=1, max_size=4), st.integers())
def test_known_strips_are_compared_not_read(rows: dict[str, int], cuts: list[int], seed: int) -> None:
    """Strips from earlier certificates that still agree cost one request together."""
    edges = sorted({WINDOW.after, *cuts, WINDOW.before + 1})
    known = [
        Strip(Window(a, b - 1), sum(a <= second < b for second in rows.values())) for a, b in pairwise(edges)
    ]
    source = Source(rows, Random(seed))
    verdict, _ = walk_through(source, known)
    assert verdict.certified
    assert len(source.asked) == 1


@given(row_sets, st.lists(st.tuples(seconds, seconds, st.integers(0, 9)), max_size=5), st.integers(), at_once)
def test_wrong_known_strips_do_no_harm(
    rows: dict[str, int], strips: list[tuple[int, int, int]], seed: int, parts: int
) -> None:
    """Whatever was believed before, the end is right."""
    known = [Strip(Window(min(a, b), max(a, b)), count) for a, b, count in strips]
    verdict, _ = walk_through(Source(rows, Random(seed)), known, parts=parts)
    assert verdict.certified
    assert verdict.distinct == len(rows)


def test_one_page_is_its_own_proof() -> None:
    """A window that fits one page costs one request."""
    source = Source({"a": 1000, "b": 1030})
    assert walk_through(source)[0] == Verdict(True, "complete", 2, 2)
    assert source.asked == [Ask(WINDOW, 1, LIMIT)]


def test_pages_beyond_the_first_are_asked_only_of_a_crowded_second() -> None:
    """Page numbers appear only with bounds of one second."""
    rows = {f"r{i}": 1000 + i for i in range(60)} | {f"c{i}": 1030 for i in range(17)}
    source = Source(rows)
    assert walk_through(source)[0].certified
    turned = [ask for ask in source.asked if ask.page > 1]
    assert turned
    assert {ask.window for ask in turned} == {Window(1030, 1030)}


def test_a_walk_costs_about_one_request_a_page() -> None:
    """60 rows in 60 seconds at 5 a page: each page moves at least 4 rows on, and one count ends it."""
    source = Source({f"r{i}": 1000 + i for i in range(60)})
    assert walk_through(source)[0].certified
    assert len(source.asked) <= 60 / (LIMIT - 1) + 2


def test_a_long_window_is_read_side_by_side_for_few_requests_more() -> None:
    """After the first page there is something to ask in each part at once."""
    rows = [Row(1000 + i // 4, f"r{i}") for i in range(240)]
    walk = observe(
        begin(WINDOW, limit=LIMIT, parts=4), Ask(WINDOW, 1, LIMIT), Reply(rows[-1 : -LIMIT - 1 : -1], 240)
    )
    steps = plan(walk)
    assert not isinstance(steps, Verdict)
    assert [step.window for step in reversed(steps)] == [
        *(Window(1000, 1013), Window(1014, 1028), Window(1029, 1043), Window(1044, 1058))
    ]
    alone, together = (Source({f"r{i}": 1000 + i for i in range(60)}) for _ in range(2))
    walk_through(alone)
    verdict, _ = walk_through(together, parts=2)
    assert verdict.certified
    assert len(together.asked) <= len(alone.asked) + 2


def test_several_crowded_seconds_are_paged_through_side_by_side() -> None:
    """Each has its own passes; none is lost among the others."""
    rows = {f"{second}-{i}": second for second in (1005, 1025, 1045) for i in range(30)}
    for seed in range(20):
        verdict, seen = walk_through(Source(dict(rows), Random(seed)), parts=4)
        assert verdict.certified
        assert seen == set(rows)


@pytest.mark.fault(9)
def test_a_source_that_ignores_the_bounds_is_given_up() -> None:
    """A server that repeats its first page for ever ends the walk, uncertified, with the reason."""

    class Stubborn(Source):
        def answer(self, ask: Ask) -> Reply:
            return super().answer(Ask(WINDOW, 1, ask.limit))

    verdict, _ = walk_through(Stubborn({f"r{i}": 1000 + i for i in range(30)}))
    assert not verdict.certified
    assert "ignored the bounds" in verdict.reason


def test_a_source_that_counts_rows_it_does_not_give_is_given_up() -> None:
    """An empty page under a total above zero is no empty list."""
    walk = begin(WINDOW, limit=LIMIT)
    for _ in range(MAX_REPEATS + 1):
        assert not isinstance(plan(walk), Verdict)
        walk = observe(walk, Ask(WINDOW, 1, LIMIT), Reply([], 3))
    verdict = plan(walk)
    assert isinstance(verdict, Verdict)
    assert not verdict.certified
    assert "counted 3 rows and showed 0" in verdict.reason


WHOLE = [Row(1040, "a"), Row(1030, "b")]
CONTRADICTIONS = {
    "has_more where none are": Reply(WHOLE, 2, has_more=True),
    "has_more denied where some are": Reply(
        [Row(1050 - n, f"r{n}") for n in range(LIMIT)], 9, has_more=False
    ),
    "another page": Reply(WHOLE, 2, page=2),
    "another limit": Reply(WHOLE, 2, limit=20),
    "a total above the rows": Reply(WHOLE, 3),
    "a total below the rows": Reply(WHOLE, 1),
    "more rows than were asked": Reply([Row(1050 - n, f"r{n}") for n in range(LIMIT + 1)], LIMIT + 1),
    "no rows, but more": Reply([], 0, has_more=True),
    "a row twice": Reply([WHOLE[0], WHOLE[0]], 2),
    "rows newer than asked": Reply([Row(1060, "a"), Row(1030, "b")], 2),
    "rows older than asked": Reply([Row(1030, "b"), Row(999, "a")], 2),
    "rows out of order": Reply(WHOLE[::-1], 2),
    "an error beside the rows": Reply(WHOLE, 2, problem="answered with an error"),
}


@pytest.mark.fault(9)
@pytest.mark.parametrize("reply", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_answer_that_contradicts_itself_proves_nothing(reply: Reply) -> None:
    """Each redundant field has to agree; what does not agree at all tries leaves the window uncertified."""
    walk = begin(WINDOW, limit=LIMIT)
    for _ in range(300):
        if isinstance(steps := plan(walk), Verdict):
            break
        walk = observe(walk, steps[0], reply)
    assert isinstance(steps, Verdict)
    assert not steps.certified
    assert "the source " in steps.reason


@pytest.mark.parametrize("reply", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_that_passes_does_no_harm(reply: Reply) -> None:
    """The question is asked again, and the answer that agrees with itself is the proof."""
    walk = observe(begin(WINDOW, limit=LIMIT), Ask(WINDOW, 1, LIMIT), reply)
    assert plan(walk) == [Ask(WINDOW, 1, LIMIT)]
    fine = Reply(WHOLE, 2, has_more=False, page=1, limit=LIMIT)
    assert plan(observe(walk, Ask(WINDOW, 1, LIMIT), fine)) == Verdict(True, "complete", 2, 2)


@pytest.mark.fault(9)
@pytest.mark.parametrize("crowded", [True, False])
def test_a_source_that_invents_rows_without_end_is_given_up(crowded: bool) -> None:
    """Totals that grow with every answer do not keep the walk going."""
    source = Random(5)

    class Inventing(Source):
        def answer(self, ask: Ask) -> Reply:
            self.asked.append(ask)
            second = ask.window.before if crowded else source.randint(ask.window.after, ask.window.before)
            rows = [Row(second, f"{len(self.asked)}-{n}") for n in range(ask.limit)]
            return Reply(rows, ask.limit * (ask.page + 3) + len(self.asked))

    verdict, _ = walk_through(Inventing({}), at_most=3000)
    assert not verdict.certified


@pytest.mark.parametrize("phantom", [1, 50])
def test_a_total_that_never_agrees_ends_uncertified(phantom: int) -> None:
    """When the source's total cannot be met, tries are bounded and the reason tells both numbers."""

    class Boasting(Source):
        def answer(self, ask: Ask) -> Reply:
            reply = super().answer(ask)
            return Reply(reply.rows, reply.total + phantom)

    source = Boasting({f"r{i}": 1000 + i for i in range(30)})
    verdict, _ = walk_through(source)
    assert not verdict.certified
    assert len(source.asked) < 60 * MAX_ROUNDS * MAX_PASSES


@pytest.mark.fault(11)
def test_a_crowded_second_with_a_hidden_row_ends_uncertified() -> None:
    """A second whose rows can never all be seen is not certified, and it is named."""

    class Hiding(Source):
        def answer(self, ask: Ask) -> Reply:
            reply = super().answer(ask)
            return Reply([row for row in reply.rows if row.log_id != "c3"], reply.total)

    verdict, _ = walk_through(Hiding({f"c{i}": 1030 for i in range(12)}))
    assert not verdict.certified
    assert (verdict.expected, verdict.distinct) == (12, 11)
    assert "1970-01-01T00:17:10Z" in verdict.reason
