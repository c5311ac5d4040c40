"""Configs of nodes against the JSON Schema of their type, before anything is rendered.

A text with brackets may become a value of any kind, so that it fits everywhere.  Checked are ``type``,
``enum``, ``required``, ``properties``, ``additionalProperties``, ``items`` and the bounds of numbers, texts
and lists; what else a schema says is for the handler to check.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flowledger.domain.runs import Json

_KINDS: Mapping[str, Callable[[Json], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "null": lambda value: value is None,
}
_BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool], str]] = {
    "minimum": ("number", lambda value, bound: value >= bound, "at least"),
    "maximum": ("number", lambda value, bound: value <= bound, "at most"),
    "exclusiveMinimum": ("number", lambda value, bound: value > bound, "more than"),
    "exclusiveMaximum": ("number", lambda value, bound: value < bound, "less than"),
    "minLength": ("string", lambda value, bound: len(value) >= bound, "no shorter than"),
    "maxLength": ("string", lambda value, bound: len(value) <= bound, "no longer than"),
    "minItems": ("array", lambda value, bound: len(value) >= bound, "no shorter than"),
    "maxItems": ("array", lambda value, bound: len(value) <= bound, "no longer than"),
}
_DEEPEST = 32


def json_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a JSON Schema; the short form ``{"x": "string"}`` names the kind of each field."""
    if (
        schema
        and schema.get("type") != "object"
        and all(isinstance(kind, str) and kind in _KINDS for kind in schema.values())
    ):
        return {"type": "object", "properties": {name: {"type": kind} for name, kind in schema.items()}}
    return schema


def misfits(value: Json, schema: Json, place: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the place of each part that does not fit, and why."""
    if not isinstance(schema, Mapping) or is_template(value) or depth > _DEEPEST:
        return
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(kinds, list) and not any(_KINDS[kind](value) for kind in kinds if kind in _KINDS):
        named = [str(kind) for kind in kinds if kind != "null"] or ["null"]
        yield place, f"must be of type {' or '.join(named)}"
        return
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        yield place, f"must be one of {', '.join(str(each) for each in choices if each is not None)}"
    for name, (kind, holds, words) in _BOUNDS.items():
        bound = schema.get(name)
        if _KINDS["number"](bound) and _KINDS[kind](value) and not holds(value, bound):
            yield place, f"must be {words} {bound}"
    if isinstance(value, Mapping):
        yield from _fields(value, schema, place, depth)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from misfits(each, schema.get("items"), f"{place}[{number}]", depth + 1)


def _fields(
    value: Mapping[str, Json], schema: Mapping[str, Any], place: str, depth: int
) -> Iterator[tuple[str, str]]:
    prefix = f"{place}." if place else ""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield f"{prefix}{name}", "is missing"
    for name, each in value.items():
        if name in properties:
            yield from misfits(each, properties[name], f"{prefix}{name}", depth + 1)
        elif schema.get("additionalProperties") is False:
            yield f"{prefix}{name}", "is no option of this type"
        else:
            yield from misfits(each, schema.get("additionalProperties"), f"{prefix}{name}", depth + 1)


def is_template(value: Json) -> bool:
    """Return whether a value is a text that is rendered before it is used."""
    return isinstance(value, str) and ("{{" in value or "${" in value)
