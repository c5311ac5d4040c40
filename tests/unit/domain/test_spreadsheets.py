"""A spreadsheet shows every text as it is: no number, no date, no formula is made of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.spreadsheets import defuse, defuse_formula, needs_quotes

VALUES = (
    *("110101199003078123", "1234567890123456789", "0012345", "1E5", "007", "13800138000", "1,234", "5%"),
    *("5 %", "1e-7", "0.50", ".5", "1.", "-5", "+8613800138000", "(5)", "$5", "￥5", "¥ 1,000.00", "12 EUR"),
    *("2026-11-21", "11/21", "1-2", "10:30", "10:30 PM", "上午10:30", "2026年11月21日", "11月", "1 1/2"),
    *(
        "SEPT2",
        "1-Mar",
        "Mar 1, 2026",
        "december 2026",
        "TRUE",
        "false",
        "真",
        "#N/A",
        "#REF!",
        "１２３",
        "'007",
    ),
    *("'007", "1D5", "x;=1+1", "a\t=1", "1.5 ", "5\u00a0%", "１Ｅ５"),
)


@pytest.mark.parametrize("text", VALUES)
def test_what_looks_like_a_value_is_a_text(text: str) -> None:
    """As a formula of the text, digit for digit."""
    cell = defuse(text)
    assert cell.startswith('="')
    assert cell.endswith('"')
    assert cell[2:-1].replace('""', '"') == text


@pytest.mark.parametrize("text", ["1" * 300, f"0.{'0' * 600}1", "1 " * 2500])
def test_a_long_number_is_a_text_in_pieces(text: str) -> None:
    """A text in a formula may have 255 characters, a number more digits."""
    cell = defuse(text)
    pieces = cell.removeprefix("=").split("&")
    assert max(map(len, pieces)) <= 257
    assert "".join(piece.strip('"') for piece in pieces) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "hello",
            "v1 of it",
            "user-7",
            "5bc8fbbc-bde5-4099-8164-d8399f767c45",
            "第 5 条",
            "a,b",
            "x; y",
        ),
        *("x; y", "11111111-2222-4333-8444-555555555555", "1, 2 und 3", "marching", "truely", "号"),
    ],
)
def test_other_texts_stay(text: str) -> None:
    """Programs and people read them as they are."""
    assert defuse(text) == text


@pytest.mark.parametrize("text", ["=1+1", " =1", "@SUM(A1)", "+cmd|' /C calc'!A0", "＝1", "-2+3+x", "\t=1"])
def test_formulas_get_an_apostrophe(text: str) -> None:
    """As OWASP says; the old script's files do the same."""
    assert defuse(text) == defuse_formula(text) == f"'{text}"


@given(st.text(alphabet="0123456789=+-@\"';,\t eE%年月日/x", max_size=300))
def test_no_text_leaves_its_cell(text: str) -> None:
    """What begins as a formula is a text and nothing but a text."""
    cell = defuse(text)
    if cell.startswith("="):
        assert re.fullmatch(r'="(?:[^"]|"")*"(?:&"(?:[^"]|"")*")*', cell)
    assert needs_quotes(cell) == (";" in cell or "\t" in cell)
