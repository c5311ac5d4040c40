"""The walk: which part of a window to ask for next, given what was seen, and when it is proved complete.

Page numbers lose rows, because rows of one second come back in another order for each page
(docs/dify-api.md "The log list").  So the walk never turns pages as a matter of course.  It asks for the
newest page of what is left; everything newer than the oldest second on that page is one atomic snapshot (a
*strip*); what is left then ends at that oldest second.  Only a second that fills a whole page is paged
through, repeatedly, until as many different rows were seen as the source counts.  At the end the source's
total for the whole window must equal the rows read; where it does not, the window is halved down to the
strips that differ, and only those are read again.

Strips do not depend on each other, so a long window can be cut into parts that are read side by side.
``plan(walk)`` gives all that may be asked now, in any order or at once, or the ``Verdict``;
``observe(walk, ask, reply)`` takes in one answer.  Both are pure.  The state grows by one strip a page, never
by rows.

An answer says several things twice: how many rows there are, whether more follow, which page it is.  Where
they do not agree (``contradiction``) it is asked for again, and if that does not help, its rows are used but
the window is never certified.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from flowledger.domain.certificates import RunSet, digest_of
from flowledger.domain.windows import Window, iso

PAGE_ROWS = 100
"""The most a source gives at once (docs/dify-api.md "The log list")."""
LEAST_PART_PAGES = 2
"""A part of a window has at least so many pages: each part costs about half a page more than one walk."""
MAX_PASSES = 12
"""How often in a row a crowded second is paged through without anything new: a pass over pages in random
order misses a given row with probability below 0.37, twelve in a row with less than 1e-5."""
MAX_PASSES_IN_ALL = 100
"""How often a crowded second is paged through at most, for a source that never stops inventing rows."""
MAX_UNSOUND = 3
"""How many crowded seconds may be given up before the whole walk is: such totals are wrong."""
MAX_REPEATS = 2
"""How often one question is asked again because its answer contradicts itself, which may pass."""
MAX_REPEATS_IN_ALL = 20
"""How many questions of a walk are asked again at most: who contradicts himself always will go on so."""
FREE_ANSWERS = 300
"""How many answers a walk may use up besides those that the source's first totals allow."""
ANSWERS_A_PAGE = 30
"""How many answers a page of the source's first totals allows: crowded seconds are paged through often."""
MAX_ROUNDS = 5
"""How often the whole window is compared and repaired before it is given up as uncertified."""
DOUBTFUL_ROUNDS = 2
"""The same of a window that cannot be certified any more, for the sake of its rows."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the source's list."""

    window: Window
    page: int = 1
    limit: int = PAGE_ROWS


@dataclass(frozen=True, slots=True)
class Row:
    """What the walk needs to know of a log row: its second (unix time), its id, and its run's identity."""

    second: int
    log_id: str
    run: str = ""

    @property
    def identity(self) -> str:
        """What the run is known by, or the row where nothing is said of the run."""
        return self.run or self.log_id


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: rows newest second first, and the source's total for the asked window.

    ``has_more``, ``page`` and ``limit`` are what it says of itself, None where it does not; ``problem`` is
    what the source's own reader found wrong with it.
    """

    rows: Sequence[Row]
    total: int
    has_more: bool | None = None
    page: int | None = None
    limit: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a walk: proved or not, why, what the source counts, how many different rows were seen."""

    certified: bool
    reason: str
    expected: int | None
    distinct: int


@dataclass(frozen=True, slots=True)
class Strip:
    """A stretch of the window that was read, and how many different rows it held then.

    ``sound`` is false for a crowded second that was given up.  ``runs`` tells the runs of the rows apart from
    others; None where the stretch was taken over from an earlier certificate.
    """

    window: Window
    count: int
    sound: bool = True
    runs: RunSet | None = None


@dataclass(frozen=True, slots=True)
class CrowdedSecond:
    """A second with more rows than a page: the rows seen while the source's total stayed the same or grew.

    ``passes`` counts those finished, ``idle`` those in a row that showed nothing new; ``fresh`` says whether
    this one did.
    """

    second: int
    page: int = 1
    passes: int = 0
    idle: int = 0
    fresh: bool = False
    total: int = 0
    rows: frozenset[Row] = frozenset()

    @property
    def window(self) -> Window:
        """The second as a window."""
        return Window(self.second, self.second)


