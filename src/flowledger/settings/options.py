"""Channels and storages, whose options are the fields of the dataclass registered for their type."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, LiteralString, get_args, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from flowledger import plugins
from flowledger.plugins import CHANNELS
from flowledger.settings.types import Frozen, NotEmpty
from flowledger.settings.validators import (
    as_text,
    check_channel,
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


def _default(field: dataclasses.Field[Any]) -> Any:
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


PREFIXES: Mapping[str, str] = {"email": "smtp"}
"""Type of channel → how its variables begin, where that is not the type itself."""

TYPE = "type"

TLS_PORT = 465
TLS_FROM_THE_START: Final = "must be tls with port 465, which is encrypted from the first byte"
OPEN_LOGIN: Final = (
    "would send the password unencrypted: choose starttls or tls, leave out the user, or allow it by"
    " SMTP_INSECURE_LOGIN=true (insecure_login: true in a YAML file)"
)


class ChannelSettings(Frozen):
    """One channel: ``options`` are those of the class registered for its type, secrets as SecretStr.

    ``listed`` tells one of a YAML file from one that variables describe, which is named by its type.
    """

    name: NotEmpty
    type: Annotated[str, AfterValidator(check_channel)]
    options: Mapping[str, Any] = Field(default_factory=dict)
    listed: bool = True

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, given: Any) -> Any:
        """Hold the options against the fields of the type's class."""
        if not isinstance(given, dict) or ("options" in given and "listed" not in given):
            return given
        own = {key: given[key] for key in ("name", TYPE, "listed") if key in given}
        channel = str(given.get(TYPE)).lower()
        if channel not in CHANNELS:
            return own  # which options it may have is known only with its type
        said = {key: value for key, value in given.items() if key not in own}
        options = checked_options("channel", channel, said)
        _refuse_unsafe_mail(options)
        return {**own, TYPE: channel, "options": options}


def variable_field(channel: str, option: str) -> str:
    """Name the field of ``Settings`` that holds an option of a type of channel."""
    return f"{PREFIXES.get(channel, channel)}_{option}"


def with_those_of_variables(
    listed: Mapping[str, Any], valid: Mapping[str, Any], known: Mapping[str, FieldInfo]
) -> dict[str, Any]:
    """Put the channels that variables describe before the listed ones.

    Those are all of ``notification_type`` and all that apps name; where no type is chosen, those whose first
    required variable is set.  ``valid`` are the fields found valid so far, ``known`` all of them.
    """
    listed = {str(name): given for name, given in listed.items()}
    gathered: dict[str, Any] = {
        channel: {"name": channel, TYPE: channel, "listed": False, **said}
        for channel, said in _described(valid, known)
        if channel not in listed
    }
    for name, given in listed.items():
        gathered[name] = {**given, "name": name, "listed": True} if isinstance(given, dict) else given
    return gathered


def _described(
    valid: Mapping[str, Any], known: Mapping[str, FieldInfo]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    chosen = valid.get("notification_type") if valid.get("notification_enabled", True) else None
    meant = {*(chosen or ()), *(name for app in valid.get("apps", ()) for name in app.channels or ())}
    for channel in CHANNELS:
        start = variable_field(channel, "")
        own = {field: info for field, info in known.items() if field.startswith(start)}
        if own.keys() - valid.keys():
            continue  # one of them is wrong, which has a line of its own
        said = {
            field.removeprefix(start): valid[field]
            for field, info in own.items()
            if valid[field] != info.default
        }
        if channel in meant or (chosen is None and _begun(channel, said)):
            yield channel, said


def _begun(channel: str, said: Mapping[str, Any]) -> bool:
    return bool(said) and required_options("channel", channel)[0] in said


def _refuse_unsafe_mail(options: Mapping[str, Any]) -> None:
    """Refuse a password without encryption, unless that is said to be meant, and what can only time out."""
    security = options.get("security")
    if security == "none" and options.get("user") and not options.get("insecure_login"):
        raise _wrong("security", OPEN_LOGIN)
    if options.get("port") == TLS_PORT and security in (None, "starttls"):
        raise _wrong("security", TLS_FROM_THE_START)


def _wrong(option: str, text: LiteralString) -> ValidationError:
    problem = PydanticCustomError("mail", text)
    return ValidationError.from_exception_data(
        "channel", [InitErrorDetails(type=problem, loc=(option,), input=None)]
    )
