"""Forget reports that are kept long enough, app by app; what goes is on record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from loguru import logger

from flowledger.domain.operations import Operation
from flowledger.domain.retention import Expired, Retention, expired
from flowledger.domain.runs import AppKey
from flowledger.errors import StorageError
from flowledger.ports import Clock, Ledger, ReportStore

_RECORDED = 1000
"""Reports that one record names; it counts them all."""


@dataclass(frozen=True, slots=True)
class AppReports:
    """An app's reports and how long they are kept."""

    app: AppKey
    app_name: str
    store: ReportStore
    retention: Retention


@dataclass(frozen=True, slots=True)
class Cleaner:
    """Applies the retention of apps."""

    ledger: Ledger
    clock: Clock
    user: str

    def clean(self, apps: Sequence[AppReports], *, dry_run: bool = False) -> list[dict[str, Any]]:
        """Clean app by app, and return what went (or would go); one that fails stops no other.

        :raises StorageError: naming all apps that could not be cleaned, at the end.
        """
        results, problems = [], []
        for reports in apps:
            try:
                results.append(self._clean(reports, dry_run=dry_run))
            except StorageError as error:
                problems.append(error)
                logger.error("{}: not cleaned: {}", reports.app_name, error)
        if problems:
            kind = type(problems[0]) if len({type(each) for each in problems}) == 1 else StorageError
            raise kind("\n".join(dict.fromkeys(str(each) for each in problems)))
        return results

    def _clean(self, reports: AppReports, *, dry_run: bool) -> dict[str, Any]:
        chosen: Sequence[Expired] = ()
        if reports.retention != Retention():
            chosen = expired(reports.store.reports(app=reports.app_name), reports.retention, self.clock())
        if chosen and not dry_run:
            # On record first: a killed cleaning has then removed nothing that is not on record.
            self._record(reports, chosen)
            reports.store.discard([each.report for each in chosen])
        size = sum(each.report.size_bytes for each in chosen)
        logger.info("{}: {} reports {}removed", reports.app_name, len(chosen), "would be " if dry_run else "")
        return {
            "app": reports.app_name,
            "dry_run": dry_run,
            "removed": len(chosen),
            "bytes": size,
            "reports": [_row_of(each) for each in chosen],
        }

    def _record(self, reports: AppReports, chosen: Sequence[Expired]) -> None:
        self.ledger.record(
            Operation(
                operation_id=f"cleanup-{uuid4().hex}",
                operation_type="CLEANUP",
                at=self.clock(),
                user=self.user,
                app=reports.app,
                subject=reports.app_name,
                data={
                    "removed": len(chosen),
                    "bytes": sum(each.report.size_bytes for each in chosen),
                    "reports": [_row_of(each) for each in chosen[:_RECORDED]],
                },
            )
        )


def _row_of(each: Expired) -> dict[str, Any]:
    report = each.report
    return {
        "type": report.report_type,
        "report": report.stem,
        "kept_at": report.stored_at.isoformat(),
        "bytes": report.size_bytes,
        "reason": each.reason,
    }
