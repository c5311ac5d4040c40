"""Methods and functions of expressions: a closed list, each with the number of its arguments."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from flowledger.domain.runs import Json
from flowledger.domain.workflows import operators, patterns
from flowledger.domain.workflows.operators import Budget, OperationError, kind


class Function(NamedTuple):
    """What a name calls: the call, after its budget and value, takes so many arguments."""

    call: Callable[..., Json]
    arguments: int = 0


def _contains(budget: Budget, whole: Json, part: Json) -> Json:
    return operators.contains(whole, part, budget)


def _starts_with(budget: Budget, text: Json, start: Json) -> Json:
    pair = _texts("startsWith", budget, text, start)
    return pair is not None and pair[0].startswith(pair[1])


def _ends_with(budget: Budget, text: Json, end: Json) -> Json:
    pair = _texts("endsWith", budget, text, end)
    return pair is not None and pair[0].endswith(pair[1])


def _matches(budget: Budget, text: Json, pattern: Json) -> Json:
    pair = _texts("matches", budget, text, pattern)
    return pair is not None and patterns.compiled(pair[1]).matches(pair[0], budget)


def _texts(name: str, budget: Budget, text: Json, argument: Json) -> tuple[str, str] | None:
    """Return two texts; None where one is null, of which nothing is true."""
    if text is None or argument is None:
        return None
    if not isinstance(text, str) or not isinstance(argument, str):
        raise OperationError(f"{name} needs two texts, not {kind(text)} and {kind(argument)}")
    budget.spend_text(text)
    return text, argument


def _text_method(name: str, change: Callable[[str], str]) -> Function:
    def call(budget: Budget, text: Json) -> Json:
        if text is None:
            return None
        if not isinstance(text, str):
            raise OperationError(f"{name} needs a text, not {kind(text)}")
        operators.check_size(text)
        budget.spend_text(text)
        return change(text)

    return Function(call)


def _length(_: Budget, value: Json) -> Json:
    if value is None:
        return 0
    if isinstance(value, str | list | tuple | Mapping):
        return len(value)
    raise OperationError(f"length needs a text, a list or an object, not {kind(value)}")


def _int(_: Budget, value: Json) -> Json:
    if value is None or isinstance(value, int):
        return None if value is None else int(value)
    if isinstance(value, float):
        return operators.within_bounds(int, value)
    if isinstance(value, str):
        return operators.number_of(value, int)
    raise OperationError(f"int needs a number or a text, not {kind(value)}")


def _float(_: Budget, value: Json) -> Json:
    if value is None:
        return None
    if isinstance(value, int | float):
        return operators.within_bounds(float, value)
    if isinstance(value, str):
        return operators.number_of(value, float)
    raise OperationError(f"float needs a number or a text, not {kind(value)}")


def _str(budget: Budget, value: Json) -> Json:
    text = operators.text_of(value)
    budget.spend(len(text) // 8)  # JSON is written slower than text is read
    return text


def _bool(_: Budget, value: Json) -> Json:
    return operators.is_true(value)


def _exists(_: Budget, value: Json) -> Json:
    return value is not None


_LOWER = _text_method("lower", str.lower)
_UPPER = _text_method("upper", str.upper)

METHODS: Mapping[str, Function] = {
    "contains": Function(_contains, 1),
    "startsWith": Function(_starts_with, 1),
    "endsWith": Function(_ends_with, 1),
    "matches": Function(_matches, 1),
    "lower": _LOWER,
    "upper": _UPPER,
    "trim": _text_method("trim", str.strip),
    "length": Function(_length),
}
FUNCTIONS: Mapping[str, Function] = {
    "len": Function(_length),
    "int": Function(_int),
    "float": Function(_float),
    "str": Function(_str),
    "bool": Function(_bool),
    "lower": _LOWER,
    "upper": _UPPER,
    "exists": Function(_exists),
}
"""Of one value each; ``coalesce``, which evaluates no more than it needs, is the parser's own."""
