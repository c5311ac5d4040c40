"""Settings as a person may see them: without secrets, and with where each value came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flowledger.settings.apps import APP_DEFAULTS, AppSettings
from flowledger.settings.channels import ChannelSettings
from flowledger.settings.config import Inspection
from flowledger.settings.references import Way, scheme_of
from flowledger.settings.sources import APPS, CHANNELS
from flowledger.settings.variables import APP_VARIABLES

MASK = "••••"
"""Stands for every secret, whatever its length."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting: its name, its value in terms of JSON with secrets masked, and where it came from."""

    name: str
    value: Any
    origin: str


def shown_settings(found: Inspection) -> Iterator[Shown]:
    """Give every setting, then those of each app and channel."""
    settings, reading = found.settings, found.reading
    for field in type(settings).model_fields:
        name = field.upper()
        if name not in APP_VARIABLES and name not in (APPS, CHANNELS):
            yield Shown(name, masked(getattr(settings, field)), _origin((name,), found))
    for index, app in enumerate(settings.apps):
        yield from _of_app(index, app, found)
    for channel in settings.channels.values():
        yield from _of_channel(channel, found)
    if not settings.apps:
        yield Shown("apps", [], reading.origin((APPS,)))


def masked(value: Any) -> Any:
    """Give a value in terms of JSON, with the mask in the place of every secret."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Mapping):
        return {str(key): masked(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [masked(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _of_app(index: int, app: AppSettings, found: Inspection) -> Iterator[Shown]:
    given = dict(found.reading.listed_apps()).get(index, {})
    for field in AppSettings.model_fields:
        if field in given:
            origin = _origin((APPS, index, field), found)
        elif field in APP_DEFAULTS:
            origin = _origin((APP_DEFAULTS[field].upper(),), found)
        else:
            origin = "default"
        yield Shown(f"apps.{app.name}.{field}", masked(getattr(app, field)), origin)


def _of_channel(channel: ChannelSettings, found: Inspection) -> Iterator[Shown]:
    place = found.reading.origin((CHANNELS,)) if channel.listed else "variables"
    yield Shown(f"channels.{channel.name}.type", channel.type, place)
    for option, value in channel.options.items():
        origin = _origin((CHANNELS, channel.name, option), found)
        yield Shown(f"channels.{channel.name}.{option}", masked(value), origin)


def _origin(way: Way, found: Inspection) -> str:
    """Name the place of a value, and what stood there in the place of a secret."""
    origin, reference = found.reading.origin(way), found.reading.references.get(way)
    if reference is None:
        return origin
    return f"{origin}, encrypted" if scheme_of(reference) == "enc" else f"{origin}, {reference.strip()}"