@dataclass(frozen=True, slots=True)
class Walk:
    """The state of a walk: what is left to read (newest last), what was read, what is being compared.

    ``parts`` is how many stretches it may have open at once.  ``doubt`` is the first contradiction that
    asking again did not mend, ``repeated`` the questions that were asked again.  ``answers_left`` bounds the
    walk; ``unmeasured`` are the stretches whose first total is still to extend it.
    """

    window: Window
    left: tuple[Window, ...]
    strips: tuple[Strip, ...] = ()
    crowded: tuple[CrowdedSecond, ...] = ()
    compare: tuple[Window, ...] = ()
    rounds: int = 0
    verdict: Verdict | None = None
    limit: int = PAGE_ROWS
    parts: int = 1
    doubt: str = ""
    repeated: tuple[Ask, ...] = ()
    answers_left: int = FREE_ANSWERS
    unmeasured: tuple[Window, ...] = ()


def begin(window: Window, proved: Iterable[Strip] = (), *, limit: int = PAGE_ROWS, parts: int = 1) -> Walk:
    """Start a walk; ``proved`` strips (from earlier certificates) are compared, not read.

    Strips that overlap an earlier one, or reach out of the window, are not used.
    """
    strips: list[Strip] = []
    left: list[Window] = []
    start = window.after
    for strip in sorted(proved, key=lambda strip: (strip.window.after, -strip.window.before)):
        if strip.window.after < start or not window.covers(strip.window):
            continue
        if strip.window.after > start:
            left.append(Window(start, strip.window.after - 1))
        strips.append(strip)
        start = strip.window.before + 1
    if start <= window.before:
        left.append(Window(start, window.before))
    unmeasured = (*left, window) if strips else tuple(left)
    walk = Walk(window, tuple(left), tuple(strips), limit=limit, parts=parts, unmeasured=unmeasured)
    return _compare_when_read(walk)


def plan(walk: Walk) -> Sequence[Ask] | Verdict:
    """Return the questions that may be asked now, the most urgent first, or the verdict.

    What has been asked stays in the plan until its answer was observed.
    """
    if walk.verdict:
        return walk.verdict
    crowded = [Ask(each.window, each.page, walk.limit) for each in walk.crowded]
    if crowded or walk.left:
        return [*crowded, *(Ask(window, 1, walk.limit) for window in reversed(walk.left))]
    target = walk.compare[-1]
    # A count alone is ten times cheaper for the source than a page (docs/dify-api.md "Timing and load").
    return [Ask(target, 1, 1 if _rows_in(walk, target) > walk.limit else walk.limit)]


def observe(walk: Walk, ask: Ask, reply: Reply) -> Walk:
    """Take in the answer to one question of the plan."""
    walk = _measured(walk, ask, reply)
    if walk.answers_left < 0:
        return _uncertified(walk, _endless(walk))
    if problem := contradiction(ask, reply):
        repeats = walk.repeated.count(ask)
        if repeats < MAX_REPEATS and len(walk.repeated) < MAX_REPEATS_IN_ALL:
            return replace(walk, repeated=(*walk.repeated, ask))
        walk = replace(walk, doubt=walk.doubt or problem)
    if _is_outside(ask, reply):
        return _uncertified(walk, walk.doubt)
    for crowded in walk.crowded:
        if crowded.window == ask.window:
            return _compare_when_read(_observe_crowded(walk, crowded, reply))
    if ask.window in walk.left:
        return _compare_when_read(_observe_page(walk, ask.window, reply))
    return _compare_when_read(_observe_comparison(walk, walk.compare[-1], reply))


def contradiction(ask: Ask, reply: Reply) -> str:
    """Return what in an answer does not agree with the question or with itself; empty where all does."""
    seconds = [row.second for row in reply.rows]
    rest = max(0, reply.total - (ask.page - 1) * ask.limit)
    shown, promise = len(seconds), "more" if reply.has_more else "none"
    place = f"page {ask.page} of {ask.limit} rows each"
    problems = {
        "answered with rows outside what was asked, as if it ignored the bounds": _is_outside(ask, reply),
        reply.problem: bool(reply.problem),
        f"answered with page {reply.page}, not {ask.page}": reply.page not in (None, ask.page),
        f"answered with a limit of {reply.limit}, not {ask.limit}": reply.limit not in (None, ask.limit),
        "answered with rows out of the order of their times": any(a < b for a, b in pairwise(seconds)),
        "listed one row twice on a page": _distinct(reply.rows) != shown,
        f"counted {reply.total} rows and showed {shown} on {place}": shown != min(ask.limit, rest),
        f"counted {reply.total} rows and said that {promise} follow {place}": (
            reply.has_more not in (None, rest > ask.limit)
        ),
    }
    return next((f"the source {text}, for {ask.window}" for text, is_so in problems.items() if is_so), "")


