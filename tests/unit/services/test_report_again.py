"""Reports that are written anew because runs of them have ended, or appeared, since: as they were, once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from fake_source import APP, NOW, START, FakeSource, decode, make_run

from flowledger.domain.certificates import Scope
from flowledger.domain.history import OperationQuery, RunKey
from flowledger.domain.operations import Operation
from flowledger.domain.run_filters import RunFilter
from flowledger.domain.runs import Level, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import ReportFormat, ReportStore, SilentProgress
from flowledger.reports.csv_files import CsvFormat
from flowledger.reports.json_file import JsonFormat
from flowledger.services.enrich import Enricher
from flowledger.services.pipeline import Pipeline
from flowledger.services.report_requests import ReportContent, ReportRequest
from flowledger.services.run_result import RunResult
from flowledger.services.written_reports import ReportAgain
from flowledger.storage.local import LocalStorage
from flowledger.storage.service import StorageService

DAY_S = 86_400
UTC_ZONE = ZoneInfo("UTC")
FIRST_DAY = Scope(APP, Window(START, START + DAY_S - 1))
FORMATS: dict[str, ReportFormat] = {"json": JsonFormat(), "csv": CsvFormat()}
ENDED = "written anew, since runs of it ended or appeared after it: "


@dataclass
class TimedSource(FakeSource):
    """A source whose clock can be set."""

    clock: datetime = NOW

    def now(self) -> datetime:
        return self.clock


@dataclass
class Night:
    """An app of three days, two of them reported by the schedule; runs of the first are open."""

    folder: Path
    source: TimedSource
    ledger: SqlLedger = field(default_factory=lambda: SqlLedger.open("memory://", {"dify": decode}))
    again: ReportAgain = ReportAgain.ANNOUNCE
    now: datetime = NOW

    def pipeline(self, **parts: Any) -> Pipeline:
        """Make the pipeline of the present, whose reports go below ``main`` unless told otherwise."""
        store, formats = self.reopened(ReportContent(str(self.folder / "main"), ("json",)))
        usual = {
            "schedule": "daily_report",
            "storage": str(self.folder / "main"),
            "report_again": self.again,
            "reopened": self.reopened,
            "workers": 4,
            "app_name": "app",
            "language": "en",
        }
        return Pipeline(
            source=self.source,
            ledger=self.ledger,
            store=store,
            formats=formats,
            clock=lambda: self.now,
            progress=SilentProgress(),
            **{**usual, **parts},
        )

    def reopened(self, content: ReportContent) -> tuple[ReportStore, tuple[ReportFormat, ...]]:
        """Open a storage by its folder."""
        store = StorageService(LocalStorage(Path(content.storage)), lambda: self.now)
        return store, tuple(FORMATS[name] for name in content.formats)

    def report(self, day: int, *, pipeline: Pipeline | None = None, **words: Any) -> RunResult:
        """Report a day as its scheduled run does."""
        instant = datetime.fromtimestamp(START + (day + 1) * DAY_S + 7200, UTC)
        self.now = self.source.clock = max(self.now, instant)
        request = ReportRequest("yesterday", instant, UTC_ZONE, ("json",))
        return (pipeline or self.pipeline()).run(replace(request, **words), run_id=f"r{day}", started=0.0)

    def end(self, number: int) -> None:
        """Let a run of the source end."""
        at = next(place for place, run in enumerate(self.source.runs) if run.run_id == f"run-{number:05}")
        self.source.runs[at] = replace(self.source.runs[at], status=RunStatus.SUCCESS)

    def written(self, storage: str = "main", day: str = "2026-11-21") -> list[dict[str, Any]]:
        """Give the JSON reports of a day, in the order they were written."""
        found = (self.folder / storage / "reports/json").glob(f"yesterday-{day}_*.json")
        ordered = sorted(found, key=lambda path: path.stat().st_mtime_ns)
        return [orjson.loads(path.read_bytes()) for path in ordered]

    def records(self) -> list[Operation]:
        """Give the records of reports, oldest first."""
        return list(self.ledger.operations(OperationQuery(apps=(APP,), types=("REPORT",))))[::-1]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Three open runs and two ended ones late on the first day, one on each of the others."""
    late = DAY_S - 3600
    runs = [make_run(n, late + n, RunStatus.RUNNING if n < 3 else RunStatus.SUCCESS) for n in range(5)]
    runs += [make_run(10, DAY_S + 3600), make_run(20, 2 * DAY_S + 3600)]
    return Night(tmp_path, TimedSource(runs, tells_open=True))


def test_a_day_whose_runs_ended_is_reported_anew_with_the_right_figures(night: Night) -> None:
    """Three are open at first; the next night two have ended, and the report says so."""
    first = night.report(0)
    assert (first.open, first.by_status) == (3, {"success": 2, "running": 3})
    night.end(0)
    night.end(1)
    second = night.report(1)
    assert second.notes == [
        "2 runs of earlier days ended and are up to date in the ledger",
        f"{ENDED}daily report 2026-11-21",
    ]
    before, again = night.written()
    assert before["figures"]["by_status"] == {"success": 2, "running": 3}
    assert again["figures"]["by_status"] == {"success": 4, "running": 1}
    same = ("app", "period", "window", "notes")
    assert {name: again[name] for name in same} == {name: before[name] for name in same}
    assert [report["figures"]["runs"] for report in night.written(day="2026-11-22")] == [1]


