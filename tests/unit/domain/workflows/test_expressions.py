"""Expressions: what can be written, and what it gives."""

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.workflows import expressions
from flowledger.errors import ExpressionError

SCOPE = expressions.MappingScope(
    {
        "input": {
            "score": 60,
            "email": None,
            "data": ["a", "b", "c"],
            "max_count": 3,
            "age": 20,
            "verified": True,
            "type": "premium",
            "nothing": "",
            "numbers": {"7": "seven"},
        },
        "response": {"status": 201, "message": "all success", "data": {"id": 5, "rows": []}},
        "loop": {"index": 1, "last": {"done": False}},
        "nodes": {"Read the user": {"name": "Ann"}},
        "读取": {"name": "李"},
        "variables": {"limit": 5},
    }
)


def value_of(text: str) -> object:
    """Evaluate a text with the scope of these tests."""
    return expressions.parse(text).evaluate(SCOPE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{input.score}} >= 60", True),
        ("{{response.status}} == 200 or {{response.status}} == 201", True),
        ("{{response.status}} == 200", False),
        ("{{response.message}}.contains('success')", True),
        ("{{input.email}} is not null", False),
        ("{{response.data}} is not empty", True),
        ("{{response.data.rows}} is empty", True),
        ("{{input.data[loop.index]}}", "b"),
        ("{{loop.index}} < {{input.max_count}}", True),
        ("{{input.age}} >= 18 and {{input.verified}} == true", True),
        ("{{input.type}} == 'premium'", True),
        ("${input.score} >= 60 && !${input.nothing}", True),
        ("response.data.id", 5),
        ("nodes['Read the user'].name", "Ann"),
        ("{{读取.name}}", "李"),
        ("$variables.limit + variables.limit", 10),
    ],
)
def test_what_the_guide_shows(text: str, value: object) -> None:
    """Every example of conditions and references that people have works as they expect."""
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 == 1.0", True),
        ("1 == true", False),
        ("0 == false", False),
        ("'1' == 1", False),
        ("null == input.email", True),
        ("[1, [2, 'x']] == [1.0, [2, 'x']]", True),
        ("[1] == [true]", False),
        ("input == input", True),
        ("1 === 1 and 1 !== 2 and 1 != 2", True),
        ("null < 1 or 1 > null or input.missing <= 0 or 'a' >= null", False),
        ("'a' < 'b' and 2 <= 2 and 3 > 2.5", True),
        ("not 1 == 2", True),
        ("!1 == 2", False),
        ("1 or 2 and 0", 1),
        ("(1 or 2) and 0", 0),
        ("1 + 2 * 3 - 4 / 2 % 3", 5),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-7 % 3", 2),
        ("- -2 + -(3)", -1),
        ("'a' + 'b' + \"c\"", "abc"),
        ("2 in [1, 2] and 3 not in [1, 2]", True),
        ("'b' in 'abc' and 'age' in input", True),
        ("'x' in input.missing", False),
        ("null is null and 0 is not empty and '' is empty and null is empty and [] is empty", True),
        ("input.nothing or 'default'", ""[:0] + "default"),
        ("TRUE AND NOT False", True),
        ("1e3 + 0.5", 1000.5),
    ],
)
def test_operators(text: str, value: object) -> None:
    """Equality is strict, null compares as false, and precedence is what everybody expects."""
    result = value_of(text)
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.data[0]", "a"),
        ("input.data[-1]", "c"),
        ("input.data[3]", None),
        ("input.data.1", "b"),
        ("input.data['x']", None),
        ("input.data[1.0]", "b"),
        ("input.data[true]", None),
        ("input.data.length", 3),
        ("input['type'].length", 7),
        ("input.numbers[7]", "seven"),
        ("input.missing.deeper[0]['x']", None),
        ("input.age.anything", None),
        ("input.email[0]", None),
        ("input['in']", None),
        ("input.and.or.not", None),
        ("response . data\n. id", 5),
    ],
)
def test_paths(text: str, value: object) -> None:
    """A path that leads nowhere is null, whatever stands on its way."""
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'Abc'.lower() + upper('d') + ' e '.trim()", "abcDe"),
        ("'abc'.startsWith('a') and 'abc'.endsWith('bc')", True),
        ("input.email.contains('x') or input.email.matches('x') or input.email.startsWith('')", False),
        ("input.email.lower()", None),
        ("input.data.contains('b') and input.contains('age')", True),
        ("input.data.length() + len('ab') + len(input.email)", 5),
        ("'order-17'.matches('^[a-z]+-\\d{2}$')", True),
        ("int('12') + int(3.9) + int(true) + int(' -4 ')", 12),
        ("int(null) is null and float(null) is null", True),
        ("float('1.5') + float(2)", 3.5),
        ("str(null) + str(true) + str(1.5) + str([1, null, 'é'])", 'true1.5[1,null,"é"]'),
        ("bool('false')", True),
        ("bool([])", False),
        ("coalesce(input.email, input.missing, 'x')", "x"),
        ("coalesce(input.age, int('no number'))", 20),
        ("coalesce(null)", None),
        ("exists(input.email) or exists(input.no)", False),
        ("exists(input.nothing)", True),
    ],
)
def test_methods_and_functions(text: str, value: object) -> None:
    """The closed list of calls does what its names say; null stays null or is false."""
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a' < 3", r"'<' compares numbers.*not text with number \(character 5"),
        ("true > 0", "not true or false with number"),
        ("1 + 'a'", r"'\+' adds two numbers.*number and text.*\(character 3"),
        ("null + 1", "null and number"),
        ("1 + 2 + 'a'", r"\(character 7"),
        ("2 * 'ab'", r"'\*' needs two numbers"),
        ("-'a'", "'-' needs a number, not text"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("foo.bar == 1", r"unknown name 'foo' \(character 1"),
        ("5 in 'abc'", "can only contain a text"),
        ("1 in 2", "number cannot contain"),
        ("5.lower()", "lower needs a text, not number"),
        ("len(5)", "length needs"),
        ("int('12.5')", "no whole number"),
        ("int([])", "int needs"),
        ("float({{input}})", "float needs a number or a text, not object"),
        ("float('nan')", "no number"),
        ("float('1e999')", "too large"),
        ("1e300 * 1e300", "too large"),
    ],
)
def test_a_value_that_does_not_fit(text: str, message: str) -> None:
    """An operation without a result is an error that names its place."""
    with pytest.raises(ExpressionError, match=message):
        value_of(text)


