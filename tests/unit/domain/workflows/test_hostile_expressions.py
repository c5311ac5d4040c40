"""Expressions that mean harm: each is refused with its place, or harmless, and none takes long."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.workflows import expressions, operators, templates
from flowledger.errors import ExpressionError

SCOPE = expressions.MappingScope({"input": {"a": [1, "x", {"b": None}], "t": "text"}, "loop": {"index": 0}})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('id')",
        "().__class__.__bases__[0].__subclasses__()",
        "''.__class__",
        "input.__class__.__mro__",
        "input.a.__init__.__globals__['os']",
        "eval('1')",
        "exec('1')",
        "open('/etc/passwd').read()",
        "getattr(input, 'a')",
        "input.items()",
        "input.t.format(1)",
        "input.t.encode()",
        "'%s' * 999999999",
        "'x' * 9",
        "9**9**9",
        "2 ^ 3",
        "1 << 9",
        "~1",
        "1 // 2",
        "a = 1",
        "a := 1",
        "lambda: 1",
        "[x for x in input.a]",
        "{'a': 1}",
        "{1}",
        "f'{input.t}'",
        "b'x'",
        "`id`",
        "$(id)",
        "1; 2",
        "1 # comment",
        "1 // comment",
        "/* x */ 1",
        "1 if true else 2",
        "true ? 1 : 2",
        "input?.a",
        "input..a",
        "input.",
        ".a",
        "input[",
        "input[]",
        "input[0:1]",
        "(1",
        "1)",
        "{{1}",
        "{{1",
        "1}}",
        "${1",
        "{{}}",
        "",
        "   ",
        "'open",
        '"open',
        "'end\\'",
        "1 2",
        "and",
        "1 and",
        "not",
        "1 not 2",
        "1 is 2",
        "1 is not",
        "1 < 2 < 3",
        "1 == 1 == 1",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "9" * 400,
        "0x10",
        "1_000",
        "007",
        "１ + １",
        "input․a",
        "input．a",
        "1 ＝＝ 1",
        "ｔrue and 1",
        "inpυt.a",
        "'\x00'",
        "'\\u0000'",
        "'\ud800'",
        "'\\ud83d\\ude00'",
        "\x00",
        "\ud800",
        "1\u202e2",
        "len",
        "len()",
        "len(1, 2)",
        "len(",
        "coalesce()",
        "'a'.contains()",
        "'a'.lower(1)",
        "'a'.contains('b', 'c')",
        "'a'.startswith('a')",
        "length('a')",
        "1 = 1",
        "1 =! 1",
        "1 & 1",
        "1 | 1",
        "@input",
        "input->a",
        "new Date()",
        "this",
        "globals",
        "self.x",
        "{% if 1 %}",
        "<%= 1 %>",
        "#{1}",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    """Attributes, foreign syntax, look-alikes and broken texts are errors, in writing or in evaluating."""
    with pytest.raises(ExpressionError):
        expressions.parse(text).evaluate(SCOPE)


def test_fields_are_no_attributes() -> None:
    """What looks like an attribute is the field of an object and nothing else."""
    scope = expressions.MappingScope({"input": {"__typename": "User", "__class__": "data", "keys": 1}})
    assert expressions.parse("input.__typename").evaluate(scope) == "User"
    assert expressions.parse("input['__class__']").evaluate(scope) == "data"
    assert expressions.parse("input.keys").evaluate(scope) == 1
    assert expressions.parse("input['__init__']").evaluate(scope) is None
    assert expressions.parse("'text'['__class__']").evaluate(scope) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(" * 65 + "1" + ")" * 65, "nested deeper than 64"),
        ("(" * 2000 + "1" + ")" * 2000, "nested deeper than 64"),
        ("not " * 1000 + "1", "nested deeper"),
        ("!" * 4000 + "1", "nested deeper"),
        ("-" * 4000 + "1", "nested deeper"),
        ("{{" * 1000 + "1" + "}}" * 1000, "nested deeper"),
        ("[" * 2000, "nested deeper"),
        ("input" + "[input" * 500 + "]" * 500, "nested deeper"),
        ("len(" * 800 + "1" + ")" * 800, "nested deeper"),
        ("'" + "x" * 5000 + "'", "longer than 4,096"),
        ("1" + " " * 5000, "longer than 4,096"),
    ],
)
def test_limits(text: str, message: str) -> None:
    """Length and depth are bounded, long before Python's own limits."""
    with pytest.raises(ExpressionError, match=message):
        expressions.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(" * 64 + "1" + ")" * 64, 1),
        ("1" + "+1" * 2000, 2001),
        ("0" + " or 0" * 800, 0),
        ("1" + " and 1" * 680, 1),
        ("input.a" + ".b" * 2000, None),
        ("input.t" + ".trim()" * 500, "text"),
        ("input.a" + "[0]" * 1300, None),
        ("[" + "1," * 2000 + "1]", [1] * 2001),
    ],
)
def test_what_is_long_but_flat_works(text: str, value: object) -> None:
    """A chain of two thousand operators or fields needs no depth."""
    assert expressions.parse(text).evaluate(SCOPE) == value


