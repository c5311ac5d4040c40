"""Channels for messages: those that variables describe, and those listed in a YAML file."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, LiteralString

from pydantic import AfterValidator, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from flowledger.plugins import CHANNELS
from flowledger.settings.options import checked_options, required_options
from flowledger.settings.types import Frozen, NotEmpty
from flowledger.settings.validators import check_channel

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
