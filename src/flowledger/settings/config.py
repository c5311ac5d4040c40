"""From all places to one frozen ``Settings``, or to all problems at once; and every value with its origin."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from flowledger.errors import SettingsError
from flowledger.settings import problems
from flowledger.settings.apps import APP_DEFAULTS, AppSettings
from flowledger.settings.model import APP_VARIABLES, Settings
from flowledger.settings.options import ChannelSettings, variable_field
from flowledger.settings.problems import conflicts_in
from flowledger.settings.references import Way, scheme_of
from flowledger.settings.sources import APPS, CHANNELS, Reading, open_sources
from flowledger.settings.validators import beginning_at

STAND_INS = {"id": "unknown-{}", "base_url": "http://unknown.invalid", "api_token": "stands-in-for-no-token"}
"""The token counts as a secret and is hidden wherever it is said, so it is nobody's word."""


def salvage(values: Mapping[str, Any], error: ValidationError) -> Settings:
    """Give the settings as they would be without the wrong values."""
    ways = {detail["loc"] for detail in error.errors(include_url=False, include_input=False)}
    wrong = {way[0] for way in ways}
    kept = {name: value for name, value in values.items() if name not in wrong}
    apps, channels = values.get(APPS), values.get(CHANNELS)
    if APPS in wrong and isinstance(apps, list):
        kept[APPS] = [_mended(app, index, {way[:3] for way in ways}) for index, app in enumerate(apps)]
    if CHANNELS in wrong:
        bad = {str(way[1]) for way in ways if way[0] == CHANNELS and len(way) > 1}
        listed = channels if isinstance(channels, Mapping) else {}
        kept[CHANNELS] = {name: each for name, each in listed.items() if name not in bad}
        starts = ("NOTIFICATION_TYPE", *(variable_field(name, "").upper() for name in bad))
        kept = {name: value for name, value in kept.items() if not name.startswith(starts)}
    try:
        return Settings(**kept)
    except ValidationError as again:
        return salvage(kept, again) if kept != values else Settings()


def is_stand_in(app: AppSettings) -> bool:
    """Tell whether an app has a stand-in for an address or a key, so that nothing is to be asked of it."""
    return app.base_url == STAND_INS["base_url"] or app.api_token.get_secret_value() == STAND_INS["api_token"]


def _mended(app: object, index: int, ways: Collection[Way]) -> object:
    """Give an app without its wrong fields, with a stand-in for what it cannot do without."""
    given = app if isinstance(app, dict) else {}
    fit = {field: value for field, value in given.items() if (APPS, index, field) not in ways}
    return {field: text.format(index) for field, text in STAND_INS.items()} | fit


@dataclass(frozen=True, slots=True)
class ConfigManager:
    """Reads settings; of two places that name a variable, the stronger one counts.

    Arguments > environment > ``.env.<env>`` > ``.env`` > ``config/<env>.yaml`` > ``config/settings.yaml`` >
    defaults.  ``<env>`` is FLOWLEDGER_ENV: dev, staging or prod; without it those two files are not read.
    ``root`` holds the files and is where relative paths begin; by default the working directory.
    """

    root: Path = field(default_factory=Path.cwd)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def load(self, arguments: Mapping[str, object] | None = None, *, need_app: bool = True) -> Settings:
        """Give the settings; ``arguments`` are values by variable name, None standing for "not given".

        :raises SettingsError: with a line for everything wrong; also when ``need_app`` and none is defined.
        """
        return self.inspect(arguments, need_app=need_app).settings

    def inspect(
        self, arguments: Mapping[str, object] | None = None, *, need_app: bool = True
    ) -> "Inspection":
        """Give the settings with what is known about where each value came from.

        :raises SettingsError: as ``load`` does.
        """
        found = self.examine(arguments, need_app=need_app)
        if found.problems:
            raise SettingsError(found.problems)
        return found

    def examine(
        self, arguments: Mapping[str, object] | None = None, *, need_app: bool = True
    ) -> "Inspection":
        """Give all problems, and the settings as they would be without the wrong values."""
        sources = open_sources(self.root, self.environ, arguments or {})
        reading = Reading.of(sources, need_app=need_app).with_secrets(self.root)
        wrong = [line for source in sources for line in source.problems]
        wrong += conflicts_in(reading)
        with beginning_at(self.root):
            try:
                settings = Settings(**reading.values)
            except ValidationError as error:
                wrong += problems.describe(error, reading)
                settings = salvage(reading.values, error)
            wrong += problems.of_storage(settings, reading)
        return Inspection(settings, reading, tuple(dict.fromkeys(wrong)))

    def keys(self) -> tuple[SecretStr, ...]:
        """Give the keys of encrypted settings, newest first; nothing else is read or checked.

        :raises SettingsError: when a key file cannot be read.
        """
        reading = Reading.of(open_sources(self.root, self.environ, {}), need_app=False)
        keyring, lines = reading.keyring(self.root)
        if lines:
            raise SettingsError([f"{reading.label(way)}: {line}" for way, line in lines.items()])
        return keyring.keys


@dataclass(frozen=True, slots=True)
class Inspection:
    """Settings, what was read to make them, and a line for everything wrong."""

    settings: Settings
    reading: Reading
    problems: tuple[str, ...] = ()

    def is_wrong(self, *beginnings: str) -> bool:
        """Tell whether something is wrong with a variable whose name begins like this."""
        return any(line.startswith(beginnings) for line in self.problems)


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
    for attribute in type(settings).model_fields:
        name = attribute.upper()
        if name not in APP_VARIABLES and name not in (APPS, CHANNELS):
            yield Shown(name, masked(getattr(settings, attribute)), _origin((name,), found))
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
    for attribute in AppSettings.model_fields:
        if attribute in given:
            origin = _origin((APPS, index, attribute), found)
        elif attribute in APP_DEFAULTS:
            origin = _origin((APP_DEFAULTS[attribute].upper(),), found)
        else:
            origin = "default"
        yield Shown(f"apps.{app.name}.{attribute}", masked(getattr(app, attribute)), origin)


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
