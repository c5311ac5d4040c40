"""Cleaning app by app, and what is on record of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from flowledger.domain.history import OperationQuery
from flowledger.domain.retention import Retention, StoredReport
from flowledger.domain.runs import AppKey
from flowledger.errors import StorageUnavailableError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.services.cleanup import AppReports, Cleaner

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
KEY = AppKey("dify", "app-1")


@dataclass
class FakeArchive:
    """Three reports, a day apart; one that is away has none."""

    is_away: bool = False
    gone: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def save_files(self, *_args: object, **_options: object) -> Sequence[str]:
        """Refuse: a cleanup writes no report."""
        raise AssertionError("a cleanup writes no report")

    def reports(
        self, *, app: str | None = None, report_type: str | None = None, since: datetime | None = None
    ) -> Sequence[StoredReport]:
        """List them."""
        if self.is_away:
            raise StorageUnavailableError("cannot list s3://bucket/: away for now")
        return [
            StoredReport(
                report_type="csv",
                app=app or "",
                stem=f"day{day}",
                stored_at=NOW - timedelta(days=day),
                certified=day == 2,
                size_bytes=10,
                names=(),
            )
            for day in range(4)
        ]

    def discard(self, reports: Sequence[StoredReport]) -> None:
        """Forget some."""
        self.gone += [report.stem for report in reports]


def cleaner(ledger: SqlLedger) -> Cleaner:
    """A cleaner at a fixed time."""
    return Cleaner(ledger, lambda: NOW, "operator")


def test_what_goes_is_on_record() -> None:
    """A cleaning removes what the limits say and leaves user, app, reports and reasons in the ledger."""
    ledger, archive = SqlLedger.open("memory://", {}), FakeArchive()
    (result,) = cleaner(ledger).clean([AppReports(KEY, "shop", archive, Retention(count=1))])
    assert archive.gone == ["day3", "day1"]
    assert (result["app"], result["removed"], result["bytes"]) == ("shop", 2, 20)
    (operation,) = ledger.operations(OperationQuery(apps=(KEY,)))
    assert (operation.operation_type, operation.user, operation.subject) == ("CLEANUP", "operator", "shop")
    assert operation.data["removed"] == 2


def test_a_dry_run_changes_nothing() -> None:
    """A dry run says the same and removes and records nothing."""
    ledger, archive = SqlLedger.open("memory://", {}), FakeArchive()
    (result,) = cleaner(ledger).clean([AppReports(KEY, "shop", archive, Retention(count=1))], dry_run=True)
    assert (result["removed"], archive.gone, list(ledger.operations())) == (2, [], [])


def test_without_limits_nothing_is_asked() -> None:
    """An app without limits costs no request to its storage."""
    (result,) = cleaner(SqlLedger.open("memory://", {})).clean(
        [AppReports(KEY, "shop", FakeArchive(is_away=True), Retention())]
    )
    assert result["removed"] == 0


def test_one_storage_that_is_away_stops_no_other() -> None:
    """The others are cleaned, then the error names what was not."""
    archive = FakeArchive()
    shelves = [
        AppReports(KEY, "away", FakeArchive(is_away=True), Retention(count=1)),
        AppReports(AppKey("dify", "app-2"), "shop", archive, Retention(count=1)),
    ]
    with pytest.raises(StorageUnavailableError, match="away for now"):
        cleaner(SqlLedger.open("memory://", {})).clean(shelves)
    assert archive.gone == ["day3", "day1"]
