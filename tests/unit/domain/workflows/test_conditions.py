"""Conditions in the forms that people write them."""

from typing import Any

import pytest

from flowledger.domain.workflows import conditions, expressions
from flowledger.domain.workflows.steps import StepStatus
from flowledger.errors import ExpressionError

SCOPE = expressions.MappingScope(
    {"input": {"x": 5, "name": "Ann", "tags": ["a"], "limit": 5, "none": None}, "response": {"status": 200}}
)
SUCCESS, FAILED, SKIPPED = StepStatus.SUCCESS, StepStatus.FAILED, StepStatus.SKIPPED
CANCELLED, RUNNING = StepStatus.CANCELLED, StepStatus.RUNNING


def holds(value: Any, statuses: dict[str, StepStatus] | None = None) -> bool:
    """Evaluate a condition with the scope of these tests."""
    return conditions.condition_of(value).evaluate(SCOPE, statuses)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        {},
        [],
        True,
        {"type": "always"},
        {"type": "expression"},
        {"type": "expression", "expression": ""},
    ],
)
def test_nothing_is_always_true(value: object) -> None:
    """An empty condition holds, in whatever form it is empty."""
    assert holds(value) is True


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("{{response.status}} == 200 or {{response.status}} == 201", True),
        ("input.x > 5", False),
        ("input.tags", True),
        ("input.none", False),
        (False, False),
        ({"type": "expression", "expression": "{{input.x}} > 1"}, True),
        ({"expression": "input.x > 9"}, False),
        ({"type": "always", "expression": "input.x > 9"}, True),
    ],
)
def test_expressions(value: object, result: bool) -> None:
    """The truth of an expression's value decides."""
    assert holds(value) is result


@pytest.mark.parametrize(
    ("field", "operator", "value", "result"),
    [
        ("response.status", "equals", 200, True),
        ("{{response.status}}", "equals", "200", False),
        ("response.status", "not_equals", 404, True),
        ("input.name", "contains", "nn", True),
        ("input.tags", "contains", "a", True),
        ("input.tags", "not_contains", "a", False),
        ("input.none", "not_contains", "a", True),
        ("input.x", "greater_than", 4, True),
        ("input.x", "less_than", "{{input.limit + 1}}", True),
        ("input.none", "less_than", 1, False),
        ("input.none", "equals", None, True),
    ],
)
def test_comparisons(field: str, operator: str, value: object, result: bool) -> None:
    """Each operator of a comparison does what its name says; a value may be a template."""
    entry = {"field": field, "operator": operator, "value": value}
    assert holds([entry]) is result
    assert holds(entry) is result


@pytest.mark.parametrize(
    ("entries", "result"),
    [
        ("1 and 1", True),
        ("1 and 0", False),
        ("0 or 1", True),
        ("1 or 0 and 0", True),
        ("0 and 0 or 1", True),
        ("1 and 0 or 0 and 1", False),
        ("0 or 1 and 1", True),
        ("0 or 1 and 0 or 0", False),
    ],
)
def test_logic_joins_to_what_stands_before(entries: str, result: bool) -> None:
    """A list is what an expression of the same words is: ``and`` binds tighter than ``or``."""
    words = ["and", *entries.split()]
    listed = [
        {"field": number, "operator": "equals", "value": 1, "logic": logic.upper()}
        for logic, number in zip(words[::2], words[1::2], strict=True)
    ]
    assert holds(listed) is result
    assert expressions.is_true(expressions.parse(entries).evaluate(SCOPE)) is result


def test_the_logic_of_a_node_joins_what_has_none() -> None:
    """Entries without ``logic`` take that of all."""
    entries = [{"field": "input.x", "operator": "equals", "value": value} for value in (1, 5)]
    assert conditions.condition_of(entries, logic="or").evaluate(SCOPE) is True
    assert conditions.condition_of(entries).evaluate(SCOPE) is False


@pytest.mark.parametrize(
    ("statuses", "on_success", "on_failure"),
    [
        ({}, True, False),
        ({"a": SUCCESS}, True, False),
        ({"a": SUCCESS, "b": SKIPPED}, True, False),
        ({"a": SKIPPED}, False, False),
        ({"a": SUCCESS, "b": FAILED}, False, True),
        ({"a": SUCCESS, "b": CANCELLED}, False, False),
        ({"a": SUCCESS, "b": RUNNING}, False, False),
    ],
)
def test_how_other_steps_ended(statuses: dict[str, StepStatus], on_success: bool, on_failure: bool) -> None:
    """Without ``depends_on`` all that leads to the node counts."""
    assert holds({"type": "on_success"}, statuses) is on_success
    assert holds({"type": "on_failure"}, statuses) is on_failure


def test_depends_on_names_the_steps_that_count() -> None:
    """With ``depends_on`` only the named steps count, and each of them has to be there."""
    statuses = {"a": FAILED, "b": SUCCESS, "3": SUCCESS}
    condition = conditions.condition_of({"type": "on_success", "depends_on": ["b", 3]})
    assert condition.depends_on == ("b", "3")
    assert condition.evaluate(SCOPE, statuses) is True
    assert holds({"type": "on_success", "depends_on": ["b", "c"]}, statuses) is False
    assert holds({"type": "on_failure", "depends_on": ["b"]}, statuses) is False
    assert holds({"type": "on_failure", "depends_on": ["a", "b"]}, statuses) is True


def test_roots_and_references_of_every_form() -> None:
    """Publishing checks see the paths of fields and of values."""
    entries = [
        {"field": "get.a", "operator": "equals", "value": "{{input.x}}"},
        {"field": "get.b", "operator": "equals", "value": 1},
    ]
    condition = conditions.condition_of(entries)
    assert condition.roots == {"get", "input"}
    assert condition.references == (("get", "a"), ("input", "x"), ("get", "b"))
    assert conditions.condition_of("get.a == '{{x}}'").warnings


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "a condition is an expression, an object or a list, not number"),
        ("a ==", "ends too early"),
        ({"type": "sometimes"}, "unknown condition type 'sometimes': one of always, on_success"),
        ({"type": ["always"]}, "unknown condition type"),
        ({"type": "on_success", "depends_on": "a"}, "must be a list of steps"),
        ({"type": "expression", "expression": 5}, "must be a text, not number"),
        ({"kind": "always"}, "condition 1 must be an object of field, logic, operator, value"),
        ([5], "condition 1 must be an object"),
        (
            [{"field": "a", "operator": "like", "value": 1}],
            "condition 1: unknown operator 'like': one of equals",
        ),
        ([{"field": "a", "operator": ["equals"], "value": 1}], "condition 1: unknown operator"),
        ([{"field": "", "operator": "equals", "value": 1}], "condition 1: the expression ends too early"),
        ([{"field": "a", "operator": "equals", "value": "{{"}], "condition 1: "),
        (
            [{"field": "a", "operator": "equals", "logic": "xor"}],
            "condition 1: logic must be and or or, not 'xor'",
        ),
    ],
)
def test_what_is_no_condition(value: object, message: str) -> None:
    """What has none of the forms is an error that says what is expected."""
    with pytest.raises(ExpressionError, match=message):
        conditions.condition_of(value)


def test_a_comparison_without_a_result_names_its_field() -> None:
    """Text and number have no order, in a list of comparisons as in an expression."""
    with pytest.raises(ExpressionError, match=r"field 'input.name', less_than: '<' compares numbers"):
        holds([{"field": "input.name", "operator": "less_than", "value": 3}])
