"""The grammar of expressions: reads a text from left to right and nests functions for it.

Operators of one rank become one function over all their operands, so that a long chain is no deeper than a
short one.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flowledger.domain.runs import Json
from flowledger.domain.workflows import closures, functions, operators
from flowledger.domain.workflows.closures import Code, Step
from flowledger.domain.workflows.operators import OperationError
from flowledger.errors import ExpressionError

LONGEST = 4_096
DEEPEST = 64

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    |(?P<name>\$?[^\W\d]\w*)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<sign>\{\{|\$\{|===|!==|[=!<>]=|&&|\|\||\*\*|[-+*/%<>!()\[\]{}.,=])
    |(?P<end>\Z)|(?P<bad>.))""",
    re.VERBOSE | re.DOTALL,
)
_FIELD = re.compile(r"\s*(\w+)")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BRACKETED = re.compile(r"\{\{.*?\}\}|\$\{.*?\}", re.DOTALL)
_CONSTANTS: dict[str, Json] = {"true": True, "false": False, "null": None, "none": None}
_WORDS = frozenset((*_CONSTANTS, "and", "or", "not", "in", "is", "empty"))
_SAME = {"&&": "and", "||": "or", "===": "==", "!==": "!="}
_RANKS = {
    **{"or": 1, "and": 2, "is": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6},
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in", "not"), 4),
}
_NOT, _COMPARING, _UNARY = 3, 4, 7
_CLOSING = {"(": ")", "{{": "}}", "${": "}"}
_INSTEAD = {"=": "two values are compared by '=='", "**": "there is no power operator"}


class Parsed(NamedTuple):
    """What an expression was read into; ``end`` is the place behind it and its closing bracket."""

    code: Code
    end: int
    references: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]


def read(text: str, start: int = 0, closing: str = "") -> Parsed:
    """Read the expression at a place of a text, up to its closing bracket or the end.

    :raises ExpressionError: with the place, when it cannot be read.
    """
    reader = _Reader(text, start)
    try:
        code = reader.expression()
    except RecursionError:
        raise reader.fault("nested too deeply to read here") from None
    if closing:
        reader.require(closing)
    elif reader.kind != "end":
        raise reader.unexpected()
    # Beyond a closing bracket stands text, which is none of the grammar.
    end = reader.start + len(closing)
    return Parsed(code, end, tuple(dict.fromkeys(reader.references)), tuple(reader.warnings))


