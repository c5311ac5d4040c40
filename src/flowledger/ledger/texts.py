"""What a ledger's typed texts and numbers can hold, the same in every backend."""

import re
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, TypeVar

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LARGEST = 2**63 - 1
_HOSTILE = re.compile("[\0\ud800-\udfff]")


def clean(text: str) -> str:
    """Replace NUL and lone surrogates, which databases refuse; raw bodies keep them exactly."""
    if text.isascii() and "\0" not in text:
        return text
    return _HOSTILE.sub(REPLACEMENT, text)


def fitting(number: int) -> int | None:
    """Return a number that fits in 64 bits, and None for an absurd one, which only the raw body keeps."""
    return number if -LARGEST <= number <= LARGEST else None


if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")


def storable(value: Value) -> Value:
    """Return a value object as it is kept."""
    return replace(value, **{each.name: _cleaned(getattr(value, each.name)) for each in fields(value)})


def _cleaned(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return storable(value)
    if type(value) is tuple:
        return tuple(map(_cleaned, value))
    if type(value) is int:
        return fitting(value)
    return clean(value) if type(value) is str else value
