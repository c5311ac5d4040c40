"""Enrich collected runs with inputs, outputs and node executions."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from queue import SimpleQueue

from flowledger.domain.certificates import Scope
from flowledger.domain.enrichment import Level
from flowledger.domain.runs import OPEN_FOR, Detail, Detailed, Missing, Run
from flowledger.errors import (
    AuthenticationError,
    LedgerError,
    RetriableError,
    SkippableError,
    SourceRefusedError,
)
from flowledger.ports import Clock, Ledger, Progress, RunSource

BATCH_RUNS = 200
BATCH_BYTES = 8 * 1024 * 1024
"""A transaction holds at most so many runs or raw bytes, so that memory stays flat with 10 MB details."""

HOPELESS = 50
"""After so many failures without a success between them, nobody is asked until the next enrichment: a dead
server would take hours to fail for every run of a busy day."""

EVER = datetime.fromtimestamp(0, UTC)
"""Before anything: as ``open_since`` it takes all open runs in."""
A_DAY = timedelta(days=1)
"""Nothing is listed so far ahead: as ``open_since`` it leaves the open runs out."""

Answer = tuple[Run, Detail]


@dataclass(frozen=True, slots=True)
class Enricher:
    """Reads the details that the ledger lacks, many at once, and keeps them in batches.

    ``workers`` threads ask; how many of them ask at the same moment is the source's own limiter's business.
    """

    source: RunSource
    ledger: Ledger
    clock: Clock
    progress: Progress
    workers: int = 32
    open_for: timedelta = OPEN_FOR

    def enrich(self, scope: Scope, level: Level) -> int:
        """Bring the scope's runs to a level of detail; give how many were asked for.

        A final, detailed run is not asked again; an open one is, until it is stuck.  One bad run becomes
        ``Missing(reason)`` and stops nothing; ``HOPELESS`` of them in a row end the asking.

        :raises AuthenticationError: when the app's own key is refused: then no run can be had.
        """
        hope = _Hope()
        runs = hope.while_any(self._needing(scope, min(level, self.source.deepest())))
        self.progress.stage("enrich", None)
        asked, batch = 0, _Batch(self.ledger)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="enrich") as pool:
            try:
                for answer in _unordered(pool, lambda run: self._detail(run, level), runs, self.workers + 8):
                    batch.add(answer)
                    hope.learn(answer[1])
                    asked += 1
                    self.progress.advance()
            except LedgerError:
                raise
            except BaseException:
                # A refused key, Ctrl+C: what was read until now is kept.
                batch.flush()
                raise
        batch.flush()
        return asked

    def _needing(self, scope: Scope, level: Level) -> Iterator[Run]:
        """Give the runs to ask for: those without the detail wanted, and open ones that have moved on."""
        now = self.clock()
        polled = {run.run_id: run for run in self.ledger.pending(scope, Level.NONE, open_since=EVER)}
        still_open = [run for run in polled.values() if run.status.is_open]
        unmoved = self.source.unmoved(scope.window, still_open) if still_open else None
        for run in self.ledger.pending(scope, level, open_since=now + A_DAY):
            polled.pop(run.run_id, None)
            yield run
        for run in polled.values():
            # A stuck run is asked only where the source's own list says that it is stuck no more.
            moved = not run.is_stuck(now, self.open_for) if unmoved is None else run.run_id not in unmoved
            if moved or not run.status.is_open:
                yield run

    def _detail(self, run: Run, level: Level) -> Answer:
        try:
            return self.source.detail(run, level)
        except AuthenticationError:
            raise
        except SkippableError as error:
            return run, Missing(str(error), permanent=True)
        except (RetriableError, SourceRefusedError) as error:
            return run, Missing(str(error))


@dataclass(slots=True)
class _Hope:
    """Whether the source still answers: how many runs in a row have failed in a way that may pass."""

    failures: int = 0

    def learn(self, detail: Detail) -> None:
        failed = isinstance(detail, Missing) and not detail.permanent
        self.failures = self.failures + 1 if failed else 0

    def while_any(self, runs: Iterator[Run]) -> Iterator[Run]:
        return takewhile(lambda _: self.failures < HOPELESS, runs)


@dataclass(slots=True)
class _Batch:
    ledger: Ledger
    answers: list[Answer] = field(default_factory=list)
    size: int = 0

    def add(self, answer: Answer) -> None:
        self.answers.append(answer)
        detail = answer[1]
        if isinstance(detail, Detailed):
            self.size += sum(map(len, detail.raw.values()))
        if len(self.answers) >= BATCH_RUNS or self.size >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        answers, self.answers, self.size = self.answers, [], 0
        if answers:
            self.ledger.save_details(answers)


def _unordered(
    pool: ThreadPoolExecutor, ask: Callable[[Run], Answer], runs: Iterator[Run], at_once: int
) -> Iterator[Answer]:
    """Ask for all runs, a bounded number ahead, and give answers as they come.

    Each call carries the caller's context along, so that log lines from threads know their flow run.
    """
    done: SimpleQueue[Future[Answer]] = SimpleQueue()
    under_way: set[Future[Answer]] = set()
    try:
        while True:
            for run in islice(runs, at_once - len(under_way)):
                future = pool.submit(copy_context().run, ask, run)
                under_way.add(future)
                future.add_done_callback(done.put)
            if not under_way:
                return
            under_way.discard(future := done.get())
            yield future.result()
    finally:
        for future in under_way:
            future.cancel()
