"""Which certified windows are still as they were, by a few requests for all of them together.

A total alone does not tell a window from one in which a run is gone and another has come.  So a window is
trusted only where all of this agrees with what was read: the ledger still holds the very runs; the source's
total; its newest page, run by run; and its totals of two statuses, each with a page that is another one each
time.  Of a window that was read as parts, or as a part, of others the totals of statuses are left out, until
it has a certificate of its own.  What all this does not show (a change among older runs that leaves the
totals as they were) is found when the window is read again, which ``read_since`` decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from flowledger.domain import window_scan as walks
from flowledger.domain.certificates import Certificate, Scope, digest_of
from flowledger.domain.run_filters import FilterSplit, RunFilter
from flowledger.domain.windows import LATEST, Window
from flowledger.ports import Ledger, LogPage, RunSource
from flowledger.services import counted_windows
from flowledger.services.held_windows import HeldWindows, is_intact

MOST_REQUESTS = 3
"""What comparing a window with what was read of it costs at most."""
COUNTED_STATUSES = ("failed", "succeeded")
"""The source's words for how most runs end; a source that cannot filter by one is not asked for it."""
EVER = Window(0, LATEST)


@dataclass(frozen=True, slots=True)
class ProvedWindows:
    """Certificates that hold still, oldest first, of windows that do not overlap.

    ``compared`` says that together they are the whole scope, and that it was compared as one just now.
    """

    certificates: Sequence[Certificate] = ()
    compared: bool = False

    @property
    def rows(self) -> int:
        """How many rows the source lists in them."""
        return sum(certificate.distinct for certificate in self.certificates)

    @property
    def reason(self) -> str:
        """How they were proved; what one notes of its rows holds for it alone."""
        first, *others = self.certificates
        return _without_notes(first.reason) if others else first.reason


