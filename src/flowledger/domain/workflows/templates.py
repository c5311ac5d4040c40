"""Templates: JSON values whose texts hold expressions in ``{{ }}`` or ``${ }``.

A text that is exactly one bracket becomes the expression's value and keeps its type.  Inside longer text a
value becomes text, null becomes "".  A backslash before a bracket makes it plain text: ``\\{{``.  Names of
fields are no templates.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from flowledger.domain.runs import Json
from flowledger.domain.workflows import expressions, operators
from flowledger.domain.workflows.expressions import Expression, Scope
from flowledger.errors import ExpressionError

DEEPEST = 64
_OPENING = re.compile(r"(\\?)(\{\{|\$\{)")
_CLOSING = {"{{": "}}", "${": "}"}

Rendering = Callable[[Scope], Json]


@dataclass(frozen=True, slots=True)
class Template:
    """A value to be rendered; ``roots``, ``references`` and ``warnings`` are its expressions'."""

    roots: frozenset[str]
    references: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]
    rendering: Rendering = field(repr=False, compare=False)

    def render(self, scope: Scope) -> Json:
        """Return the value with all expressions evaluated.

        :raises ExpressionError: when one has no value, or all is too large.
        """
        value = self.rendering(scope)
        if self.roots:
            _check_size(value)
        return value


def compile_template(value: Json) -> Template:
    """Read all expressions of a JSON value.

    :raises ExpressionError: with the place, when one cannot be read.
    """
    compiler = _Compiler([])
    rendering = compiler.compiled(value, 0)
    return Template(
        roots=frozenset().union(*(each.roots for each in compiler.expressions)),
        references=tuple(dict.fromkeys(path for each in compiler.expressions for path in each.references)),
        warnings=tuple(warning for each in compiler.expressions for warning in each.warnings),
        rendering=rendering or (lambda _: value),
    )


def mapped(mapping: Mapping[str, str], scope: Scope) -> dict[str, Json]:
    """Return a node's output by its ``output_mapping``: a path or an expression for each name.

    :raises ExpressionError: naming the entry, when one cannot be read or has no value.
    """
    output = {}
    for name, text in mapping.items():
        try:
            output[name] = expressions.parse(text).evaluate(scope)
        except ExpressionError as error:
            raise ExpressionError(f"output_mapping, {name!r:.80}: {error}") from None
    _check_size(output)
    return output


@dataclass(frozen=True, slots=True)
class _Compiler:
    expressions: list[Expression]

    def compiled(self, value: Json, depth: int) -> Rendering | None:
        """Return how a value is rendered; None where it stays as it is."""
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, Mapping | list | tuple):
            return None
        if depth >= DEEPEST:
            raise ExpressionError(f"a template is nested deeper than {DEEPEST}")
        if isinstance(value, Mapping):
            fields = {name: (each, self.compiled(each, depth + 1)) for name, each in value.items()}
            if all(rendering is None for _, rendering in fields.values()):
                return None
            return lambda scope: {name: _rendered(*each, scope) for name, each in fields.items()}
        items = [(each, self.compiled(each, depth + 1)) for each in value]
        if all(rendering is None for _, rendering in items):
            return None
        return lambda scope: [_rendered(*each, scope) for each in items]

    def text(self, text: str) -> Rendering | None:
        parts = _parts(text)
        self.expressions.extend(part for part in parts if isinstance(part, Expression))
        if parts == (text,) or not parts:
            return None
        if len(parts) == 1 and isinstance(parts[0], Expression):
            return parts[0].evaluate
        return lambda scope: _joined(parts, scope)


def _rendered(value: Json, rendering: Rendering | None, scope: Scope) -> Json:
    return value if rendering is None else rendering(scope)


@lru_cache(maxsize=1024)
def _parts(text: str) -> tuple[str | Expression, ...]:
    """Return the plain texts and expressions that a text consists of."""
    return tuple(part for part in _split(text) if part != "")


def _split(text: str) -> Iterable[str | Expression]:
    at = 0
    while opening := _OPENING.search(text, at):
        yield text[at : opening.start()]
        at = opening.end()
        if opening[1]:
            yield opening[2]
            continue
        expression, at = expressions.parse_at(text, at, _CLOSING[opening[2]])
        yield expression
    yield text[at:]


def _joined(parts: Sequence[str | Expression], scope: Scope) -> str:
    texts: list[str] = []
    length = 0
    for part in parts:
        try:
            texts.append(part if isinstance(part, str) else operators.text_of(part.evaluate(scope)))
            length += len(texts[-1])
            if length > operators.LARGEST_VALUE:
                raise operators.too_large()
        except operators.OperationError as error:
            raise ExpressionError(f"a text of {len(parts)} parts: {error}") from None
    return "".join(texts)


def _check_size(value: Json) -> None:
    try:
        operators.check_size(value)
    except operators.OperationError as error:
        raise ExpressionError(f"after rendering, {error}") from None
