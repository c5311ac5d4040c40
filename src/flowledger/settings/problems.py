"""What is wrong with settings, one line each, naming the variable and its place and never a secret."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flowledger.plugins import CHANNELS as CHANNEL_TYPES
from flowledger.settings.apps import AppSettings
from flowledger.settings.model import APP_VARIABLES, HINTS, OPTION_HINTS, Settings
from flowledger.settings.options import options_model, variable_field
from flowledger.settings.references import Way, found_at, open_to_others, scheme_of
from flowledger.settings.sources import (
    APPS,
    CHANNELS,
    ENV_FILE,
    KEY,
    KEY_FILE,
    NAMES,
    NEEDED,
    SELECTOR,
    STORAGE,
    Reading,
)
from flowledger.settings.validators import similar, split_words, stray


def conflicts_in(reading: Reading) -> Iterator[str]:
    """Give what no single value shows."""
    for way, line in reading.unreadable.items():
        yield f"{reading.label(way)}: {line}"
    place = reading.places.get(SELECTOR)
    if place not in (None, "arguments", "environment", ENV_FILE):
        yield f"{reading.label((SELECTOR,))}: must be set in {ENV_FILE} or the environment"
    if reading.places.get(KEY, "").endswith(".yaml"):
        yield (
            f"{reading.label((KEY,))}: a key beside what it encrypts protects nothing: set it in the"
            f" environment or {ENV_FILE}, or name a key file in {KEY}_FILE"
        )
    yield from _strays(reading)
    for index, app in reading.listed_apps():
        if index or not _stray_fields(reading):
            yield from _incomplete(app, (APPS, index), reading)
        if not reading.is_partial:
            yield from _unknown_channels(app, (APPS, index), reading)
    yield from _clashes(reading)
    yield from _doubles(reading)


def cover(way: Way, reading: Reading) -> bool:
    """Tell whether another line says what is wrong with the app of the variables."""
    is_needed = way[:2] == (APPS, 0) and len(way) > 2 and way[2] in NEEDED
    return is_needed and bool(_stray_fields(reading)) and way[2] not in reading.values[APPS][0]


def _stray_fields(reading: Reading) -> list[str]:
    """Name the variables that define an app which is none, beside listed ones."""
    listed = reading.values.get(APPS)
    if not reading.has_own or not isinstance(listed, list) or len(listed) < 2:
        return []
    own = listed[0]
    return [] if all(field in own for field in NEEDED) else [NAMES[field] for field in own]


def _strays(reading: Reading) -> Iterator[str]:
    names = _stray_fields(reading)
    if names:
        own = reading.values[APPS][0]
        missing = ", ".join(NAMES[field] for field in NEEDED if field not in own)
        shown = ", ".join(reading.label((name,)) for name in names)
        yield (
            f"{shown}: DIFY_* variables define a first app of their own, beside those that"
            f" {reading.places[APPS]} lists, and this one has no {missing}: set them, or"
            f" remove {', '.join(names)}; for a listed app, write"
            f" {APP_VARIABLES[names[0]]}: ${{{names[0]}}} there"
        )


def _incomplete(app: Mapping[str, Any], place: Way, reading: Reading) -> Iterator[str]:
    """Give a line for each half of a console access, and for more than one access."""
    for present, needed in (
        ("console_email", "console_password"),
        ("console_password", "console_email"),
        ("admin_api_key", "workspace_id"),
    ):
        is_told = reading.is_partial or (*place, needed) in reading.unreadable
        if app.get(present) and not app.get(needed) and not is_told:
            yield f"{reading.label((*place, needed))} is not set: {HINTS[needed]}"
    ways = [way for way in ("console_password", "console_token", "admin_api_key") if app.get(way)]
    if len(ways) > 1:
        kept, other = (reading.label((*place, way)) for way in ways[:2])
        yield f"{other}: the console needs one way in; keep this or {kept}"


def _clashes(reading: Reading) -> Iterator[str]:
    """Give a line for each id or name that two apps share."""
    places: dict[str, list[str]] = {}
    for index, app in reading.listed_apps():
        words = {str(app[field]).strip(): field for field in ("name", "id") if field in app}
        for word, field in words.items():
            places.setdefault(word, []).append(reading.label((APPS, index, field)))
    for word, shared in sorted(places.items()):
        if len(shared) > 1:
            yield f"{', '.join(shared)}: {word!r} is said of each, but ids and names of apps must differ"


def _unknown_channels(app: Mapping[str, Any], place: Way, reading: Reading) -> Iterator[str]:
    named = split_words(app.get("channels"))
    listed = reading.values.get(CHANNELS)
    known = [*(listed if isinstance(listed, Mapping) else ()), *CHANNEL_TYPES]
    for name in named if isinstance(named, list) else ():
        if name not in known:
            guess = similar(str(name), known)
            yield (
                f"{reading.label((*place, 'channels'))}: unknown channel {name!r}"
                + (f", did you mean {guess}?" if guess else f": one of {', '.join(known)}")
            )


def _doubles(reading: Reading) -> Iterator[str]:
    """Give a line for each listed channel whose name is that of one which variables describe."""
    for name in CHANNEL_TYPES:
        variables = [each for each in reading.values if each.startswith(variable_field(name, "").upper())]
        if variables and reading.lists_channel(name):
            yield (
                f"{reading.label((CHANNELS, name))}: {reading.label((variables[0],))} describes a channel of"
                " this name too, so give this one another"
            )


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
        if not cover(way, reading):
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


def open_files(reading: Reading, root: Path) -> Iterator[Path]:
    """Give each file that the settings read a secret from and that is open to others, once."""
    texts = [text.strip() for text in reading.references.values() if scheme_of(text) == "file"]
    if key_file := reading.values.get(KEY_FILE):
        texts.append(str(key_file))
    for text in dict.fromkeys(texts):
        file = found_at(text.removeprefix("file:"), root)
        if open_to_others(file):
            yield file
