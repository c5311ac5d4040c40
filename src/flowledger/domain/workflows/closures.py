"""What expressions are made of: one function for each operation, over the functions of its operands.

Each is called with what looks roots up and with the budget.
"""

from collections.abc import Callable, Sequence
from typing import Any

from flowledger.domain.runs import Json
from flowledger.domain.workflows import operators
from flowledger.domain.workflows.operators import Budget, OperationError
from flowledger.errors import ExpressionError

Root = Callable[[str], Json]
Code = Callable[[Root, Budget], Json]
Step = Callable[[Json, Root, Budget], Json]
"""A part of a path that has to be evaluated: an index, a method."""


class Constant:
    """A literal, which the parser can look into."""

    __slots__ = ("value",)

    def __init__(self, value: Json) -> None:
        self.value = value

    def __call__(self, _root: Root, _budget: Budget) -> Json:
        return self.value


def root_of(name: str, at: int, text: str) -> Code:
    """Look a root up."""

    def run(root: Root, _: Budget) -> Json:
        try:
            return root(name)
        except KeyError:
            raise ExpressionError(placed(f"unknown name {name[:80]!r}", text, at)) from None

    return run


def guarded(code: Callable[..., Json], at: int, text: str) -> Callable[..., Json]:
    """Return code whose errors name the place."""

    def run(*values: Any) -> Json:
        try:
            return code(*values)
        except OperationError as error:
            raise ExpressionError(placed(str(error), text, at)) from None

    return run


def first_that_is(operands: Sequence[Code], *, truth: bool) -> Code:
    """Return the first operand of this truth, else the last one: ``or`` of True, ``and`` of False."""

    def run(root: Root, budget: Budget) -> Json:
        value: Json = None
        for operand in operands:
            value = operand(root, budget)
            if operators.is_true(value) is truth:
                break
        return value

    return run


def first_not_null(operands: Sequence[Code]) -> Code:
    """Return the first operand that is not null."""

    def run(root: Root, budget: Budget) -> Json:
        return next((value for each in operands if (value := each(root, budget)) is not None), None)

    return run


def folded(first: Code, steps: Sequence[tuple[operators.Operator, int, Code]], text: str) -> Code:
    """Calculate from left to right; each step has its operator, its place and its right operand."""

    def run(root: Root, budget: Budget) -> Json:
        value = first(root, budget)
        for calculate, at, operand in steps:
            other = operand(root, budget)
            try:
                value = calculate(value, other, budget)
            except OperationError as error:
                raise ExpressionError(placed(str(error), text, at)) from None
        return value

    return run


def path_of(first: Code, steps: Sequence[str | Step]) -> Code:
    """Follow fields, indices and methods; a root's facts are fields of it."""

    def run(root: Root, budget: Budget) -> Json:
        value = first(root, budget)
        for step in steps:
            if not isinstance(step, str):
                value = step(operators.plain(value), root, budget)
            elif isinstance(value, operators.Described):
                value = value.member(step)
            else:
                value = operators.member(value, step)
        return operators.plain(value)

    return run


def placed(message: str, text: str, at: int) -> str:
    """Return a message with the place in a text that it is about."""
    begin = max(0, at - 40)
    return f"{message} (character {at + 1}, at {text[begin : at + 40]!r})"
