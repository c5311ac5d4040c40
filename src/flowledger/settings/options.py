"""Options of a channel or storage: whatever fields its registered dataclass has."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr, create_model

from flowledger import plugins
from flowledger.settings.types import Frozen
from flowledger.settings.validators import (
    as_text,
    check_http,
    check_secret,
    check_web_secret,
    existing_file,
    rooted,
    split_words,
)


def _found_file(text: str) -> str:
    return str(existing_file(rooted(Path(text))))


OWN_RULES: Mapping[str, Callable[[Any], Any]] = {
    "webhook": check_web_secret,
    "url": check_web_secret,
    "ca_bundle": _found_file,
}
"""Name of an option → what its value has to be besides its type; every part means the same by these names."""


@cache
def options_model(kind: str, name: str) -> type[BaseModel]:
    """Give the model that checks the options of one registered class, a frozen dataclass.

    Words may be given as a list or between commas, numbers and truth values as text.
    """
    registered = plugins.load(kind, name)
    hints = get_type_hints(registered, include_extras=True)
    described: dict[str, Any] = {
        each.name: (_checked(each.name, hints[each.name]), _default(each)) for each in fields(registered)
    }
    return create_model(f"{registered.__name__}Options", __base__=Frozen, **described)


def checked_options(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that were said, typed; what was not said is left to the class.

    :raises ValidationError: with a line for everything wrong.
    """
    checked = options_model(kind, name).model_validate(dict(given))
    return {option: getattr(checked, option) for option in sorted(checked.model_fields_set)}


def required_options(kind: str, name: str) -> tuple[str, ...]:
    """Name the options that a class cannot do without."""
    model = options_model(kind, name)
    return tuple(option for option, field in model.model_fields.items() if field.is_required())


def _checked(name: str, hint: Any) -> Any:
    alternatives = [each for each in get_args(hint) or (hint,) if each is not type(None)]
    own = OWN_RULES.get(name)
    rules: list[Any] = [AfterValidator(_unless_none(own))] if own else []
    if hint == tuple[str, ...]:
        rules.append(BeforeValidator(split_words))
    elif SecretStr in alternatives:
        rules += [BeforeValidator(as_text), AfterValidator(_unless_none(check_secret))]
    elif str in alternatives:
        rules.append(BeforeValidator(as_text))
    if name == "endpoint":
        rules.append(AfterValidator(_unless_none(_with_scheme_if_any)))
    return Annotated[(hint, *rules)] if rules else hint


def _with_scheme_if_any(text: str) -> str:
    return check_http(text) if "://" in text else text


def _unless_none(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else rule(value)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return ... if field.default is MISSING else field.default


COMMON: Mapping[str, str] = {"root": "output_base_dir", "prefix": "storage_prefix"}
"""Option of a storage → field of ``Settings`` that is the same for all storages."""


def storage_field(storage: str, option: str) -> str:
    """Name the field of ``Settings`` that holds an option of a storage."""
    return COMMON.get(option, f"{storage}_{option}")


def storage_options(storage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that are set, typed.

    :raises ValidationError: with a line for each that is missing or wrong, by name of the option.
    """
    fields = options_model("storage", storage).model_fields
    found = {option: settings.get(storage_field(storage, option)) for option in fields}
    return checked_options(
        "storage", storage, {name: value for name, value in found.items() if value is not None}
    )