def test_references_are_the_constant_paths() -> None:
    """Publishing checks look at roots and at paths as far as their names are constant."""
    parsed = expressions.parse(
        "get.data.name == nodes['x y'].z[loop.index].q and len(get.rows) > input['k']['l'].m"
    )
    assert parsed.roots == {"get", "nodes", "loop", "input"}
    assert parsed.references == (
        ("get", "data", "name"),
        ("loop", "index"),
        ("nodes", "x y", "z"),
        ("get", "rows"),
        ("input", "k", "l", "m"),
    )
    assert expressions.parse("a.b.lower().c").references == (("a", "b"),)


def test_a_bracket_in_quotes_is_a_text_and_a_warning() -> None:
    """Quotes around a bracket were needed where data was put into code; here they make it a plain text."""
    parsed = expressions.parse("'{{input.type}}' == 'premium'")
    assert parsed.evaluate(SCOPE) is False
    assert "stays as it is" in parsed.warnings[0]
    assert not expressions.parse("'}}' == '{{'").warnings


def test_data_never_becomes_code() -> None:
    """What a value holds is never read as an expression."""
    scope = expressions.MappingScope(
        {"input": {"x": "' or true or '", "y": "{{secrets.KEY}}"}, "secrets": {"KEY": 1}}
    )
    assert expressions.parse("{{input.x}} == 'a'").evaluate(scope) is False
    assert expressions.parse("input.y").evaluate(scope) == "{{secrets.KEY}}"


def test_truth_is_that_of_json() -> None:
    """null, false, 0, "", [] and {} are false, all else is true."""
    values: list[Any] = [None, False, 0, 0.0, "", [], {}]
    assert not any(map(expressions.is_true, values))
    assert all(map(expressions.is_true, [True, 1, -0.5, "0", "false", [None], {"a": None}]))


# ---------------------------------------------------------------- an equal small reference

NUMBERS = st.integers(-50, 50) | st.sampled_from([0.5, 1.0, -2.25, 3.0])
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
COMPARISONS = {
    **{"==": operator.eq, "!=": operator.ne, "<": operator.lt},
    **{"<=": operator.le, ">": operator.gt, ">=": operator.ge},
}
Tree = Any
SUMS: st.SearchStrategy[Tree] = st.recursive(
    NUMBERS, lambda inner: st.tuples(inner, st.sampled_from(sorted(SIGNS)), inner), max_leaves=8
)
LOGIC: st.SearchStrategy[Tree] = st.recursive(
    st.tuples(SUMS, st.sampled_from(sorted(COMPARISONS)), SUMS),
    lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner) | st.tuples(st.just("not"), inner),
    max_leaves=5,
)


def written(tree: Tree) -> str:
    """Write a tree with all its brackets."""
    if not isinstance(tree, tuple):
        return f"({tree})"
    if len(tree) == 2:
        return f"(not {written(tree[1])})"
    return f"({written(tree[0])} {tree[1]} {written(tree[2])})"


def reference(tree: Tree) -> Any:
    """Evaluate a tree as Python does."""
    if not isinstance(tree, tuple):
        return tree
    if len(tree) == 2:
        return not reference(tree[1])
    left, sign, right = tree
    if sign in ("and", "or"):
        return (
            (reference(left) and reference(right)) if sign == "and" else (reference(left) or reference(right))
        )
    return (SIGNS | COMPARISONS)[sign](reference(left), reference(right))


@given(LOGIC)
def test_arithmetic_and_comparison_equal_the_reference(tree: Tree) -> None:
    """Every tree of numbers, comparisons and logic gives what a plain interpreter gives."""
    assert value_of(written(tree)) == reference(tree)


@given(
    st.lists(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "%"]), st.integers(1, 20)), min_size=1, max_size=12
    )
)
def test_precedence_equals_that_of_python(terms: list[tuple[str, int]]) -> None:
    """Without brackets too, operators bind and associate as in Python."""
    text = "7" + "".join(f" {sign} {number}" for sign, number in terms)
    assert value_of(text) == pytest.approx(eval(text, {}))
