"""Expressions: a text is read once into nested functions over JSON values, and evaluated with a scope.

What can be written is in docs/orchestration.md, "Expressions".  There is no ``eval``, no attribute of any
object and no call outside ``functions``; what a value holds is never read as an expression.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from flowledger.domain.runs import Json
from flowledger.domain.workflows import closures, grammar, operators
from flowledger.domain.workflows.operators import is_true
from flowledger.errors import ExpressionError

__all__ = ["Expression", "MappingScope", "Scope", "is_true", "parse", "parse_at"]


class Scope(Protocol):
    """Where an evaluation finds its roots."""

    def root(self, name: str) -> Json:
        """Return the value of a root such as ``input``.

        :raises KeyError: when there is none of that name.
        """


@dataclass(frozen=True, slots=True)
class MappingScope:
    """A scope whose roots are the names of a mapping."""

    roots: Mapping[str, Json]

    def root(self, name: str) -> Json:
        """Return the value under a name."""
        return self.roots[name]


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that has been read.

    ``roots`` are the first names of its paths.  ``references`` are its paths as far as their names are
    constant: ``("get", "data", "name")``, and ``nodes['x'].y`` is ``("nodes", "x", "y")``.  ``warnings`` say
    what is allowed but hardly meant.
    """

    text: str
    roots: frozenset[str]
    references: tuple[tuple[str, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    code: closures.Code = field(repr=False, compare=False, kw_only=True)

    def evaluate(self, scope: Scope) -> Json:
        """Return the value.

        :raises ExpressionError: with the place, when it has none.
        """
        try:
            value = self.code(scope.root, operators.Budget())
            operators.check_size(value)
        except operators.OperationError as error:
            raise ExpressionError(closures.placed(str(error), self.text, 0)) from None
        except RecursionError:
            raise ExpressionError(f"nested too deeply to evaluate here: {self.text[:80]!r}") from None
        return value


def parse(text: str) -> Expression:
    """Read a text that is one expression, as conditions and mappings are.

    ``{{ }}`` and ``${ }`` are brackets like ``( )`` in it.

    :raises ExpressionError: with the place, when it cannot be read.
    """
    if not isinstance(text, str):
        raise ExpressionError(f"an expression must be a text, not {operators.kind(text)}")
    if len(text) > grammar.LONGEST:
        raise ExpressionError(f"longer than {grammar.LONGEST:,} characters: {text[:40]!r}")
    return _parsed(text)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Expression:
    return parse_at(text, 0, "")[0]


def parse_at(text: str, start: int, closing: str) -> tuple[Expression, int]:
    """Read the expression at a place of a text; return it and the place behind its closing bracket."""
    parsed = grammar.read(text, start, closing)
    inner = text[start : parsed.end - len(closing)]
    roots = frozenset(path[0] for path in parsed.references)
    return Expression(inner, roots, parsed.references, parsed.warnings, code=parsed.code), parsed.end
