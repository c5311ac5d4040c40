"""Reports, data and the pointer to the newest."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from flowledger.errors import StorageError, UsageError
from flowledger.ports import ReportStore
from flowledger.storage.local import LocalStorage
from flowledger.storage.service import StorageService

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


@pytest.fixture
def service(tmp_path: Path) -> StorageService:
    """A service over a local storage, at a fixed time."""
    return StorageService(LocalStorage(tmp_path / "store"), lambda: NOW)


@pytest.fixture
def files(tmp_path: Path) -> Sequence[Path]:
    """Two artifacts in a directory of their own."""
    directory = tmp_path / "rendered"
    directory.mkdir()
    paths = [directory / "总览.csv", directory / "notes.txt"]
    for path in paths:
        path.write_text(path.name, encoding="utf-8")
    return paths


def age(location: str, days: float) -> None:
    """Make a file look kept so many days before NOW."""
    at = (NOW - timedelta(days=days)).timestamp()
    os.utime(location, (at, at))


def test_a_report_is_kept_and_pointed_to(service: StorageService) -> None:
    """A report's location is returned, listed and named by the pointer of its type and app."""
    store: ReportStore = service
    assert store is service
    location = service.save_report("报告\ud800", "daily.md", "daily", app="客服")
    assert Path(location).read_text(encoding="utf-8") == "报告\ufffd"
    age(location, 0)
    assert service.list_reports("daily", 1) == [location]
    pointer = service.latest("daily", "客服")
    assert pointer
    assert (pointer["locations"], pointer["kept_at"]) == ([location], NOW.isoformat())
    assert service.latest("daily", "other") is None


def test_one_file_gets_the_stem(service: StorageService, files: Sequence[Path]) -> None:
    """A single artifact is named by the stem, with its own extension."""
    (location,) = service.save_files(files[1:], "yesterday_app", "markdown")
    assert Path(location).name == "yesterday_app.txt"
    assert list(service.save_files([], "yesterday_app", "markdown")) == []


def test_a_set_appears_as_a_directory(service: StorageService, files: Sequence[Path], tmp_path: Path) -> None:
    """Several artifacts become a directory, with nothing else that lay beside them."""
    expected = [tmp_path / "store" / "reports" / "csv" / "stem" / path.name for path in files]
    assert service.save_files(files, "stem", "csv") == [str(path) for path in expected]
    (files[0].parent / "other").touch()
    assert service.save_files(files, "stem", "csv") == [str(path) for path in expected]
    assert sorted(expected[0].parent.iterdir()) == sorted(expected)


def test_the_pointer_moves_on(service: StorageService, files: Sequence[Path]) -> None:
    """Artifacts of one stem share the pointer; those of the next replace them."""
    first = service.save_files(files[:1], "one", "daily")
    more = service.save_files(files[1:], "one", "daily")
    pointer = service.latest("daily")
    assert pointer
    assert pointer["locations"] == [*first, *more]
    second = service.save_files(files[:1], "two", "daily")
    pointer = service.latest("daily")
    assert pointer
    assert pointer["locations"] == second


def test_data_is_json(service: StorageService) -> None:
    """Data is kept as readable JSON, whatever the values."""
    plain = service.save_data({"钱": Decimal("0.10"), "at": NOW, "n": float("nan")}, "a/b.json")
    assert json.loads(Path(plain).read_bytes())["钱"] == "0.10"
    odd = service.save_data({"text": "\ud800", "big": 2**70}, "odd.json")
    assert json.loads(Path(odd).read_bytes())["big"] == 2**70


def test_cleanup_spares_the_newest(service: StorageService, files: Sequence[Path]) -> None:
    """Old reports and data go, but not what a pointer names, nor the pointer."""
    old = service.save_report(b"1", "old.md", "daily")
    pointed = service.save_report(b"2", "new.md", "daily")
    data = service.save_data({}, "old.json")
    young = service.save_data({}, "young.json")
    for location in (old, pointed, data):
        age(location, 31)
    age(young, 29)
    assert service.cleanup_old_files(30) == 2
    assert [Path(path).exists() for path in (old, pointed, data, young)] == [False, True, False, True]
    assert service.latest("daily")
    assert service.list_reports("daily", 30) == []
    assert service.list_reports("daily", 10**9) == [pointed]


def test_odd_days_are_refused(service: StorageService) -> None:
    """A negative number of days is the caller's mistake."""
    with pytest.raises(UsageError, match="0 or more"):
        service.cleanup_old_files(-1)
    with pytest.raises(UsageError, match="0 or more"):
        service.list_reports("daily", -1)


def test_a_broken_pointer_stops_the_cleanup(service: StorageService, tmp_path: Path) -> None:
    """What cannot be known to be old news is not removed."""
    service.save_report(b"1", "a.md", "daily")
    pointer = tmp_path / "store" / "reports" / "daily" / "latest" / "all" / "latest.json"
    pointer.write_bytes(b"[]")
    with pytest.raises(StorageError, match="cannot be read as a pointer"):
        service.cleanup_old_files(0)
