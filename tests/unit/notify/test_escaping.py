"""Markup: foreign text made harmless, long text cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.notify.escaping import ESCAPES, MORE, cut, escape_feishu, escape_wide, json_size, utf8_size

MEASURES = [utf8_size, json_size]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


@pytest.mark.fault(32)
@given(text=ANY_TEXT, limit=st.integers(20, 300), which=st.sampled_from(MEASURES))
def test_cut_never_exceeds_and_never_breaks_a_character(text: str, limit: int, which: object) -> None:
    """Whatever the text, what is kept is short enough, valid UTF-8, and all of it where it fits."""
    measure = MEASURES[MEASURES.index(which)]  # type: ignore[arg-type]
    kept = cut(text, limit, measure)
    assert measure(kept) <= limit
    kept.encode()


def test_keeps_a_text_that_fits() -> None:
    """What fits exactly is not touched."""
    assert cut("一二\n三", 10) == "一二\n三"


def test_cuts_at_the_end_of_a_line() -> None:
    """Rows of a table stay whole."""
    rows = "| one | two |\n" * 10
    assert cut(rows, 64) == "| one | two |\n" * 4 + MORE


def test_cuts_a_long_line_between_characters() -> None:
    """Where the only line is too long it is cut within, never within a character."""
    assert cut("一" * 100, 20) == "一" * 5 + "\n…"


def test_leaves_no_link_open() -> None:
    """A link that would be cut goes as a whole."""
    line = "see [the run](http://example.com/a/very/long/address/of/a/run) for more"
    for limit in range(20, 62):
        assert "[" not in cut(line, limit)


def test_closes_a_block_of_code() -> None:
    """A fence that is cut open is closed before the ellipsis."""
    kept = cut("```\n" + "line\n" * 50 + "```\n", 100)
    assert kept.endswith("line\n```\n…")
    assert utf8_size(kept) <= 100


def test_measures_what_json_makes_of_a_text() -> None:
    """Quotation marks and line breaks take two bytes in JSON."""
    text = 'a"\n一'
    assert json_size(text) == len(json.dumps(text, ensure_ascii=False).encode()) - 2


@pytest.mark.fault(23)
@pytest.mark.parametrize("name", list(ESCAPES))
@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '<at user_id="all"></at>',
        "<@all>",
        "[x](http://example.com)",
        "`a`",
        "**b**",
        "a|b",
    ],
)
def test_markup_becomes_text(name: str, text: str) -> None:
    """No sign that means something in the channel's markup is left as it is."""
    escaped = ESCAPES[name](text)
    assert not set("<>[]`*|") & set(escaped)


@pytest.mark.parametrize("name", list(ESCAPES))
@pytest.mark.parametrize("line", ["# title", "- item", "1. item", "---"])
def test_the_beginning_of_a_line_means_nothing(name: str, line: str) -> None:
    """A heading, a list or a rule cannot begin in foreign text."""
    assert not ESCAPES[name](f"a\n{line}").split("\n")[1].startswith(line[:2])


def test_mentions_nobody() -> None:
    """A text cannot call everybody."""
    assert escape_wide("@all @13000000000") == "＠all ＠13000000000"


def test_ordinary_text_stays_as_it_is() -> None:
    """Names, ids, numbers and punctuation are not changed, so that they can be copied."""
    text = "app_1: run 3f2-9a, 12.5% of 3 (three)! 中文，好。 -1.5"
    assert escape_wide(text) == text


def test_feishu_reads_references() -> None:
    """Feishu's cards get character references, ampersands first."""
    assert escape_feishu("a & <b>") == "a &amp; &#60;b&#62;"


@pytest.mark.parametrize("name", list(ESCAPES))
def test_turns_no_line_around(name: str) -> None:
    """Direction overrides, NUL and lone surrogates become visible marks; Arabic stays."""
    assert ESCAPES[name]("\u202egpj\u2066 \x00 \ud800 مرحبا") == "\ufffdgpj\ufffd \u2400 \ufffd مرحبا"
