"""Conditions of nodes and connections, in the three forms that people write them.

A text is an expression.  An object ``{type, expression, depends_on}`` asks for how other steps ended
(``on_success``, ``on_failure``), or has an expression.  A list of ``{field, operator, value, logic}``
compares, where ``logic`` joins an entry to those before it; ``and`` binds tighter than ``or``, as in an
expression.  Nothing, or an empty one, is always true.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from flowledger.domain.runs import Json
from flowledger.domain.workflows import expressions, operators, templates
from flowledger.domain.workflows.expressions import Expression, Scope
from flowledger.domain.workflows.steps import StepStatus
from flowledger.domain.workflows.templates import Template
from flowledger.errors import ExpressionError

_UNSUCCESSFUL = (StepStatus.FAILED, StepStatus.CANCELLED)
_FIELDS = frozenset(("type", "expression", "depends_on"))
_CLAUSE_FIELDS = frozenset(("field", "operator", "value", "logic"))


class ConditionType(StrEnum):
    """What a condition asks for."""

    ALWAYS = "always"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    EXPRESSION = "expression"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One entry of a list of conditions; with ``starts_anew`` it is joined to those before it by ``or``."""

    field: Expression
    operator: str
    value: Template
    starts_anew: bool = False

    def evaluate(self, scope: Scope) -> bool:
        """Return whether the field compares to the value like this."""
        sign, is_negated = _OPERATORS[self.operator]
        values = self.field.evaluate(scope), self.value.render(scope)
        try:
            result = operators.OPERATORS[sign](*values, operators.Budget())
        except operators.OperationError as error:
            raise ExpressionError(f"field {self.field.text!r:.80}, {self.operator}: {error}") from None
        return operators.is_true(result) is not is_negated


_OPERATORS = {
    "equals": ("==", False),
    "not_equals": ("!=", False),
    "contains": ("contains", False),
    "not_contains": ("contains", True),
    "greater_than": (">", False),
    "less_than": ("<", False),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that has been read; ``depends_on`` holds the steps it names, as they were written."""

    kind: ConditionType = ConditionType.ALWAYS
    expression: Expression | None = None
    comparisons: tuple[Comparison, ...] = ()
    depends_on: tuple[str, ...] = ()

    @property
    def roots(self) -> frozenset[str]:
        """Return the first names of all paths."""
        return frozenset(path[0] for path in self.references)

    @property
    def references(self) -> tuple[tuple[str, ...], ...]:
        """Return all paths as far as they are constant."""
        return tuple(dict.fromkeys(path for part in self._parts() for path in part.references))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what is allowed but hardly meant."""
        return tuple(warning for part in self._parts() for warning in part.warnings)

    def evaluate(self, scope: Scope, statuses: Mapping[str, StepStatus] | None = None) -> bool:
        """Return whether the condition holds.

        ``statuses`` are those of the steps in ``depends_on``, by the same texts; where it is empty, of all
        that leads to the node.  ``on_success`` wants all settled, none failed or cancelled, and one success
        where there are any; ``on_failure`` wants a failed one.

        :raises ExpressionError: when an expression has no value.
        """
        if self.kind in (ConditionType.ON_SUCCESS, ConditionType.ON_FAILURE):
            return self._holds_for(statuses or {})
        if self.expression is not None:
            return operators.is_true(self.expression.evaluate(scope))
        result = True
        for comparison in self.comparisons:
            if comparison.starts_anew and result:
                break
            result = (result or comparison.starts_anew) and comparison.evaluate(scope)
        return result

    def _holds_for(self, statuses: Mapping[str, StepStatus]) -> bool:
        settled = (
            [statuses.get(name) for name in self.depends_on] if self.depends_on else [*statuses.values()]
        )
        if self.kind is ConditionType.ON_FAILURE:
            return StepStatus.FAILED in settled
        is_ended = all(each is not None and each.is_settled for each in settled)
        has_failed = any(each in _UNSUCCESSFUL for each in settled)
        return is_ended and not has_failed and (not settled or StepStatus.SUCCESS in settled)

    def _parts(self) -> Sequence[Expression | Template]:
        compared = [part for each in self.comparisons for part in (each.field, each.value)]
        return compared if self.expression is None else [self.expression, *compared]


def condition_of(value: Json, *, logic: str = "and") -> Condition:
    """Return the condition that a definition has; ``logic`` joins entries that have none of their own.

    :raises ExpressionError: when it is none of the forms, or an expression cannot be read.
    """
    if value is None or value is True or (isinstance(value, str) and not value.strip()):
        return Condition()
    if isinstance(value, str | bool):
        text = value if isinstance(value, str) else "false"
        return Condition(ConditionType.EXPRESSION, expressions.parse(text))
    if isinstance(value, Mapping) and (not value or not value.keys() - _FIELDS):
        return _typed(value)
    entries = [value] if isinstance(value, Mapping) else value
    if not isinstance(entries, Sequence):
        raise ExpressionError(
            f"a condition is an expression, an object or a list, not {operators.kind(value)}"
        )
    if not entries:
        return Condition()
    comparisons = tuple(_comparison(each, number, logic) for number, each in enumerate(entries, 1))
    return Condition(ConditionType.EXPRESSION, comparisons=comparisons)


def _typed(value: Mapping[str, Json]) -> Condition:
    kind = value.get("type") or ("expression" if value.get("expression") else "always")
    if kind not in tuple(ConditionType):
        raise ExpressionError(f"unknown condition type {kind!r:.80}: one of {', '.join(ConditionType)}")
    steps = value.get("depends_on") or []
    if not isinstance(steps, list | tuple) or not all(isinstance(each, str | int) for each in steps):
        raise ExpressionError("depends_on of a condition must be a list of steps")
    depends_on = tuple(str(each) for each in steps)
    if kind != ConditionType.EXPRESSION:
        return Condition(ConditionType(str(kind)), depends_on=depends_on)
    text = value.get("expression")
    if text is not None and not isinstance(text, str):
        raise ExpressionError(f"the expression of a condition must be a text, not {operators.kind(text)}")
    return replace(condition_of(text), depends_on=depends_on)


def _comparison(entry: Json, number: int, logic: str) -> Comparison:
    place = f"condition {number}"
    if not isinstance(entry, Mapping) or entry.keys() - _CLAUSE_FIELDS:
        raise ExpressionError(f"{place} must be an object of {', '.join(sorted(_CLAUSE_FIELDS))}")
    operator = entry.get("operator")
    if not isinstance(operator, str) or operator not in _OPERATORS:
        raise ExpressionError(f"{place}: unknown operator {operator!r:.80}: one of {', '.join(_OPERATORS)}")
    joined = str(entry.get("logic") or logic).lower()
    if joined not in ("and", "or"):
        raise ExpressionError(f"{place}: logic must be and or or, not {joined!r:.80}")
    try:
        field = expressions.parse(str(entry.get("field") or ""))
        value = templates.compile_template(entry.get("value"))
    except ExpressionError as error:
        raise ExpressionError(f"{place}: {error}") from None
    return Comparison(field, operator, value, starts_anew=joined == "or" and number > 1)
