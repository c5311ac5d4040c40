"""Reports and data over any backend: versions that are never overwritten, a pointer to the newest."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import file_digest
from itertools import chain, count
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from loguru import logger

from flowledger.domain.retention import NO_SUBJECT, ReportSubject, StoredReport, protected
from flowledger.domain.texts import mend, safe_name
from flowledger.errors import StorageError, UsageError
from flowledger.io.json_text import dumps_readable
from flowledger.ports import Clock, StorageBackend, StoredFile
from flowledger.storage import layout
from flowledger.storage.layout import DATA, REPORTS, Rank, Usage, rank_of, reports_in, usage_of
from flowledger.storage.spool import Spooled
from flowledger.storage.workspace import together, written

_LONGEST_DAYS = 100 * 365


@dataclass(frozen=True, slots=True)
class StorageService:
    """Stores reports under ``reports/<type>/`` and data under ``data/``; ``storage.layout`` lists all names.

    A name that is taken is never written again: a later file gets ``-2``, ``-3`` …  Every report has an entry
    that describes it, written after its files, and a pointer names that of the newest window of each type
    and app.  Every method may raise ``StorageError``, naming the file.
    """

    backend: StorageBackend
    clock: Clock

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages about where the files are now: that they wait on this machine, and why."""
        return self.backend.notes if isinstance(self.backend, Spooled) else ()

    @property
    def place(self) -> str:
        """Where everything is: a folder, or a bucket with its prefix."""
        return place_of(self.backend)

    def save_report(
        self,
        content: bytes | str,
        filename: str,
        report_type: str,
        *,
        app: str = "",
        subject: ReportSubject = NO_SUBJECT,
    ) -> str:
        """Store one rendered report (text as UTF-8) and return its location."""
        body = mend(content).encode() if isinstance(content, str) else content
        with written(filename, body) as source:
            named = source.rename(source.with_name(safe_name(filename)))
            return self.save_files([named], Path(filename).stem, report_type, app=app, subject=subject)[0]

    def save_files(
        self,
        paths: Sequence[Path],
        stem: str,
        report_type: str,
        *,
        app: str = "",
        subject: ReportSubject = NO_SUBJECT,
    ) -> Sequence[str]:
        """Store a report's artifacts and return their locations, in the same order.

        One file becomes ``<stem>`` with its own extension, several a directory ``<stem>`` that appears whole.
        """
        if not paths:
            return []
        stem = self._free(layout.stem_of(stem), report_type, app, subject, paths)
        names = _names_of(report_type, stem, paths)
        if len(names) == 1 and names[0].count("/") == 2:
            places = [self.backend.put(names[0], paths[0])]
        else:
            with together(paths, [name.rpartition("/")[2] for name in names]) as directory:
                place = self.backend.put(names[0].rpartition("/")[0], directory)
            places = [f"{place}/{name.rpartition('/')[2]}" for name in names]
        self._enter(report_type, app, stem, subject, dict(zip(names, paths, strict=True)))
        self._point(report_type, app, stem, subject, names)
        return places

    def save_data(self, data: Mapping[str, Any], filename: str) -> str:
        """Store a JSON object, indented and in UTF-8, and return its location."""
        file = Path(safe_name(filename))
        taken = {each.name for each in self.backend.names(f"{DATA}/{file.stem}")}
        names = (f"{version}{file.suffix}" for version in _versions(f"{DATA}/{file.stem}"))
        name = next(name for name in names if name not in taken)
        return self._put_bytes(name, dumps_readable(data))

    def read(self, name: str) -> bytes:
        """Return a stored file's content, checked against its digest where the storage has one."""
        return self.backend.read(name)

    def link(self, name: str, valid_for: timedelta) -> str:
        """Return an address that opens a stored file without a log-in for a while; of a local one, its path.

        :raises StorageError: when there is no such file.
        """
        if not any(each.name == name for each in self.backend.names(name)):
            raise StorageError(
                f"there is no {name} in {self.place}: run flowledger storage list, or name its --app"
            )
        return self.backend.link(name, valid_for)

    def latest(self, report_type: str, app: str = "") -> Mapping[str, Any] | None:
        """Return the pointer to the newest window (stem, until, kept_at, names, locations), if any."""
        name = layout.pointer_of(report_type, app)
        return self._read_json(name, "pointer") if self._is_there(name) else None

    def versions(self, report_type: str, app: str = "") -> Sequence[StoredReport]:
        """List the reports of a type and app, newest first."""
        return self.reports(app=app or "all", report_type=report_type)[::-1]

    def reports(
        self, *, app: str | None = None, report_type: str | None = None, since: datetime | None = None
    ) -> Sequence[StoredReport]:
        """List the completely stored reports, oldest first; those of an app include its filtered ones."""
        stored = self.backend.names(layout.folder_of_type(report_type) if report_type else f"{REPORTS}/")
        apps = None if app is None else {layout.app_folder(app), layout.app_folder(f"{app}-filtered")}
        return [
            report
            for report in reports_in(stored, self._pointed(stored, apps))
            if (apps is None or report.app in apps) and (since is None or report.stored_at >= since)
        ]

    def stats(self) -> Sequence[Usage]:
        """Return bytes and counts by app and type."""
        return usage_of([*self.backend.names(f"{REPORTS}/"), *self.backend.names(f"{DATA}/")])

    def list_reports(self, report_type: str, days: int) -> Sequence[str]:
        """Return the locations of the artifacts stored in the last so many days, newest first.

        :raises UsageError: for a negative number of days.
        """
        since = self.clock() - _days(days)
        stored = self.backend.names(layout.folder_of_type(report_type))
        listed = {name for report in reports_in(stored) for name in report.names}
        return [
            self.backend.location(each.name)
            for each in reversed(stored)
            if each.stored_at >= since and each.name in listed
        ]

    def cleanup_old_files(self, days: int) -> int:
        """Remove reports and data older than so many days; return the number of files, without entries.

        What a pointer names and the certified report of the newest window of each type and app stay.

        :raises UsageError: for a negative number of days.
        """
        until = self.clock() - _days(days)
        stored = [*self.backend.names(f"{REPORTS}/"), *self.backend.names(f"{DATA}/")]
        pointed = self._pointed(stored)
        reports = reports_in(stored, pointed)
        spared = pointed | {name for report in protected(reports) for name in report.names}
        old = [
            each.name
            for each in stored
            if each.stored_at < until and rank_of(each.name) is Rank.CONTENT and each.name not in spared
        ]
        gone = set(old)
        entries = [_entry_of(report) for report in reports if gone.issuperset(report.names)]
        self.backend.remove(*entries, *old)
        return len(old)

    def discard(self, reports: Sequence[StoredReport]) -> None:
        """Remove reports: their entries first, so that nothing incomplete is listed."""
        self.backend.remove(*(_entry_of(report) for report in reports))
        self.backend.remove(*(name for report in reports for name in report.names))

    def check(self) -> str:
        """Store, read back and remove a small file, and return the place; so that errors show before work.

        :raises StorageUnavailableError, StorageRefusedError: when the storage is unavailable, or refuses.
        """
        name = f"check/{uuid4().hex}.txt"
        with written(name, name.encode()) as source:
            self.backend.put(name, source)
        try:
            if self.backend.read(name) != name.encode():
                raise StorageError(f"{self.backend.location(name)} reads back as something else")
        finally:
            self.backend.remove(name)
        return self.place

    def _free(
        self, stem: str, report_type: str, app: str, subject: ReportSubject, paths: Sequence[Path]
    ) -> str:
        """Return a stem that is new, or of the same report in another format."""
        taken = {each.name for each in self.backend.names(f"{layout.folder_of_type(report_type)}{stem}")}
        stems = {report[1] for name in taken if (report := layout.report_of(name))}
        for version in _versions(stem):
            if version not in stems:
                return version
            is_new = taken.isdisjoint(_names_of(report_type, version, paths))
            if is_new and self._has(report_type, app, version, subject.until):
                return version
        raise AssertionError("numbers do not end")

    def _has(self, report_type: str, app: str, stem: str, until: datetime | None) -> bool:
        entries = (
            layout.entry_of(report_type, app, stem, certified=each, until=end)
            for each in (True, False)
            for end in {until, None}
        )
        return any(self._is_there(entry) for entry in entries)

    def _enter(
        self, report_type: str, app: str, stem: str, subject: ReportSubject, files: Mapping[str, Path]
    ) -> None:
        """Write a report's entry; further formats of the same report join those already entered."""
        certified = subject.certified is True
        name = layout.entry_of(report_type, app, stem, certified=certified, until=subject.until)
        earlier = self._read_json(name, "report's entry").get("files", []) if self._is_there(name) else []
        entry = {
            "report_type": report_type,
            "app": app,
            "stem": stem,
            "period": subject.period,
            "window": subject.window,
            "certified": subject.certified,
            "kept_at": self.clock().isoformat(),
            "files": [*earlier, *({"name": each, **_facts(path)} for each, path in files.items())],
        }
        self._put_bytes(name, dumps_readable(entry))

    def _point(
        self, report_type: str, app: str, stem: str, subject: ReportSubject, names: Sequence[str]
    ) -> None:
        """Name the artifacts of the newest window; further formats of the same report join those named.

        An older window, such as a backfill writes, leaves the pointer where it is.
        """
        try:
            stored = self.latest(report_type, app) or {}
        except StorageError as error:
            logger.warning("the pointer to the newest report is written anew: {}", error)
            stored = {}
        if stored.get("stem") == stem:
            names = list(dict.fromkeys((*stored["names"], *names)))
        pointer = {
            "report_type": report_type,
            "app": app,
            "stem": stem,
            "until": subject.until.isoformat() if subject.until else None,
            "kept_at": self.clock().isoformat(),
            "names": names,
            "locations": [self.backend.location(name) for name in names],
        }
        before, now = layout.pointer_order(stored), layout.pointer_order(pointer)
        if before and now and before[0] > now[0]:
            return
        self._put_bytes(layout.pointer_of(report_type, app), dumps_readable(pointer))

    def _pointed(self, stored: Iterable[StoredFile], apps: Collection[str] | None = None) -> frozenset[str]:
        """Return the names that pointers name: all, or those of some apps (as they are in names)."""
        pointers = [
            each.name
            for each in stored
            if rank_of(each.name) is Rank.POINTER and (apps is None or each.name.split("/")[3] in apps)
        ]
        return frozenset(name for pointer in pointers for name in self._names_in(pointer))

    def _names_in(self, pointer: str) -> Sequence[str]:
        try:
            return [str(name) for name in self._read_json(pointer, "pointer")["names"]]
        except (KeyError, TypeError) as error:
            raise self._unreadable(pointer, "pointer") from error

    def _read_json(self, name: str, kind: str) -> Mapping[str, Any]:
        try:
            document = orjson.loads(self.backend.read(name))
        except ValueError as error:
            raise self._unreadable(name, kind) from error
        if not isinstance(document, dict):
            raise self._unreadable(name, kind)
        return document

    def _unreadable(self, name: str, kind: str) -> StorageError:
        return StorageError(
            f"{self.backend.location(name)} cannot be read as a {kind}: remove it and run again"
        )

    def _is_there(self, name: str) -> bool:
        return any(each.name == name for each in self.backend.names(name))

    def _put_bytes(self, name: str, content: bytes) -> str:
        with written(name, content) as source:
            return self.backend.put(name, source)


def place_of(backend: StorageBackend) -> str:
    """Return where a storage has everything: a folder, or a bucket with its prefix."""
    return backend.location(REPORTS).removesuffix(f"/{REPORTS}")


def _entry_of(report: StoredReport) -> str:
    return layout.entry_of(
        report.report_type, report.app, report.stem, certified=report.certified, until=report.until
    )


def _names_of(report_type: str, stem: str, paths: Sequence[Path]) -> Sequence[str]:
    """Return the names of a report's files: beside each other in a directory, but one alone by its stem."""
    base = f"{layout.folder_of_type(report_type)}{stem}"
    if len(paths) == 1 and layout.is_plain(paths[0].suffix):
        return [f"{base}{paths[0].suffix}"]
    return [f"{base}/{safe_name(path.name)}" for path in paths]


def _versions(stem: str) -> Iterator[str]:
    return chain((stem,), (f"{stem}-{number}" for number in count(2)))


def _facts(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as content:
        digest = file_digest(content, "sha256")
    return {"size_bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _days(days: int) -> timedelta:
    if days < 0:
        raise UsageError(f"days must be 0 or more, not {days}")
    return timedelta(days=min(days, _LONGEST_DAYS))
