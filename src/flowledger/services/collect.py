"""Collect a scope's runs into the ledger, with a certificate."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from flowledger.domain import cursor_scan as cursors
from flowledger.domain import window_scan as walks
from flowledger.domain.certificates import Certificate, RunSet, Scope, digest_of, together
from flowledger.domain.history import RunKey
from flowledger.domain.run_filters import FilterSplit
from flowledger.domain.runs import Run
from flowledger.domain.window_scan import Ask, Strip, Verdict, Walk
from flowledger.domain.windows import Window
from flowledger.errors import FatalError, RetriableError
from flowledger.ports import Clock, Ledger, LogPage, Progress, RunSource
from flowledger.services.conversations import ConversationReader
from flowledger.services.proved_windows import MOST_REQUESTS, ProvedWindows, proved_windows, reply_of

BATCH_ROWS = 500
"""Rows kept in one transaction: large enough to be cheap, small enough to lose little when killed."""
MAX_READINGS = 4
"""How often stretches are read of which the ledger holds something else than the list showed."""
MAX_TIME = timedelta(hours=6)
"""How long a list is read at most, for a source that goes on without end."""
MAX_IDS_BESIDE = 100_000
"""How many ids are remembered of runs whose doubles the ledger does not tell."""
ONE_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Collector:
    """Walks a source's list into the ledger, in at most so many places of the window at once.

    How many pages are really asked for at the same moment is the source's own limiter's business.
    """

    source: RunSource
    ledger: Ledger
    clock: Clock
    progress: Progress
    at_once: int = 8

    def collect(
        self,
        window: Window,
        split: FilterSplit,
        *,
        read_since: datetime | None = None,
        requests: int = MOST_REQUESTS,
    ) -> Certificate:
        """Bring a window's runs into the ledger and prove it complete, or say why not.

        A window that was read in full at ``read_since`` or later, and has not changed as far as so many
        ``requests`` tell, is not read again (``proved_windows``).  Rows are kept as they come; the
        certificate is kept in one transaction with the last of them.

        :raises FlowledgerError: when the source cannot be read; what was read by then is kept.
        """
        scope = Scope(self.source.app, window, split.query)
        began = self._began(scope)
        writer = _RunWriter(self.ledger, scope, began)
        self.progress.stage("collect", None)
        try:
            proved = proved_windows(
                self.source, self.ledger, scope, split, read_since=read_since, requests=requests
            )
            if proved.compared:
                verdict = Verdict(True, proved.reason, proved.rows, proved.rows)
            else:
                verdict = self._walk_until_stored(window, split, writer, proved)
            # Only an empty list raises the question whether this kind of app has one.
            if not verdict.distinct and not self.source.lists_logs():
                by_cursor = self.source.lists_runs()
                verdict = (self._follow_cursor if by_cursor else self._read_conversations)(window, writer)
        except (FatalError, RetriableError):
            writer.flush()
            raise
        verdict = self._checked_by_the_clock(verdict, writer, began)
        writer.flush()
        read_at = min([began, *(each.read_at for each in proved.certificates if each.read_at)])
        certificate = Certificate(
            scope,
            verdict.certified,
            verdict.reason,
            verdict.expected,
            verdict.distinct,
            self.clock(),
            read_at=read_at,
            runs=self.ledger.run_set(scope, collected_since=read_at) if verdict.certified else None,
        )
        writer.flush(certificate)
        return certificate

    def _began(self, scope: Scope) -> datetime:
        """Return the present, or what is after the last reading of the scope: clocks may stand or go back."""
        now, last = self.clock(), self.ledger.certificate(scope)
        return now if last is None or last.read_at is None else max(now, last.read_at + ONE_MICROSECOND)

    def _checked_by_the_clock(self, verdict: Verdict, writer: "_RunWriter", began: datetime) -> Verdict:
        """Return the verdict, uncertified where the window had not ended by the source's own clock."""
        source_began = self.source.now() - (self.clock() - began)
        if not verdict.certified or writer.scope.window.before_at <= source_began:
            return verdict
        reason = f"by the source's clock it was {source_began:%Y-%m-%dT%H:%M:%SZ}, before the window's end"
        return replace(verdict, certified=False, reason=reason)

    def _walk_until_stored(
        self, window: Window, split: FilterSplit, writer: "_RunWriter", proved: ProvedWindows
    ) -> Verdict:
        """Walk until the ledger holds the very runs that the walk claims, stretch by stretch, or give up."""
        strips = [Strip(each.scope.window, each.distinct) for each in proved.certificates]
        walk = walks.begin(window, strips, parts=self.at_once)
        readings = [(window, writer.at)]
        differing: Sequence[Strip] = ()
        for reading in range(MAX_READINGS):
            if reading:
                writer.begin_again(self.clock())
                readings += [(strip.window, writer.at) for strip in differing]
                walk = walks.reopen(walk, [strip.window for strip in differing])
            walk, verdict = self._walk(walk, split, writer)
            if not verdict.certified:
                return verdict
            writer.flush()
            writer.explained = 0
            differing = [strip for strip in walk.strips if not self._is_stored(strip, readings, writer)]
            if not differing:
                return _with_note(verdict, writer.rows_without_own_run(walk.strips))
        return replace(verdict, certified=False, reason=writer.difference(differing[0]))

    def _is_stored(
        self, strip: Strip, readings: Sequence[tuple[Window, datetime]], writer: "_RunWriter"
    ) -> bool:
        """Return whether the ledger holds the runs of a stretch, as they were read, and no other of then."""
        if strip.runs is None:
            return True
        since = max(at for window, at in readings if window.covers(strip.window))
        stored = self.ledger.run_set(writer.scope, within=strip.window, collected_since=since)
        return stored == strip.runs or writer.explains(strip, stored)

    def _walk(self, walk: Walk, split: FilterSplit, writer: "_RunWriter") -> tuple[Walk, Verdict]:
        deadline = self.clock() + MAX_TIME
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="collect") as pool:
            requested: dict[Ask, Future[LogPage]] = {}
            while not isinstance(steps := walks.plan(walk), Verdict):
                if self.clock() > deadline:
                    walk = walks.give_up(walk, f"reading did not end within {MAX_TIME}")
                    continue
                for step in steps[: self.at_once]:
                    if step not in requested:
                        requested[step] = pool.submit(copy_context().run, self._page, step, split)
                answered, _ = wait(requested.values(), return_when=FIRST_COMPLETED)
                done = [step for step, future in requested.items() if future in answered]
                # What was read is stored before an answer that failed beside it ends the walk.
                for step in sorted(done, key=lambda step: requested[step].exception() is not None):
                    page = requested.pop(step).result()
                    writer.add(page.rows)
                    walk = walks.observe(walk, step, reply_of(page))
                    self.progress.advance(len(page.rows))
        return walk, steps

    def _page(self, step: Ask, split: FilterSplit) -> LogPage:
        return self.source.page(step.window, split.remote, page=step.page, limit=step.limit)

    def _follow_cursor(self, window: Window, writer: "_RunWriter") -> Verdict:
        walk, position = cursors.begin(window), None
        deadline = self.clock() + MAX_TIME
        beside = _DifferentIds()
        while not walk.finished:
            page = self.source.cursor_page(position)
            writer.add(page.rows)
            if cursors.is_repeated(walk, page.problem):
                walk = cursors.repeat(walk)
                continue
            beside.add(run for run in page.rows if run.listed_at not in window)
            seconds = [int(run.listed_at.timestamp()) for run in page.rows]
            if position is not None and page.cursor == position:
                walk = cursors.stall(walk)
            else:
                walk = cursors.observe(
                    walk, seconds, is_last=page.cursor is None, problem=page.problem or beside.problem
                )
            if self.clock() > deadline:
                walk = cursors.give_up(walk, f"reading did not end within {MAX_TIME}")
            position = page.cursor
            self.progress.advance(len(page.rows))
        verdict = cursors.verdict(walk, self.source.count_since)
        if not verdict.certified:
            return verdict
        writer.flush()
        stored = self.ledger.run_set(writer.scope, collected_since=writer.at).count
        if beside.holds_any(self.ledger, writer.scope):
            return replace(
                verdict, certified=False, reason="the list showed a run in the window and beside it"
            )
        if stored == verdict.distinct:
            return verdict
        return replace(
            verdict,
            certified=False,
            reason=f"the list showed {verdict.distinct} rows of the window, which are {stored} runs",
        )

    def _read_conversations(self, window: Window, writer: "_RunWriter") -> Verdict:
        reader = ConversationReader(
            source=self.source,
            window=window,
            add=writer.add,
            advance=self.progress.advance,
            clock=self.clock,
            began=self.clock(),
            longest=MAX_TIME,
            at_once=self.at_once,
        )
        verdict, runs = reader.read()
        writer.flush()
        stored = self.ledger.run_set(writer.scope, collected_since=writer.at)
        if not verdict.certified or stored == runs:
            return verdict
        return replace(
            verdict,
            certified=False,
            reason=f"the list showed {verdict.distinct} rows of the window, which are {stored.count} runs",
        )