def _is_outside(ask: Ask, reply: Reply) -> bool:
    return any(not ask.window.after <= row.second <= ask.window.before for row in reply.rows)


def _measured(walk: Walk, ask: Ask, reply: Reply) -> Walk:
    """Return the walk with one answer less, or with more where it is the first of a stretch."""
    allowed = walk.answers_left - 1
    if ask.window not in walk.unmeasured:
        return replace(walk, answers_left=allowed)
    rest = tuple(window for window in walk.unmeasured if window != ask.window)
    return replace(walk, answers_left=allowed + reply.total * ANSWERS_A_PAGE // walk.limit, unmeasured=rest)


def _endless(walk: Walk) -> str:
    return f"the source answered with far more pages than it counted rows for at first, for {walk.window}"


def rows_read(walk: Walk) -> int:
    """Return how many different rows there are in the stretches the walk has finished."""
    return sum(strip.count for strip in walk.strips)


def reopen(walk: Walk, windows: Iterable[Window]) -> Walk:
    """Return a finished walk with stretches of it, of which something else is stored, to be read again."""
    return _read_again(replace(walk, verdict=None, rounds=0), windows)


def give_up(walk: Walk, reason: str) -> Walk:
    """Return a walk ended before it proved anything."""
    return _uncertified(walk, reason)


def _compare_when_read(walk: Walk) -> Walk:
    """Return the walk with a comparison of the whole window begun, once nothing is left to read."""
    if walk.verdict or walk.crowded or walk.left or walk.compare:
        return walk
    return replace(walk, compare=(walk.window,), rounds=walk.rounds + 1)


def _observe_page(walk: Walk, window_read: Window, reply: Reply) -> Walk:
    rest = tuple(window for window in walk.left if window != window_read)
    distinct = _distinct(reply.rows)
    if distinct == reply.total:
        return _read_whole(replace(walk, left=rest), window_read, reply)
    if not reply.rows:
        return _uncertified(walk, f"the source counts {reply.total} rows in {window_read} and gives none")
    oldest = min(row.second for row in reply.rows)
    if oldest < window_read.before:
        newer = Window(oldest + 1, window_read.before)
        strip = _strip_of(newer, [row for row in reply.rows if row.second > oldest])
        pieces = min(walk.parts - len(rest), (reply.total - strip.count) // (LEAST_PART_PAGES * walk.limit))
        left = sorted(
            (*rest, *_cut(Window(window_read.after, oldest), pieces)), key=lambda window: window.after
        )
        return replace(walk, left=tuple(left), strips=(*walk.strips, strip))
    older = (Window(window_read.after, oldest - 1),) if oldest > window_read.after else ()
    return replace(walk, left=(*rest, *older), crowded=(*walk.crowded, CrowdedSecond(oldest)))


def _cut(window: Window, pieces: int) -> Iterator[Window]:
    """Cut a window into equally long pieces, at least one."""
    seconds = window.before - window.after + 1
    pieces = max(1, min(pieces, seconds))
    starts = [window.after + number * seconds // pieces for number in range(pieces + 1)]
    for start, following in pairwise(starts):
        yield Window(start, following - 1)


def _read_whole(walk: Walk, window_read: Window, reply: Reply) -> Walk:
    """One page held the whole of what was asked: an atomic proof by itself."""
    walk = replace(walk, strips=(*walk.strips, _strip_of(window_read, reply.rows)))
    return _proved(walk, window_read, reply.total)


def _strip_of(window: Window, rows: Iterable[Row], *, sound: bool = True) -> Strip:
    once = {row.log_id: row.identity for row in rows}
    return Strip(window, len(once), sound, digest_of(set(once.values())))


def _observe_crowded(walk: Walk, crowded: CrowdedSecond, reply: Reply) -> Walk:
    # A smaller total than before: some of these rows may be gone, and would stand in for one not read yet.
    earlier = frozenset() if reply.total < crowded.total else crowded.rows
    fresh = crowded.fresh or not crowded.rows.issuperset(reply.rows)
    rows = earlier.union(reply.rows)
    if _distinct(rows) == reply.total:
        return _read_crowded(walk, _strip_of(crowded.window, rows))
    at_end = not reply.rows or crowded.page * walk.limit >= reply.total
    if not at_end:
        onward = replace(crowded, page=crowded.page + 1, fresh=fresh, total=reply.total, rows=rows)
        return _go_on(walk, onward)
    idle = 0 if fresh else crowded.idle + 1
    passes = crowded.passes + 1
    if idle >= MAX_PASSES or passes >= MAX_PASSES_IN_ALL:
        return _read_crowded(walk, _strip_of(crowded.window, rows, sound=False))
    return _go_on(walk, CrowdedSecond(crowded.second, 1, passes, idle, False, reply.total, rows))


def _go_on(walk: Walk, onward: CrowdedSecond) -> Walk:
    crowded = (onward if each.second == onward.second else each for each in walk.crowded)
    return replace(walk, crowded=tuple(crowded))


def _read_crowded(walk: Walk, strip: Strip) -> Walk:
    crowded = tuple(each for each in walk.crowded if each.window != strip.window)
    walk = replace(walk, crowded=crowded, strips=(*walk.strips, strip))
    if sum(not strip.sound for strip in walk.strips) >= MAX_UNSOUND:
        return _uncertified(
            walk, "several seconds hold more rows than the source would show: its totals are wrong"
        )
    return walk


def _observe_comparison(walk: Walk, target: Window, reply: Reply) -> Walk:
    walk = replace(walk, compare=walk.compare[:-1])
    count = _rows_in(walk, target)
    inside = [strip for strip in walk.strips if target.covers(strip.window)]
    unsound = [strip.window for strip in inside if not strip.sound]
    if reply.total == count and not unsound:
        return _proved(walk, target, count)
    if _distinct(reply.rows) == reply.total:
        return _read_whole(_without(walk, target), target, reply)
    if target == walk.window and walk.rounds >= (DOUBTFUL_ROUNDS if walk.doubt else MAX_ROUNDS):
        return replace(walk, verdict=_counts_differ(walk, reply.total, count, unsound))
    if reply.total == count:
        return _read_again(walk, unsound)
    if len(inside) <= 1:
        return _read_again(walk, [target])
    return replace(walk, compare=(*walk.compare, *_halves(target, inside)))


def _proved(walk: Walk, target: Window, count: int) -> Walk:
    """Return the walk with its verdict where the whole window was proved, if nothing gives cause to doubt."""
    if target == walk.window:
        return replace(walk, verdict=Verdict(not walk.doubt, walk.doubt or "complete", count, count))
    return walk


def _counts_differ(walk: Walk, total: int, count: int, unsound: Sequence[Window]) -> Verdict:
    counts = (
        f"the source counts {total} rows and {count} different ones were seen,"
        f" after {walk.rounds} rounds of reading what differed"
    )
    crowded = f"second {iso(unsound[0].after)} holds more rows than a page shows at once" if unsound else ""
    reason = "; ".join(filter(None, (counts, crowded, walk.doubt)))
    return Verdict(False, reason, total, count)


def _uncertified(walk: Walk, reason: str) -> Walk:
    return replace(walk, verdict=Verdict(False, walk.doubt or reason, None, rows_read(walk)))


def _read_again(walk: Walk, windows: Iterable[Window]) -> Walk:
    for window in windows:
        walk = replace(_without(walk, window), left=(*walk.left, window))
    return walk


def _without(walk: Walk, target: Window) -> Walk:
    return replace(walk, strips=tuple(strip for strip in walk.strips if not target.covers(strip.window)))


def _halves(target: Window, inside: Sequence[Strip]) -> tuple[Window, Window]:
    """Split where as many strips lie on one side as on the other."""
    starts = sorted(strip.window.after for strip in inside)
    middle = starts[len(starts) // 2]
    return Window(target.after, middle - 1), Window(middle, target.before)


def _rows_in(walk: Walk, target: Window) -> int:
    return sum(strip.count for strip in walk.strips if target.covers(strip.window))


def _distinct(rows: Iterable[Row]) -> int:
    return len({row.log_id for row in rows})