def proved_windows(
    source: RunSource,
    ledger: Ledger,
    scope: Scope,
    split: FilterSplit,
    *,
    read_since: datetime | None = None,
    requests: int = MOST_REQUESTS,
) -> ProvedWindows:
    """Return the certificates of a scope, and of windows inside it, that still hold.

    Those whose windows were last read before ``read_since`` are left out.  A scope that nothing has changed
    in costs at most so many ``requests``; of one that has, the comparisons of its parts cost less than half
    of what reading them costs.  What a page holds is not compared but read.
    """
    own, others = _candidates(ledger, scope, read_since)
    candidates = [own, *others] if own else others
    outermost = _outermost(candidates)
    if candidates and counted_windows.is_listed_by_cursor(ledger, scope):
        held = HeldWindows(ledger, outermost)
        is_whole = len(list(_spans(outermost))) == 1 and held.window == scope.window
        if is_whole and counted_windows.are_unchanged(source, held, requests):
            return ProvedWindows(outermost, compared=True)
        return ProvedWindows()
    rows = sum(certificate.distinct for certificate in outermost)
    budget = max(requests, rows // (2 * walks.PAGE_ROWS))
    briefly = None if own else scope.window
    comparison = _Comparison(source, ledger, split.remote, requests, budget, briefly)
    certificates = list(comparison.unchanged(candidates))
    return ProvedWindows(certificates, compared=comparison.matched == scope.window)


def reply_of(page: LogPage) -> walks.Reply:
    """Return what the walk needs to know of a page."""
    rows = [
        walks.Row(int(run.listed_at.timestamp()), run.log_id or run.run_id, run.identity) for run in page.rows
    ]
    return walks.Reply(rows, page.total, page.has_more, page.page, page.limit, page.problem)


def _candidates(
    ledger: Ledger, scope: Scope, read_since: datetime | None
) -> tuple[Certificate | None, list[Certificate]]:
    """Return the scope's own certificate, if it holds, and others that may prove it or parts of it.

    Of a filtered scope only its own: the rows of another are no members of this one.  Where there is none,
    that of a longer window proves as much of it.
    """
    fresh = [
        each
        for each in ledger.certificates(scope.app, EVER, scope.query)
        if _is_read_since(each, read_since) and (not scope.query or each.scope == scope)
    ]
    own = next((each for each in fresh if each.scope == scope and is_intact(ledger, each)), None)
    around = [each for each in fresh if each.scope != scope and each.scope.window.covers(scope.window)]
    others = [each for each in fresh if each.scope != scope and scope.window.covers(each.scope.window)]
    if own is None and around:
        newest = max(around, key=_read_at)
        runs = ledger.run_set(scope, collected_since=newest.read_at)
        reason = _without_notes(newest.reason)
        others.append(
            replace(newest, scope=scope, reason=reason, expected=runs.count, distinct=runs.count, runs=runs)
        )
    return own, others


def _without_notes(reason: str) -> str:
    return reason.partition(";")[0]


def _is_read_since(certificate: Certificate, read_since: datetime | None) -> bool:
    if not certificate.certified or certificate.read_at is None or certificate.runs is None:
        return False
    return read_since is None or certificate.read_at >= read_since


def _read_at(certificate: Certificate) -> datetime:
    return certificate.read_at or certificate.at


def _outermost(certificates: Iterable[Certificate]) -> list[Certificate]:
    """Choose those that do not overlap an earlier one, of two that begin together the longer."""
    chosen: list[Certificate] = []
    order = sorted(certificates, key=lambda each: (each.scope.window.after, -each.scope.window.before))
    for certificate in order:
        if not chosen or certificate.scope.window.after > chosen[-1].scope.window.before:
            chosen.append(certificate)
    return chosen


def _spans(certificates: Sequence[Certificate]) -> Iterator[Sequence[Certificate]]:
    """Yield those whose windows follow each other without a gap together."""
    span: list[Certificate] = []
    for certificate in certificates:
        if span and span[-1].scope.window.before + 1 < certificate.scope.window.after:
            yield span
            span = []
        span.append(certificate)
    if span:
        yield span


@dataclass(slots=True)
class _Comparison:
    """Compares certified windows with the source; ``budget`` is how many requests are left to all of it.

    ``briefly`` is a window that one request is spent on, ``matched`` the one that was last found unchanged.
    """

    source: RunSource
    ledger: Ledger
    remote: Mapping[str, str]
    requests: int
    budget: int
    briefly: Window | None
    matched: Window | None = None

    def unchanged(self, certificates: Sequence[Certificate]) -> Iterator[Certificate]:
        """Yield those that hold, longer ones before those inside them; what differs is halved."""
        for span in _spans(_outermost(certificates)):
            yield from self._unchanged_in(span, certificates)

    def _unchanged_in(
        self, span: Sequence[Certificate], certificates: Sequence[Certificate]
    ) -> Iterator[Certificate]:
        held = HeldWindows(self.ledger, span)
        if held.rows <= walks.PAGE_ROWS or self.budget < 1:
            return
        if self._is_unchanged(held):
            self.matched = held.window
            yield from span
        elif len(span) > 1:
            middle = len(span) // 2
            yield from self._unchanged_in(span[:middle], certificates)
            yield from self._unchanged_in(span[middle:], certificates)
        else:
            inside = [each for each in certificates if held.window.covers(each.scope.window)]
            yield from self.unchanged([each for each in inside if each.scope.window != held.window])

    def _is_unchanged(self, held: HeldWindows) -> bool:
        if not held.are_intact():
            return False
        page = self._page(held.window, self.remote)
        if page is None or page.total != held.rows or not held.begin_with(page.rows):
            return False
        counts = () if held.window == self.briefly else self._by_status()[: self.requests - 1]
        return all(self._is_counted(held, word, remote) for word, remote in counts)

    def _page(self, window: Window, remote: Mapping[str, str], number: int = 1) -> LogPage | None:
        """Return a page, 1 for the newest; None where it contradicts itself, and so compares with nothing."""
        self.budget -= 1
        ask = walks.Ask(window, number)
        page = self.source.page(window, remote, page=number, limit=ask.limit)
        return None if walks.contradiction(ask, reply_of(page)) else page

    def _by_status(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        """Return what to filter by for each status that the source counts, beside the filter of the scope."""
        splits = [(word, self.source.split(RunFilter(status=word))) for word in COUNTED_STATUSES]
        return [
            (word, {**self.remote, **split.remote})
            for word, split in splits
            if split.remote and not self.remote.keys() & split.remote.keys()
        ]

    def _is_counted(self, held: HeldWindows, word: str, remote: Mapping[str, str]) -> bool:
        """Compare a total, and a page: another one each time, and not the newest where there are more."""
        pages = -(-held.in_status(word) // walks.PAGE_ROWS)
        number = pages - digest_of([str(held.certificates[-1].at)]).digest % (pages - 1) if pages > 1 else 1
        page = self._page(held.window, remote, number)
        return page is not None and held.fit_count(word, page.total) and held.have(page.rows)