def test_what_has_not_changed_is_not_written_again(night: Night) -> None:
    """Once for each change: neither an open run that stays so nor a second look is one."""
    night.report(0)
    night.report(1)
    assert len(night.written()) == 1
    night.end(0)
    for _ in range(3):
        night.report(1)
    assert len(night.written()) == 2


def test_a_run_that_appeared_after_its_day_was_reported_is_in_the_new_report(night: Night) -> None:
    """The week finds a row that the day did not show; the day is reported anew."""
    night.report(0)
    night.source.runs.append(make_run(99, 4000))
    after, before = (datetime.fromtimestamp(second, UTC) for second in (START, START + 2 * DAY_S - 1))
    night.report(1, pipeline=night.pipeline(schedule=None), period="custom", after=after, before=before)
    assert [report["figures"]["runs"] for report in night.written()] == [5, 6]


@pytest.mark.fault(34)
def test_a_process_that_is_killed_in_between_leaves_no_day_stale(night: Night) -> None:
    """The runs were read, and their report was not written: the next run writes it."""
    night.report(0)
    night.end(0)
    progress = SilentProgress()
    dying = Enricher(night.source, night.ledger, lambda: night.now, progress, workers=2)
    assert len(dying.enrich_earlier(APP, START + DAY_S, Level.NODES)) == 1
    result = night.report(1)
    assert result.notes == [f"{ENDED}daily report 2026-11-21"]
    assert night.written()[-1]["figures"]["open"] == 2


def test_it_has_the_formats_the_details_and_the_storage_of_the_original(night: Night) -> None:
    """Whoever finds the change may have ordered fewer formats and no details, into a folder elsewhere."""
    elsewhere = str(night.folder / "elsewhere")
    store, formats = night.reopened(ReportContent(elsewhere, ("json", "csv")))
    original = replace(night.pipeline(), store=store, formats=formats, storage=elsewhere)
    night.report(0, pipeline=original, formats=("json", "csv"))
    night.end(0)
    night.report(1, with_details=False, with_node_executions=False)
    assert night.written() == []
    _, again = night.written("elsewhere")
    assert [row["node_executions"][0]["node_id"] for row in again["data"]] == ["start"] * 5
    assert len(list((night.folder / "elsewhere/reports/csv").glob("yesterday-2026-11-21_*"))) == 2
    first, repeated, _ = (record.data for record in night.records())
    same = ("window", "schedule", "storage", "formats", "details", "timezone")
    assert {name: repeated[name] for name in same} == {name: first[name] for name in same}
    assert (first["figures"]["open"], repeated["figures"]["open"]) == (3, 2)  # type: ignore[index]


@pytest.mark.parametrize(
    ("again", "reports", "notes"),
    [(ReportAgain.ANNOUNCE, 2, 2), (ReportAgain.QUIET, 2, 1), (ReportAgain.OFF, 1, 1)],
)
def test_the_setting_says_whether_and_how(night: Night, again: ReportAgain, reports: int, notes: int) -> None:
    """Announced, in silence, or not at all; the ledger is brought up to date in any case."""
    night.again = again
    night.report(0)
    night.end(0)
    result = night.report(1)
    assert (len(night.written()), len(result.notes)) == (reports, notes)
    assert result.notes[0] == "1 runs of earlier days ended and are up to date in the ledger"
    assert len(list(night.ledger.open_runs(FIRST_DAY))) == 2


def test_a_storage_that_is_gone_stops_no_report(night: Night) -> None:
    """The run's own report is written; that the other one could not be is said."""
    gone = night.folder / "gone"
    store, formats = night.reopened(ReportContent(str(gone), ("json",)))
    night.report(0, pipeline=replace(night.pipeline(), store=store, formats=formats, storage=str(gone)))
    for path in sorted(gone.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    gone.rmdir()
    gone.write_text("a file where the folder was", "utf-8")
    night.end(0)
    result = night.report(1)
    assert (len(result.report_paths), len(result.notes)) == (1, 2)
    assert result.notes[1].startswith("cannot be written anew: daily report 2026-11-21: ")


Order = Callable[[Night], object]


@pytest.mark.parametrize(
    "order",
    [
        lambda night: night.report(0, run_filter=RunFilter(status="succeeded")),
        lambda night: night.report(0, period="today", instant=night.now - timedelta(hours=3)),
        lambda night: night.report(
            0, period="custom", after=night.now - timedelta(hours=9), before=night.now
        ),
    ],
    ids=["filtered", "a period that moves on", "hours"],
)
def test_what_is_no_report_of_the_day_is_not_written_again(night: Night, order: Order) -> None:
    """Filtered, of a period that has its next report soon, or of some hours."""
    order(night)
    night.end(0)
    assert not any("written anew" in note for note in night.report(1).notes)


def test_runs_that_left_the_ledger_spoil_no_report(night: Night) -> None:
    """Retention deletes runs; the report that has them stays the newest one."""
    night.report(0)
    night.ledger.delete_runs([RunKey(APP, "run-00000")])
    assert not any("written anew" in note for note in night.report(1).notes)
