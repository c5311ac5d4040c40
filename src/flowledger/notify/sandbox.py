"""Where templates run: no way out to files or the program's insides, and an end to every loop."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

MOST_STEPS = 20_000
"""Turns of loops and calls, all together, of one rendering: a message has hundreds."""
LARGEST = 1_000_000
"""Characters, items or digits of what one multiplication makes."""


class _Steps:
    """How many steps a rendering may still take."""

    left = MOST_STEPS


_steps: ContextVar[_Steps | None] = ContextVar("steps", default=None)


@contextmanager
def limited_steps() -> Iterator[None]:
    """Let what is rendered inside take so many steps, and no more."""
    token = _steps.set(_Steps())
    try:
        yield
    finally:
        _steps.reset(token)


def _take(count: int = 1) -> None:
    steps = _steps.get()
    if steps is None:
        return
    steps.left -= count
    if steps.left < 0:
        raise SecurityError(f"the template takes more than {MOST_STEPS:,} steps: a loop in it has no end")


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _take()
        yield item


def _counted_range(*bounds: int) -> range:
    found = range(*bounds)
    _take(len(found))
    return found


class BoundedEnvironment(SandboxedEnvironment):
    """Jinja's sandbox, whose loops, calls, ranges and multiplications are bounded too."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters["_counted"] = _counted
        self.globals["range"] = _counted_range
        del self.globals["lipsum"]

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls, as one step."""
        _take()
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or raise to a power, what stays small."""
        is_large = _is_large_power if operator == "**" else _is_large_copy
        if is_large(left, right):
            raise SecurityError(f"the template makes more than {LARGEST:,} of something")
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        for loop in list(source.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        return super()._generate(source, *args, **options)


def _is_large_power(base: Any, exponent: Any) -> bool:
    return isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > LARGEST


def _is_large_copy(left: Any, right: Any) -> bool:
    sizes = [len(each) if hasattr(each, "__len__") else abs(each) for each in (left, right)]
    return any(hasattr(each, "__len__") for each in (left, right)) and sizes[0] * sizes[1] > LARGEST
