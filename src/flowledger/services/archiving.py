"""Let runs leave the ledger for archives, and come back: nothing goes that was not read back from one.

An archive is written and its manifest last; it is read back from the storage and checked; it is put on
record; then its runs are deleted in small batches, each only if it is, in the transaction that deletes it,
still what the archive holds.
A process that is killed loses nothing: an archive without manifest is none, and one whose deletion was not
finished is gone on with the next time.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Self, TypeVar
from uuid import uuid4

from loguru import logger

from flowledger.domain.archives import Cut, Manifest, archive_name, cut_of
from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.operations import Operation
from flowledger.domain.retention import Retention
from flowledger.domain.runs import OPEN_FOR, AppKey, Entry, Run
from flowledger.errors import LedgerError, StorageError
from flowledger.ports import Clock, Ledger
from flowledger.services.archive_store import ArchiveStore, digest_of, row_of, workplace, write_parts
from flowledger.services.history.migrate import save_entries
from flowledger.services.history.paging import DETAILED_PAGE, runs_of

ARCHIVE, CLEANUP, RESTORE = "ARCHIVE", "CLEANUP", "RESTORE"
ARCHIVE_RUNS = 50_000
"""Runs in one archive: so many ids are in memory, and so much is done again after a kill."""
BATCH = 100
"""Runs deleted in one transaction, each read and compared in it: others wait for its end."""
Item = TypeVar("Item")
_NEXT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class AppRuns:
    """An app's runs, how long they are kept, and where they go then."""

    app: AppKey
    app_name: str
    retention: Retention
    store: ArchiveStore


@dataclass(slots=True)
class ArchiveTotals:
    """What becomes of the runs of one app; ``changed`` ones were changed meanwhile, and stay."""

    runs: int = 0
    deleted: int = 0
    changed: int = 0
    size_bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    by_status: Counter[str] = field(default_factory=Counter)
    archives: list[str] = field(default_factory=list)

    def count(self, run: Run) -> None:
        """Count a run that goes."""
        self.runs += 1
        self.by_status[run.status.value] += 1
        self.oldest = min(self.oldest or run.listed_at, run.listed_at)
        self.newest = max(self.newest or run.listed_at, run.listed_at)

    def add(self, manifest: Manifest) -> None:
        """Count an archive."""
        self.runs += manifest.runs
        self.size_bytes += manifest.size_bytes
        self.oldest = min(self.oldest or manifest.oldest, manifest.oldest)
        self.newest = max(self.newest or manifest.newest, manifest.newest)
        self.archives.append(manifest.archive)


