"""Reports, data and the pointer to the newest."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from flowledger.domain.retention import ReportSubject
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
    again = service.save_files(files, "stem", "csv")
    assert [Path(path).parent.name for path in again] == ["stem-2", "stem-2"]
    assert sorted(expected[0].parent.iterdir()) == sorted(expected)
    assert [report.stem for report in service.versions("csv")] == ["stem-2", "stem"]


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


@pytest.mark.parametrize("content", [b"", b"[]", b'{"stem"'])
def test_a_broken_pointer_keeps_no_report_from_being_kept(
    service: StorageService, tmp_path: Path, content: bytes
) -> None:
    """It only names what is there, so it is written anew; who reads it meanwhile is told what to do."""
    service.save_report("one", "one.txt", "daily")
    (tmp_path / "store/reports/daily/latest/all/latest.json").write_bytes(content)
    with pytest.raises(StorageError, match="cannot be read as a pointer: remove it and run again"):
        service.latest("daily")
    location = service.save_report("two", "two.txt", "daily")
    pointer = service.latest("daily")
    assert pointer
    assert pointer["locations"] == [location]


def test_a_broken_pointer_stops_the_cleanup(service: StorageService, tmp_path: Path) -> None:
    """What cannot be known to be old news is not removed."""
    service.save_report(b"1", "a.md", "daily")
    pointer = tmp_path / "store" / "reports" / "daily" / "latest" / "all" / "latest.json"
    pointer.write_bytes(b"[]")
    with pytest.raises(StorageError, match="cannot be read as a pointer"):
        service.cleanup_old_files(0)


@pytest.mark.fault(27)
def test_nothing_is_overwritten(service: StorageService, files: Sequence[Path]) -> None:
    """A name that is taken gets a number, for reports of one file and for data alike."""
    first = service.save_report(b"1", "daily.md", "daily")
    second = service.save_report(b"2", "daily.md", "daily")
    assert [Path(path).name for path in (first, second)] == ["daily.md", "daily-2.md"]
    assert Path(first).read_bytes() == b"1"
    data = [service.save_data({"n": number}, "d.json") for number in range(3)]
    assert [Path(path).name for path in data] == ["d.json", "d-2.json", "d-3.json"]


def test_apps_do_not_share_a_stem(service: StorageService) -> None:
    """Two apps that name a report alike keep two, each with its own files."""
    service.save_report(b"1", "daily.md", "daily", app="one")
    service.save_report(b"2", "daily.txt", "daily", app="two")
    assert [report.names for report in service.versions("daily", "one")] == [("reports/daily/daily.md",)]
    assert [report.names for report in service.versions("daily", "two")] == [("reports/daily/daily-2.txt",)]


def test_counts_by_app_and_type(service: StorageService, files: Sequence[Path]) -> None:
    """Bytes and counts are added up by app and type; what no entry names is shown apart."""
    service.save_files(files, "one", "csv", app="shop")
    service.save_files(files[:1], "two", "csv", app="shop-filtered")
    service.save_data({}, "d.json")
    found = {(use.app, use.report_type): (use.reports, use.files, use.size_bytes) for use in service.stats()}
    assert found == {
        ("shop", "csv"): (1, 2, 19),
        ("shop-filtered", "csv"): (1, 1, 10),
        ("-", "data"): (0, 1, 2),
    }
    assert [report.stem for report in service.reports(app="shop")] == ["one", "two"]


def test_what_is_discarded_is_gone(service: StorageService, files: Sequence[Path], tmp_path: Path) -> None:
    """A discarded report leaves neither files nor entry."""
    service.save_files(files, "one", "csv", app="shop")
    service.save_files(files, "two", "csv", app="shop")
    service.discard(service.versions("csv", "shop")[1:])
    assert [report.stem for report in service.versions("csv", "shop")] == ["two"]
    assert not list((tmp_path / "store").rglob("*one*"))


def test_cleanup_spares_the_newest_certified(service: StorageService) -> None:
    """A certified report that no pointer names any more stays while it is the newest certified one."""
    certified = service.save_report(b"1", "a.md", "daily", subject=ReportSubject(certified=True))
    between = service.save_report(b"2", "b.md", "daily", subject=ReportSubject(certified=False))
    newest = service.save_report(b"3", "c.md", "daily", subject=ReportSubject(certified=False))
    for location in (certified, between, newest):
        age(location, 400)
    assert service.cleanup_old_files(30) == 1
    assert [Path(path).exists() for path in (certified, between, newest)] == [True, False, True]


def day(number: int, *, certified: bool = True) -> ReportSubject:
    """What a report of one day of November is about."""
    return ReportSubject(
        "yesterday", f"2026-11-{number:02}T00:00:00Z/2026-11-{number:02}T23:59:59Z", certified=certified
    )


def test_the_list_of_names_tells_the_window(service: StorageService, files: Sequence[Path]) -> None:
    """The end of a report's window stands in its entry's name; files of one report share one entry."""
    service.save_files(files[:1], "d20", "csv", app="shop", subject=day(20))
    service.save_files(files[1:], "d20", "csv", app="shop", subject=day(20))
    service.save_files(files, "open", "csv", app="shop", subject=day(19, certified=False))
    service.save_files(files, "plain", "csv", app="shop")
    entries = [name for name in (each.name for each in service.backend.names("")) if "/index/" in name]
    assert sorted(entries) == [
        "reports/csv/index/shop/certified-20261120T235959Z/d20.json",
        "reports/csv/index/shop/open-20261119T235959Z/open.json",
        "reports/csv/index/shop/open/plain.json",
    ]
    found = {
        each.stem: (each.until, each.certified, len(each.names)) for each in service.versions("csv", "shop")
    }
    assert found == {
        "d20": (datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC), True, 2),
        "open": (datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC), False, 2),
        "plain": (None, False, 2),
    }
    service.discard(service.versions("csv", "shop"))
    assert [each.name for each in service.backend.names("")] == ["reports/csv/latest/shop/latest.json"]


def test_the_pointer_never_goes_back(service: StorageService) -> None:
    """A backfill of an older day leaves the newest day the latest; writing that day anew moves it."""
    service.save_report(b"1", "d20.md", "daily", subject=day(20))
    service.save_report(b"2", "d05.md", "daily", subject=day(5))
    assert (service.latest("daily") or {})["stem"] == "d20"
    service.save_report(b"3", "d20-again.md", "daily", subject=day(20))
    assert (service.latest("daily") or {})["stem"] == "d20-again"
    service.save_report(b"4", "d21.md", "daily", subject=day(21))
    assert (service.latest("daily") or {})["stem"] == "d21"


def test_a_pointer_of_before_tells_its_time(service: StorageService, tmp_path: Path) -> None:
    """One that names no window stands for the time it was written: an older day does not take its place."""
    service.save_report(b"1", "d20.md", "daily", subject=day(20))
    pointer = tmp_path / "store/reports/daily/latest/all/latest.json"
    kept = json.loads(pointer.read_bytes())
    del kept["until"]
    pointer.write_text(json.dumps(kept), encoding="utf-8")
    service.save_report(b"2", "d05.md", "daily", subject=day(5))
    assert (service.latest("daily") or {})["stem"] == "d20"
    service.save_report(b"3", "d22.md", "daily", subject=day(22))
    assert (service.latest("daily") or {})["stem"] == "d22"


def test_cleanup_spares_the_certified_report_of_the_newest_window(service: StorageService) -> None:
    """By age, too: an older day that was proved later does not take the newest day's place."""
    newest = service.save_report(b"1", "d20.md", "daily", subject=day(20))
    filled = service.save_report(b"2", "d05.md", "daily", subject=day(5))
    later = service.save_report(b"3", "d21.md", "daily", subject=day(21, certified=False))
    for location, days in ((newest, 400), (filled, 300), (later, 399)):
        age(location, days)
    assert service.cleanup_old_files(30) == 1
    assert [Path(path).exists() for path in (newest, filled, later)] == [True, False, True]


def test_links_only_to_what_is_there(service: StorageService) -> None:
    """A link to nothing is refused; one to a local file is its path."""
    location = service.save_report(b"1", "a.md", "daily")
    assert service.link("reports/daily/a.md", timedelta(hours=1)) == location
    assert service.read("reports/daily/a.md") == b"1"
    with pytest.raises(StorageError, match="there is no reports/daily/none"):
        service.link("reports/daily/none", timedelta(hours=1))


def test_a_storage_can_be_checked(service: StorageService, tmp_path: Path) -> None:
    """A check leaves nothing behind."""
    assert service.check() == str(tmp_path / "store")
    assert list(service.backend.names("")) == []
