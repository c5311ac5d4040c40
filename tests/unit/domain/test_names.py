"""Names that are safe on every file system."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.texts import (
    LONGEST,
    clip,
    mend,
    one_line,
    report_stem,
    safe_name,
    safe_path,
    show_controls,
)

ANY = st.text(alphabet=st.characters(), max_size=300)


@pytest.mark.fault(24)
@given(ANY)
def test_safe_names_are_safe(text: str) -> None:
    """A name has no separator, is not hidden, fits, and making it safe again changes nothing."""
    name = safe_name(text)
    assert 1 <= len(name.encode()) <= LONGEST
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert safe_name(name) == name


@pytest.mark.fault(24)
@given(ANY, ANY)
def test_different_texts_keep_different_names(one: str, other: str) -> None:
    """Making names safe does not make two texts one."""
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize("text", ["客服问答", "report.md", "a b-c_d.2026", "😀"])
def test_plain_names_stay(text: str) -> None:
    """A text that is a safe name stays as it is."""
    assert safe_name(text) == text


@pytest.mark.parametrize(
    "text", ["..", "../x", "/etc/passwd", "CON", "nul.txt", "com1.csv", "a" * 255, "问" * 90, "", "."]
)
def test_dangerous_names_change(text: str) -> None:
    """Traversal, reserved, hidden, empty and over-long names change."""
    assert safe_name(text) != text


def test_extensions_stay() -> None:
    """Cutting a name keeps its extension."""
    assert safe_name("长" * 200 + ".csv").endswith(".csv")


@pytest.mark.fault(24)
def test_paths_stay_below_their_root() -> None:
    """No part of a path leads upwards."""
    assert safe_path("reports/csv/a.csv") == "reports/csv/a.csv"
    assert ".." not in safe_path("../../etc//passwd").split("/")
    assert safe_path("") == safe_name("")


def test_report_stems_tell_all() -> None:
    """A stem holds period, app, time in UTC and run, and fits whatever they are."""
    at = datetime(2026, 11, 22, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert report_stem("yesterday", "客服问答", at, "run1") == "yesterday_客服问答_20261122T020000Z_run1"
    worst = report_stem("p" * 300, "a/" * 300, at, "r" * 300)
    assert safe_name(worst) == worst


def test_texts_are_made_harmless() -> None:
    """Surrogate pairs join, lone ones are replaced, controls become symbols, white space folds."""
    assert mend("a\ud83d\ude00b\ud800") == "a😀b\ufffd"
    assert show_controls("a\x00\x1b\x7f\t\n") == "a\u2400\u241b\u2421\t\n"
    assert one_line(" a\r\n b\x00 ") == "a b\u2400"
    assert (clip("abcd", 3), clip("abc", 3)) == ("ab…", "abc")