def test_no_value_is_larger_than_a_megabyte() -> None:
    """What operations make, and what an expression gives, is bounded; what it only looks at is not."""
    scope = expressions.MappingScope(
        {"t": "x" * 600_000, "u": "ü" * 600_000, "l": [["y" * 1_000] * 50] * 30, "s": "ß" * 400_000}
    )
    for text in (
        "t + t",
        "t + t + t == 1",
        "u",
        "l",
        "str(l)",
        "[t, t]",
        "s.upper() + s.upper()",
        "str(u) + t",
    ):
        with pytest.raises(ExpressionError, match=r"larger than 1,000,000 bytes"):
            expressions.parse(text).evaluate(scope)
    assert expressions.parse("len(l) + len(u) + len(t) == 1200030").evaluate(scope) is True


def test_the_work_of_one_evaluation_is_bounded() -> None:
    """Comparing what is large, again and again, ends with an error instead of taking minutes."""
    rows = [[number, "x"] for number in range(1_000)]
    roots = {"a": rows, "b": [list(row) for row in rows], "t": "ab" * 40_000}
    assert expressions.parse("a == b").evaluate(expressions.MappingScope(roots)) is True
    for text in (
        " or ".join(["a != b"] * 200),
        " or ".join(["[0] in a"] * 300),
        " or ".join(["'ac' in t"] * 260),
        " or ".join(["t.matches('c')"] * 200),
    ):
        with pytest.raises(ExpressionError, match="too many steps"):
            expressions.parse(text).code(roots.__getitem__, operators.Budget(20_000))


def test_numbers_stay_within_bounds() -> None:
    """Whole numbers are exact up to 10**308; beyond it they are an error, as no reader of JSON takes them."""
    scope = expressions.MappingScope({"n": 10**200, "huge": 10**5000})
    assert expressions.parse("n + 1 - n").evaluate(scope) == 1
    for text in ("n * n", "-huge * 2", "huge + 0.5", "huge / 2", "str(huge)", "str([huge])"):
        with pytest.raises(ExpressionError, match="too large"):
            expressions.parse(text).evaluate(scope)


TOKENS = [
    *("input", "loop", "unknown", ".a", ".t", "[0]", "[", "]", "(", ")", "{{", "}}", "${", "}", ",", "."),
    *("1", "2.5", "'x'", '"y"', "true", "null", "and", "or", "not", "in", "is", "empty", "==", "<", "+", "-"),
    *(
        "*",
        "/",
        "%",
        "!",
        "&&",
        "len(",
        "str(",
        ".contains(",
        ".matches(",
        ".lower()",
        "'(a+)+$'",
        "'['",
        " ",
    ),
]


@given(st.text(max_size=60) | st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join), JSON)
def test_random_texts_raise_nothing_else(text: str, value: object) -> None:
    """Whatever is written and whatever the data is: a value within bounds, or an ExpressionError."""
    scope = expressions.MappingScope({"input": {"a": value, "t": value}, "loop": {"index": value}})
    try:
        result = expressions.parse(text).evaluate(scope)
    except ExpressionError:
        return
    operators.check_size(result)


@given(st.lists(st.sampled_from([*TOKENS, "{{input.t}}", "text"]), max_size=12).map("".join), JSON)
def test_random_templates_raise_nothing_else(text: str, value: object) -> None:
    """Templates too end in a value or in an ExpressionError."""
    scope = expressions.MappingScope({"input": {"a": value, "t": value}, "loop": {"index": value}})
    try:
        templates.compile_template({"x": [text]}).render(scope)
    except ExpressionError:
        return


@given(
    st.sampled_from(["a == b", "a in b", "a.contains(b)", "str(a) == str(b)", "a != b or b != a", "a < b"]),
    JSON,
    JSON,
)
def test_random_values_stay_within_the_budget(text: str, left: object, right: object) -> None:
    """Small values cost few steps."""
    budget = operators.Budget(10_000)
    with contextlib.suppress(ExpressionError):
        expressions.parse(text).code({"a": left, "b": right}.__getitem__, budget)
    assert budget.left >= 0
