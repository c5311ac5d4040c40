"""What is wrong with settings, one line each, naming the variable and its place and never a secret."""

from collections.abc import Collection, Iterator, Mapping

from pydantic import ValidationError

from flowledger.settings import conflicts
from flowledger.settings.apps import AppSettings
from flowledger.settings.model import Settings
from flowledger.settings.options import options_model
from flowledger.settings.reading import STORAGE, Reading
from flowledger.settings.references import Way
from flowledger.settings.sources import APPS, CHANNELS
from flowledger.settings.suggestions import similar, stray
from flowledger.settings.variables import HINTS, OPTION_HINTS

NOT_AN_ERROR_ITSELF = "default_factory_not_called"
"""Pydantic's word for a default that waits for another field, which has a line of its own."""

PLAIN = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
}
"""Pydantic's word → ours, where its sentence speaks of Python."""

MAPPINGS = {APPS: "must be a mapping with id, base_url, api_token", CHANNELS: "must be a mapping with type"}


def describe(error: ValidationError, reading: Reading) -> Iterator[str]:
    """Give a line for each thing wrong."""
    for detail in error.errors(include_url=False, include_input=False):
        way, kind = detail["loc"], detail["type"]
        if any(way[: len(each)] == each for each in reading.unreadable) or kind == NOT_AN_ERROR_ITSELF:
            continue  # it has a line of its own
        if kind == "missing" and reading.is_partial:
            continue  # the file that cannot be read may say it
        if not conflicts.cover(way, reading):
            yield _line(way, kind, detail["msg"], reading)


def of_storage(settings: Settings, reading: Reading) -> Iterator[str]:
    """Give a line for each option that the chosen storage lacks or cannot use."""
    try:
        _ = settings.storage_options
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            way: Way = (STORAGE, *detail["loc"])
            is_missing = detail["type"] == "missing"
            if is_missing and (reading.is_partial or reading.is_set(way)):
                continue  # it is wrong, or may be in the file that cannot be read: there is a line for that
            hint = f" is not set: the storage {settings.storage_type!r} needs it"
            yield reading.label(way) + (hint if is_missing else f": {_plain(detail['msg'])}")


def _line(way: Way, kind: str, text: str, reading: Reading) -> str:
    label = reading.label(way)
    if kind == "missing":
        return f"{label} is not set: {_hint(way)}"
    if kind == "extra_forbidden":
        return stray(label, similar(str(way[-1]), _known_beside(way, reading)))
    if kind == "model_type":
        return f"{label}: {MAPPINGS[str(way[0])]}"
    if way in reading.references and kind.endswith("_type"):
        return f"{label}: is no secret, so write the value itself in the place of the reference"
    return f"{label}: {PLAIN.get(kind) or _plain(text)}"


def _known_beside(way: Way, reading: Reading) -> Collection[str]:
    if way[0] == APPS:
        return AppSettings.model_fields
    if way[0] == CHANNELS and isinstance(channel := reading.channel(way[1]), Mapping):
        return options_model("channel", str(channel["type"]).lower()).model_fields
    return ()


def _hint(way: Way) -> str:
    if way[0] == CHANNELS:
        hint = OPTION_HINTS.get(str(way[-1]))
        return f"the channel {way[1]!r} needs it" + (f" ({hint})" if hint else "")
    return HINTS[str(way[-1])]


def _plain(text: str) -> str:
    """Turn pydantic's sentence into ours: without its subject, and without the name of a Python class."""
    for subject in ("Value error, ", "Value ", "Input "):
        if text.startswith(subject):
            text = text.removeprefix(subject)
            break
    return text.partition(" for <class ")[0]
