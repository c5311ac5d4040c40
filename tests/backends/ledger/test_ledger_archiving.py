"""Runs leave every kind of ledger for archives, and come back equal; nothing goes that was not read back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import cast

import pytest
from ledger_samples import APP, AT, DECODERS, OTHER_APP, SCOPE, START, detailed, gone_run, open_run, run

from flowledger.domain.archives import ARCHIVES, MANIFEST
from flowledger.domain.history import OperationQuery, RunKey, RunQuery
from flowledger.domain.retention import Retention
from flowledger.domain.runs import Detail, Entry, Missing, Run
from flowledger.errors import StorageError, StorageUnavailableError, UsageError
from flowledger.ledger.sql.ledger import SqlLedger
from flowledger.ports import Ledger, StoredFile
from flowledger.services import archive_store as archives_module
from flowledger.services.archive_store import ArchiveStore
from flowledger.services.archiving import AppRuns, Archiver
from flowledger.storage.local import LocalStorage

NOW = START + timedelta(days=10)
EVERY_RUN = RunQuery(apps=(APP,))
UNREAD_NODES = Missing("the key reads no nodes")
LOST = Missing("the source has deleted it", permanent=True)


@dataclass
class FaultyStorage:
    """A folder that stops taking names, or gives back something else."""

    folder: LocalStorage
    refused: str = "\0"
    spoilt: str = "\0"
    puts: list[str] = field(default_factory=list)

    def put(self, name: str, source: Path) -> str:
        """Keep a file or a folder, unless its name is refused."""
        if self.refused in name:
            raise StorageUnavailableError(f"cannot store {name}: away for now")
        self.puts.append(name)
        return self.folder.put(name, source)

    def read(self, name: str) -> bytes:
        """Give a file, a byte of it changed where it is spoilt."""
        content = self.folder.read(name)
        if self.spoilt in name:
            return content[:1] + bytes([content[1] ^ 1]) + content[2:]
        return content

    def names(self, prefix: str) -> Sequence[StoredFile]:
        """List what is there."""
        return self.folder.names(prefix)

    def location(self, name: str) -> str:
        """Give the path of a name."""
        return self.folder.location(name)

    def link(self, name: str, valid_for: timedelta) -> str:
        """Give the path of a name."""
        return self.folder.link(name, valid_for)

    def remove(self, *names: str) -> None:
        """Forget files."""
        self.folder.remove(*names)


@pytest.fixture
def storage(tmp_path: Path) -> FaultyStorage:
    """An empty storage."""
    return FaultyStorage(LocalStorage(tmp_path / "storage"))


@pytest.fixture
def store(storage: FaultyStorage) -> ArchiveStore:
    """Archives in it."""
    return ArchiveStore(storage, DECODERS)


def archiver(ledger: Ledger, now: datetime = NOW, archive_runs: int = 50_000) -> Archiver:
    """An archiver at a fixed time."""
    return Archiver(ledger, lambda: now, "operator", archive_runs=archive_runs)


def holding(store: ArchiveStore, **limits: int) -> AppRuns:
    """An app's runs under limits."""
    return AppRuns(APP, "shop", Retention(**limits), store)


def fill(ledger: Ledger, details: Sequence[tuple[Run, Detail | None]]) -> None:
    """Keep runs, and the details of those that have one."""
    ledger.save_runs([each for each, _ in details], scope=SCOPE, at=AT)
    ledger.save_details([(each, detail) for each, detail in details if detail is not None])


def held(ledger: Ledger) -> list[Entry]:
    """Give all runs of the app, newest first."""
    return list(ledger.history(EVERY_RUN, limit=1000, with_details=True).entries)


def by_id(entries: Sequence[Entry]) -> list[Entry]:
    """Sort runs: those of one second have no order that means something."""
    return sorted(entries, key=lambda entry: entry.run.run_id)


MIXED: Sequence[tuple[Run, Detail | None]] = [
    (run(0, creator=None, error="boom\x01", elapsed_s=None), detailed(answer="ok")),
    (run(1), detailed(nodes=UNREAD_NODES)),
    (run(2, total_tokens=2**63 - 1, workflow_version=None), LOST),
    (run(3, raw=b'{"big": "' + b"x" * 300_000 + b'"}'), None),
    (gone_run(4), LOST),
    (run(5, at_s=4), detailed(answer="\U0001f600" * 1000)),
    (open_run(6), None),
]


