"""Reports that wait on this machine while their storage takes nothing."""

import errno
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from bucket_servers import BUCKETS, gate_of, new_bucket, without_waiting

from flowledger.domain.retention import ReportSubject
from flowledger.errors import StorageError, StorageUnavailableError
from flowledger.io.locks import locked
from flowledger.storage.buckets import BucketStorage
from flowledger.storage.layout import Rank, rank_of
from flowledger.storage.service import StorageService
from flowledger.storage.spool import Spooled

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


@pytest.fixture(params=BUCKETS[:1])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A kind of bucket (waiting is alike for all); its gate lets everything through again in the end."""
    without_waiting(monkeypatch)
    gate_of(request.param).requests.clear()
    yield str(request.param)
    gate_of(request.param).mend()


@pytest.fixture
def bucket(kind: str) -> BucketStorage:
    """An empty bucket."""
    return new_bucket(kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where things wait."""
    return tmp_path / "unsent" / "bucket"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two artifacts in a directory of their own."""
    directory = tmp_path / "rendered"
    directory.mkdir()
    paths = [directory / "a.csv", directory / "b.csv"]
    for path in paths:
        path.write_text(path.name)
    return paths


def service(bucket: BucketStorage, folder: Path, at: datetime = NOW) -> StorageService:
    """A run's storage: whatever was in memory before is gone."""
    return StorageService(Spooled(bucket, folder), lambda: at)


def names(bucket: BucketStorage) -> list[str]:
    """All names in the bucket."""
    return sorted(each.name for each in bucket.names(""))


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("code", "status", "word"), [("SlowDown", 503, "away"), ("NoSuchBucket", 404, "refuses")]
)
def test_a_report_waits_and_the_next_run_sends_it(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path], code: str, status: int, word: str
) -> None:
    """While the bucket takes nothing, a report is kept here and says so; the next run sends it first."""
    gate_of(kind).fail(code, status)
    first = service(bucket, folder)
    places = first.save_files(files, "monday", "csv", app="shop", subject=ReportSubject(certified=True))
    assert [Path(place).read_text() for place in places] == ["a.csv", "b.csv"]
    (note,) = first.notes
    beginning = "kept on this machine until the storage takes it; the next run uploads it: "
    assert note.startswith(f"{beginning}storage {word}: cannot ")
    assert len(note) <= len(beginning) + 250
    gate_of(kind).mend()
    assert names(bucket) == []

    second = service(bucket, folder, NOW + timedelta(days=1))
    second.save_files(files, "tuesday", "csv", app="shop", subject=ReportSubject(certified=True))
    assert [report.stem for report in second.versions("csv", "shop")] == ["tuesday", "monday"]
    assert (second.latest("csv", "shop") or {})["stem"] == "tuesday"
    assert "4 files that had waited" in second.notes[0]
    assert [path for path in (folder / "files").rglob("*") if path.is_file()] == []
    sent = [unquote(path).split("?")[0] for method, path in gate_of(kind).requests if method == "PUT"]
    ranks = [rank_of(path.split("/", 2)[2]) for path in sent]
    assert ranks[-8:] == [Rank.CONTENT, Rank.CONTENT, Rank.ENTRY, Rank.POINTER] * 2


@pytest.mark.fault(30)
def test_trouble_in_the_middle_leaves_nothing_half(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path]
) -> None:
    """A bucket that goes away after the files, before entry and pointer, gets these later, in order."""
    gate_of(kind).fail("SlowDown", 503, wanted=lambda method, path: method == "PUT" and "index" in path)
    service(bucket, folder).save_files(files, "one", "csv", app="shop")
    gate_of(kind).mend()
    assert {rank_of(name) for name in names(bucket)} == {Rank.CONTENT}
    assert StorageService(bucket, lambda: NOW).reports() == []
    spool = Spooled(bucket, folder)
    assert [rank_of(each.name) for each in spool.waiting()] == [Rank.ENTRY, Rank.POINTER]
    assert (spool.send(), spool.send()) == (2, 0)
    assert [report.stem for report in StorageService(bucket, lambda: NOW).reports()] == ["one"]


def test_a_storage_that_failed_is_not_asked_again(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path]
) -> None:
    """One run waits for a dead bucket once, however many files it has."""
    gate_of(kind).fail("SlowDown", 503)
    storage = service(bucket, folder)
    for stem in ("one", "two", "three"):
        storage.save_files(files, stem, "csv")
    assert len(gate_of(kind).requests) == 3


def test_what_waits_can_be_read(bucket: BucketStorage, kind: str, folder: Path, files: list[Path]) -> None:
    """A report that waits is listed, read and linked from here."""
    gate_of(kind).fail("SlowDown", 503)
    storage = service(bucket, folder)
    storage.save_files(files[:1], "one", "csv", app="shop")
    name = "reports/csv/one.csv"
    assert storage.read(name) == b"a.csv"
    assert Path(storage.link(name, timedelta(hours=1))).read_bytes() == b"a.csv"
    assert (storage.latest("csv", "shop") or {})["locations"] == [bucket.location(name)]


