"""The stages of one report on one app, in order: collect, enrich, report; and the result of all three.

A stage hands on references (a scope and its certificate), never runs: the data is in the ledger.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from loguru import logger

from flowledger.domain import messages
from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.costs import cost_json
from flowledger.domain.operations import Operation
from flowledger.domain.phrases import report_name
from flowledger.domain.report_heading import Heading
from flowledger.domain.run_filters import FilterSplit, RunFilter
from flowledger.domain.runs import OPEN_FOR, Level
from flowledger.domain.windows import CUSTOM, ONE_SECOND, Window, cut_to_now, zone
from flowledger.errors import FlowledgerError, LedgerError
from flowledger.ports import Clock, Ledger, Progress, ReportFormat, ReportStore, RunSource
from flowledger.services.collect import Collector
from flowledger.services.enrich import Enricher
from flowledger.services.proved_windows import MOST_REQUESTS
from flowledger.services.report import Report, ReportGenerator
from flowledger.services.report_requests import ReportContent, ReportRequest, window_of
from flowledger.services.run_result import ResultCertificate, ResultWindow, RunResult
from flowledger.services.written_reports import ReportAgain, WrittenReport, outgrown_reports

CLOCKS_MAY_DIFFER = timedelta(minutes=1)
CERTIFICATE_MAX_AGE = timedelta(hours=24)
"""How long a reading in full is relied on (setting ``certificate_max_age_hours``)."""
NEAR_NOW = timedelta(hours=2)
"""The source is asked for its time before a window that ends this close to now; else its answers tell it."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What collecting came to: the certificate of the settled scope, and what we decide ourselves."""

    certificate: Certificate
    split: FilterSplit
    requests: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Enriched:
    """What enriching came to: the level asked for, how many runs were asked for, at how many requests."""

    level: Level
    asked: int
    requests: int
    ended_earlier: int = 0
    """How many runs of earlier windows had been open and have ended."""
    outgrown: Sequence[tuple[WrittenReport, Certificate]] = ()
    """Reports of other windows to write anew: runs of them have ended, or appeared, since."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts that one app's report needs, and its stages.

    ``schedule`` is the schedule whose due report is settled by it, None for any other; ``storage`` the prefix
    or folder the reports go to; ``is_late`` whether it makes up for a report that did not come in time.
    ``report_again`` says whether earlier reports are written anew whose runs have ended since, and announced;
    ``reopened`` opens the storage and the formats that such a report had.
    What was read longer than ``certificate_max_age`` ago is read again, however little has changed.
    """

    app_name: str
    language: str
    source: RunSource
    ledger: Ledger
    store: ReportStore
    formats: tuple[ReportFormat, ...]
    clock: Clock
    progress: Progress
    open_for: timedelta = OPEN_FOR
    workers: int = 32
    user: str = "flowledger"
    schedule: str | None = None
    storage: str = ""
    is_late: bool = False
    report_again: ReportAgain = ReportAgain.ANNOUNCE
    reopened: Callable[[ReportContent], tuple[ReportStore, tuple[ReportFormat, ...]]] | None = None
    certificate_max_age: timedelta = CERTIFICATE_MAX_AGE

    def run(self, request: ReportRequest, *, run_id: str, started: float) -> RunResult:
        """Run all stages one after another, in this thread.

        ``run_id`` goes into the names of the files; ``started`` is the monotonic second the run began at.
        """
        collected = self.collect(request)
        enriched = self.enrich(collected, request)
        report = self.report(collected, request, enriched, run_id=run_id)
        return self.result(request, collected, enriched, report, started=started)

    def collect(self, request: ReportRequest) -> Collected:
        """Bring the runs of the request's window into the ledger, with a certificate.

        :raises UsageError: when nothing of the window has happened yet; errors of the source as they are.
        """
        sent = self.source.requests
        self._check_app()
        checked = self.source.requests
        split = self.source.split(request.run_filter)
        window = self._settled(request.window)
        collector = self._collector
        began = self.clock()
        requests = max(1, MOST_REQUESTS - (self.source.requests - checked))
        read_since = self._read_since(request, window)
        certificate = collector.collect(window, split, read_since=read_since, requests=requests)
        # Each answer was dated, so this costs no request.
        ahead = self.source.now() - self.clock()
        if window.before_at > began + ahead and not certificate.certified:
            window = cut_to_now(request.window, began + ahead)
            certificate = collector.collect(window, split, read_since=read_since, requests=requests)
        notes = _clock_notes(ahead)
        for note in (*split.notes, *notes):
            self.progress.note(note)
        logger.info(
            "{}: {}, source counts {}, {} different rows seen",
            certificate.scope,
            "certified" if certificate.certified else f"NOT certified: {certificate.reason}",
            certificate.expected,
            certificate.distinct,
        )
        return Collected(certificate, split, self.source.requests - sent, notes)

    def enrich(self, collected: Collected, request: ReportRequest) -> Enriched:
        """Bring the collected runs to the level of detail that the request and its filter need."""
        needed = Level.RUN if collected.split.local.needs_detail else Level.NONE
        level = max(request.level, needed)
        sent = self.source.requests
        enricher = Enricher(self.source, self.ledger, self.clock, self.progress, self.workers, self.open_for)
        asked = enricher.enrich(collected.certificate.scope, level)
        logger.info("{}: {} runs asked for details", collected.certificate.scope, asked)
        scope = collected.certificate.scope
        ended = enricher.enrich_earlier(scope.app, scope.window.after, level)
        outgrown = self._outgrown(scope)
        for earlier, _ in outgrown:
            if earlier.content and earlier.content.level > level:
                enricher.enrich(Scope(scope.app, earlier.window), earlier.content.level)
        return Enriched(level, asked, self.source.requests - sent, len(ended), outgrown)

    def _outgrown(self, scope: Scope) -> Sequence[tuple[WrittenReport, Certificate]]:
        """Return the reports of other windows to write anew, and the certificates of their windows.

        A certificate that a wider window has disproved is gone: then the window is collected again.
        """
        if self.report_again is ReportAgain.OFF:
            return ()
        found = outgrown_reports(self.ledger, scope.app, now=self.clock(), apart_from=scope.window)
        return [
            (
                each,
                self.ledger.certificate(Scope(scope.app, each.window))
                or self._collector.collect(
                    each.window, FilterSplit(), read_since=self.clock() - self.certificate_max_age
                ),
            )
            for each in found
        ]

    @property
    def _collector(self) -> Collector:
        return Collector(self.source, self.ledger, self.clock, self.progress)

    def report(
        self, collected: Collected, request: ReportRequest, enriched: Enriched, *, run_id: str
    ) -> Report:
        """Write the request's reports from the ledger, and earlier ones that have changed, as they were.

        The earlier ones come first, so that this one is compared with what they say now.
        """
        notes = self._write_again(enriched, request, run_id)
        report = self._write(collected, request, enriched.level, run_id)
        return replace(report, notes=(*report.notes, *notes))

    def _write_again(self, enriched: Enriched, request: ReportRequest, run_id: str) -> Sequence[str]:
        """Write earlier reports anew, and return what readers must know; one that fails stops nothing."""
        written, notes = [], []
        for earlier, certificate in enriched.outgrown:
            window = earlier.window
            first, last = (at.astimezone(request.tz).date() for at in (window.after_at, window.before_at))
            name = report_name(earlier.period, first, last, self.language)
            try:
                self._write_as_before(earlier, certificate, request, enriched.level, run_id)
            except LedgerError:
                raise
            except FlowledgerError as error:
                logger.error("{}: cannot be written anew: {}", name, error)
                notes.append(messages.not_again_note(self.language, name, str(error)))
            else:
                written.append(name)
        if self.report_again is ReportAgain.ANNOUNCE:
            notes = [*messages.again_note(self.language, written), *notes]
        return notes

    def _write_as_before(
        self,
        earlier: WrittenReport,
        certificate: Certificate,
        request: ReportRequest,
        level: Level,
        run_id: str,
    ) -> None:
        """Write an earlier report anew: of its window, for its schedule, with its content, where it was."""
        content = earlier.content or ReportContent(self.storage, request.formats, level)
        store, formats = self.reopened(content) if self.reopened else (self.store, self.formats)
        first, last = earlier.window.after_at, earlier.window.before_at
        is_custom = earlier.period == CUSTOM
        again = replace(
            request,
            period=earlier.period,
            # A second after its end a period of the calendar is the last one.
            instant=last + ONE_SECOND,
            tz=zone(earlier.zone) if earlier.zone else request.tz,
            formats=content.formats,
            after=first if is_custom else None,
            before=last if is_custom else None,
            run_filter=RunFilter(),
        )
        as_before = replace(
            self, store=store, formats=formats, schedule=earlier.schedule, storage=content.storage
        )
        as_before._write(Collected(certificate, FilterSplit(), 0), again, content.level, run_id)

    def _write(self, collected: Collected, request: ReportRequest, level: Level, run_id: str) -> Report:
        certificate = self.with_retained(collected.certificate)
        scope = certificate.scope
        heading = Heading(
            app_name=self.app_name,
            period=request.period,
            window=scope.window,
            tz=request.tz,
            language=self.language,
            generated_at=self.clock(),
            certificate=certificate,
            notes=notes_of(request, collected),
            with_details=level > Level.NONE,
            with_nodes=level >= Level.NODES,
        )
        generator = ReportGenerator(
            self.ledger, self.store, self.formats, self.clock, self.progress, self.open_for
        )
        report = generator.generate(scope, heading, local=collected.split.local, level=level, run_id=run_id)
        content = ReportContent(self.storage, request.formats, level)
        self._record(report, certificate, request, content, run_id)
        logger.info("{}: {} runs reported in {} files", scope, report.figures.runs, len(report.all_paths))
        return report

    def result(
        self,
        request: ReportRequest,
        collected: Collected,
        enriched: Enriched,
        report: Report,
        *,
        started: float,
    ) -> RunResult:
        """Return what the three stages came to; ``started`` is the monotonic second the run began at."""
        certificate, figures = self.with_retained(collected.certificate), report.figures
        scope = certificate.scope
        return RunResult(
            app=self.app_name,
            app_id=scope.app.app_id,
            period=request.period,
            window=ResultWindow(**window_of(scope.window, request.tz)),
            logs_count=figures.runs,
            report_paths=report.all_paths,
            certificate=ResultCertificate(
                certified=certificate.certified,
                reason=certificate.reason,
                expected=certificate.expected,
                distinct=certificate.distinct,
                retained=certificate.retained,
                at=certificate.at.isoformat(),
            ),
            detailed=figures.detailed,
            missing=figures.missing,
            missing_reasons=dict(figures.missing_reasons),
            by_status={str(status): count for status, count in figures.by_status.items()},
            open=figures.open,
            stuck=figures.stuck,
            users=len(figures.users),
            total_tokens=figures.total_tokens,
            cost=cost_json(figures.cost, figures.costed, figures.runs),
            cost_known_runs=figures.costed,
            duration_p50_s=figures.duration_p50_s,
            duration_p95_s=figures.duration_p95_s,
            failures=list(messages.failure_rows(figures, request.tz)),
            filtered=bool(request.run_filter),
            kept_locally=messages.stored_locally_reason(report.notes) is not None,
            notes=[
                *notes_of(request, collected),
                *messages.ended_note(self.language, enriched.ended_earlier),
                *report.notes,
            ],
            requests=collected.requests + enriched.requests,
            duration=round(time.monotonic() - started, 3),
            completeness=messages.completeness_of(
                self.language,
                certified=certificate.certified,
                detailed=figures.detailed,
                missing=figures.missing,
            ),
            late=self.is_late,
        )

    def with_retained(self, certificate: Certificate) -> Certificate:
        """Add how many runs the ledger keeps that the source no longer lists, where that is proved."""
        if not certificate.certified:
            return certificate
        stored = self.ledger.count(certificate.scope)
        return replace(certificate, retained=max(0, stored - certificate.distinct))

    def _record(
        self,
        report: Report,
        certificate: Certificate,
        request: ReportRequest,
        content: ReportContent,
        run_id: str,
    ) -> None:
        at = self.clock()
        self.ledger.record(
            Operation(
                operation_id=f"report-{run_id}-{certificate.scope.window.after}-{at:%Y%m%dT%H%M%S%f}",
                operation_type="REPORT",
                at=at,
                user=self.user,
                app=certificate.scope.app,
                subject=request.period,
                data={
                    "window": str(certificate.scope.window),
                    "certified": certificate.certified,
                    "schedule": self.schedule,
                    **content.to_json(),
                    "timezone": request.tz.key,
                    "runs": report.figures.runs,
                    "paths": report.all_paths,
                    # What a filter left is compared with nothing.
                    "figures": None if request.run_filter else messages.comparable(report.figures),
                },
            )
        )

    def _check_app(self) -> None:
        """Refuse an app id that is not the key's before anything is filed under it; asked once for each key.

        :raises UsageError: naming both apps.
        """
        key = f"app-check {self.source.app} {self.source.identity()}"
        if self.ledger.value(key) is None and self.source.check_app():
            self.ledger.put_value(key, {"app": str(self.source.app)}, self.clock())

    def _read_since(self, request: ReportRequest, window: Window) -> datetime:
        """Return since when a window must have been read in full, for a comparison to be enough.

        A scheduled report of a whole period is the last of it: what was read before the period ended is
        read again for it.
        """
        oldest = self.clock() - self.certificate_max_age
        is_last = self.schedule is not None and window == request.window
        return max(oldest, window.before_at) if is_last else oldest

    def _settled(self, window: Window) -> Window:
        now = self.clock()
        if window.before_at > now - NEAR_NOW:
            now = self.source.now()
        return cut_to_now(window, now)


def _clock_notes(ahead: timedelta) -> tuple[str, ...]:
    """Return what a reader must know of the source's clock, and warn, where it differs by over a minute."""
    if abs(ahead) <= CLOCKS_MAY_DIFFER:
        return ()
    way = "ahead of" if ahead > timedelta() else "behind"
    note = (
        f"the source's clock is {abs(round(ahead.total_seconds()))} s {way} ours: set both by a time server"
    )
    logger.warning(note)
    return (note,)


def notes_of(request: ReportRequest, collected: Collected) -> tuple[str, ...]:
    """Return what a reader must know to read the figures rightly, such as a filter that left runs out."""
    filter_note = (f"only runs with {request.run_filter}",) if request.run_filter else ()
    window = collected.certificate.scope.window
    end = window.before_at.astimezone(request.tz).isoformat()
    cut = (f"ends at {end}, before which all had settled by the source's clock",)
    return (
        *filter_note,
        *collected.split.notes,
        *collected.notes,
        *(cut if window != request.window else ()),
    )
