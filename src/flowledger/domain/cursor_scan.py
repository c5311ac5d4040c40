"""The cursor walk: a list without bounds and without total, newest first, cut to a window and proved.

Chatflow apps have no log rows; the console lists their runs by a cursor over microseconds
(docs/dify-api.md "Console").
Its rows do not shift, but two of the same microsecond at a page's border would hide one.  The proof uses
the source's count of the runs since an instant: at two instants around the window, each in a *quiet*
stretch without runs, the counts' difference must equal the rows seen between them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowledger.domain.window_scan import Verdict
from flowledger.domain.windows import Window

QUIET = 5
"""Seconds without a run on either side of an instant, so that neither clock can tip a run over it."""
PAGES_BEYOND = 10
"""How many pages older than the window are read in search of a quiet stretch."""
MAX_REPEATS = 2
"""How often a page is asked for again because it contradicts itself, which may pass."""
MAX_PAGES = 50_000
"""How many pages are read at most: five million runs since the window began."""
MAX_PAGES_OF_A_SECOND = 500
"""How many pages in a row may hold runs of one second only, for a source that invents runs without end."""


@dataclass(frozen=True, slots=True)
class RunCounts:
    """How many runs the source counts since an instant: all of them, and by its words for some statuses."""

    total: int
    by_status: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CursorWalk:
    """What was seen so far: ``newer`` and ``older`` are the quiet instants (unix times) around the window.

    ``between`` counts the rows seen since ``newer``, ``inside`` those within the window, ``last`` is the
    second of the row seen last, ``beyond`` the pages read past the window, ``idle`` the pages in a row that
    held runs of one second only.  ``given_up`` says why reading ended before the list did; ``doubt`` is the
    first contradiction that asking again (``repeats`` times in a row) did not mend.
    """

    window: Window
    newer: int
    older: int | None = None
    between: int = 0
    inside: int = 0
    last: int | None = None
    beyond: int = 0
    pages: int = 0
    idle: int = 0
    repeats: int = 0
    given_up: str = ""
    doubt: str = ""

    @property
    def finished(self) -> bool:
        """Return whether no older page is needed."""
        return bool(self.given_up) or self.older is not None or self.beyond >= PAGES_BEYOND


def begin(window: Window) -> CursorWalk:
    """Start at the newest row, whatever lies between it and the window."""
    return CursorWalk(window, newer=window.before + 1)


def is_repeated(walk: CursorWalk, problem: str) -> bool:
    """Return whether a page that contradicts itself is to be asked for once more."""
    return bool(problem) and walk.repeats < MAX_REPEATS


def repeat(walk: CursorWalk) -> CursorWalk:
    """Return the walk before the same page is asked for once more."""
    return replace(walk, repeats=walk.repeats + 1)


def observe(walk: CursorWalk, seconds: Sequence[int], *, is_last: bool, problem: str = "") -> CursorWalk:
    """Take in a page of rows (their seconds, newest first); ``is_last`` says that no older page follows.

    ``problem`` is why the page cannot be right: its rows count, but nothing is proved any more.
    """
    is_idle = bool(seconds) and seconds[0] == seconds[-1] == walk.last
    walk = replace(
        walk,
        pages=walk.pages + 1,
        idle=walk.idle + 1 if is_idle else 0,
        repeats=0,
        doubt=walk.doubt or (f"the source {problem}" if problem else ""),
    )
    if walk.idle >= MAX_PAGES_OF_A_SECOND or walk.pages >= MAX_PAGES:
        return replace(walk, given_up=f"the list does not end: {walk.pages} pages were read")
    if seconds and walk.last is not None and seconds[0] > walk.last:
        return stall(walk)
    for second in seconds:
        walk = _observe_row(walk, second)
        if walk.older is not None:
            return walk
    if is_last:
        oldest = walk.window.after if walk.last is None else min(walk.last, walk.window.after)
        return replace(walk, older=oldest - QUIET - 1)
    return replace(walk, beyond=walk.beyond + (walk.last is not None and walk.last < walk.window.after))


def stall(walk: CursorWalk) -> CursorWalk:
    """Return the walk given up: the source gave a page again instead of the one after it."""
    return give_up(walk, "the list repeats a page instead of going on")


def give_up(walk: CursorWalk, reason: str) -> CursorWalk:
    """Return the walk ended before the list was."""
    return replace(walk, given_up=reason)


def _observe_row(walk: CursorWalk, second: int) -> CursorWalk:
    """Look for quiet instants in the stretch above a row, then count the row."""
    window = walk.window
    low = second + QUIET + 1
    high = max(low, window.before + 1) if walk.last is None else walk.last - QUIET
    if max(low, window.before + 1) <= high:
        walk = replace(walk, newer=max(low, window.before + 1), between=0)
    if low <= min(high, window.after):
        return replace(walk, older=min(high, window.after))
    inside = window.after <= second <= window.before
    return replace(walk, between=walk.between + 1, inside=walk.inside + inside, last=second)


def verdict(walk: CursorWalk, count_since: Callable[[int], RunCounts | None]) -> Verdict:
    """Compare the rows seen with the source's counts at both quiet instants."""
    if walk.given_up or walk.doubt:
        return Verdict(False, walk.given_up or walk.doubt, None, walk.inside)
    if walk.older is None:
        reason = f"no quiet stretch of {2 * QUIET} s before the window to count from"
        return Verdict(False, reason, None, walk.inside)
    since_older, since_newer = count_since(walk.older), count_since(walk.newer)
    if since_older is None or since_newer is None:
        return Verdict(
            False,
            "the console counts no runs, or counts that contradict themselves, so nothing can be compared",
            None,
            walk.inside,
        )
    expected = since_older.total - since_newer.total - walk.between + walk.inside
    if expected == walk.inside:
        return Verdict(True, "complete by the console's counts around the window", expected, walk.inside)
    reason = f"the console counts {expected} runs and {walk.inside} were seen"
    return Verdict(False, reason, expected, walk.inside)


def quiet_after(window: Window, seconds: Sequence[int]) -> int:
    """Return the first quiet instant after a window, of which runs at these ``seconds`` are known."""
    instant = window.before + 1
    for second in sorted(seconds):
        if instant - QUIET - 1 < second < instant + QUIET:
            instant = second + QUIET + 1
    return instant


def quiet_before(window: Window, seconds: Sequence[int]) -> int:
    """Return the last quiet instant before a window begins, of which runs at these ``seconds`` are known."""
    instant = window.after
    for second in sorted(seconds, reverse=True):
        if instant - QUIET - 1 < second < instant + QUIET:
            instant = second - QUIET
    return instant
