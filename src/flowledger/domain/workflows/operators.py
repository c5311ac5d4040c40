"""Operators of expressions over JSON values: strict equality, ordering, arithmetic, text, size.

What costs more the larger a value is takes it from a ``Budget``.
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from flowledger.domain.json_values import BEYOND_FLOATS, bounded
from flowledger.domain.runs import Json

LARGEST_VALUE = 1_000_000
"""Bytes of UTF-8 that a value may have as JSON."""
MOST_STEPS = 300_000
"""Steps of one evaluation, most of which take less than a microsecond."""
_CHARACTERS_A_STEP = 64  # of what C does at once: comparing, searching


class OperationError(Exception):
    """An operator has no result; whoever knows the place makes an ``ExpressionError`` of it."""


class Budget:
    """Steps that an evaluation may still take."""

    __slots__ = ("left",)

    def __init__(self, left: int = MOST_STEPS) -> None:
        self.left = left

    def spend(self, steps: int) -> None:
        """Take steps away.

        :raises OperationError: when none are left.
        """
        self.left -= steps
        if self.left < 0:
            raise OperationError("this takes too many steps")

    def spend_text(self, text: str) -> None:
        """Take away what one pass over a text costs."""
        if len(text) >= _CHARACTERS_A_STEP:
            self.spend(len(text) // _CHARACTERS_A_STEP)


def is_true(value: Json) -> bool:
    """Return the truth of a value: null, false, 0, "", [] and {} are false."""
    return bool(value)


def is_empty(value: Json) -> bool:
    """Return whether a value is null, "", [] or {}."""
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def kind(value: Json) -> str:
    """Return the name of a value's kind, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return (
        "object" if isinstance(value, Mapping) else "list" if isinstance(value, list | tuple) else "no JSON"
    )


