"""Regular expressions of ``matches``: what is known, equal to Python's ``re``, and never slow."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.workflows.operators import Budget, OperationError
from flowledger.domain.workflows.patterns import Pattern


def matches(pattern: str, text: str, steps: int = 100_000) -> bool:
    """Search a text for a pattern with so many steps."""
    return Pattern(pattern).matches(text, Budget(steps))


@pytest.mark.parametrize(
    ("pattern", "text", "result"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("c$", "abc", True),
        ("^$", "", True),
        ("^$", "a", False),
        ("", "", True),
        ("^[a-z]+-[0-9]{2,3}$", "order-17", True),
        ("^[a-z]+-[0-9]{2,3}$", "order-1", False),
        ("^[a-z]+-[0-9]{2,3}$", "order-1234", False),
        ("^(get|post)$", "post", True),
        ("^(?:ab)*?c", "ababc", True),
        (r"^\d+\.\d*$", "3.", True),
        (r"^\w+@\w+\.(com|org)$", "ann@example.org", True),
        (r"[^\s]", " \t\n", False),
        (r"^[]a-]+$", "]-a", True),
        (r"^[\]\\^]+$", r"]\^", True),
        ("a{2}", "aba", False),
        ("x{", "x{", True),
        ("^.$", "\n", False),
        ("^.$", "李", True),
        (r"^\D\W\S$", "a-b", True),
        (r"^[\d-]+$", "3-4", True),
        ("a|b|", "", True),
    ],
)
def test_patterns(pattern: str, text: str, result: bool) -> None:
    """A pattern is looked for anywhere in a text; anchors hold it to the ends."""
    assert matches(pattern, text) is result


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+$", "a" * 20_000 + "b"),
        ("^(a|a)*$", "a" * 20_000 + "b"),
        ("^(a|aa)+$", "a" * 20_000 + "b"),
        ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 20_000),
        ("(x+x+)+y", "x" * 20_000),
        ("a?" * 100 + "a" * 100, "a" * 99),
        ("^(.*?,){11}P", "1,2,3,4,5,6,7,8,9,10,11,12,13" * 100),
    ],
)
def test_catastrophic_patterns_take_one_pass(pattern: str, text: str) -> None:
    """What keeps others busy for hours costs a few steps a character."""
    assert matches(pattern, text, 250_000) is False


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"a '\)' is missing"),
        (")", r"a '\)' too many"),
        ("[a", r"a '\]' is missing"),
        ("*a", "nothing to repeat"),
        ("a**", "a repetition of a repetition"),
        ("a{3,2}", "a repetition that cannot be"),
        ("a{5000}", "a repetition that cannot be"),
        ("[z-a]", "a range that cannot be"),
        (r"(a)\1", r"unknown escape '\\\\1'"),
        (r"\b", "unknown escape"),
        (r"\p{L}", "unknown escape"),
        ("(?=a)", "no look-around"),
        ("(?i)a", "no flags"),
        ("(?P<x>a)", "no look-around"),
        ("\\", "unknown escape"),
        ("(((a{100}){100}){100}){100}", "too large"),
        ("((((){1000}){1000}){1000}){1000}", "too large"),
        ("(" * 100 + "a" + ")" * 100, "nested too deeply"),
        ("a" * 501, "longer than 500"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, message: str) -> None:
    """What is not known is an error with its place, before any text is read."""
    with pytest.raises(OperationError, match=message):
        Pattern(pattern)


PIECES = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", "^", "$", "1", "|"])
PATTERNS = st.recursive(
    PIECES,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4).map("".join)
        | inner.map(lambda each: f"({each})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        )
    ),
    max_leaves=8,
)


@given(PATTERNS, st.text("ab1 \n", max_size=8))
def test_patterns_equal_those_of_python(pattern: str, text: str) -> None:
    """Over the known syntax the automaton finds what Python's ``re`` finds."""
    expected = re.compile(pattern.replace("$", r"\Z"), re.ASCII).search(text) is not None
    assert matches(pattern, text) is expected


@given(st.text(max_size=30), st.text(max_size=30))
def test_random_patterns_raise_nothing_else(pattern: str, text: str) -> None:
    """Whatever is written: an answer, or an OperationError."""
    try:
        assert matches(pattern, text) in (True, False)
    except OperationError:
        return


def test_what_is_remembered_is_bounded() -> None:
    """A pattern that met many texts forgets their characters again."""
    pattern = Pattern("^[^x]*$")
    for start in range(0x4E00, 0x4E00 + 20_000, 1_000):
        assert pattern.matches("".join(map(chr, range(start, start + 1_000))), Budget())
    assert len(pattern._following) <= 11_000
