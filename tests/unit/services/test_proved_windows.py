"""Certified windows that are compared rather than read: what is found, and what it costs."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fake_source import APP, NOW, START, FakeSource, decode, make_run

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.cursor_scan import RunCounts
from flowledger.domain.history import RunKey
from flowledger.domain.run_filters import FilterSplit
from flowledger.domain.runs import Level, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.errors import SourceRefusedError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import SilentProgress
from flowledger.services.collect import Collector
from flowledger.services.enrich import Enricher
from flowledger.services.pipeline import Pipeline
from flowledger.services.report_requests import ReportRequest
from flowledger.storage.local import LocalStorage
from flowledger.storage.service import StorageService

DAY = Window(START, START + 9_999)
HOUR = timedelta(hours=1)
FAILED = RunStatus.FAILED


def failed(number: int, second: int | None = None) -> Run:
    """Make a run that has failed."""
    return replace(make_run(number, second, FAILED), source_status="failed")


@dataclass
class Place:
    """A source, a ledger and a clock that is moved by hand."""

    source: FakeSource
    ledger: SqlLedger = field(default_factory=lambda: SqlLedger.open("memory://", {"dify": decode}))
    now: datetime = NOW

    def collect(
        self, window: Window = DAY, *, read_since: datetime | None = None, requests: int = 3, query: str = ""
    ) -> Certificate:
        """Collect a window, all of it or the runs of a status, counting the requests from zero."""
        self.source.requests = 0
        split = FilterSplit({"status": query} if query else {})
        collector = Collector(self.source, self.ledger, lambda: self.now, SilentProgress())
        return collector.collect(window, split, read_since=read_since, requests=requests)

    def held(self, window: Window = DAY) -> set[str]:
        """Return the ids that the ledger holds of a window."""
        entries = self.ledger.entries(Scope(APP, window), with_details=False)
        return {entry.run.run_id for entry in entries}

    def exchange(self, gone: int, come: Run) -> None:
        """Take a run away from the source and put another one there."""
        self.source.runs = [run for run in self.source.runs if run.run_id != f"run-{gone:05}"]
        self.source.runs.append(come)


def a_day(runs: int = 500) -> Place:
    """Make a place whose day was collected, with every tenth run failed."""
    place = Place(FakeSource([failed(n) if n % 10 == 0 else make_run(n) for n in range(runs)]))
    assert place.collect().certified
    return place


def test_an_unchanged_window_costs_at_most_three_requests() -> None:
    """The newest page with the total, and the totals of two statuses."""
    place = a_day()
    first = place.ledger.certificate(Scope(APP, DAY))
    place.now += HOUR
    second = place.collect()
    assert first
    assert (second.certified, second.distinct, place.source.requests) == (True, 500, 3)
    assert (second.at, second.read_at, second.runs) == (place.now, first.read_at, first.runs)


def test_a_window_of_one_page_is_read_at_one_request() -> None:
    """No comparison is cheaper, or shows as much."""
    place = a_day(80)
    place.now += HOUR
    again = place.collect()
    assert (again.certified, again.read_at, place.source.requests) == (True, place.now, 1)


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    ("gone", "come"),
    [
        pytest.param(499, make_run(900, 499), id="newest"),
        pytest.param(3, make_run(900, 480), id="newest page"),
        pytest.param(480, make_run(900, 3), id="gone from the newest page"),
        pytest.param(3, failed(900, 7), id="one failed more"),
        pytest.param(10, make_run(900, 7), id="one failed less"),
        pytest.param(3, replace(make_run(900, 7), source_status="stopped"), id="one succeeded less"),
        pytest.param(10, failed(900, 7), id="another failed"),
    ],
)
def test_a_run_that_comes_for_one_that_goes_is_found(gone: int, come: Run) -> None:
    """The total is as it was, but the runs are not."""
    place = a_day()
    place.exchange(gone, come)
    certificate = place.collect()
    assert (certificate.certified, certificate.distinct) == (True, 500)
    assert come.run_id in place.held()
    assert place.collect().certified
    assert place.source.requests <= 3


@pytest.mark.fault(10)
def test_what_a_comparison_does_not_show_is_read_again() -> None:
    """An older run that comes for one like it changes no total; a reading in full finds it."""
    place = a_day()
    place.exchange(351, make_run(900, 356))
    place.now += HOUR
    assert place.collect(read_since=NOW).read_at == NOW
    assert "run-00900" not in place.held()
    again = place.collect(read_since=NOW + HOUR)
    assert (again.certified, again.read_at) == (True, place.now)
    assert "run-00900" in place.held()


def test_each_comparison_looks_at_another_page() -> None:
    """An older run that comes for one like it is found before long, at no more requests."""
    place = a_day()
    place.exchange(351, make_run(900, 356))
    for _ in range(20):
        place.now += timedelta(minutes=1)
        place.collect()
    assert "run-00900" in place.held()
    assert place.source.requests == 3


def test_fewer_requests_are_used_where_fewer_are_left() -> None:
    """The totals of statuses are left out first."""
    place = a_day()
    for requests in (1, 2):
        assert place.collect(requests=requests).certified
        assert place.source.requests == requests


def test_open_runs_may_have_ended_since() -> None:
    """More runs have succeeded than had, but no more than were open."""
    place = a_day()
    place.source.runs[7] = replace(make_run(7, 7, RunStatus.RUNNING), source_status="running")
    assert place.collect(read_since=NOW + HOUR).certified
    place.source.runs[7] = make_run(7, 7)
    assert place.collect().certified
    assert place.source.requests == 3
    place.exchange(30, make_run(900, 8))
    assert place.collect().certified
    assert "run-00900" in place.held()


def test_an_archived_run_is_read_again() -> None:
    """A window of which the ledger no longer holds all is no longer proved by its certificate."""
    place = a_day()
    place.ledger.delete_runs([RunKey(APP, "run-00003")])
    assert place.collect().certified
    assert len(place.held()) == 500


def test_a_certificate_of_before_is_no_proof() -> None:
    """What was certified by its number alone says neither when it was read nor which runs."""
    place = a_day()
    place.exchange(351, make_run(900, 356))
    certificate = place.ledger.certificate(Scope(APP, DAY))
    assert certificate
    old = replace(certificate, read_at=None, runs=None)
    place.ledger.save_runs([], scope=old.scope, at=NOW, certificate=old)
    assert place.collect().certified
    assert "run-00900" in place.held()


def test_a_filtered_window_is_compared_by_its_own_rows() -> None:
    """Its newest page and total; it is a status already."""
    place = Place(FakeSource([failed(n) for n in range(300)] + [make_run(n + 300) for n in range(300)]))
    assert place.collect(query="failed").distinct == 300
    assert place.collect(query="failed").distinct == 300
    assert place.source.requests == 1
    place.exchange(250, failed(900, 299))
    assert place.collect(query="failed").certified
    assert place.ledger.count(Scope(APP, DAY, "status='failed'")) == 301


def test_a_day_inside_a_certified_span_costs_one_request() -> None:
    """What was read of the longer window proves the day, as days prove the longer window."""
    place = a_day(900)
    for first in (0, 300, 600):
        certificate = place.collect(Window(START + first, START + first + 299))
        assert (certificate.certified, certificate.distinct, place.source.requests) == (True, 300, 1)
        assert certificate.read_at == NOW
    assert place.collect(Window(START, START + 899)).certified
    assert place.source.requests == 1


def test_a_day_that_has_changed_inside_a_certified_span_is_read() -> None:
    """A run that the longer window had not is found."""
    place = a_day(900)
    place.source.runs.append(make_run(950, 400))
    certificate = place.collect(Window(START + 300, START + 599))
    assert (certificate.certified, certificate.distinct) == (True, 301)


def test_a_span_is_read_where_only_its_days_hold() -> None:
    """The certificates of the days inside count where that of the whole does not any more."""
    place = a_day(3000)
    for day in range(6):
        place.collect(Window(START + day * 500, START + day * 500 + 499))
    place.source.runs.append(make_run(9_000, 2_700))
    certificate = place.collect()
    assert (certificate.certified, certificate.distinct) == (True, 3001)
    assert place.source.requests < 24


REPORT = ReportRequest("custom", NOW, ZoneInfo("UTC"), (), DAY.after_at, DAY.before_at)


def pipeline(place: Place, folder: Path, schedule: str | None = None) -> Pipeline:
    """Make a pipeline over a place."""
    store = StorageService(LocalStorage(folder), lambda: NOW)
    return Pipeline(
        app_name="app",
        language="en",
        source=place.source,
        ledger=place.ledger,
        store=store,
        formats=(),
        clock=lambda: place.now,
        progress=SilentProgress(),
        schedule=schedule,
        certificate_max_age=timedelta(hours=5),
    )


def test_a_window_is_read_again_when_its_reading_is_old(tmp_path: Path) -> None:
    """Up to the age that is set it is only compared."""
    place = a_day()
    place.exchange(351, make_run(900, 356))
    place.now = NOW + 5 * HOUR
    assert pipeline(place, tmp_path).collect(REPORT).certificate.read_at == NOW
    place.now = NOW + 6 * HOUR
    assert pipeline(place, tmp_path).collect(REPORT).certificate.read_at == place.now
    assert "run-00900" in place.held()


@pytest.mark.parametrize(("schedule", "is_read"), [("daily", True), (None, False)])
def test_the_last_report_of_a_period_reads_what_was_read_before_its_end(
    schedule: str | None, is_read: bool, tmp_path: Path
) -> None:
    """Days that were read while the week went on are read again for the week, once."""
    early = DAY.before_at - HOUR
    place = Place(FakeSource([make_run(n) for n in range(500)]), now=early)
    assert place.collect(Window(DAY.after, DAY.after + 499)).certified
    place.exchange(51, make_run(900, 56))
    place.now = DAY.before_at + HOUR
    report = pipeline(place, tmp_path, schedule)
    assert report.collect(REPORT).certificate.certified
    assert ("run-00900" in place.held()) is is_read
    place.source.requests = 0
    report.collect(REPORT)
    assert place.source.requests <= 3


def test_enriching_changes_nothing_of_what_is_compared() -> None:
    """A run that ended after it was listed is known in its status of then."""
    fresh = Place(FakeSource([make_run(n, n, RunStatus.RUNNING) for n in range(300)]))
    fresh.now = DAY.after_at + timedelta(minutes=30)
    window = Window(START, START + 299)
    fresh.collect(window)
    fresh.source.runs = [failed(n) if n % 2 else make_run(n) for n in range(300)]
    enricher = Enricher(fresh.source, fresh.ledger, lambda: fresh.now, SilentProgress(), workers=1)
    assert enricher.enrich(Scope(APP, window), Level.NODES) == 300
    assert fresh.collect(window).read_at == fresh.now
    assert fresh.source.requests == 3


def a_chatflow(runs: int = 60) -> Place:
    """Make a place whose source lists by a cursor, four runs a page, with newer runs than the day has."""
    listed = [failed(n, n * 20) if n % 10 == 0 else make_run(n, n * 20) for n in range(runs)]
    later = [make_run(800 + n, 10_100 + n * 40) for n in range(20)]
    place = Place(FakeSource([*listed, *later], log_list=False))
    assert place.collect().certified
    return place


def test_an_unchanged_chatflow_is_counted_rather_than_read() -> None:
    """The newest runs, and the counts since two instants around the window."""
    place = a_chatflow()
    place.now += HOUR
    again = place.collect()
    assert (again.certified, again.distinct, again.read_at) == (True, 60, NOW)
    assert place.source.requests == 3
    assert place.collect(requests=2).certified
    assert place.source.requests == 2


def test_runs_close_to_a_chatflow_s_day_are_counted_with_it() -> None:
    """The counts are made where no run is close by, as far as other collections have told of them."""
    place = a_chatflow()
    close = [make_run(700 + n, 10_000 + n * 3) for n in range(10)]
    place.source.runs += close
    place.collect(Window(START + 10_000, START + 10_050))
    place.now += HOUR
    assert place.collect().read_at == NOW
    assert place.source.requests == 3


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    ("gone", "come"),
    [
        pytest.param(3, failed(900, 61), id="one failed more"),
        pytest.param(10, make_run(900, 199), id="one failed less"),
        pytest.param(3, replace(make_run(900, 61), source_status="stopped"), id="one stopped more"),
    ],
)
def test_a_run_of_a_chatflow_that_comes_for_one_that_goes_is_found(gone: int, come: Run) -> None:
    """Its counts tell the statuses."""
    place = a_chatflow()
    place.exchange(gone, come)
    assert place.collect().certified
    assert come.run_id in place.held()
    assert place.collect().certified
    assert place.source.requests == 3


def test_the_newest_runs_of_a_chatflow_are_compared() -> None:
    """Where the day is the newest there is, one that comes for one like it is found."""
    place = Place(FakeSource([make_run(n, n * 20) for n in range(60)], log_list=False))
    assert place.collect().certified
    place.exchange(58, make_run(900, 58 * 20 + 3))
    assert place.collect().certified
    assert "run-00900" in place.held()


def test_parts_and_wholes_prove_each_other_for_chatflows_too() -> None:
    """A day inside a span, and a span of days, are counted."""
    place = a_chatflow()
    part = place.collect(Window(START, START + 599))
    assert (part.certified, part.distinct, place.source.requests) == (True, 30, 3)
    assert part.reason == "complete by the console's counts around the window"
    place.collect(Window(START + 600, START + 9_000))
    both = place.collect(Window(START, START + 9_000))
    assert (both.certified, both.distinct, place.source.requests) == (True, 60, 3)


def test_a_chatflow_is_read_again_where_nothing_counts_it() -> None:
    """The collection says what the matter is, as at the first time."""

    class Uncounted(FakeSource):
        def count_since(self, second: int) -> RunCounts | None:
            raise SourceRefusedError("404", status=404)

    place = a_chatflow()
    place.source = Uncounted(place.source.runs, log_list=False)
    with pytest.raises(SourceRefusedError):
        place.collect()
    assert place.source.requests > 5
