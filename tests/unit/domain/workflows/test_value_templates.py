"""Templates: JSON values with expressions in their texts, and the mapping of outputs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.workflows import expressions, templates
from flowledger.errors import ExpressionError

SCOPE = expressions.MappingScope(
    {
        "input": {"id": 7, "rows": [1, None], "name": "Ann", "none": None, "rate": 0.5},
        "response": {"status": 200, "data": {"id": 5, "access_token": "t"}},
        "login": {"user_id": 3},
    }
)


def rendered(value: Any) -> object:
    """Render a value with the scope of these tests."""
    return templates.compile_template(value).render(SCOPE)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{input.id}}", 7),
        ("{{ input.rows }}", [1, None]),
        ("${input.none}", None),
        ("{{input.id + 1}}", 8),
        (" {{input.id}}", " 7"),
        ("https://api.example.com/u/{{input.id}}?q=${input.name}", "https://api.example.com/u/7?q=Ann"),
        ("{{input.id}}{{input.id}}", "77"),
        ("[{{input.none}}|{{input.rows}}|{{input.rate}}|{{true}}]", "[|[1,null]|0.5|true]"),
        ("{{ '}}' }}{{ \"${\" }}", "}}${"),
        ("\\{{input.id}} \\${x} {{input.id}}", "{{input.id}} ${x} 7"),
        ("\\{{input.id}}", "{{input.id}}"),
        ("no } brackets }} $ {", "no } brackets }} $ {"),
        ('{"a":{"b":{}}}', '{"a":{"b":{}}}'),
        ("", ""),
        (5, 5),
        (None, None),
        ({"a": ["{{input.id}}", {"b": "x{{login.user_id}}"}], "c": 1}, {"a": [7, {"b": "x3"}], "c": 1}),
        ({"{{input.name}}": "{{input.name}}"}, {"{{input.name}}": "Ann"}),
    ],
)
def test_templates(template: object, value: object) -> None:
    """One bracket keeps its type, longer text becomes text, all else stays as it is."""
    assert rendered(template) == value


def test_what_has_no_expression_is_not_copied() -> None:
    """A value without brackets is rendered as itself."""
    value = {"a": [1, {"b": "text"}]}
    assert rendered(value) is value


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{input.id", r"'}}' is missing \(character 11"),
        ("a {{}} b", r"unexpected '}' \(character 5"),
        ("{{input.id}", "'}}' is missing"),
        ("${input.id", "'}' is missing"),
        ("{{{input.id}}}", "unexpected '{'"),
        ("{{ input.id }} and {{ a b }}", r"unexpected 'b'.*\(character 25"),
        ("{{" + "1+" * 3000 + "1}}", "longer than 4,096"),
        ("{{ 'open }}", "without its closing '"),
    ],
)
def test_what_cannot_be_read(template: str, message: str) -> None:
    """A broken bracket is an error with its place in the whole text."""
    with pytest.raises(ExpressionError, match=message):
        templates.compile_template({"x": [template]})


def test_what_cannot_be_rendered() -> None:
    """An unknown root, a value without a result and too large a value are errors."""
    for template in ("{{unknown.x}}", "text {{unknown.x}}", "{{1 / 0}}"):
        with pytest.raises(ExpressionError):
            rendered(template)
    large = expressions.MappingScope({"t": "x" * 400_000})
    for value in ("{{t}}{{t}}{{t}}", ["{{t}}", "{{t}}", {"a": "{{t}}"}]):
        with pytest.raises(ExpressionError, match="larger than 1,000,000 bytes"):
            templates.compile_template(value).render(large)
    deep: Any = "{{t}}"
    for _ in range(65):
        deep = [deep]
    with pytest.raises(ExpressionError, match="nested deeper than 64"):
        templates.compile_template(deep)


def test_references_of_all_texts() -> None:
    """Publishing checks find roots, paths and warnings of every text in the value."""
    template = templates.compile_template(
        {"a": ["x {{get.name}}", "{{input.id}}"], "b": "{{'{{x}}' + get.name}}"}
    )
    assert template.roots == {"get", "input"}
    assert template.references == (("get", "name"), ("input", "id"))
    assert len(template.warnings) == 1


def test_mapping_of_outputs() -> None:
    """Paths of an output_mapping are written with or without brackets; what is missing is null."""
    mapping = {
        "user_id": "response.data.id",
        "token": "{{response.data.access_token}}",
        "profile": "response.data.p",
    }
    assert templates.mapped(mapping, SCOPE) == {"user_id": 5, "token": "t", "profile": None}
    with pytest.raises(ExpressionError, match=r"output_mapping, 'total': unknown name 'answer'"):
        templates.mapped({"total": "answer.x"}, SCOPE)
    with pytest.raises(
        ExpressionError, match=r"output_mapping, 'n': an expression must be a text, not number"
    ):
        templates.mapped({"n": 5}, SCOPE)  # type: ignore[dict-item]  # what people send


@given(st.text().filter(lambda text: "{{" not in text and "${" not in text))
def test_plain_text_stays(text: str) -> None:
    """Without an opening bracket every text is itself, and as a value it is never read as a template."""
    assert rendered(text) == text
    scope = expressions.MappingScope({"x": "{{y}}" + text})
    assert templates.compile_template("a{{x}}b").render(scope) == "a{{y}}" + text + "b"