def test_comes_back_equal(ledger: Ledger, store: ArchiveStore) -> None:
    """Runs and details of every kind leave by age and come back equal; doing either again does nothing."""
    fill(ledger, MIXED)
    before = held(ledger)
    assert len(before) == len(MIXED)
    (result,) = archiver(ledger).archive([holding(store, days=5)])
    assert (result["runs"], result["deleted"], result["changed"]) == (7, 7, 0)
    assert held(ledger) == []
    (again,) = archiver(ledger).archive([holding(store, days=5)])
    assert (again["runs"], again["deleted"]) == (0, 0)
    (archive,) = result["archives"]
    for restored in (7, 0):
        told = archiver(ledger).restore(store, archive)
        assert (told["restored"], told["held"], told["differing"]) == (restored, 7 - restored, 0)
        assert by_id(held(ledger)) == by_id(before)
    assert ledger.count(SCOPE, collected_since=START) == 0


def test_is_on_record(ledger: Ledger, store: ArchiveStore) -> None:
    """Archiving, deleting and restoring leave operations with user, app and counts."""
    fill(ledger, MIXED)
    (result,) = archiver(ledger).archive([holding(store, days=5)])
    archiver(ledger).restore(store, result["archives"][0])
    trail = {each.operation_type: each for each in ledger.operations(OperationQuery(apps=(APP,)))}
    assert sorted(trail) == ["ARCHIVE", "CLEANUP", "RESTORE"]
    assert {each.user for each in trail.values()} == {"operator"}
    assert trail["ARCHIVE"].data["runs"] == trail["CLEANUP"].data["deleted"] == 7
    assert trail["ARCHIVE"].data["by_status"] == {"interrupted": 1, "running": 1, "success": 5}
    assert trail["RESTORE"].data["restored"] == 7


