"""The names of everything in a storage, and its reports, derived from the list of names alone."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import PurePosixPath
from typing import Any

from flowledger.domain.retention import StoredReport
from flowledger.domain.texts import safe_name
from flowledger.ports import StoredFile

REPORTS = "reports"
DATA = "data"
LATEST = "latest.json"

_INDEX = "index"
_CERTIFIED = "certified"
_OPEN = "open"
_STATE = re.compile(rf"({_CERTIFIED}|{_OPEN})(?:-(\d{{8}}T\d{{6}}Z))?")
_LONGEST_STEM = 185
_LONGEST_SUFFIX = 10


class Rank(IntEnum):
    """In what order names are written: a file comes before whatever names it."""

    CONTENT = 0
    ENTRY = 1
    POINTER = 2


@dataclass(frozen=True, slots=True)
class EntryName:
    """The parts of the name of an entry; ``app`` as it is in names, ``until`` the end of its window."""

    report_type: str
    app: str
    certified: bool
    stem: str
    until: datetime | None = None


def stem_of(text: str) -> str:
    """Return a stem so short that every name built on it can contain it whole."""
    return safe_name(text, _LONGEST_STEM)


def folder_of_type(report_type: str) -> str:
    """Return the folder of a type's reports."""
    return f"{REPORTS}/{safe_name(report_type)}/"


def written_folders(report_type: str) -> Iterator[str]:
    """Yield the folders that each report of a type adds something to."""
    folder = folder_of_type(report_type)
    yield from (folder, f"{folder}{_INDEX}", f"{folder}latest")


def entry_of(report_type: str, app: str, stem: str, *, certified: bool, until: datetime | None = None) -> str:
    """Return the name of a report's entry."""
    state = _CERTIFIED if certified else _OPEN
    if until is not None:
        state += f"-{until.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f"{folder_of_type(report_type)}{_INDEX}/{app_folder(app)}/{state}/{stem}.json"


def pointer_of(report_type: str, app: str) -> str:
    """Return the name of the pointer to the newest report of a type and app."""
    return f"{folder_of_type(report_type)}latest/{app_folder(app)}/{LATEST}"


def pointer_order(pointer: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Return a sort key for pointers: the end of their window, then the time they were written.

    A pointer without a window sorts by the time it was written; None for one that has no valid time.
    """
    try:
        written_at = datetime.fromisoformat(pointer["kept_at"])
        until = datetime.fromisoformat(pointer["until"]) if pointer.get("until") else written_at
    except (KeyError, TypeError, ValueError):
        return None
    return (until, written_at) if until.tzinfo and written_at.tzinfo else None


def app_folder(app: str) -> str:
    """Return an app's name as it is in names; a report of no app belongs to all."""
    return safe_name(app or "all")


def is_plain(suffix: str) -> bool:
    """Return whether a suffix is such that the stem can be read back from a file's name."""
    return 1 < len(suffix) <= _LONGEST_SUFFIX


def rank_of(name: str) -> Rank:
    """Return what kind of name it is."""
    parts = name.split("/")
    if parts[0] == REPORTS and len(parts) == 5 and parts[2] == "latest" and parts[4] == LATEST:
        return Rank.POINTER
    if parts[0] == REPORTS and len(parts) == 6 and parts[2] == _INDEX and _STATE.fullmatch(parts[4]):
        return Rank.ENTRY
    return Rank.CONTENT


def read_entry_name(name: str) -> EntryName:
    """Return the parts of an entry's name."""
    _, report_type, _, app, state, file = name.split("/")
    kind, _, end = state.partition("-")
    return EntryName(report_type, app, kind == _CERTIFIED, file.removesuffix(".json"), _instant(end))


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def report_of(name: str) -> tuple[str, str] | None:
    """Return type and stem of the report that a content name belongs to; None for other contents."""
    parts = name.split("/")
    if parts[0] != REPORTS or len(parts) not in (3, 4):
        return None
    return parts[1], PurePosixPath(parts[2]).stem if len(parts) == 3 else parts[2]


UNLISTED = "-"
"""Stands for the app of files that no entry names: data, or what a killed process left."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an app has of one type of report in a storage."""

    app: str
    report_type: str
    reports: int
    files: int
    size_bytes: int


def reports_in(stored: Sequence[StoredFile], pointed: Collection[str] = ()) -> Sequence[StoredReport]:
    """Return entries joined with their files, oldest first; ``pointed`` are names that a pointer names."""
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
                    stored_at=each.stored_at,
                    certified=entry.certified,
                    size_bytes=sum(file.size_bytes for file in files),
                    names=tuple(file.name for file in files),
                    until=entry.until,
                    pointed=any(file.name in pointed for file in files),
                )
            )
    return sorted(reports, key=lambda report: report.age_order)


def unlisted_in(stored: Iterable[StoredFile], reports: Iterable[StoredReport]) -> Sequence[StoredFile]:
    """Return the contents that no entry names: data, and what a killed process or an old version left."""
    listed = {name for report in reports for name in report.names}
    return [each for each in stored if rank_of(each.name) is Rank.CONTENT and each.name not in listed]


def usage_of(stored: Sequence[StoredFile]) -> Sequence[Usage]:
    """Return bytes and counts by app and type, and of what no entry names."""
    reports = reports_in(stored)
    by_type = defaultdict(list)
    for report in reports:
        by_type[report.app, report.report_type].append(report)
    listed = [
        Usage(app, kind, len(each), sum(len(one.names) for one in each), sum(one.size_bytes for one in each))
        for (app, kind), each in by_type.items()
    ]
    return sorted(
        (*listed, *_usage_of_rest(unlisted_in(stored, reports))), key=lambda use: (use.app, use.report_type)
    )


def _usage_of_rest(rest: Iterable[StoredFile]) -> Sequence[Usage]:
    sizes_of = defaultdict(list)
    for each in rest:
        report = report_of(each.name)
        sizes_of[report[0] if report else DATA].append(each.size_bytes)
    return [Usage(UNLISTED, kind, 0, len(sizes), sum(sizes)) for kind, sizes in sizes_of.items()]


def _contents_of(stored: Iterable[StoredFile]) -> Mapping[tuple[str, str], Sequence[StoredFile]]:
    contents = defaultdict(list)
    for each in stored:
        report = report_of(each.name) if rank_of(each.name) is Rank.CONTENT else None
        if report:
            contents[report].append(each)
    return contents