def test_a_newer_pointer_is_not_overwritten(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path]
) -> None:
    """A report that waited long does not become the latest again when it is sent at last."""
    gate_of(kind).fail("SlowDown", 503)
    service(bucket, folder).save_files(files, "old", "csv", app="shop")
    gate_of(kind).mend()
    elsewhere = StorageService(bucket, lambda: NOW + timedelta(days=1))
    elsewhere.save_files(files, "new", "csv", app="shop")
    Spooled(bucket, folder).send()
    assert (elsewhere.latest("csv", "shop") or {})["stem"] == "new"
    assert {report.stem for report in elsewhere.reports()} == {"new", "old"}


def test_a_backfill_that_waited_does_not_go_back(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path]
) -> None:
    """An older day, written later while the bucket was away, does not become the latest when it is sent."""
    newest = ReportSubject("yesterday", "2026-11-20T00:00:00Z/2026-11-20T23:59:59Z", certified=True)
    older = ReportSubject("yesterday", "2026-11-05T00:00:00Z/2026-11-05T23:59:59Z", certified=True)
    StorageService(bucket, lambda: NOW).save_files(files, "d20", "csv", app="shop", subject=newest)
    gate_of(kind).fail("SlowDown", 503)
    service(bucket, folder, NOW + timedelta(days=1)).save_files(
        files, "d05", "csv", app="shop", subject=older
    )
    gate_of(kind).mend()
    Spooled(bucket, folder).send()
    assert (StorageService(bucket, lambda: NOW).latest("csv", "shop") or {})["stem"] == "d20"


@pytest.mark.fault(27)
def test_two_processes_do_not_send_at_once(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path]
) -> None:
    """While one sends, another leaves what waits alone and goes on with its own."""
    gate_of(kind).fail("SlowDown", 503)
    service(bucket, folder).save_files(files, "one", "csv")
    gate_of(kind).mend()
    with locked(folder / "sending.lock", wait=False) as held:
        assert held
        other = service(bucket, folder)
        other.save_files(files, "two", "csv")
        assert [report.stem for report in StorageService(bucket, lambda: NOW).reports()] == ["two"]
    assert Spooled(bucket, folder).send() == 4


def test_a_file_replaced_while_it_is_sent_stays(
    bucket: BucketStorage, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process kept anew during the sending is not lost with the old one."""
    source = tmp_path / "source"
    source.write_text("old")
    spool = Spooled(bucket, folder)
    spool._local.put("reports/x.txt", source)
    send = type(bucket).put

    def replaced_meanwhile(self: BucketStorage, name: str, path: Path) -> str:
        place = send(self, name, path)
        source.write_text("new")
        spool._local.put("reports/x.txt", source)
        return place

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "put", replaced_meanwhile)
        spool.send()
    assert bucket.read("reports/x.txt") == b"old"
    Spooled(bucket, folder).send()
    assert bucket.read("reports/x.txt") == b"new"


def test_a_full_disk_is_an_error(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bucket away and the disk full, the run fails; nothing half is kept."""
    gate_of(kind).fail("SlowDown", 503)
    storage = service(bucket, folder)

    def no_space(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(StorageError, match="No space left"):
        storage.save_files(files, "one", "csv")
    assert Spooled(bucket, folder).waiting() == []


def test_sending_stops_where_it_fails(
    bucket: BucketStorage, kind: str, folder: Path, files: list[Path]
) -> None:
    """Sending by hand is an error while the bucket is away, and everything waits on."""
    gate_of(kind).fail("SlowDown", 503)
    service(bucket, folder).save_files(files, "one", "csv")
    spool = Spooled(bucket, folder)
    with pytest.raises(StorageUnavailableError):
        spool.send()
    assert len(spool.waiting()) == 4


def test_entries_say_what_a_report_is(bucket: BucketStorage, files: list[Path]) -> None:
    """An entry holds period, window, whether it is certified, and each file's size and digest."""
    subject = ReportSubject("yesterday", "2026-11-21/2026-11-21", certified=True)
    StorageService(bucket, lambda: NOW).save_files(files, "one", "csv", app="shop", subject=subject)
    entry = json.loads(bucket.read("reports/csv/index/shop/certified/one.json"))
    assert (entry["period"], entry["window"], entry["certified"]) == (subject.period, subject.window, True)
    assert [(file["name"], file["size_bytes"], len(file["sha256"])) for file in entry["files"]] == [
        ("reports/csv/one/a.csv", 5, 64),
        ("reports/csv/one/b.csv", 5, 64),
    ]