class _Reader:
    """Reads by precedence: what binds tighter is read first."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.begin = start
        self.depth = 0
        self.references: list[tuple[str, ...]] = []
        self.warnings: list[str] = []
        self.move(start)

    # -- tokens

    def move(self, at: int) -> None:
        """Make what stands at a place the current token."""
        match = _TOKEN.match(self.text, at)
        assert match is not None  # the last alternative takes any character
        self.kind = match.lastgroup or "bad"
        self.start, self.end = match.span(self.kind)
        self.token = match[self.kind]
        if self.kind == "name" and self.token.lower() in _WORDS:
            self.kind, self.token = "word", self.token.lower()
        if self.start - self.begin > LONGEST:
            raise self.fault(f"longer than {LONGEST:,} characters", self.begin)

    def advance(self) -> str:
        token = self.token
        self.move(self.end)
        return token

    def is_at(self, *tokens: str) -> bool:
        return self.kind in ("sign", "word") and self.token in tokens

    def require(self, closing: str) -> None:
        """Check that the current token begins what closes a bracket; go no further."""
        if self.kind != "sign" or not self.text.startswith(closing, self.start):
            if self.kind == "end":
                raise self.fault(f"{closing!r} is missing")
            raise self.unexpected(f"{closing!r} is missing")

    def close(self, closing: str) -> None:
        self.require(closing)
        self.move(self.start + len(closing))

    def fault(self, message: str, at: int | None = None) -> ExpressionError:
        return ExpressionError(closures.placed(message, self.text, self.start if at is None else at))

    def unexpected(self, hint: str = "") -> ExpressionError:
        if self.kind == "end":
            return self.fault("the expression ends too early")
        if self.token in ("'", '"'):
            return self.fault(f"a text without its closing {self.token}")
        hint = _INSTEAD.get(self.token, hint)
        return self.fault(f"unexpected {self.token[:40]!a}" + (f": {hint}" if hint else ""))

    # -- operators

    def expression(self, least: int = 1) -> Code:
        """Read operands joined by operators of at least this rank."""
        self.depth += 1
        code = self.operand()
        chain: list[tuple[str, int, Code]] = []
        rank = 0
        while (following := self.rank()) >= least:
            if following == _COMPARING == rank:
                raise self.fault("a comparison of a comparison: join the two by 'and'")
            if following != rank:
                code, chain, rank = self.chained(code, chain), [], following
            if self.is_at("is"):
                code = self.kind_test(code)
                continue
            at = self.start
            sign = self.operator()
            chain.append((sign, at, self.expression(rank + 1)))
        self.depth -= 1
        return self.chained(code, chain)

    def rank(self) -> int:
        sign = _SAME.get(self.token, self.token)
        return _RANKS.get(sign, 0) if self.kind in ("sign", "word") else 0

    def operator(self) -> str:
        sign = self.advance()
        if sign == "not":
            if not self.is_at("in"):
                raise self.unexpected("'in' is missing behind 'not'")
            sign = f"not {self.advance()}"
        return _SAME.get(sign, sign)

    def kind_test(self, value: Code) -> Code:
        self.advance()
        is_negated = self.is_at("not")
        if is_negated:
            self.advance()
        if not self.is_at("null", "none", "empty"):
            raise self.unexpected("'null' or 'empty' is missing behind 'is'")
        if self.advance() == "empty":
            return lambda root, budget: operators.is_empty(value(root, budget)) is not is_negated
        return lambda root, budget: (value(root, budget) is None) is not is_negated

    def chained(self, first: Code, chain: Sequence[tuple[str, int, Code]]) -> Code:
        if not chain:
            return first
        if chain[0][0] in ("and", "or"):
            operands = (first, *(operand for _, _, operand in chain))
            return closures.first_that_is(operands, truth=chain[0][0] == "or")
        steps = [(operators.OPERATORS[sign], at, operand) for sign, at, operand in chain]
        return closures.folded(first, steps, self.text)

    def guarded(self, code: Callable[..., Json], at: int) -> Callable[..., Json]:
        return closures.guarded(code, at, self.text)

    # -- operands

    def operand(self) -> Code:
        if self.depth > DEEPEST + 1:
            raise self.fault(f"nested deeper than {DEEPEST}")
        at = self.start
        if self.is_at("not", "!"):
            value = self.expression(_NOT if self.advance() == "not" else _UNARY)
            return lambda root, budget: not value(root, budget)
        if self.is_at("-"):
            self.advance()
            number = self.expression(_UNARY)
            return self.guarded(lambda root, budget: operators.negative(number(root, budget)), at)
        return self.path(*self.primary())

    def primary(self) -> tuple[Code, str | None]:
        """Read a value; of a root, return its name too."""
        if self.kind == "name":
            return self.root_or_call()
        if self.is_at("["):
            return self.list_of(), None
        if self.is_at(*_CLOSING):
            closing = _CLOSING[self.advance()]
            code = self.expression()
            self.close(closing)
            return code, None
        return closures.Constant(self.literal()), None

    def literal(self) -> Json:
        if self.kind == "number":
            return self.number()
        if self.kind == "text":
            return self.quoted()
        if self.kind != "word" or self.token not in _CONSTANTS:
            raise self.unexpected()
        return _CONSTANTS[self.advance()]

    def number(self) -> Json:
        digits = self.token
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            raise self.fault("a number with leading zeros")
        try:
            number = operators.number_of(digits, int if digits.isdigit() else float)
        except OperationError as error:
            raise self.fault(str(error)) from None
        self.advance()
        return number

    def quoted(self) -> str:
        text = _ESCAPE.sub(_unescaped, self.token[1:-1])
        unreadable = _UNREADABLE.search(text)
        if unreadable:
            raise self.fault(f"the character U+{ord(unreadable[0]):04X} in a text")
        if _BRACKETED.search(text):
            self.warnings.append(f"the quoted text {text[:80]!r} stays as it is: brackets need no quotes")
        self.advance()
        return text

    def list_of(self) -> Code:
        items = self.listed("]")
        return lambda root, budget: [item(root, budget) for item in items]

    # -- paths and calls

    def root_or_call(self) -> tuple[Code, str | None]:
        at = self.start
        name = self.advance()
        if self.is_at("("):
            return self.call(name, at), None
        name = "variables" if name == "$variables" else name
        return closures.root_of(name, at, self.text), name

    def path(self, first: Code, name: str | None) -> Code:
        """Read the fields, indices and methods behind a value."""
        steps: list[str | Step] = []
        reference: list[str] = []
        is_constant = name is not None
        while self.is_at(".", "["):
            step = self.field() if self.is_at(".") else self.index()
            steps.append(step)
            is_constant = is_constant and isinstance(step, str)
            if is_constant:
                reference.append(str(step))
        if name is not None:
            self.references.append((name, *reference))
        return closures.path_of(first, steps) if steps or name is not None else first

    def field(self) -> str | Step:
        match = _FIELD.match(self.text, self.end)
        if match is None:
            self.advance()
            raise self.unexpected("a name is missing behind '.'")
        at = match.start(1)
        name = match[1]
        self.move(match.end())
        if self.is_at("("):
            return self.method(name, at)
        if name.startswith("__") and name.endswith("__"):
            raise self.fault(f"values have fields and no attributes such as {name[:80]!r}", at)
        return name

    def index(self) -> str | Step:
        self.advance()
        code = self.expression()
        self.close("]")
        if isinstance(code, closures.Constant) and isinstance(code.value, str):
            return code.value
        return lambda value, root, budget: operators.element(value, code(root, budget))

    def method(self, name: str, at: int) -> Step:
        method = functions.METHODS.get(name)
        if method is None:
            raise self.fault(f"unknown method {name[:80]!r}: one of {', '.join(functions.METHODS)}", at)
        arguments = self.arguments(name, method.arguments, at)
        run = method.call
        if not arguments:
            return self.guarded(lambda value, _root, budget: run(budget, value), at)
        (argument,) = arguments
        return self.guarded(lambda value, root, budget: run(budget, value, argument(root, budget)), at)

    def call(self, name: str, at: int) -> Code:
        if name == "coalesce":
            return closures.first_not_null(self.arguments(name, None, at))
        function = functions.FUNCTIONS.get(name)
        if function is None:
            names = ", ".join((*functions.FUNCTIONS, "coalesce"))
            raise self.fault(f"unknown function {name[:80]!r}: one of {names}", at)
        (argument,) = self.arguments(name, 1, at)
        run = function.call
        return self.guarded(lambda root, budget: run(budget, argument(root, budget)), at)

    def arguments(self, name: str, number: int | None, at: int) -> list[Code]:
        arguments = self.listed(")")
        if (number is None and not arguments) or (number is not None and len(arguments) != number):
            raise self.fault(
                f"{name} takes {number or 'one or more'} in its parentheses, not {len(arguments)}", at
            )
        return arguments

    def listed(self, closing: str) -> list[Code]:
        """Read values between commas up to a closing bracket."""
        self.advance()
        values = [] if self.is_at(closing) else [self.expression()]
        while values and self.is_at(","):
            self.advance()
            values.append(self.expression())
        self.close(closing)
        return values


def _unescaped(match: re.Match[str]) -> str:
    """Return what an escape stands for; an unknown one stays, so that '\\d' is what it seems."""
    character = match[1]
    if len(character) > 1:
        return chr(int(character[1:], 16))
    return _ESCAPED.get(character, character if character in "\\'\"/" else match[0])
