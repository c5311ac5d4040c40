"""Value objects as every ledger keeps them: clean texts, numbers of 64 bits."""

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from flowledger.domain.messages import Letter
from flowledger.ledger.letters import message_from, message_values
from flowledger.ledger.texts import clean, fitting

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")


def storable(value: Value) -> Value:
    """Give a value object as it is kept."""
    return replace(value, **{each.name: _kept(getattr(value, each.name)) for each in fields(value)})


def storable_letter(letter: Letter) -> Letter:
    """Give a letter as it is kept; its message is kept exactly."""
    message = message_from(message_values(letter.message))
    return replace(storable(letter), message=message)


def _kept(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return storable(value)
    if type(value) is tuple:
        return tuple(map(_kept, value))
    if type(value) is int:
        return fitting(value)
    return clean(value) if type(value) is str else value
