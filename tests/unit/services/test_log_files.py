"""A log is one file a day that nobody renames."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flowledger.errors import UsageError
from flowledger.services.log_files import (
    ERRORS_STEM,
    STEM,
    DailyFiles,
    Rotation,
    log_files,
    rotation_of,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


def files_in(folder: Path, **options: object) -> DailyFiles:
    """Keep files in a folder for three days."""
    return DailyFiles(folder, STEM, **{"days": 3, "tz": ZoneInfo("UTC"), **options})  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    """Give the names of all files, sorted."""
    return sorted(path.name for path in folder.iterdir())


def test_a_line_goes_to_the_file_of_its_day_in_the_zone(tmp_path: Path) -> None:
    """The evening of a day in UTC is the next day in Shanghai."""
    files = files_in(tmp_path, tz=SHANGHAI)
    files.write("one", NOON)
    files.write("two", NOON + timedelta(hours=6))
    assert names(tmp_path) == ["flowledger-2026-11-21.jsonl", "flowledger-2026-11-22.jsonl"]
    assert (tmp_path / "flowledger-2026-11-22.jsonl").read_text() == "two\n"


def test_a_day_may_begin_at_another_time(tmp_path: Path) -> None:
    """With 06:00, the night belongs to the day before."""
    files = files_in(tmp_path, rotation=rotation_of("06:00"))
    files.write("night", NOON - timedelta(hours=7))
    files.write("noon", NOON)
    assert names(tmp_path) == ["flowledger-2026-11-20.jsonl", "flowledger-2026-11-21.jsonl"]


def test_a_full_file_is_followed_by_a_numbered_one(tmp_path: Path) -> None:
    """Nothing is renamed; whoever comes later goes on with the newest."""
    rotation = Rotation(most_bytes=10)
    files = files_in(tmp_path, rotation=rotation)
    for text in ("12345", "67890", "later"):
        files.write(text, NOON)
    files_in(tmp_path, rotation=rotation).write("other", NOON)
    assert names(tmp_path) == ["flowledger-2026-11-21.1.jsonl", "flowledger-2026-11-21.jsonl"]
    assert (tmp_path / "flowledger-2026-11-21.1.jsonl").read_text() == "later\nother\n"


def test_old_files_are_removed_and_others_are_not(tmp_path: Path) -> None:
    """By the day in the name; each log removes its own, and what is not a log stays."""
    for name in ("flowledger-2026-11-17", "flowledger-2026-11-17.2", "flowledger-2026-11-18"):
        (tmp_path / f"{name}.jsonl").touch()
    for name in ("flowledger-errors-2026-11-01.jsonl", "notes.txt", "flowledger-2026-02-31.jsonl"):
        (tmp_path / name).touch()
    files_in(tmp_path).write("one", NOON)
    kept = [file.path.name for file in log_files(tmp_path)]
    assert kept == ["flowledger-2026-11-18.jsonl", "flowledger-2026-11-21.jsonl"]
    assert {"notes.txt", "flowledger-2026-02-31.jsonl"} <= set(names(tmp_path))
    assert len(log_files(tmp_path, ERRORS_STEM)) == 1


def test_a_torn_line_keeps_to_itself(tmp_path: Path) -> None:
    """What a power cut left is ended before the next line begins."""
    (tmp_path / "flowledger-2026-11-21.jsonl").write_text('{"torn": ')
    files_in(tmp_path).write("whole", NOON)
    assert (tmp_path / "flowledger-2026-11-21.jsonl").read_text() == '{"torn": \nwhole\n'


def test_a_folder_that_vanishes_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that cannot be written never ends a run."""
    files = files_in(tmp_path / "gone")
    files.write("one", NOON)
    files.write("two", NOON)
    said = capsys.readouterr().err
    assert said.count("cannot be written: No such file or directory") == 1


def test_a_folder_without_logs_has_no_files(tmp_path: Path) -> None:
    """One that is missing neither."""
    assert log_files(tmp_path / "missing") == []


def test_lone_surrogates_are_written_as_question_marks(tmp_path: Path) -> None:
    """A line is always UTF-8."""
    files_in(tmp_path).write("\ud800", NOON)
    assert (tmp_path / "flowledger-2026-11-21.jsonl").read_bytes() == b"?\n"


@pytest.mark.parametrize(
    ("words", "rotation"),
    [
        ("00:00", Rotation()),
        (" 6:30 ", Rotation(at=timedelta(hours=6, minutes=30))),
        ("100 MB", Rotation(most_bytes=100_000_000)),
        ("10KiB", Rotation(most_bytes=10_240)),
        ("1gb", Rotation(most_bytes=1_000_000_000)),
    ],
)
def test_a_rotation_is_a_time_or_a_size(words: str, rotation: Rotation) -> None:
    """As the settings have it."""
    assert rotation_of(words) == rotation


@pytest.mark.parametrize("words", ["", "24:00", "daily", "100", "-5 MB", "1 TB", "1 KB", "00:00:00"])
def test_other_rotations_are_refused(words: str) -> None:
    """The message gives an example of both."""
    with pytest.raises(UsageError, match=r"00:00.*100 MB"):
        rotation_of(words)
