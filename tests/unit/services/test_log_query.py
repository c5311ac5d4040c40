"""Searching the program's log."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.errors import UsageError
from flowledger.services.log_query import (
    LONGEST_LINE,
    LogQuery,
    LogReader,
    format_line,
    instant_of,
    parse_line,
    pattern_of,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ZONE = "Asia/Shanghai"


def line(message: str, at: datetime = NOW, level: str = "INFO", **more: str) -> str:
    """Give a line of the log."""
    ids = {name: more.pop(name, None) for name in ("task_id", "flow_run_id")}
    said = {"timestamp": at.isoformat(), "level": level, **ids, "message": message, "metadata": more}
    return json.dumps(said, ensure_ascii=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two days of a log, the second in two files."""
    day_before = NOW - timedelta(days=1)
    (tmp_path / "flowledger-2026-11-20.jsonl").write_text(line("first", day_before, "DEBUG") + "\n", "utf-8")
    second = [
        line("second", app="客服", app_id="a-1", flow_run_id="f-123"),
        line("third", level="ERROR", error="ValueError: (odd)", task_id="t-9"),
    ]
    (tmp_path / "flowledger-2026-11-21.jsonl").write_text("\n".join(second) + "\n", "utf-8")
    (tmp_path / "flowledger-2026-11-21.1.jsonl").write_text(line("fourth", level="WARNING") + "\n", "utf-8")
    (tmp_path / "flowledger-errors-2026-11-21.jsonl").write_text(second[1] + "\n", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("query", "messages"),
    [
        (LogQuery(), ["first", "second", "third", "fourth"]),
        (LogQuery(level="WARNING"), ["third", "fourth"]),
        (LogQuery(since=NOW), ["second", "third", "fourth"]),
        (LogQuery(until=NOW - timedelta(hours=1)), ["first"]),
        (LogQuery(since=NOW + timedelta(days=30)), []),
        (LogQuery(run="f-1"), ["second"]),
        (LogQuery(run="t-9"), ["third"]),
        (LogQuery(app="客服"), ["second"]),
        (LogQuery(app="a-1"), ["second"]),
        (LogQuery(app="客"), []),
        (LogQuery(pattern=re.compile("^f.*h$")), ["fourth"]),
        (LogQuery(pattern=re.compile("ValueError")), ["third"]),
    ],
)
def test_only_what_is_asked_for_is_given(folder: Path, query: LogQuery, messages: list[str]) -> None:
    """In the order of the files, each line once though errors have a file of their own."""
    reader = LogReader(folder)
    assert [each.message for each in reader.read(query)] == messages
    assert reader.unreadable == 0


def test_files_of_other_days_are_not_read(folder: Path) -> None:
    """With a margin, since zones and rotations change."""
    query = LogQuery(since=NOW, until=NOW)
    assert [query.matches_day(date(2026, 11, day)) for day in (18, 19, 23, 24)] == [False, True, True, False]
    (folder / "flowledger-2026-11-01.jsonl").write_text("not ours\n")
    reader = LogReader(folder)
    list(reader.read(query))
    assert reader.unreadable == 0


def test_torn_and_foreign_lines_are_counted(tmp_path: Path) -> None:
    """Empty ones are nothing; those around them are read; an endless one is passed over."""
    whole = line("whole").encode()
    parts = [whole, whole[:40], b"", b"\xff\xfe", b"[1]", b"{}", b"x" * (2 * LONGEST_LINE + 5), whole]
    (tmp_path / "flowledger-2026-11-21.jsonl").write_bytes(b"\n".join(parts))
    reader = LogReader(tmp_path)
    assert [each.message for each in reader.read(LogQuery())] == ["whole", "whole"]
    assert reader.unreadable == 5


def test_a_time_without_offset_is_foreign() -> None:
    """It could not be compared."""
    assert parse_line(line("naive", NOW.replace(tzinfo=None)).encode()) is None


@given(st.binary())
def test_any_bytes_are_a_line_or_none(raw: bytes) -> None:
    """Nothing a file holds ends a search."""
    found = parse_line(raw)
    assert found is None or found.at.tzinfo is not None


@given(st.recursive(st.none() | st.text() | st.integers(), lambda deeper: st.dictionaries(st.text(), deeper)))
def test_any_json_is_a_line_or_none(document: object) -> None:
    """Other programs write JSON lines too."""
    assert parse_line(json.dumps(document).encode()) is None


@pytest.mark.parametrize(
    ("words", "is_end", "at"),
    [
        ("30m", False, NOW - timedelta(minutes=30)),
        ("2h", False, NOW - timedelta(hours=2)),
        ("3d", True, NOW - timedelta(days=3)),
        ("2026-11-21", False, datetime(2026, 11, 20, 16, tzinfo=UTC)),
        ("2026-11-21", True, datetime(2026, 11, 21, 15, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-11-21T08:00:00Z", True, datetime(2026, 11, 21, 8, tzinfo=UTC)),
    ],
)
def test_times_are_iso_or_how_long_ago(words: str, is_end: bool, at: datetime) -> None:
    """Without offset in the zone; a bare date is its begin or its end."""
    assert instant_of(words, NOW, ZONE, is_end=is_end) == at


@pytest.mark.parametrize("words", ["", "soon", "2x", "999999w", "0001-01-01", "9999-12-31"])
def test_other_times_are_refused(words: str) -> None:
    """Also those outside of the calendar."""
    with pytest.raises(UsageError, match="time"):
        instant_of(words, NOW, ZONE, is_end=True)


def test_a_pattern_that_is_none_is_refused() -> None:
    """With what is wrong about it."""
    with pytest.raises(UsageError, match="cannot read the pattern"):
        pattern_of("(")


def test_people_see_time_level_app_and_message() -> None:
    """In the zone; controls and escapes do nothing to a terminal."""
    given = parse_line(line("one\ntwo\x1b[31m", level="ERROR", app="客服", error="ValueError: odd").encode())
    assert given is not None
    assert (
        format_line(given, ZONE) == "2026-11-21 20:00:00 ERROR    [客服] one\n    two␛[31m (ValueError: odd)"
    )
