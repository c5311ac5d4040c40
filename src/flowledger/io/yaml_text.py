"""YAML and JSON texts read as plain values: bounded in depth and size, with the line of what is wrong.

``read_document`` reads what JSON can hold: booleans and numbers as YAML 1.2 writes them, so that ``on`` and
``no`` are texts, dates stay texts, and no name stands twice in one object.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, TypeVar

import yaml

MOST_VALUES = 100_000
"""Names and values of one text, with what its aliases stand for written out."""
DEEPEST = 50
Place = tuple[str | int, ...]


class DocumentError(ValueError):
    """A text is no document; ``line`` counts from 1, None where the place is not known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason = reason
        self.line = line


class ShallowLoader(yaml.SafeLoader):
    """Plain values, nested at most ``DEEPEST`` levels."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node, unless it is nested too deep."""
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=self.get_mark())
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


Loader = TypeVar("Loader", bound=ShallowLoader)


@contextmanager
def loading(kind: type[Loader], text: str) -> Iterator[Loader]:
    """Open a loader of a text and dispose of it at the end.

    :raises yaml.YAMLError: when the text holds a character that YAML does not allow.
    """
    loader = kind(text)
    try:
        yield loader
    finally:
        loader.dispose()


def size_of(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of values below a node; the values of an alias count each time it is used."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = 1 + sum(size_of(child, sizes) for child in _children(node))
    return sizes[id(node)]


@dataclass(frozen=True, slots=True)
class TextDocument:
    """A value, and the lines on which its parts stand; a text of JSON has no lines."""

    value: Any
    lines: Mapping[Place, int] = field(default_factory=dict)

    def line_of(self, place: Place) -> int | None:
        """Return the line of a part, or of the nearest part around it."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None


def read_document(text: str) -> TextDocument:
    """Read one document of YAML or JSON; its value is None for an empty text.

    :raises DocumentError: when it is none, has a name twice, or holds what JSON has no value for.
    """
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        try:
            return TextDocument(_read_json(text.removeprefix("\ufeff")))
        except json.JSONDecodeError as error:
            # Braces begin a YAML document as well.
            try:
                return _read_yaml(text)
            except DocumentError:
                raise DocumentError(f"is not valid JSON: {error.msg}", error.lineno) from None
    return _read_yaml(text)


def dump_yaml(value: Any) -> str:
    """Return a value as YAML that ``read_document`` reads as the same value; names keep their order."""
    return yaml.dump(value, Dumper=_JsonDumper, allow_unicode=True, sort_keys=False, width=110)


def _read_json(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=partial(_integer, line=None),
            parse_float=partial(_finite, line=None),
            parse_constant=partial(_finite, line=None),
        )
    except RecursionError:
        raise DocumentError("is nested too deeply") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"the name {doubled!r:.80} is there twice in one object")
    return value


def _integer(text: str, line: int | None) -> int:
    try:
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    except ValueError:
        raise DocumentError("a number has too many digits", line) from None


def _finite(text: str, line: int | None) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DocumentError(f"{text:.40} is no number of JSON", line)
    return value


def _read_yaml(text: str) -> TextDocument:
    try:
        with loading(_JsonLoader, text) as loader:
            node = loader.get_single_node()
            if node is None:
                return TextDocument(None)
            if size_of(node, {}) > MOST_VALUES:
                raise DocumentError(f"has more than {MOST_VALUES:,} values, aliases written out")
            return TextDocument(loader.construct_document(node), dict(_lines(node, ())))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(f"is not valid YAML: {error.problem}", mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        reason = str(getattr(error, "reason", None) or error)
        raise DocumentError(f"is not valid YAML: {reason:.200}") from None
    except RecursionError:
        raise DocumentError("an alias stands within itself") from None


class _JsonLoader(ShallowLoader):
    """The values that JSON has, as YAML 1.2 writes them."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: made
        for tag, made in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return an object whose names are texts, each there once."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _NAME_TAGS:
                raise DocumentError("a name must be a text: put it between quotes", line)
            if key.tag == _MERGE:
                continue
            if key.value in lines:
                raise DocumentError(
                    f"the name {key.value!r:.80} is there twice: on line {lines[key.value]} too", line
                )
            lines[key.value] = line
        return dict(super().construct_mapping(node, deep))


_JsonLoader.yaml_implicit_resolvers = {}
_MERGE = "tag:yaml.org,2002:merge"
_NAME_TAGS = ("tag:yaml.org,2002:str", _MERGE)


_ODD_BREAKS = re.compile("[\r\x85\u2028\u2029]")


class _JsonDumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 and YAML 1.2 would take for something else; repeats what stands twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's signature
        """Return true: an alias is hard to read, and to change."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Return a text; one with a line's end that is no line feed is quoted, since YAML folds it."""
        style = '"' if _ODD_BREAKS.search(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_JsonDumper.add_representer(str, _JsonDumper.represent_str)
_JsonLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_JsonLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
for _kind in (_JsonLoader, _JsonDumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:int",
        re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"),
        list("-+0123456789"),
    )
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    )
_JsonLoader.add_implicit_resolver(_MERGE, re.compile(r"^<<$"), ["<"])
_JsonLoader.add_constructor(
    "tag:yaml.org,2002:int", lambda _, node: _integer(node.value, node.start_mark.line + 1)
)
_JsonLoader.add_constructor(
    "tag:yaml.org,2002:float", lambda _, node: _finite(node.value, node.start_mark.line + 1)
)


def _lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, key.value)
            yield from _lines(value, inner)
            yield inner, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _lines(value, (*place, number))


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for each in node.value:
        yield from (each if isinstance(node, yaml.MappingNode) else (each,))