def is_number(value: Json) -> TypeGuard[int | float]:
    """Return whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


# ---------------------------------------------------------------- comparing


_SCALARS = (str, int, float, type(None))


def equal(left: Json, right: Json, budget: Budget) -> bool:
    """Return whether two values are the same: 1 is 1.0, but neither true nor "1"."""
    if isinstance(left, _SCALARS) or isinstance(right, _SCALARS):
        return _same_scalar(left, right, budget)
    pending = [(left, right)]
    while pending:
        pairs = _pairs(*pending.pop(), budget)
        if pairs is None:
            return False
        for one, other in pairs:
            if not isinstance(one, _SCALARS) and not isinstance(other, _SCALARS):
                pending.append((one, other))
            elif not _same_scalar(one, other, budget):
                return False
    return True


def _pairs(one: Json, other: Json, budget: Budget) -> Iterable[tuple[Json, Json]] | None:
    """Return what has to be equal in two lists or two objects; None where they differ already."""
    budget.spend(1)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        budget.spend(len(one))
        return zip(one, other, strict=True)
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        budget.spend(len(one))
        return [(each, other[name]) for name, each in one.items()]
    return None


def _same_scalar(one: Json, other: Json, budget: Budget) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        budget.spend_text(one)
        return one == other
    return one == other if is_number(one) and is_number(other) else one is other


def unequal(left: Json, right: Json, budget: Budget) -> bool:
    """Return whether two values are not the same."""
    return not equal(left, right, budget)


def contains(whole: Json, part: Json, budget: Budget) -> bool:
    """Return whether a text holds another, a list a value, or an object a name; null holds nothing."""
    if whole is None:
        return False
    if isinstance(whole, str):
        if part is None:
            return False
        if not isinstance(part, str):
            raise OperationError(f"a text can only contain a text, not {kind(part)}")
        budget.spend_text(whole)
        return part in whole
    if isinstance(whole, list | tuple):
        budget.spend(len(whole))
        return any(equal(each, part, budget) for each in whole)
    if isinstance(whole, Mapping):
        return isinstance(part, str) and part in whole
    raise OperationError(f"{kind(whole)} cannot contain anything: a text, a list or an object can")


def is_in(part: Json, whole: Json, budget: Budget) -> bool:
    """Return whether a value is in a list, a text in another, or a name in an object."""
    return contains(whole, part, budget)


def is_not_in(part: Json, whole: Json, budget: Budget) -> bool:
    """Return whether a value is not in a list, a text or an object."""
    return not contains(whole, part, budget)


Operator = Callable[[Json, Json, Budget], Json]


def _ordering(sign: str, compare: Callable[..., bool]) -> Operator:
    def ordered(left: Json, right: Json, budget: Budget) -> bool:
        if is_number(left) and is_number(right):
            return compare(left, right)
        if isinstance(left, str) and isinstance(right, str):
            budget.spend_text(left)
            return compare(left, right)
        if left is None or right is None:
            return False
        raise OperationError(
            f"{sign!r} compares numbers with numbers or texts with texts, not {kind(left)} with {kind(right)}"
        )

    return ordered


# ---------------------------------------------------------------- arithmetic


def add(left: Json, right: Json, budget: Budget) -> Json:
    """Return the sum of two numbers, or two texts joined."""
    if isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > LARGEST_VALUE:
            raise too_large()
        budget.spend_text(left)
        budget.spend_text(right)
        return left + right
    if is_number(left) and is_number(right):
        return within_bounds(operator.add, left, right)
    raise OperationError(
        f"'+' adds two numbers or joins two texts, not {kind(left)} and {kind(right)}; str() makes a text"
    )


def _arithmetic(sign: str, calculate: Callable[..., int | float]) -> Operator:
    def calculated(left: Json, right: Json, _: Budget) -> int | float:
        if not is_number(left) or not is_number(right):
            raise OperationError(f"{sign!r} needs two numbers, not {kind(left)} and {kind(right)}")
        return within_bounds(calculate, left, right)

    return calculated


def _divide(left: float, right: float) -> int | float:
    if isinstance(left, int) and isinstance(right, int) and not left % right:
        return left // right
    return left / right


def negative(value: Json) -> int | float:
    """Return a number with the other sign."""
    if not is_number(value):
        raise OperationError(f"'-' needs a number, not {kind(value)}")
    return -value


def within_bounds(calculate: Callable[..., int | float], *numbers: float) -> int | float:
    """Return the result of a calculation.

    :raises OperationError: when it divides by zero, or is beyond what every reader of JSON takes.
    """
    try:
        result = calculate(*numbers)
    except ZeroDivisionError:
        raise OperationError("division by zero") from None
    except OverflowError:
        raise OperationError("the number is too large") from None
    if not abs(result) < BEYOND_FLOATS:
        raise OperationError("the number is too large")
    return result


OPERATORS: Mapping[str, Operator] = {
    "==": equal,
    "!=": unequal,
    "<": _ordering("<", operator.lt),
    "<=": _ordering("<=", operator.le),
    ">": _ordering(">", operator.gt),
    ">=": _ordering(">=", operator.ge),
    "in": is_in,
    "not in": is_not_in,
    "contains": contains,
    "+": add,
    "-": _arithmetic("-", operator.sub),
    "*": _arithmetic("*", operator.mul),
    "/": _arithmetic("/", _divide),
    "%": _arithmetic("%", operator.mod),
}


# ---------------------------------------------------------------- parts, text and size


@dataclass(frozen=True, slots=True)
class Described:
    """A value with facts beside it, such as a node's output and how the step ended.

    ``.name`` is a field of the value where it has one, else a fact; all else sees the value alone.
    """

    value: Json
    facts: Mapping[str, Json]

    def member(self, name: str) -> Json:
        """Return a field or a fact; null without one."""
        if name in self.facts and not (isinstance(self.value, Mapping) and name in self.value):
            return self.facts[name]
        return member(self.value, name)


def plain(value: Json) -> Json:
    """Return a value without the facts beside it."""
    return value.value if isinstance(value, Described) else value


def member(value: Json, name: str) -> Json:
    """Return a field of an object, or an element of a list by the digits of its place; null without one.

    ``length`` of a text or a list, which have no fields, is its length.
    """
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, list | tuple) and name.isdecimal() and len(name) < 10:
        return element(value, int(name))
    return len(value) if name == "length" and isinstance(value, str | list | tuple) else None


def element(value: Json, index: Json) -> Json:
    """Return what stands at an index (from the end, where negative) or under a name; null without it."""
    if isinstance(index, str):
        return member(value, index)
    if isinstance(index, float) and index.is_integer():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        return None
    if isinstance(value, list | tuple):
        return value[index] if -len(value) <= index < len(value) else None
    return value.get(str(index)) if isinstance(value, Mapping) and abs(index) < BEYOND_FLOATS else None


def text_of(value: Json) -> str:
    """Return a value as text: null as "", a text as it is, all others as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    check_size(value)
    try:
        plain = bounded(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        raise OperationError("the number is too large") from None
    if plain is None:  # not a number
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def check_size(value: Json) -> None:
    """Check that a value is at most ``LARGEST_VALUE`` as JSON.

    :raises OperationError: when it is not.
    """
    if isinstance(value, str):
        left = LARGEST_VALUE - _bytes(value)
    elif isinstance(value, list | tuple | Mapping):
        left = _left_of(LARGEST_VALUE, value)
    else:
        return
    if left < 0:
        raise too_large()


def _left_of(left: int, value: Json) -> int:
    pending = [value]
    while pending and left >= 0:
        each = pending.pop()
        if isinstance(each, str):
            left -= _bytes(each) + 2
        elif isinstance(each, Mapping):
            left -= sum(_bytes(str(name)) + 4 for name in each) + 2
            pending.extend(each.values())
        elif isinstance(each, list | tuple):
            left -= len(each) + 2
            pending.extend(each)
        else:
            left -= 4
    return left


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def too_large() -> OperationError:
    """Return the error for a value beyond ``LARGEST_VALUE``."""
    return OperationError(f"the value is larger than {LARGEST_VALUE:,} bytes")


def number_of(text: str, read: Callable[[str], int | float]) -> int | float:
    """Return the number that a literal or a text in ASCII is; ``read`` is int or float.

    :raises OperationError: when it is none, or too large.
    """
    digits = text.strip()
    if not digits.isascii() or "_" in digits or len(digits) > 400 or not digits[-1:].isdigit():
        raise OperationError(f"{text[:40]!r} is no number")
    try:
        number = read(digits)
    except ValueError:
        kind_of_number = "whole number" if read is int else "number"
        raise OperationError(f"{text[:40]!r} is no {kind_of_number}") from None
    if abs(number) >= BEYOND_FLOATS:
        raise OperationError("the number is too large")
    return number
