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
from flowledger.settings import addresses, validators
from flowledger.settings.types import Frozen, NotEmpty


def _ca_bundle(text: str) -> str:
    return str(validators.existing_file(validators.rooted(Path(text))))


VALIDATORS_BY_NAME: Mapping[str, Callable[[Any], Any]] = {
    "webhook": validators.check_web_secret,
    "url": validators.check_web_secret,
    "ca_bundle": _ca_bundle,
    "host": addresses.check_host,
    "sender": addresses.check_mail_address,
    "bucket_name": addresses.check_bucket_name,
    "endpoint": addresses.check_endpoint,
}
"""Name of an option → its validator besides the type; these names mean the same in every class."""


@cache
def options_model(kind: str, name: str) -> type[BaseModel]:
    """Return the model that validates the options of one registered class, a frozen dataclass.

    A list may be written as text between commas; numbers and truth values as text.
    """
    registered = plugins.load(kind, name)
    hints = get_type_hints(registered, include_extras=True)
    described: dict[str, Any] = {
        each.name: (_checked(each.name, hints[each.name]), _default(each)) for each in fields(registered)
    }
    return create_model(f"{registered.__name__}Options", __base__=Frozen, **described)


def checked_options(kind: str, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set, typed; the class has the defaults of the others.

    :raises ValidationError: with every problem.
    """
    checked = options_model(kind, name).model_validate(dict(raw))
    return {option: getattr(checked, option) for option in sorted(checked.model_fields_set)}


def required_options(kind: str, name: str) -> tuple[str, ...]:
    """Name the options that a class cannot do without."""
    model = options_model(kind, name)
    return tuple(option for option, field in model.model_fields.items() if field.is_required())


def _checked(name: str, hint: Any) -> Any:
    # An option that may be None is checked as the type besides None.
    alternatives = [each for each in get_args(hint) or (hint,) if each is not type(None)]
    own = VALIDATORS_BY_NAME.get(name)
    rules: list[Any] = [AfterValidator(_unless_none(own))] if own else []
    if hint == tuple[str, ...]:
        rules.append(BeforeValidator(validators.split_words))
        if name == "to":
            rules.append(AfterValidator(addresses.check_receivers))
    elif SecretStr in alternatives:
        rules += [BeforeValidator(validators.as_text), AfterValidator(_unless_none(validators.check_secret))]
    elif str in alternatives:
        rules.append(BeforeValidator(validators.as_text))
    return Annotated[(hint, *rules)] if rules else hint


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
    """Return the options of a storage that are set, typed.

    :raises ValidationError: with a line for each that is missing or wrong, by name of the option.
    """
    fields = options_model("storage", storage).model_fields
    values = {option: settings.get(storage_field(storage, option)) for option in fields}
    return checked_options(
        "storage", storage, {name: value for name, value in values.items() if value is not None}
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

    ``listed``: from a YAML file; else from variables, and then its name is its type.
    """

    name: NotEmpty
    type: Annotated[str, AfterValidator(validators.check_channel)]
    options: Mapping[str, Any] = Field(default_factory=dict)
    listed: bool = True

    @model_validator(mode="before")
    @classmethod
    def _check_options(cls, raw: Any) -> Any:
        """Validate the options against the fields of the class of this type."""
        if not isinstance(raw, dict) or ("options" in raw and "listed" not in raw):
            return raw
        own = {key: raw[key] for key in ("name", TYPE, "listed") if key in raw}
        channel = str(raw.get(TYPE)).lower()
        if channel not in CHANNELS:
            return own  # its options depend on its type, and that has a line of its own
        values = {key: value for key, value in raw.items() if key not in own}
        options = checked_options("channel", channel, values)
        _refuse_unsafe_mail(options)
        return {**own, TYPE: channel, "options": options}


def variable_field(channel: str, option: str) -> str:
    """Name the field of ``Settings`` that holds an option of a type of channel."""
    return f"{PREFIXES.get(channel, channel)}_{option}"


def with_variable_channels(
    listed: Mapping[str, Any], valid: Mapping[str, Any], variables: Mapping[str, FieldInfo]
) -> dict[str, Any]:
    """Return the listed channels after those that variables describe.

    Those are all of ``notification_type`` and all that apps name; without ``notification_type`` those whose
    first required variable is set.  ``valid`` has the values of the fields validated so far, ``variables``
    all fields.
    """
    listed = {str(name): raw for name, raw in listed.items()}
    gathered: dict[str, Any] = {
        channel: {"name": channel, TYPE: channel, "listed": False, **values}
        for channel, values in _described(valid, variables)
        if channel not in listed
    }
    for name, raw in listed.items():
        gathered[name] = {**raw, "name": name, "listed": True} if isinstance(raw, dict) else raw
    return gathered


def _described(
    valid: Mapping[str, Any], variables: Mapping[str, FieldInfo]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    chosen = valid.get("notification_type") if valid.get("notification_enabled", True) else None
    named = {*(chosen or ()), *(name for app in valid.get("apps", ()) for name in app.channels or ())}
    for channel in CHANNELS:
        start = variable_field(channel, "")
        own = {field: info for field, info in variables.items() if field.startswith(start)}
        if own.keys() - valid.keys():
            continue  # one of them is wrong, which has a line of its own
        values = {
            field.removeprefix(start): valid[field]
            for field, info in own.items()
            if valid[field] != info.default
        }
        if channel in named or (chosen is None and _is_configured(channel, values)):
            yield channel, values


def _is_configured(channel: str, values: Mapping[str, Any]) -> bool:
    return bool(values) and required_options("channel", channel)[0] in values


def _refuse_unsafe_mail(options: Mapping[str, Any]) -> None:
    """Refuse a password without encryption, unless ``insecure_login`` allows it, and what only times out."""
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
