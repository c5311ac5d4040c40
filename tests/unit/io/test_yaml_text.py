"""Documents of YAML and JSON: the values of JSON, each name once, and the line of what is wrong."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowledger.io.yaml_text import DocumentError, dump_yaml, read_document

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_json_comes_back(value: dict[str, Any]) -> None:
    """An object written as JSON is read as the same object."""
    assert read_document(json.dumps(value)).value == value


@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_yaml_comes_back(value: dict[str, Any]) -> None:
    """An object written as YAML is read as the same object."""
    assert read_document(dump_yaml(value)).value == value


@pytest.mark.parametrize(
    "word",
    ["1e5", "on", "0o7", "010", "2026-01-01", "12:30", "null", "~", "", "<<", "\x85", "a\u2028b", "\r"],
)
def test_texts_stay_texts(word: str) -> None:
    """Whatever else YAML could take them for, and whatever ends a line in it."""
    assert read_document(dump_yaml({word: word})).value == {word: word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: failure", {"on": "failure"}),
        ("a: no\nb: yes\nc: off", {"a": "no", "b": "yes", "c": "off"}),
        ("at: 2026-02-30\ntime: 12:30:00", {"at": "2026-02-30", "time": "12:30:00"}),
        ("n: 010\nh: 0x10\nx: -1.5e3\ny: +7", {"n": 10, "h": 16, "x": -1500.0, "y": 7}),
        ("t: true\nf: FALSE\nn: ~\nm:", {"t": True, "f": False, "n": None, "m": None}),
        ("a: &a {x: 1}\nb: {<<: *a, y: 2}", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        ("# nothing", None),
        ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ('{"a": "\\ud83d\\ude00",\n\t"b": 1}', {"a": "😀", "b": 1}),
    ],
)
def test_values_are_those_of_json(text: str, value: Any) -> None:
    """Words, dates and times that YAML 1.1 takes for something else stay what people wrote."""
    assert read_document(text).value == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the name 'a' is there twice: on line 1 too"),
        ('{"a": 1, "a": 2}', "the name 'a' is there twice in one object"),
        ("a: 1\n b: 2", "line 2: is not valid YAML: mapping values are not allowed here"),
        ('{"a": 1,\n"b" 2}', "line 2: is not valid JSON: Expecting ':' delimiter"),
        ("a: !!python/object/apply:os.system [id]", "line 1: is not valid YAML: could not determine"),
        ("a: !!timestamp 2026-01-01", "line 1: is not valid YAML"),
        ("1: x", "line 1: a name must be a text"),
        ("[a, b]: x", "line 1: a name must be a text"),
        ("a: 1e999", "line 1: 1e999 is no number of JSON"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("a: " + "9" * 5000, "line 1: a number has too many digits"),
        ('{"a": ' + "9" * 5000 + "}", "a number has too many digits"),
        ("[" * 60, "nested too deeply"),
        ('{"a":' + "[" * 100_000, "is nested too deeply"),
        ("a: &a [*a]", "an alias stands within itself"),
        ("a\x01: b", "is not valid YAML"),
        ("a: 1\n---\nb: 2", "line 2: is not valid YAML"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcde", "bcdef", strict=True)
            ),
            "has more than 100,000 values",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    """With its line, where the text has one."""
    with pytest.raises(DocumentError) as caught:
        read_document(text)
    assert said in str(caught.value)


@given(st.text(alphabet='ab:{}[]&*!"-\n ', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a DocumentError leaves the reader."""
    try:
        value = read_document(text).value
    except DocumentError:
        return
    json.dumps(value)


def test_parts_have_lines() -> None:
    """A part's line is that of its name; what is not there has the line of what is around it."""
    document = read_document("name: x\nnodes:\n  - alias: a\n    config:\n      url: u\n  - alias: b\n")
    assert document.line_of(("nodes", 0, "config", "url")) == 5
    assert document.line_of(("nodes", 1)) == 6
    assert document.line_of(("nodes", 1, "config", "url")) == 6
    assert read_document("{}").line_of(("x",)) is None


def test_settings_are_read_by_yaml_as_ever() -> None:
    """The other loader is unchanged by this one's rules."""
    assert yaml.safe_load("on: 1") == {True: 1}
