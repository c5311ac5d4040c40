"""Compares JSON by shape: which fields, of which types; values do not count."""

from dataclasses import dataclass, field
from typing import Any

_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
    dict: "object",
}


@dataclass(slots=True)
class Shape:
    """What was seen in one place: JSON types, fields of objects (``always``: in each one), list items."""

    kinds: set[str] = field(default_factory=set)
    fields: dict[str, "Shape"] = field(default_factory=dict)
    always: set[str] | None = None
    item: "Shape | None" = None

    def learn(self, value: Any) -> None:
        """Widen the shape so that it covers a value."""
        self.kinds.add(_KINDS[type(value)])
        if isinstance(value, dict):
            self.always = set(value) if self.always is None else self.always & set(value)
            for name, inner in value.items():
                self.fields.setdefault(name, Shape()).learn(inner)
        elif isinstance(value, list):
            for inner in value:
                self.item = self.item or Shape()
                self.item.learn(inner)

    def find(self, path: str) -> "Shape":
        """Give the shape of a place like "data[].created_by_account"."""
        shape = self
        for name in path.split("."):
            shape = shape.fields[name.removesuffix("[]")]
            if name.endswith("[]"):
                shape = shape.item or Shape()
        return shape

    def adopt(self, name: str, other: "Shape") -> None:
        """Take another shape for a field of this name, wherever it lies below."""
        for key, inner in self.fields.items():
            inner.adopt(name, other)
            if key == name:
                self.fields[key] = other
        if self.item is not None:
            self.item.adopt(name, other)


def compare(value: Any, own: Shape, wider: Shape, opaque: frozenset[str], path: str = "") -> list[str]:
    """Say how a value differs from what one release (``own``) showed.

    What the release only ever showed as null, and nullability, is taken from all releases (``wider``);
    nothing below a path in ``opaque`` is compared, and there the release's own types alone count.
    """
    if path in opaque:
        return [] if _KINDS[type(value)] in own.kinds else [f"{path}: {_KINDS[type(value)]}, not {own.kinds}"]
    known = wider if own.kinds == {"null"} else own
    allowed = known.kinds | (wider.kinds & {"null"})
    if _KINDS[type(value)] not in allowed:
        return [f"{path}: {_KINDS[type(value)]}, not {sorted(allowed)}"]
    if isinstance(value, dict):
        return _compare_fields(value, known, wider, opaque, path)
    if isinstance(value, list) and known.item is not None:
        inner = wider.item or known.item
        return [line for item in value for line in compare(item, known.item, inner, opaque, f"{path}[]")]
    return []


def _compare_fields(
    value: dict[str, Any], own: Shape, wider: Shape, opaque: frozenset[str], path: str
) -> list[str]:
    lines = [f"{path}.{name}: missing" for name in sorted((own.always or set()) - set(value))]
    lines += [f"{path}.{name}: not recorded" for name in sorted(set(value) - set(own.fields))]
    for name in value.keys() & own.fields.keys():
        lines += compare(value[name], own.fields[name], wider.fields[name], opaque, f"{path}.{name}")
    return lines
