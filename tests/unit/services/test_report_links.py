"""Stored reports go along where they are small enough, and are linked in any case."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowledger.domain.messages import Attachment
from flowledger.errors import StorageError
from flowledger.services.report_links import StoredReportLinks, dated_name
from flowledger.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """A storage that holds two reports."""
    storage = LocalStorage(tmp_path / "kept")
    for name, content in (("reports/csv/a.csv", b"12345"), ("reports/md/a.md", b"1234567")):
        source = tmp_path / "source"
        source.write_bytes(content)
        storage.put(name, source)
    return storage


def links(storage: LocalStorage, most_bytes: int = 100, prefix: str = "") -> StoredReportLinks:
    """Show what a storage holds; others lie beside it."""
    return StoredReportLinks(
        storage,
        most_bytes,
        timedelta(hours=1),
        opened=lambda name: LocalStorage(storage.root.parent / name),
        storage=prefix,
    )


def locations(storage: LocalStorage) -> list[str]:
    """Give where both reports are."""
    return [storage.location(name) for name in ("reports/csv/a.csv", "reports/md/a.md")]


def test_all_files_go_along_or_none(storage: LocalStorage) -> None:
    """Half a report misleads; the limit is for all of them together."""
    chosen = links(storage, 12).attachments(locations(storage))
    assert [(each.file_name, each.size_bytes) for each in chosen] == [("a.csv", 5), ("a.md", 7)]
    assert links(storage, 11).attachments(locations(storage)) == ()
    assert links(storage, 0).attachments([]) == ()


def test_what_is_not_in_the_storage_is_only_linked(storage: LocalStorage, tmp_path: Path) -> None:
    """Such as a file that waits on this machine for its bucket."""
    elsewhere = str(tmp_path / "unsent" / "a.csv")
    gone = storage.location("reports/csv/gone.csv")
    assert links(storage).link(elsewhere) == elsewhere
    assert links(storage).attachments([*locations(storage), elsewhere]) == ()
    assert links(storage).attachments([gone]) == ()


def test_files_are_read_from_where_they_were_kept(storage: LocalStorage, tmp_path: Path) -> None:
    """A letter may be carried by the run of another app, whose reports lie elsewhere."""
    (attachment, _) = links(storage, prefix="kept").attachments(locations(storage))
    assert links(storage, prefix="kept").read(attachment) == b"12345"
    other = links(LocalStorage(tmp_path / "other"), prefix="other")
    assert other.read(attachment) == b"12345"
    with pytest.raises(StorageError, match=r"gone\.csv"):
        other.read(Attachment("gone.csv", "reports/csv/gone.csv", 1, "kept"))


def test_a_local_report_is_linked_by_its_path(storage: LocalStorage) -> None:
    """There is no address for it."""
    (first, _) = locations(storage)
    assert links(storage).link(first) == first


class Bucket(LocalStorage):
    """A storage whose locations are addresses."""

    def location(self, name: str) -> str:
        """Give an address."""
        return f"s3://bucket/prefix/{name}"

    def link(self, name: str, valid_for: timedelta) -> str:
        """Give a signed address."""
        ends = datetime(2026, 1, 1, tzinfo=UTC) + valid_for
        return f"https://bucket.example.com/prefix/{name}?until={ends:%H}"


def test_an_object_is_linked_by_an_address_for_a_while(tmp_path: Path) -> None:
    """What is no location of the bucket stays as it is."""
    bucket = links(Bucket(tmp_path / "bucket"))
    assert bucket.link("s3://bucket/prefix/reports/a.csv") == (
        "https://bucket.example.com/prefix/reports/a.csv?until=01"
    )
    assert bucket.link("s3://other/reports/a.csv") == "s3://other/reports/a.csv"


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("reports/csv/yesterday-2026-11-20_app_1/问答类应用数-总览.csv", "问答类应用数-总览-2026-11-20.csv"),
        ("reports/markdown/yesterday-2026-11-20_app_1.md", "yesterday-2026-11-20_app_1.md"),
        ("reports/plain.csv", "plain.csv"),
    ],
)
def test_the_name_of_an_attachment_has_its_day(stored: str, name: str) -> None:
    """Two days' files can lie in one folder."""
    assert dated_name(stored) == name
