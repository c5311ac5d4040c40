"""Reasons by code, in each language."""

import re

import pytest

from flowledger.domain.phrases import PHRASES, period_word, status_word
from flowledger.domain.reasons import OTHER, SENTENCES, reason_code, reason_of, reason_text
from flowledger.domain.runs import UNREAD, RunStatus
from flowledger.domain.windows import PERIODS

ROWS = [pytest.param(*row, id=row[1][:40]) for row in SENTENCES]


@pytest.mark.parametrize(("code", "english", "chinese"), ROWS)
def test_a_sentence_is_found_by_its_english(code: str, english: str, chinese: str) -> None:
    """With all its values; Chinese has no English of its own."""
    names = re.findall(r"{(\w+)}", english)
    values = {name: "1,234" if name == "count" else f"<{name}>" for name in names}
    text = english.format(**values)
    reason = reason_of(text)
    assert reason.code == code
    assert reason.values == values
    assert set(re.findall(r"{(\w+)}", chinese)) <= set(names)
    assert reason_text(text, "en") == text
    assert re.search("[\u4e00-\u9fff]", reason_text(text, "zh"))


def test_joined_sentences_are_told_one_by_one() -> None:
    """What nobody has a sentence for stays as it is."""
    text = (
        "the source counts 12 rows and 11 different ones were seen, after 3 rounds of reading what differed;"
        " second 2026-11-21T00:00:00Z holds more rows than a page shows at once; boom"
    )
    assert reason_text(text, "zh") == (
        "来源计数 12 条，读到 11 条不同记录，已重读差异部分 3 轮；"
        "2026-11-21T00:00:00Z 这一秒的记录超过一页；boom"
    )
    assert reason_code(text) == "counts_differ"
    assert (reason_code("boom"), reason_text("boom {x}", "zh"), reason_code(UNREAD.reason)) == (
        OTHER,
        "boom {x}",
        "not_read",
    )


def test_statuses_and_periods_have_words() -> None:
    """In both languages, each of them."""
    assert PHRASES["zh"].keys() == PHRASES["en"].keys()
    for status in RunStatus:
        assert status_word(status.value, "zh") != status.value
    for period in PERIODS:
        assert period_word(period, "zh") != period
    assert (status_word("odd", "zh"), period_word("daily", "en")) == ("odd", "daily")
