"""JSON beyond the strict rules, and which texts inside a JSON value are JSON themselves."""

import json

import pytest

from flowledger.io.json_text import JsonStyle, dumps_lossless, loads


@pytest.mark.parametrize("text", ["12", "-0.5", " 1e3\n", "[1, 2]", ' {"a": null}', '"word"', "true", "null"])
def test_json_texts_are_unfolded(text: str) -> None:
    """Numbers, words and structures are shown as what they say, white space around them or not."""
    shown = json.loads(JsonStyle(nested=True).render({"text": text}))
    assert shown == {"text": json.loads(text)}


@pytest.mark.parametrize(
    "text",
    ["2026-11-01 00:00:00", "12ab-9f", "1.", "-", "01", "٣", "1 2", '"so" he said', ""],
)
def test_other_texts_stay(text: str) -> None:
    """What only begins like JSON, such as an id or a date, stays the text it is."""
    assert json.loads(JsonStyle(nested=True).render([text])) == [text]


def test_texts_stay_where_none_is_unfolded() -> None:
    """Without ``nested`` a text is a text, at any level, beside words and numbers."""
    value = {"a": ["12", {"b": "[1]", "c": None, "d": True}], "e": 1.5, "f": "x"}
    assert JsonStyle().render(value).decode() == json.dumps(value, ensure_ascii=False, indent=2)


def test_json_that_is_not_strict_survives_a_round_trip() -> None:
    """NaN, lone surrogates and numbers beyond 64 bits are read and written back."""
    for text in ('{"a": NaN}', '{"a": "\\ud800"}', '{"a": [Infinity, null]}'):
        assert json.dumps(json.loads(dumps_lossless(loads(text)))) == json.dumps(json.loads(text))
    with pytest.raises(ValueError, match="Expecting"):
        loads(b"<html>")