@pytest.mark.parametrize("limits", [{"count": 3}, {"megabytes": 1}, {"count": 3, "megabytes": 900}])
def test_newest_stay(ledger: Ledger, store: ArchiveStore, limits: dict[str, int]) -> None:
    """By number and by size the newest stay, exactly as many as fit, those of one second too."""
    bodies = [b'{"x":"' + Random(number).randbytes(200_000).hex().encode() + b'"}' for number in range(8)]
    runs = [run(number, at_s=number // 4, raw=body) for number, body in enumerate(bodies)]
    fill(ledger, [(each, None) for each in runs])
    newest = [each.run.run_id for each in held(ledger)]
    sizes = [each.size_bytes for each in ledger.sizes(APP)]
    stays = 3 if "count" in limits else sum(sum(sizes[: n + 1]) <= 1_000_000 for n in range(8))
    archiver(ledger).archive([holding(store, **limits)])
    assert [each.run.run_id for each in held(ledger)] == newest[:stays]


def test_open_runs_stay_until_stuck(ledger: Ledger, store: ArchiveStore) -> None:
    """A run that may still change stays; one that is stuck goes; other apps are left alone."""
    fill(ledger, [(open_run(0), None), (run(1), None)])
    other = replace(run(2), app=OTHER_APP)
    ledger.save_runs([other], scope=SCOPE, at=AT)
    early = archiver(ledger, START + timedelta(hours=1))
    assert early.archive([holding(store, count=1)])[0]["runs"] == 0
    (result,) = archiver(ledger, START + timedelta(hours=23)).archive([holding(store, count=1)])
    assert result["deleted"] == 0
    archiver(ledger, START + timedelta(hours=25)).archive([holding(store, count=1)])
    assert [each.run.run_id for each in held(ledger)] == ["run-000001"]
    assert ledger.entry(RunKey(OTHER_APP, "run-000002")) is not None


def test_a_dry_run_changes_nothing(ledger: Ledger, store: ArchiveStore, storage: FaultyStorage) -> None:
    """A dry run counts what would go; nothing is written, deleted or recorded."""
    fill(ledger, MIXED)
    (result,) = archiver(ledger).archive([holding(store, days=5)], dry_run=True)
    assert (result["runs"], result["deleted"], result["reason"]) == (7, 0, "older than 5 days")
    assert (len(held(ledger)), storage.puts, ledger.operations()) == (7, [], [])
    (result,) = archiver(ledger).archive([holding(store, days=5)])
    archiver(ledger).restore(store, result["archives"][0], dry_run=True)
    assert held(ledger) == []


@pytest.mark.parametrize(
    ("refused", "spoilt"),
    [(ARCHIVES, "\0"), (MANIFEST, "\0"), ("\0", "part-00001"), ("\0", MANIFEST)],
)
def test_nothing_goes_without_its_copy(
    ledger: Ledger, store: ArchiveStore, storage: FaultyStorage, refused: str, spoilt: str
) -> None:
    """While the storage is away, or gives back something else, nothing is deleted; later it is."""
    fill(ledger, MIXED)
    before = held(ledger)
    storage.refused, storage.spoilt = refused, spoilt
    with pytest.raises(StorageError, match="shop"):
        archiver(ledger).archive([holding(store, days=5)])
    assert held(ledger) == before
    assert not ledger.operations()
    storage.refused, storage.spoilt = "\0", "\0"
    archiver(ledger).archive([holding(store, days=5)])
    assert held(ledger) == []


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_kill_loses_nothing(
    sqlite_ledger: SqlLedger, store: ArchiveStore, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """A process that dies while deleting is gone on with: everything is in one archive, once."""
    monkeypatch.setattr("flowledger.services.archiving.BATCH", 3)
    fill(sqlite_ledger, [(run(number), detailed(n=number)) for number in range(10)])
    before = held(sqlite_ledger)
    dying = dying_after(batches, sqlite_ledger)
    with pytest.raises(Killed):
        archiver(dying).archive([holding(store, days=5)])
    assert len(held(sqlite_ledger)) == 10 - 3 * batches
    (result,) = archiver(sqlite_ledger).archive([holding(store, days=5)])
    assert (result["runs"], result["deleted"]) == (0, 10 - 3 * batches)
    (manifest,) = store.manifests(APP)
    assert held(sqlite_ledger) == []
    assert list(store.entries(manifest)) == before


class Dying:
    """A ledger whose process dies after so many batches were deleted."""

    def __init__(self, ledger: SqlLedger, batches: int) -> None:
        self.ledger, self.batches = ledger, batches

    def __getattr__(self, name: str) -> object:
        return getattr(self.ledger, name)

    def delete_runs(self, keys: Sequence[RunKey], *, only_if: Callable[[Entry], bool] | None = None) -> int:
        """Delete a batch, or die."""
        if not self.batches:
            raise Killed
        self.batches -= 1
        return self.ledger.delete_runs(keys, only_if=only_if)


def dying_after(batches: int, ledger: SqlLedger) -> Ledger:
    """Give a ledger whose process dies after so many batches were deleted."""
    return cast("Ledger", Dying(ledger, batches))


def test_what_changed_meanwhile_stays(sqlite_ledger: SqlLedger, store: ArchiveStore) -> None:
    """A run that is changed after it was archived stays, and goes with the next archive."""
    fill(sqlite_ledger, [(run(0), None), (run(1), None)])
    with pytest.raises(Killed):
        archiver(dying_after(0, sqlite_ledger)).archive([holding(store, days=5)])
    key = RunKey(APP, "run-000001")
    sqlite_ledger.amend(key, lambda _: (run(1, error="late news"), detailed(late="news")))
    (result,) = archiver(sqlite_ledger).archive([holding(store, days=5)])
    assert (result["runs"], result["deleted"], result["changed"]) == (1, 2, 1)
    assert held(sqlite_ledger) == []
    first, second = store.manifests(APP)
    assert archiver(sqlite_ledger).restore(store, second.archive)["restored"] == 1
    told = archiver(sqlite_ledger).restore(store, first.archive)
    assert (told["restored"], told["held"], told["differing"]) == (1, 1, 1)
    assert [each.run.error for each in held(sqlite_ledger)] == ["late news", None]


class Busy(Dying):
    """A ledger in which a run changes at the last moment before its deletion."""

    def delete_runs(self, keys: Sequence[RunKey], *, only_if: Callable[[Entry], bool] | None = None) -> int:
        """Let somebody change a run, then delete a batch."""
        news = (run(1, error="late news"), detailed(late="news"))
        self.ledger.amend(RunKey(APP, "run-000001"), lambda _: news)
        return self.ledger.delete_runs(keys, only_if=only_if)


def test_what_changes_after_the_comparison_stays(ledger: Ledger, store: ArchiveStore) -> None:
    """The comparison is part of the deletion: nobody can come between the two."""
    fill(ledger, [(run(0), detailed()), (run(1), detailed()), (run(2), None)])
    busy = cast("Ledger", Busy(cast("SqlLedger", ledger), 0))
    (result,) = archiver(busy).archive([holding(store, days=5)])
    assert (result["runs"], result["deleted"], result["changed"]) == (3, 2, 1)
    assert [(each.run.error, each.detail) for each in held(ledger)] == [("late news", detailed(late="news"))]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_of_several_archives_the_newest_wins(
    ledger: Ledger, store: ArchiveStore, order: tuple[int, ...]
) -> None:
    """Whatever the order of restoring, and wherever a version is listed; each difference is counted."""
    versions = [run(1, error=None), run(1, error="second", at_s=7), run(1, error="third", at_s=3)]
    names: list[str] = []
    for day, version in enumerate(versions):
        fill(ledger, [(version, detailed(day=day)), (run(10 + day), None)])
        made = archiver(ledger, NOW + timedelta(days=day)).archive([holding(store, days=5)])
        names += made[0]["archives"]
    results = [archiver(ledger).restore(store, names[place]) for place in order]
    assert [each["differing"] for each in results] == [0 if place == 2 else 1 for place in order]
    newest = ledger.entry(RunKey(APP, "run-000001"))
    assert newest is not None
    assert (newest.run, newest.detail) == (versions[2], detailed(day=2))
    assert len(held(ledger)) == 4


def test_an_older_version_that_came_back_gives_way(ledger: Ledger, store: ArchiveStore) -> None:
    """As by a version of this program that knew of one archive only; a run that is news of its own stays."""
    names: list[str] = []
    for day, error in enumerate(("first", "second")):
        fill(ledger, [(run(number, error=error), detailed(day=day)) for number in (1, 2)])
        made = archiver(ledger, NOW + timedelta(days=day)).archive([holding(store, days=5)])
        names += made[0]["archives"]
    fill(ledger, [(run(1, error="first"), detailed(day=0)), (run(2, error="news"), detailed(day=5))])
    result = archiver(ledger).restore(store, names[1])
    assert (result["held"], result["replaced"], result["differing"]) == (2, 1, 1)
    assert {each.run.run_id: each.run.error for each in held(ledger)} == {
        "run-000001": "second",
        "run-000002": "news",
    }


def test_many_archives_of_many_parts(
    sqlite_ledger: SqlLedger, store: ArchiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives and their files are bounded; together they hold every run once."""
    monkeypatch.setattr(archives_module, "PART_RUNS", 4)
    fill(sqlite_ledger, [(run(number), None) for number in range(25)])
    before = held(sqlite_ledger)
    (result,) = archiver(sqlite_ledger, archive_runs=10).archive([holding(store, days=5)])
    assert len(result["archives"]) == 3
    manifests = sorted(store.manifests(APP), key=lambda each: each.newest, reverse=True)
    assert [[part.runs for part in each.parts] for each in manifests] == [[4, 4, 2], [4, 4, 2], [4, 1]]
    assert [entry for each in manifests for entry in store.entries(each)] == before


def test_space_is_given_back(sql_ledger: SqlLedger, store: ArchiveStore, ledger_file: Path) -> None:
    """The file of a SQLite ledger is smaller afterwards."""
    noise = [Random(n).randbytes(20_000) for n in range(50)]
    fill(
        sql_ledger,
        [(run(n, raw=b'{"x":"' + each.hex().encode() + b'"}'), None) for n, each in enumerate(noise)],
    )
    sql_ledger.compact()
    before = ledger_file.stat().st_size
    archiver(sql_ledger).archive([holding(store, days=5)])
    assert ledger_file.stat().st_size < before / 2


def test_unknown_archives_are_refused(memory_ledger: Ledger, store: ArchiveStore) -> None:
    """What is no archive's name is refused with where to find them; folders without manifest are named."""
    for name in ("", "archives/x", "../../etc", "reports/csv"):
        with pytest.raises(UsageError, match="history archives"):
            archiver(memory_ledger).restore(store, name)
    store.backend.put("archives/a/b/part-00001.parquet", Path(__file__))
    assert (store.unfinished(), store.manifests()) == (["archives/a/b"], [])


def test_another_storage_lists_its_own(store: ArchiveStore, memory_ledger: Ledger) -> None:
    """An archive lists what it holds without being read."""
    fill(memory_ledger, MIXED)
    archiver(memory_ledger).archive([holding(store, days=5)])
    (manifest,) = store.manifests()
    listed: Sequence[StoredFile] = store.backend.names(f"{manifest.archive}/")
    assert [each.name.rpartition("/")[2] for each in listed] == ["part-00001.parquet", MANIFEST]
    assert (manifest.runs, manifest.app, manifest.oldest) == (7, APP, START)
    assert manifest.size_bytes == listed[0].size_bytes
