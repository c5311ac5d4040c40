"""Collecting and enriching, over a source and a ledger in memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fake_source import APP, NOW, START, FakeSource, counts_of, decode, make_run

from flowledger.domain.certificates import Scope
from flowledger.domain.cursor_scan import RunCounts
from flowledger.domain.figures import Figures
from flowledger.domain.messages import stored_locally_note
from flowledger.domain.report_heading import Heading
from flowledger.domain.run_filters import FilterSplit, RunFilter
from flowledger.domain.runs import Detailed, Level, Missing, Run, RunStatus, missing_reason
from flowledger.domain.windows import Window
from flowledger.errors import (
    AuthenticationError,
    RunUnavailableError,
    SourceBusyError,
    SourceGarbledError,
    SourceRefusedError,
)
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import LogPage, SilentProgress
from flowledger.reports.json_file import JsonFormat
from flowledger.services.collect import Collector
from flowledger.services.enrich import Enricher
from flowledger.services.pipeline import Collected, Enriched, Pipeline
from flowledger.services.report import Report, ReportGenerator
from flowledger.services.report_requests import ReportRequest
from flowledger.services.run_result import RunResult
from flowledger.storage.local import LocalStorage
from flowledger.storage.service import StorageService

WINDOW = Window(START, START + 9_999)
SCOPE = Scope(APP, WINDOW)
EVERYTHING = FilterSplit()


def new_ledger() -> SqlLedger:
    """Make an empty ledger that can read the fake source's details."""
    return SqlLedger.open("memory://", {"dify": decode})


def collector(source: FakeSource, ledger: SqlLedger) -> Collector:
    """Make a collector with a still clock."""
    return Collector(source, ledger, lambda: NOW, SilentProgress())


def enricher(source: FakeSource, ledger: SqlLedger) -> Enricher:
    """Make an enricher of a few threads with a still clock."""
    return Enricher(source, ledger, lambda: NOW, SilentProgress(), workers=4)


