"""All reports of a storage, known from its list of names alone."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowledger.domain.retention import StoredReport
from flowledger.ports import Stored
from flowledger.storage.layout import DATA, Rank, rank_of, read_entry_name, report_of

UNLISTED = "-"
"""Stands for the app of files that no entry names: data, or what a killed process left."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of one type an app has in a storage."""

    app: str
    report_type: str
    reports: int
    files: int
    size_bytes: int


def reports_in(stored: Sequence[Stored], pointed: Collection[str] = ()) -> Sequence[StoredReport]:
    """Join entries with their files, oldest first; ``pointed`` are names that a pointer names."""
    contents = _contents_of(stored)
    reports = []
    for each in stored:
        if rank_of(each.name) is Rank.ENTRY:
            entry = read_entry_name(each.name)
            files = contents.get((entry.report_type, entry.stem), ())
            reports.append(
                StoredReport(
                    report_type=entry.report_type,
                    app=entry.app,
                    stem=entry.stem,
                    kept_at=each.kept_at,
                    certified=entry.certified,
                    size_bytes=sum(file.size_bytes for file in files),
                    names=tuple(file.name for file in files),
                    until=entry.until,
                    pointed=any(file.name in pointed for file in files),
                )
            )
    return sorted(reports, key=lambda report: report.age_order)


def unlisted_in(stored: Iterable[Stored], reports: Iterable[StoredReport]) -> Sequence[Stored]:
    """Give the contents that no entry names: data, and what a killed process or an old version left."""
    listed = {name for report in reports for name in report.names}
    return [each for each in stored if rank_of(each.name) is Rank.CONTENT and each.name not in listed]


def usage_of(stored: Sequence[Stored]) -> Sequence[Usage]:
    """Add up bytes and counts by app and type, and what no entry names."""
    reports = reports_in(stored)
    found = defaultdict(list)
    for report in reports:
        found[report.app, report.report_type].append(report)
    listed = [
        Usage(app, kind, len(each), sum(len(one.names) for one in each), sum(one.size_bytes for one in each))
        for (app, kind), each in found.items()
    ]
    return sorted(
        (*listed, *_usage_of_rest(unlisted_in(stored, reports))), key=lambda use: (use.app, use.report_type)
    )


def _usage_of_rest(rest: Iterable[Stored]) -> Sequence[Usage]:
    found = defaultdict(list)
    for each in rest:
        report = report_of(each.name)
        found[report[0] if report else DATA].append(each.size_bytes)
    return [Usage(UNLISTED, kind, 0, len(sizes), sum(sizes)) for kind, sizes in found.items()]


def _contents_of(stored: Iterable[Stored]) -> Mapping[tuple[str, str], Sequence[Stored]]:
    contents = defaultdict(list)
    for each in stored:
        report = report_of(each.name) if rank_of(each.name) is Rank.CONTENT else None
        if report:
            contents[report].append(each)
    return contents
