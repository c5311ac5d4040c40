"""What no single value shows: values that contradict or lack each other."""

from collections.abc import Iterator, Mapping
from typing import Any

from flowledger.plugins import CHANNELS as CHANNEL_TYPES
from flowledger.settings.channels import variable_field
from flowledger.settings.reading import KEY, NAMES, NEEDED, Reading
from flowledger.settings.references import Way
from flowledger.settings.sources import APPS, CHANNELS, ENV_FILE, SELECTOR
from flowledger.settings.suggestions import similar
from flowledger.settings.validators import split_words
from flowledger.settings.variables import APP_VARIABLES, HINTS


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