@dataclass(frozen=True, slots=True)
class Archiver:
    """Applies the retention of runs."""

    ledger: Ledger
    clock: Clock
    user: str
    open_for: timedelta = OPEN_FOR
    archive_runs: int = ARCHIVE_RUNS

    def archive(self, holdings: Iterable[AppRuns], *, dry_run: bool = False) -> list[dict[str, Any]]:
        """Archive and delete app by app, and return what went (or would go); one that fails stops no other.

        :raises StorageError, LedgerError: naming all apps that failed, when the others are done.
        """
        results, problems = list[dict[str, Any]](), list[StorageError | LedgerError]()
        for app_runs in holdings:
            try:
                results.append(self._archive(app_runs, dry_run=dry_run))
            except (StorageError, LedgerError) as error:
                problems.append(type(error)(f"{app_runs.app_name}: {error}"))
                logger.error("{}: its runs were not all archived: {}", app_runs.app_name, error)
        if not dry_run and any(each["deleted"] for each in results):
            self.ledger.compact()
        if problems:
            raise type(problems[0])("\n".join(map(str, problems)))
        return results

    def _archive(self, app_runs: AppRuns, *, dry_run: bool) -> dict[str, Any]:
        totals, now = ArchiveTotals(), self.clock()
        cut = cut_of(self.ledger.sizes(app_runs.app), app_runs.retention, now)
        if cut is not None and dry_run:
            for entry in self._going(app_runs.app, cut, now, with_details=False):
                totals.count(entry.run)
        elif cut is not None:
            for archive in self._unfinished(app_runs):
                manifest = app_runs.store.manifest(archive)
                self._retire(app_runs, manifest, cut, totals)
            entries = self._going(app_runs.app, cut, now, with_details=True)
            while written := self._write(app_runs, cut, entries):
                totals.add(written)
                self._retire(app_runs, written, cut, totals)
        logger.info(
            "{}: {} runs {}archived, {} deleted",
            app_runs.app_name,
            totals.runs,
            "would be " if dry_run else "",
            totals.deleted,
        )
        return {
            "app": app_runs.app_name,
            "source": app_runs.app.source,
            "app_id": app_runs.app.app_id,
            "dry_run": dry_run,
            "reason": cut.reason if cut else "",
            "runs": totals.runs,
            "deleted": totals.deleted,
            "changed": totals.changed,
            "bytes": totals.size_bytes,
            "oldest": totals.oldest.isoformat() if totals.oldest else None,
            "newest": totals.newest.isoformat() if totals.newest else None,
            "archives": totals.archives,
        }

    def _going(self, app: AppKey, cut: Cut, now: datetime, *, with_details: bool) -> Iterator[Entry]:
        """Stream the runs behind a cut, newest first, but not those that may still change."""
        query = RunQuery(apps=(app,), listed_before=cut.until)
        for entry in runs_of(self.ledger, query, with_details=with_details):
            if cut.covers(entry.run) and not self._may_change(entry.run, now):
                yield entry

    def _may_change(self, run: Run, now: datetime) -> bool:
        return run.status.is_open and not run.is_stuck(now, self.open_for)

    def _unfinished(self, app_runs: AppRuns) -> Sequence[str]:
        """Return the archives whose runs this ledger does not know to be deleted."""
        return [
            archive
            for archive in app_runs.store.archives(app_runs.app)
            if self.ledger.operation(_act_id(CLEANUP, archive)) is None
        ]

    def _write(self, app_runs: AppRuns, cut: Cut, entries: Iterator[Entry]) -> Manifest | None:
        """Make an archive of the next runs; None where none is left."""
        totals, at = ArchiveTotals(), self.clock()
        with workplace() as folder:
            parts = write_parts(folder, _counted(entries, totals), self.archive_runs)
            if totals.oldest is None or totals.newest is None:
                return None
            name = archive_name(app_runs.app, totals.oldest, totals.newest, at, uuid4().hex[:8])
            manifest = Manifest(
                archive=name,
                app=app_runs.app,
                app_name=app_runs.app_name,
                reason=cut.reason,
                created_at=at,
                created_by=self.user,
                oldest=totals.oldest,
                newest=totals.newest,
                runs=totals.runs,
                by_status=dict(sorted(totals.by_status.items())),
                parts=tuple(parts),
            )
            return app_runs.store.keep(folder, manifest)

    def _retire(self, app_runs: AppRuns, manifest: Manifest, cut: Cut, totals: ArchiveTotals) -> None:
        """Delete what an archive holds, once it has been read back and is on record."""
        digests = app_runs.store.checked(manifest)
        data = {"archive": manifest.archive, "runs": manifest.runs, "reason": manifest.reason}
        parts = {"bytes": manifest.size_bytes, "by_status": dict(manifest.by_status)}
        made = (manifest.created_by, manifest.created_at)
        self._record(_act_id(ARCHIVE, manifest.archive), ARCHIVE, manifest, {**data, **parts}, *made)
        deleted, changed = 0, 0
        listed = runs_of(self.ledger, _within(manifest), with_details=False)
        going = (each.run for each in listed if each.run.run_id in digests and cut.covers(each.run))
        for batch in _batches(going, BATCH):
            counts = self._delete_unchanged([RunKey(manifest.app, run.run_id) for run in batch], digests)
            deleted, changed = deleted + counts[0], changed + counts[1]
        totals.deleted += deleted
        totals.changed += changed
        ended = {"archive": manifest.archive, "deleted": deleted, "changed": changed}
        self._record(_act_id(CLEANUP, manifest.archive), CLEANUP, manifest, ended, self.user, self.clock())

    def _delete_unchanged(self, keys: Sequence[RunKey], digests: Mapping[str, bytes]) -> tuple[int, int]:
        """Delete the runs that have these digests still; return how many, and how many changed and stay."""
        changed: set[str] = set()

        def is_same(entry: Entry) -> bool:
            if _digest(entry) == digests[entry.run.run_id]:
                changed.discard(entry.run.run_id)
                return True
            changed.add(entry.run.run_id)
            return False

        return self.ledger.delete_runs(keys, only_if=is_same), len(changed)

    def restore(self, store: ArchiveStore, archive: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Bring the runs of an archive back that the ledger does not hold, and return what was done.

        Of a run that is in several archives the newest one's version comes back, and takes the place of an
        older one's; otherwise a run that is held stays as it is.  ``differing`` counts the runs that are not
        what this archive holds afterwards.  All is read and checked before anything is written.

        :raises UsageError: when there is no such archive; StorageError: when one is not what was kept.
        """
        manifest = store.manifest(archive)
        digests = store.checked(manifest)
        versions = ArchivedVersions.read(store, manifest, digests)
        stored = self._stored(manifest, digests)
        stale = {run_id for run_id, digest in stored.items() if versions.is_older(run_id, digest)}
        data = {
            "archive": manifest.archive,
            "runs": manifest.runs,
            "restored": manifest.runs - len(stored),
            "held": len(stored),
            "replaced": len(stale),
        }
        differing = 0
        if not dry_run:
            # On record first: a killed restoring has then brought nothing back that is not on record.
            operation_id = f"restore-{uuid4().hex}"
            self._record(operation_id, RESTORE, manifest, data, self.user, self.clock())
            for run_id in stale:
                self._delete_unchanged([RunKey(manifest.app, run_id)], stored)
            missing = (digests.keys() - stored.keys()) | stale
            for source, run_ids in versions.sources(missing):
                self._bring_back(store.entries(source), run_ids)
            now = self._stored(manifest, digests)
            differing = sum(now.get(run_id) != digest for run_id, digest in digests.items())
        return {**data, "app": manifest.app_name, "differing": differing, "dry_run": dry_run}

    def _stored(self, manifest: Manifest, digests: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Return the digests of an archive's runs as the ledger holds them, whenever they are listed now."""
        inside = runs_of(self.ledger, _within(manifest), with_details=True)
        stored = {each.run.run_id: _digest(each) for each in inside if each.run.run_id in digests}
        for run_id in digests.keys() - stored.keys():
            entry = self.ledger.entry(RunKey(manifest.app, run_id))
            if entry is not None:
                stored[run_id] = _digest(entry)
        return stored

    def _bring_back(self, entries: Iterable[Entry], run_ids: Collection[str]) -> None:
        wanted = (entry for entry in entries if entry.run.run_id in run_ids)
        for batch in _batches(wanted, DETAILED_PAGE):
            save_entries(self.ledger, batch)

    def _record(
        self,
        operation_id: str,
        operation_type: str,
        manifest: Manifest,
        data: Mapping[str, Any],
        user: str,
        at: datetime,
    ) -> None:
        subject = manifest.app_name
        self.ledger.record(
            Operation(operation_id, operation_type, at, user, manifest.app, subject, dict(data))
        )


@dataclass(frozen=True, slots=True)
class ArchivedVersions:
    """The runs of an archive as they are in it and in all others of the app, oldest archive first."""

    by_run: Mapping[str, Sequence[tuple[bytes, Manifest]]]

    @classmethod
    def read(cls, store: ArchiveStore, manifest: Manifest, digests: Mapping[str, bytes]) -> Self:
        """Read the other archives of the app as well: a run may be listed at another time in each."""
        by_run: dict[str, list[tuple[bytes, Manifest]]] = {run_id: [] for run_id in digests}
        for each in store.manifests(manifest.app):
            inside = digests if each.archive == manifest.archive else store.checked(each)
            for run_id in digests.keys() & inside.keys():
                by_run[run_id].append((inside[run_id], each))
        return cls(by_run)

    def is_older(self, run_id: str, digest: bytes) -> bool:
        """Return whether a stored run is a version that a newer archive has replaced."""
        *older, (newest, _) = self.by_run[run_id]
        return digest != newest and any(digest == each for each, _ in older)

    def sources(self, run_ids: Collection[str]) -> Iterable[tuple[Manifest, Collection[str]]]:
        """Return which runs come back from which archive: each from the newest that has it."""
        sources: dict[str, tuple[Manifest, set[str]]] = {}
        for run_id in run_ids:
            _, newest = self.by_run[run_id][-1]
            sources.setdefault(newest.archive, (newest, set()))[1].add(run_id)
        return sources.values()


def _batches(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _digest(entry: Entry) -> bytes:
    return digest_of(row_of(entry))


def _within(manifest: Manifest) -> RunQuery:
    """Ask for all runs of an app in the time that an archive covers."""
    return RunQuery(apps=(manifest.app,), listed_from=manifest.oldest, listed_before=manifest.newest + _NEXT)


def _act_id(operation_type: str, archive: str) -> str:
    """Name an act on an archive, so that doing it twice is on record once."""
    return f"{operation_type.lower()}-{archive.rpartition('/')[2]}"


def _counted(entries: Iterator[Entry], totals: ArchiveTotals) -> Iterator[Entry]:
    for entry in entries:
        totals.count(entry.run)
        yield entry
