"""Write reports from the ledger: one pass over the runs feeds the figures and every format."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from pathlib import Path

from loguru import logger

from flowledger.domain.certificates import Scope
from flowledger.domain.figures import Figures, FiguresCounter
from flowledger.domain.report_heading import Heading, conversation_of, count_turns
from flowledger.domain.retention import ReportSubject
from flowledger.domain.run_filters import RunFilter
from flowledger.domain.run_mapping import unreadable
from flowledger.domain.runs import OPEN_FOR, Entry, Level, Missing
from flowledger.domain.texts import report_stem
from flowledger.errors import FlowledgerError, StorageError
from flowledger.io.scratch_folders import scratch_folder
from flowledger.ports import Clock, Ledger, Progress, ReportFormat, ReportStore


@dataclass(frozen=True, slots=True)
class Report:
    """A finished report: where its files are, by format, what it says in numbers, and notes of the store."""

    paths: Mapping[str, Sequence[str]]
    figures: Figures
    notes: tuple[str, ...] = ()

    @property
    def all_paths(self) -> list[str]:
        """Every file, in the order of the formats."""
        return list(chain.from_iterable(self.paths.values()))


@dataclass(frozen=True, slots=True)
class ReportGenerator:
    """Renders a scope of the ledger into a store."""

    ledger: Ledger
    store: ReportStore
    formats: Sequence[ReportFormat]
    clock: Clock
    progress: Progress
    open_for: timedelta = OPEN_FOR

    def generate(
        self, scope: Scope, heading: Heading, *, local: RunFilter, level: Level, run_id: str
    ) -> Report:
        """Write every format of one report; nothing is visible under its final name before it is whole.

        ``local`` is the part of the filter that the source was not asked to decide.

        :raises StorageError: when a file cannot be written or kept.
        """
        self.progress.stage("report", self.ledger.count(scope))
        heading = self._with_turns(scope, heading, local)
        undecided = self._undecided(scope, local)
        heading = replace(heading, notes=(*heading.notes, *undecided))
        counter = FiguresCounter(
            heading.tz, now=self.clock(), open_for=self.open_for, level=level, window=heading.window
        )
        # What is filtered neither looks like the whole report nor takes its place as the latest.
        filtered = "-filtered" if scope.query or local else ""
        first_day = heading.window.after_at.astimezone(heading.tz).date()
        period = f"{heading.period}{filtered}-{first_day}"
        stem = report_stem(period, heading.app_name, heading.generated_at, run_id)
        with ExitStack() as stack:
            spool = Path()
            try:
                spool = stack.enter_context(scratch_folder())
                rendered = self._render(self._entries(scope, local), heading, counter, spool)
            except OSError as error:
                raise StorageError(
                    f"report {stem}: cannot write to {error.filename or spool}: {error.strerror or error};"
                    " free some space (TMPDIR names another disk) and run again"
                ) from error
            figures, files = rendered
            stored = {
                name: self.store.save_files(
                    paths, stem, name, app=heading.app_name + filtered, subject=_subject_of(heading)
                )
                for name, paths in files.items()
            }
            return Report(stored, figures, (*undecided, *self.store.notes))

    def _render(
        self, entries: Iterable[Entry], heading: Heading, counter: FiguresCounter, spool: Path
    ) -> tuple[Figures, Mapping[str, Sequence[Path]]]:
        with ExitStack() as stack:
            writers = {}
            for report_format in self.formats:
                directory = spool / report_format.name
                directory.mkdir()
                writers[report_format.name] = stack.enter_context(report_format.begin(heading, directory))
            for entry in entries:
                for add in (counter.add, *(writer.add for writer in writers.values())):
                    add_run(add, entry)
                self.progress.advance()
            figures = counter.figures()
            return figures, {name: writer.finish(figures) for name, writer in writers.items()}

    def _entries(self, scope: Scope, local: RunFilter) -> Iterator[Entry]:
        entries = self.ledger.entries(scope)
        return filter(local.matches, entries) if local else entries

    def _undecided(self, scope: Scope, local: RunFilter) -> tuple[str, ...]:
        """Explain how many runs are left out only because nobody knows their texts; a pass of its own."""
        if not local.keyword:
            return ()
        count = sum(map(local.misses_detail, self.ledger.entries(scope)))
        if not count:
            return ()
        return (
            f"{count} runs are left out because inputs and outputs, where the keyword may be, are missing",
        )

    def _with_turns(self, scope: Scope, heading: Heading, local: RunFilter) -> Heading:
        """Number the turns of conversations, which takes a pass of its own, only where there are any."""
        newest = next(self._entries(scope, local), None)
        if newest is None or conversation_of(newest) is None:
            return heading
        return replace(heading, conversation_turns=count_turns(self._entries(scope, local)))


def add_run(add: Callable[[Entry], None], entry: Entry) -> None:
    """Add a run to the figures or a format; what of it cannot be shown is missing, with the reason."""
    try:
        add(entry)
    except (FlowledgerError, OSError):
        raise
    except Exception as error:  # noqa: BLE001  # named boundary: one run's data never stops an app's report
        logger.warning("run {}: its data cannot be shown: {!r}", entry.run.run_id, error)
        run = replace(entry.run, raw=b"", creator=None, error=None, elapsed_s=None, total_tokens=None)
        add(Entry(run, Missing(unreadable(error))))


def _subject_of(heading: Heading) -> ReportSubject:
    certified = heading.certificate.certified if heading.certificate else None
    return ReportSubject(heading.period, str(heading.window), certified)
