"""Enrich collected runs with inputs, outputs and node executions."""

from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from queue import SimpleQueue
from typing import NamedTuple

from loguru import logger

from flowledger import errors
from flowledger.domain.certificates import Scope
from flowledger.domain.run_mapping import unreadable
from flowledger.domain.runs import (
    OPEN_FOR,
    WAITS_FOR,
    AppKey,
    Detail,
    Detailed,
    Level,
    Missing,
    Run,
    level_of,
)
from flowledger.domain.windows import Window
from flowledger.ports import Clock, Ledger, Progress, RunSource

BATCH_RUNS = 200
BATCH_BYTES = 8 * 1024 * 1024
"""A transaction holds at most so many runs or raw bytes, so that memory stays flat with 10 MB details."""

HOPELESS = 50
"""After so many failures without a success between them, nobody is asked until the next enrichment: a dead
server would take hours to fail for every run of a busy day."""

AHEAD = 16
"""Runs handed out beyond those being asked for: work for the time in which a batch is written."""

EVER = datetime.fromtimestamp(0, UTC)
"""Before anything: as ``open_since`` it takes all open runs in."""
A_DAY = timedelta(days=1)
"""Nothing is listed so far ahead: as ``open_since`` it leaves the open runs out."""

Answer = tuple[Run, Detail]


class _Answer(NamedTuple):
    """What asking for one run came to, and whether the source answered at all."""

    run: Run
    detail: Detail
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Enricher:
    """Reads the details that the ledger lacks, many at once, and keeps them in batches.

    ``workers`` may ask at once; how many of them do is the source's own limiter's business.
    """

    source: RunSource
    ledger: Ledger
    clock: Clock
    progress: Progress
    workers: int = 32
    open_for: timedelta = OPEN_FOR

    def enrich(self, scope: Scope, level: Level) -> int:
        """Bring the scope's runs to a level of detail; return how many were asked for.

        A final, detailed run is not asked again; an open one is, until it is stuck, whatever the level: its
        status is no detail.  One bad run becomes ``Missing(reason)`` and stops nothing; ``HOPELESS`` of them
        in a row without an answer end the asking, and the next enrichment begins with those never tried.

        :raises AuthenticationError: when the app's own key is refused: then no run can be had.
        """
        health = _SourceHealth()
        reachable = min(level, self.source.deepest())
        needing = (
            self._needing(scope, reachable, health.failed) if level > Level.NONE else self._moving(scope)
        )
        self.progress.stage("enrich", None)
        return sum(1 for _ in self._read(needing, level, reachable, health))

    def enrich_earlier(self, app: AppKey, before: int, level: Level) -> Sequence[Run]:
        """Read the open, not stuck runs listed before a unix time, and return those that have ended since."""
        since = int((self.clock() - max(self.open_for, WAITS_FOR)).timestamp())
        if since >= before:
            return ()
        moving = self._moving(Scope(app, Window(since, before - 1)))
        reachable = min(level, self.source.deepest())
        read = self._read(moving, level, reachable, _SourceHealth())
        return [run for run in read if not run.status.is_open]

    def _read(
        self, needing: Iterator[Run], level: Level, reachable: Level, health: "_SourceHealth"
    ) -> Iterator[Run]:
        """Read runs at a level, store them in batches, and yield them as they are now."""
        runs = health.until_hopeless(needing)
        # The least there is tells whether an open run has ended.
        level = max(level, Level.RUN)
        batch = _Batch(self.ledger)
        # A quarter more than may ask at once: these read an answer while the others wait for theirs.
        threads = self.workers + self.workers // 4
        with ThreadPoolExecutor(threads, thread_name_prefix="enrich") as pool:
            try:
                for answer in _unordered(pool, lambda run: self._detail(run, level), runs, threads + AHEAD):
                    batch.add((answer.run, answer.detail))
                    health.note(answer, reachable)
                    self.progress.advance()
                    yield answer.run
            except errors.LedgerError:
                raise
            except BaseException:
                # A refused key, Ctrl+C: what was read until now is kept.
                batch.flush()
                raise
        batch.flush()

    def _needing(self, scope: Scope, level: Level, failed: Set[str]) -> Iterator[Run]:
        """Yield the runs to ask for: those without the detail wanted, and open ones that have moved on.

        Those never tried come first, lest newer ones that fail each time keep them waiting for ever.
        ``failed`` are the runs that failed meanwhile.
        """
        now = self.clock()
        polled = {run.run_id: run for run in self.ledger.pending(scope, Level.NONE, open_since=EVER)}
        still_open = [run for run in polled.values() if run.status.is_open]
        unmoved = self.source.unmoved(scope.window, still_open) if still_open else None
        for tried in (False, True):
            for run in self.ledger.pending(scope, level, open_since=now + A_DAY, tried=tried):
                polled.pop(run.run_id, None)
                if run.run_id not in failed:
                    yield run
        for run in polled.values():
            if self._has_moved(run, unmoved) or not run.status.is_open:
                yield run

    def _moving(self, scope: Scope) -> Iterator[Run]:
        """Return the open runs that may have moved on, where no details are wanted."""
        still_open = list(self.ledger.open_runs(scope))
        unmoved = self.source.unmoved(scope.window, still_open) if still_open else None
        return (run for run in still_open if self._has_moved(run, unmoved))

    def _has_moved(self, run: Run, unmoved: Set[str] | None) -> bool:
        """Return whether an open run is worth asking for; a stuck one only where the list says so.

        One that only a message told of is: how it stands was never read.
        """
        if not run.source_status:
            return True
        if unmoved is None:
            return not run.is_stuck(self.clock(), self.open_for)
        return run.run_id not in unmoved

    def _detail(self, run: Run, level: Level) -> _Answer:
        try:
            return _Answer(*self.source.detail(run, level))
        except errors.AuthenticationError:
            raise
        except errors.SkippableError as error:
            return _Answer(run, Missing(str(error), permanent=True))
        except errors.SourceRefusedError as error:
            return _Answer(run, Missing(str(error)))
        except errors.RetriableError as error:
            return _Answer(run, Missing(str(error)), answered=False)
        except errors.FlowledgerError:
            raise
        except Exception as error:  # noqa: BLE001  # named boundary: one run's data never stops an app's report
            logger.warning("run {}: its data cannot be read: {!r}", run.run_id, error)
            return _Answer(run, Missing(unreadable(error)))


@dataclass(slots=True)
class _SourceHealth:
    """Whether the source still answers: how many runs in a row had no answer.

    A run that was refused or is unknown had one.  ``failed`` are the runs that stayed without the detail
    wanted: the ids alone, of what fails now.
    """

    failures: int = 0
    failed: set[str] = field(default_factory=set)

    def note(self, answer: _Answer, level: Level) -> None:
        self.failures = 0 if answer.answered else self.failures + 1
        if level_of(answer.detail) < level:
            self.failed.add(answer.run.run_id)

    def until_hopeless(self, runs: Iterator[Run]) -> Iterator[Run]:
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
    pool: ThreadPoolExecutor, ask: Callable[[Run], _Answer], runs: Iterator[Run], at_once: int
) -> Iterator[_Answer]:
    """Ask for all runs, a bounded number ahead, and yield answers as they come.

    Each call carries the caller's context along, so that log lines from threads know their flow run.
    """
    done: SimpleQueue[Future[_Answer]] = SimpleQueue()
    under_way: set[Future[_Answer]] = set()
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