def test_a_window_is_collected_whole_with_its_certificate() -> None:
    """Every run is in the ledger once, and the certificate beside it."""
    source, ledger = FakeSource([make_run(n, n // 3) for n in range(1000)]), new_ledger()
    certificate = collector(source, ledger).collect(WINDOW, EVERYTHING)
    assert (certificate.certified, certificate.expected, certificate.distinct) == (True, 1000, 1000)
    assert ledger.count(SCOPE) == 1000
    assert ledger.certificate(SCOPE) == certificate


def test_a_week_of_certified_days_costs_one_request() -> None:
    """Collect once, report many times."""
    source, ledger = FakeSource([make_run(n) for n in range(700)]), new_ledger()
    for day in range(7):
        days = Window(START + day * 100, START + day * 100 + 99)
        collector(source, ledger).collect(days, EVERYTHING)
    source.requests = 0
    week = collector(source, ledger).collect(Window(START, START + 699), EVERYTHING)
    assert (week.certified, week.distinct, source.requests) == (True, 700, 1)


def test_a_late_row_is_found_without_reading_everything_else() -> None:
    """Only the certified day that differs is read again."""
    source, ledger = FakeSource([make_run(n, n * 2) for n in range(3500)]), new_ledger()
    for day in range(7):
        days = Window(START + day * 1000, START + day * 1000 + 999)
        collector(source, ledger).collect(days, EVERYTHING)
    source.runs.append(make_run(9999, second=2501))
    source.requests = 0
    week = collector(source, ledger).collect(Window(START, START + 6999), EVERYTHING)
    assert (week.certified, week.distinct) == (True, 3501)
    assert source.requests < 24
    assert ledger.count(Scope(APP, Window(START, START + 6999))) == 3501


def test_a_filtered_scope_is_not_proved_by_those_inside_it() -> None:
    """Its rows have to be its own members, whatever certificates there are of parts of the window."""

    class Filtering(FakeSource):
        def page(self, window: Window, remote: object, *, page: int = 1, limit: int = 100) -> LogPage:
            return super().page(window, {}, page=page, limit=limit)

    source, ledger = Filtering([make_run(n) for n in range(700)]), new_ledger()
    failed = FilterSplit({"status": "failed"})
    for day in range(7):
        collector(source, ledger).collect(Window(START + day * 100, START + day * 100 + 99), failed)
    week = collector(source, ledger).collect(Window(START, START + 699), failed)
    assert (week.certified, week.distinct) == (True, 700)
    assert ledger.count(week.scope) == 700


def test_what_was_read_before_a_failure_is_kept_without_a_certificate() -> None:
    """A run that is cut off goes on where it stopped."""

    class Failing(FakeSource):
        def page(self, window: Window, remote: object, *, page: int = 1, limit: int = 100) -> LogPage:
            if self.requests == 3:
                raise SourceBusyError("503", status=503)
            return super().page(window, {}, page=page, limit=limit)

    source, ledger = Failing([make_run(n) for n in range(1000)]), new_ledger()
    with pytest.raises(SourceBusyError):
        collector(source, ledger).collect(WINDOW, EVERYTHING)
    assert ledger.count(SCOPE) > 200
    assert ledger.certificate(SCOPE) is None


def test_a_chatflow_is_followed_by_the_cursor_and_proved_by_counts() -> None:
    """No log list: the run list is cut to the window."""
    runs = [make_run(n, n * 40) for n in range(20)]
    source, ledger = FakeSource(runs, log_list=False), new_ledger()
    window = Window(START + 200, START + 500)
    certificate = collector(source, ledger).collect(window, EVERYTHING)
    assert (certificate.certified, certificate.distinct) == (True, 8)
    assert ledger.count(Scope(APP, window)) == 8


class RowAtTwoTimes(FakeSource):
    """Lists its newest run at a time of the oldest as well, in place of a run that it hides."""

    def page(self, window: Window, remote: object, *, page: int = 1, limit: int = 100) -> LogPage:
        runs, oldest = list(self.runs), min(self.runs, key=lambda run: run.listed_at)
        newest = max(self.runs, key=lambda run: run.listed_at)
        runs.remove(oldest)
        runs.append(replace(newest, listed_at=oldest.listed_at))
        listed = FakeSource(runs, random=self.random)
        self.requests += 1
        return listed.page(window, {}, page=page, limit=limit)


def test_a_row_listed_at_two_times_does_not_stand_in_for_a_hidden_one() -> None:
    """As many rows as are counted, but one run less is held: not certified, with the row's id."""
    source, ledger = RowAtTwoTimes([make_run(n) for n in range(350)]), new_ledger()
    certificate = collector(source, ledger).collect(WINDOW, EVERYTHING)
    assert (certificate.certified, ledger.count(SCOPE)) == (False, 349)
    assert certificate.reason == "the source listed row log-00349 at two times"


def test_a_row_whose_time_moves_once_is_read_again() -> None:
    """The next reading finds each row at one time."""

    class Moving(RowAtTwoTimes):
        def page(self, window: Window, remote: object, *, page: int = 1, limit: int = 100) -> LogPage:
            if self.requests < 6:
                return super().page(window, {}, page=page, limit=limit)
            return FakeSource.page(self, window, {}, page=page, limit=limit)

    source, ledger = Moving([make_run(n) for n in range(350)]), new_ledger()
    certificate = collector(source, ledger).collect(WINDOW, EVERYTHING)
    assert (certificate.certified, certificate.distinct, ledger.count(SCOPE)) == (True, 350, 350)


@pytest.mark.parametrize("second", [0, 349])
def test_two_log_rows_of_one_run_are_told(second: int) -> None:
    """Both rows are counted as the source does, the run is held once, and the certificate says so."""
    runs = [make_run(n) for n in range(350)]
    twin = replace(make_run(349, second=second), log_id="log-twin")
    source, ledger = FakeSource([*runs, twin]), new_ledger()
    certificate = collector(source, ledger).collect(WINDOW, EVERYTHING)
    assert (certificate.certified, certificate.distinct, ledger.count(SCOPE)) == (True, 351, 350)
    assert certificate.reason == "complete; 2 log rows show one run"


@dataclass
class FullCount(FakeSource):
    """Counts all runs, whatever the list shows."""

    counted: Sequence[Run] = ()

    def count_since(self, second: int) -> RunCounts | None:
        return counts_of(self.counted, second)


@pytest.mark.parametrize("doubled", [19, 16, 13])
def test_a_run_listed_twice_by_the_cursor_is_one_run(doubled: int) -> None:
    """It does not stand in for a hidden one, inside the window or beside it."""
    runs = [make_run(n, n * 4) for n in range(20)]
    listed = [run for run in runs if run is not runs[10]]
    listed.append(replace(runs[doubled], listed_at=runs[doubled].listed_at + timedelta(seconds=1)))
    source, ledger = FullCount(listed, log_list=False, counted=runs), new_ledger()
    certificate = collector(source, ledger).collect(Window(START + 30, START + 60), EVERYTHING)
    assert not certificate.certified
    assert "twice" in certificate.reason or "which are" in certificate.reason


def collected(source: FakeSource) -> SqlLedger:
    """Give a ledger that holds the source's runs, undetailed."""
    ledger = new_ledger()
    collector(source, ledger).collect(WINDOW, EVERYTHING)
    return ledger


def test_every_run_is_detailed_once() -> None:
    """A second pass asks for nothing."""
    source = FakeSource([make_run(n) for n in range(600)])
    ledger = collected(source)
    assert enricher(source, ledger).enrich(SCOPE, Level.NODES) == 600
    assert all(isinstance(entry.detail, Detailed) for entry in ledger.entries(SCOPE))
    assert enricher(source, ledger).enrich(SCOPE, Level.NODES) == 0
    assert sorted(source.detailed) == [run.run_id for run in source.runs]


def test_one_bad_run_becomes_missing_and_stops_nothing() -> None:
    """Retries used up, refused or deleted: the reason is kept, and only what may be had is asked again."""
    trouble = {
        "run-00001": SourceBusyError("503 again and again", status=503),
        "run-00002": SourceRefusedError("400 Expecting value", status=400),
        "run-00003": RunUnavailableError("the source no longer knows the run"),
        "run-00004": SourceGarbledError("HTML instead of JSON"),
    }
    source = FakeSource([make_run(n) for n in range(10)], trouble)
    ledger = collected(source)
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    details = {entry.run.run_id: entry.detail for entry in ledger.entries(SCOPE)}
    assert {run_id for run_id, detail in details.items() if isinstance(detail, Missing)} == set(trouble)
    assert missing_reason(details["run-00002"]) == "400 Expecting value"
    source.detailed.clear()
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    assert sorted(source.detailed) == ["run-00001", "run-00002", "run-00004"]


def test_a_refused_key_stops_everything() -> None:
    """Without the app's own key no run can be had; what was read is kept."""
    source = FakeSource([make_run(n) for n in range(50)], {"run-00030": AuthenticationError("refused")})
    ledger = collected(source)
    with pytest.raises(AuthenticationError):
        enricher(source, ledger).enrich(SCOPE, Level.NODES)


@pytest.mark.fault(18)
def test_an_open_run_is_polled_until_it_ends_or_is_stuck() -> None:
    """Fresh runs are asked again, those of yesterday are not, and an ended one is read a last time."""
    fresh = int(NOW.timestamp()) - START - 60
    window = Window(START, START + fresh)
    runs = [make_run(1, second=10, status=RunStatus.RUNNING), make_run(2, fresh, RunStatus.RUNNING)]
    source, ledger = FakeSource(runs), new_ledger()
    collector(source, ledger).collect(window, EVERYTHING)
    scope = Scope(APP, window)
    enricher(source, ledger).enrich(scope, Level.NODES)
    assert source.detailed == ["run-00002", "run-00001"]
    enricher(source, ledger).enrich(scope, Level.NODES)
    assert source.detailed[2:] == ["run-00002"]
    source.runs[1] = replace(source.runs[1], status=RunStatus.SUCCESS)
    enricher(source, ledger).enrich(scope, Level.NODES)
    enricher(source, ledger).enrich(scope, Level.NODES)
    assert source.detailed[3:] == ["run-00002"]
    assert {entry.run.status for entry in ledger.entries(scope)} == {RunStatus.RUNNING, RunStatus.SUCCESS}


def test_open_runs_that_have_not_moved_on_are_not_asked_one_by_one() -> None:
    """Where the source can list its open runs, one request tells which have ended."""
    fresh = int(NOW.timestamp()) - START - 600
    runs = [make_run(n, fresh + n, RunStatus.RUNNING) for n in range(9)]
    source, ledger = FakeSource(runs, tells_open=True), new_ledger()
    window = Window(START, START + fresh + 9)
    collector(source, ledger).collect(window, EVERYTHING)
    enricher(source, ledger).enrich(Scope(APP, window), Level.NODES)
    source.runs[4] = replace(source.runs[4], status=RunStatus.SUCCESS)
    source.detailed.clear()
    source.requests = 0
    enricher(source, ledger).enrich(Scope(APP, window), Level.NODES)
    assert (source.detailed, source.requests) == (["run-00004"], 2)


def test_a_stuck_run_that_has_ended_after_all_is_read_a_last_time() -> None:
    """A weekly report finds what was open at the daily one; what is stuck still is not asked."""
    source = FakeSource([make_run(n, status=RunStatus.RUNNING) for n in range(3)], tells_open=True)
    ledger = collected(source)
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    source.runs[1] = replace(source.runs[1], status=RunStatus.SUCCESS)
    source.detailed.clear()
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    assert source.detailed == ["run-00001"]


def test_without_console_access_nodes_are_missing_and_not_asked_for_each_time() -> None:
    """The reason is kept; with access later, the nodes are read."""
    source = FakeSource([make_run(n) for n in range(5)], reach=Level.RUN)
    ledger = collected(source)
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    assert {missing_reason(entry.detail) for entry in ledger.entries(SCOPE)} == {"no console access"}
    assert enricher(source, ledger).enrich(SCOPE, Level.NODES) == 0
    source.reach = Level.NODES
    assert enricher(source, ledger).enrich(SCOPE, Level.NODES) == 5


def test_the_clock_of_stuckness_is_the_callers() -> None:
    """A run is open for as long as the setting says."""
    run = make_run(1, status=RunStatus.RUNNING)
    assert not run.is_stuck(run.listed_at + timedelta(hours=23))
    assert run.is_stuck(run.listed_at + timedelta(hours=24))


def test_runs_never_tried_are_asked_before_those_that_failed() -> None:
    """Newer runs that fail each time do not keep the older ones waiting for ever."""
    runs = [make_run(n) for n in range(200)]
    trouble = {run.run_id: SourceBusyError("503", status=503) for run in runs[120:]}
    source = FakeSource(runs, trouble)
    ledger = collected(source)
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    first = set(source.detailed)
    assert len(first) < 80
    source.detailed.clear()
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    assert not first & set(source.detailed[: 200 - len(first)][:20])
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    detailed = {entry.run.run_id for entry in ledger.entries(SCOPE) if isinstance(entry.detail, Detailed)}
    assert detailed == {run.run_id for run in runs[:120]}


def test_a_run_that_fails_is_asked_once_in_an_enrichment() -> None:
    """It is not tried again among those that had failed before."""
    source = FakeSource([make_run(n) for n in range(30)], {"run-00003": SourceBusyError("503", status=503)})
    ledger = collected(source)
    enricher(source, ledger).enrich(SCOPE, Level.NODES)
    assert sorted(source.detailed) == [run.run_id for run in source.runs]


def test_runs_that_the_source_refuses_do_not_make_it_hopeless() -> None:
    """A refusal is an answer: however many there are, the others are asked."""
    runs = [make_run(n) for n in range(300)]
    trouble = {run.run_id: SourceRefusedError("400 Expecting value", status=400) for run in runs[100:]}
    source = FakeSource(runs, trouble)
    ledger = collected(source)
    assert enricher(source, ledger).enrich(SCOPE, Level.NODES) == 300


def test_without_details_open_runs_are_brought_up_to_date_all_the_same() -> None:
    """A status is no detail: what has ended since is reported so, and the others are not asked."""
    fresh = int(NOW.timestamp()) - START - 600
    runs = [make_run(n, fresh + n, RunStatus.RUNNING if n < 2 else RunStatus.SUCCESS) for n in range(5)]
    source, ledger = FakeSource(runs), new_ledger()
    window = Window(START, START + fresh + 9)
    collector(source, ledger).collect(window, EVERYTHING)
    source.runs[1] = replace(source.runs[1], status=RunStatus.SUCCESS)
    scope = Scope(APP, window)
    assert enricher(source, ledger).enrich(scope, Level.NONE) == 2
    statuses = [entry.run.status for entry in ledger.entries(scope)]
    assert statuses.count(RunStatus.RUNNING) == 1
    source.detailed.clear()
    enricher(source, ledger).enrich(scope, Level.NONE)
    assert source.detailed == ["run-00000"]


def test_without_details_a_stuck_run_is_left_alone() -> None:
    """It is asked no more than with them."""
    source = FakeSource([make_run(1, status=RunStatus.RUNNING)])
    ledger = collected(source)
    assert enricher(source, ledger).enrich(SCOPE, Level.NONE) == 0


@pytest.mark.parametrize(
    ("notes", "waits"),
    [((), False), (("4 files were uploaded",), False), ((stored_locally_note("storage away"),), True)],
)
def test_a_result_says_whether_its_files_wait_here(
    tmp_path: Path, notes: tuple[str, ...], waits: bool
) -> None:
    """Machines read it as a value, people as a note."""
    ledger = collected(source := FakeSource([make_run(0)]))
    store = StorageService(LocalStorage(tmp_path), lambda: NOW)
    pipeline = Pipeline("app", "en", source, ledger, store, (), lambda: NOW, SilentProgress())
    certificate = ledger.certificate(SCOPE)
    assert certificate
    done = Collected(certificate, EVERYTHING, 0)
    request = ReportRequest("custom", NOW, ZoneInfo("UTC"), (), WINDOW.after_at, WINDOW.before_at)
    report = Report({}, Figures(), notes)
    result = pipeline.result(request, done, Enriched(Level.NONE, 0, 0), report, started=0.0)
    assert (result.kept_locally, result.notes) == (waits, list(notes))


KEYS = (
    "app app_id period window logs_count report_paths certificate detailed missing missing_reasons by_status"
    " open stuck users total_tokens cost duration_p50_s duration_p95_s failures filtered kept_locally notes"
    " requests duration cost_known_runs completeness late caught_up"
)
"""What programs read of ``--json`` and of a flow run's result, in this order."""


def test_a_result_is_the_same_json_for_every_reader(tmp_path: Path) -> None:
    """Its keys and their order are a contract; what was written is read back as it was."""
    runs = [make_run(0), make_run(1, status=RunStatus.FAILED)]
    store = StorageService(LocalStorage(tmp_path), lambda: NOW)
    source, ledger = FakeSource(runs), new_ledger()
    pipeline = Pipeline("app", "en", source, ledger, store, (JsonFormat(),), lambda: NOW, SilentProgress())
    zone = ZoneInfo("Asia/Shanghai")
    request = ReportRequest("custom", NOW, zone, ("json",), WINDOW.after_at, WINDOW.before_at)
    result = pipeline.run(request, run_id="r-1", started=0.0)
    values = result.to_json()
    assert list(values) == KEYS.split()
    assert list(values["window"]) == ["after", "before"]
    assert values["window"]["after"] == WINDOW.after_at.astimezone(zone).isoformat()
    assert list(values["certificate"]) == ["certified", "reason", "expected", "distinct", "retained", "at"]
    assert (values["logs_count"], values["by_status"]) == (2, {"success": 1, "failed": 1})
    assert [Path(path).suffix for path in values["report_paths"]] == [".json"]
    assert values == json.loads(json.dumps(values))
    assert RunResult.from_json(json.loads(json.dumps(values))) == result


def test_runs_whose_texts_are_missing_are_counted_where_a_keyword_is_looked_for(tmp_path: Path) -> None:
    """They are left out of the report, and its notes say how many; those that match by an id are not."""
    runs = [make_run(n) for n in range(6)]
    trouble = {runs[n].run_id: SourceBusyError("503", status=503) for n in (1, 2, 3)}
    ledger = collected(source := FakeSource(runs, trouble))
    enricher(source, ledger).enrich(SCOPE, Level.RUN)
    store = StorageService(LocalStorage(tmp_path), lambda: NOW)
    generator = ReportGenerator(ledger, store, [JsonFormat()], lambda: NOW, SilentProgress())
    heading = Heading("app", "custom", WINDOW, UTC, "en", NOW)
    wanted = {"hi": (3, ["3 runs are left out"]), "run-00002": (1, ["2 runs are left out"]), "": (6, [])}
    for keyword, (found, notes) in wanted.items():
        local = RunFilter(keyword=keyword or None)
        report = generator.generate(SCOPE, heading, local=local, level=Level.RUN, run_id=f"k{found}")
        assert report.figures.runs == found
        assert [note[:19] for note in report.notes] == notes
        written = "".join(Path(path).read_text("utf-8") for path in report.all_paths)
        assert all(note in written for note in notes)