class _DifferentIds:
    """Notices a run that is listed twice among those that are not stored, in bounded memory."""

    def __init__(self) -> None:
        self.problem = ""
        self._ids: set[str] = set()

    def add(self, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.run_id in self._ids:
                self.problem = f"listed run {run.run_id} twice"
            elif len(self._ids) >= MAX_IDS_BESIDE:
                self.problem = f"listed more than {MAX_IDS_BESIDE} runs around the window"
            else:
                self._ids.add(run.run_id)

    def holds_any(self, ledger: Ledger, scope: Scope) -> bool:
        """Return whether one of them is stored in the scope all the same."""
        if not self._ids:
            return False
        return any(entry.run.run_id in self._ids for entry in ledger.entries(scope, with_details=False))


@dataclass(slots=True)
class _RunWriter:
    """Writes rows to the ledger in batches; the last batch takes the certificate along.

    Only of stretches that are read ``again``, because something else was stored of them, it remembers which
    rows showed a run, and at which seconds.
    """

    ledger: Ledger
    scope: Scope
    at: datetime
    rows: list[Run] = field(default_factory=list)
    again: bool = False
    rows_of: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    explained: int = 0

    def add(self, rows: Sequence[Run]) -> None:
        inside = self.scope.window
        self.rows.extend(run for run in rows if run.listed_at in inside)
        if self.again:
            self._remember(rows)
        if len(self.rows) >= BATCH_ROWS:
            self.flush()

    def flush(self, certificate: Certificate | None = None) -> None:
        rows, self.rows = self.rows, []
        if rows or certificate:
            self.ledger.save_runs(rows, scope=self.scope, at=self.at, certificate=certificate)

    def begin_again(self, now: datetime) -> None:
        """Prepare to read stretches again: what is stored from now on is told from what was before."""
        self.at = max(now, self.at + ONE_MICROSECOND)
        self.again = True

    def _remember(self, rows: Sequence[Run]) -> None:
        for run in rows:
            if len(self.rows_of) < MAX_IDS_BESIDE:
                places = self.rows_of.setdefault(run.identity, {})
                places.setdefault(run.log_id or run.run_id, set()).add(int(run.listed_at.timestamp()))

    def explains(self, strip: Strip, stored: RunSet) -> bool:
        """Return whether only runs are missing that other rows of the list show as well.

        A run with two rows is stored once, under the time of one of them.
        """
        if strip.runs is None or stored.count >= strip.runs.count:
            return False
        elsewhere = [run_id for run_id, rows in self.rows_of.items() if len(rows) > 1]
        elsewhere = [run_id for run_id in elsewhere if self._is_shown(run_id, strip.window)]
        absent = [run_id for run_id in elsewhere if not self._is_stored_in(run_id, strip.window)]
        missing = digest_of(absent)
        if not absent or together(stored, missing) != strip.runs:
            return False
        self.explained += missing.count
        return True

    def _is_shown(self, run_id: str, window: Window) -> bool:
        seconds = set[int]().union(*self.rows_of[run_id].values())
        return any(window.after <= second <= window.before for second in seconds)

    def _is_stored_in(self, run_id: str, window: Window) -> bool:
        entry = self.ledger.entry(RunKey(self.scope.app, run_id))
        return entry is None or entry.run.listed_at in window

    def rows_without_own_run(self, strips: Sequence[Strip]) -> int:
        """Return how many rows show a run that another row shows, too."""
        inside = sum(strip.count - strip.runs.count for strip in strips if strip.runs is not None)
        return inside + self.explained

    def difference(self, strip: Strip) -> str:
        """Return why a stretch cannot be certified of which something else is stored than was listed."""
        twice = [
            log_id for rows in self.rows_of.values() for log_id, seconds in rows.items() if len(seconds) > 1
        ]
        if twice:
            return f"the source listed row {twice[0]} at two times"
        return f"other runs are stored than were listed in {strip.window}"


def _with_note(verdict: Verdict, doubled: int) -> Verdict:
    """Return a verdict that says how many rows show a run which another row shows, too."""
    if not doubled:
        return verdict
    text = (
        f"{verdict.reason}; {doubled + 1} log rows show one run"
        if doubled == 1
        else (f"{verdict.reason}; {doubled} log rows show runs that other rows show, too")
    )
    return replace(verdict, reason=text)


def newest_runs(source: RunSource, window: Window, remote: Mapping[str, str], most: int) -> Iterator[Run]:
    """Stream at most so many runs, newest first, each once, without turning pages."""
    walk, ids = walks.begin(window), set[str]()
    while len(ids) < most and not isinstance(steps := walks.plan(walk), Verdict) and walk.rounds == 0:
        step = steps[0]
        page = source.page(step.window, remote, page=step.page, limit=step.limit)
        for run in page.rows:
            log_id = run.log_id or run.run_id
            if log_id not in ids and len(ids) < most:
                ids.add(log_id)
                yield run
        walk = walks.observe(walk, step, reply_of(page))
