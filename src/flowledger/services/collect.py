"""Collect a scope's runs into the ledger, with a certificate."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime

from flowledger.domain import cursor_scan as cursors
from flowledger.domain import window_scan as walks
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.run_filters import FilterSplit
from flowledger.domain.runs import Run
from flowledger.domain.window_scan import Ask, Reply, Row, Strip, Verdict
from flowledger.domain.windows import Window
from flowledger.errors import FatalError, RetriableError
from flowledger.ports import Clock, Ledger, LogPage, Progress, RunSource

BATCH_ROWS = 500
"""Rows kept in one transaction: large enough to be cheap, small enough to lose little when killed."""


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

    def collect(self, window: Window, split: FilterSplit) -> Certificate:
        """Bring a window's runs into the ledger and prove it complete, or say why not.

        An unchanged window costs one request.  Rows are kept as they come; the certificate is kept in
        one transaction with the last of them.

        :raises FlowledgerError: when the source cannot be read; what was read by then is kept.
        """
        scope = Scope(self.source.app, window, split.query)
        writer = _RunWriter(self.ledger, scope, self.clock())
        self.progress.stage("collect", None)
        try:
            verdict = self._walk(window, split, writer)
            # Only an empty list raises the question whether this kind of app has one.
            if not verdict.distinct and not self.source.lists_logs():
                verdict = self._follow_cursor(window, writer)
        except (FatalError, RetriableError):
            writer.flush()
            raise
        certificate = Certificate(
            scope, verdict.certified, verdict.reason, verdict.expected, verdict.distinct, self.clock()
        )
        writer.flush(certificate)
        return certificate

    def _walk(self, window: Window, split: FilterSplit, writer: "_RunWriter") -> Verdict:
        walk = walks.begin(window, self._proved_strips(writer.scope), parts=self.at_once)
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="collect") as pool:
            requested: dict[Ask, Future[LogPage]] = {}
            while not isinstance(steps := walks.plan(walk), Verdict):
                for step in steps[: self.at_once]:
                    if step not in requested:
                        requested[step] = pool.submit(copy_context().run, self._page, step, split)
                answered, _ = wait(requested.values(), return_when=FIRST_COMPLETED)
                for step in [step for step, future in requested.items() if future in answered]:
                    page = requested.pop(step).result()
                    writer.add(page.rows)
                    walk = walks.observe(walk, step, _reply(page))
                    self.progress.advance(len(page.rows))
        return steps

    def _page(self, step: Ask, split: FilterSplit) -> LogPage:
        return self.source.page(step.window, split.remote, page=step.page, limit=step.limit)

    def _proved_strips(self, scope: Scope) -> Iterator[Strip]:
        """Earlier certificates inside the window are compared by count before anything is read again.

        Of a filtered scope only its own: the rows of another are no members of this one.  One whose runs were
        archived or deleted since proves no longer what is held.
        """
        for certificate in self.ledger.certificates(scope.app, scope.window, scope.query):
            is_ours = certificate.certified and (not scope.query or certificate.scope == scope)
            if is_ours and self.ledger.count(certificate.scope) >= certificate.distinct:
                yield Strip(certificate.scope.window, certificate.distinct)

    def _follow_cursor(self, window: Window, writer: "_RunWriter") -> Verdict:
        walk, position = cursors.begin(window), None
        while not walk.finished:
            page = self.source.cursor_page(position)
            writer.add(page.rows)
            if cursors.is_repeated(walk, page.problem):
                walk = cursors.repeat(walk)
                continue
            seconds = [int(run.listed_at.timestamp()) for run in page.rows]
            if position is not None and page.cursor == position:
                walk = cursors.stall(walk)
            else:
                walk = cursors.observe(walk, seconds, is_last=page.cursor is None, problem=page.problem)
            position = page.cursor
            self.progress.advance(len(page.rows))
        return cursors.verdict(walk, self.source.count_since)


@dataclass(slots=True)
class _RunWriter:
    """Writes rows to the ledger in batches; the last batch takes the certificate along."""

    ledger: Ledger
    scope: Scope
    at: datetime
    rows: list[Run] = field(default_factory=list)

    def add(self, rows: Sequence[Run]) -> None:
        inside = self.scope.window
        self.rows.extend(run for run in rows if run.listed_at in inside)
        if len(self.rows) >= BATCH_ROWS:
            self.flush()

    def flush(self, certificate: Certificate | None = None) -> None:
        rows, self.rows = self.rows, []
        if rows or certificate:
            self.ledger.save_runs(rows, scope=self.scope, at=self.at, certificate=certificate)


def _reply(page: LogPage) -> Reply:
    rows = [Row(int(run.listed_at.timestamp()), run.log_id or run.run_id) for run in page.rows]
    return Reply(rows, page.total, page.has_more, page.page, page.limit, page.problem)


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
        walk = walks.observe(walk, step, _reply(page))
