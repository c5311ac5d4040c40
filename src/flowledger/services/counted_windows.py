"""Whether certified windows of a list without bounds are as they were, by the source's counts of runs.

Such a list (a Dify chatflow's) is read from the newest run on, however far away the window is.  The source's
counts since two instants around it cost two requests, and tell the statuses as well.
"""

from collections.abc import Iterable, Mapping

from flowledger.domain import cursor_scan as cursors
from flowledger.domain.certificates import Scope
from flowledger.domain.runs import Run, RunStatus
from flowledger.domain.windows import LATEST, Window
from flowledger.errors import SourceRefusedError
from flowledger.ports import Ledger, RunSource
from flowledger.services.held_windows import HeldWindows

AROUND_S = 600
"""How far from a window an instant without runs close by is looked for."""
COUNTS = 2
"""How many requests the counts cost; one more shows the newest runs."""


def is_listed_by_cursor(ledger: Ledger, scope: Scope) -> bool:
    """Return whether the runs of a scope came from a list whose rows have no ids of their own."""
    runs = (entry.run for entry in ledger.entries(scope, with_details=False))
    newest = next((run for run in runs if not run.gone), None)
    return newest is not None and newest.log_id in (None, newest.run_id)


def are_unchanged(source: RunSource, held: HeldWindows, requests: int) -> bool:
    """Return whether the source counts the runs that are held, and shows them as the newest.

    The newest runs are asked for only where three ``requests`` may be spent.
    """
    if requests < COUNTS or not source.lists_runs() or not held.are_intact():
        return False
    try:
        return (requests == COUNTS or _shows_newest(source, held)) and _counts_as_many(source, held)
    except SourceRefusedError:
        # Not every release counts; reading says what is the matter.
        return False


def _shows_newest(source: RunSource, held: HeldWindows) -> bool:
    page = source.cursor_page(None)
    rows = [run for run in page.rows if run.listed_at in held.window]
    return not page.problem and (not rows or held.begin_with(rows))


def _counts_as_many(source: RunSource, held: HeldWindows) -> bool:
    window = held.window
    before = list(_runs_in(held, Window(max(0, window.after - AROUND_S), window.after + cursors.QUIET)))
    after = list(_runs_in(held, Window(max(0, window.before - cursors.QUIET), _at_most(window.before))))
    older = cursors.quiet_before(window, [int(run.listed_at.timestamp()) for run in before])
    newer = cursors.quiet_after(window, [int(run.listed_at.timestamp()) for run in after])
    if older < window.after - AROUND_S or newer > window.before + AROUND_S:
        return False
    since_older, since_newer = source.count_since(older), source.count_since(newer)
    if since_older is None or since_newer is None:
        return False
    counted = Window(older, max(older, newer - 1))
    beside = [
        run
        for run in {each.identity: each for each in (*before, *after)}.values()
        if run.listed_at in counted and run.listed_at not in window
    ]
    if since_older.total - since_newer.total != held.rows + len(beside):
        return False
    statuses = _ended(since_older.by_status)
    return all(
        held.fit_count(word, count - since_newer.by_status.get(word, 0), beside)
        for word, count in statuses.items()
    )


def _at_most(second: int) -> int:
    return min(LATEST, second + AROUND_S)


def _runs_in(held: HeldWindows, window: Window) -> Iterable[Run]:
    app = held.certificates[0].scope.app
    return (entry.run for entry in held.ledger.entries(Scope(app, window), with_details=False))


def _ended(by_status: Mapping[str, int]) -> Mapping[str, int]:
    """Leave out the statuses of open runs, which change by themselves."""
    still_open = {status.value for status in RunStatus if status.is_open}
    return {word: count for word, count in by_status.items() if word not in still_open}
