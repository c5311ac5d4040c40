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
from flowledger.settings.references import Loc, scheme_of
from flowledger.settings.sources import APPS, CHANNELS, Reading, open_sources
from flowledger.settings.validators import beginning_at

STAND_INS = {"id": "unknown-{}", "base_url": "http://unknown.invalid", "api_token": "stands-in-for-no-token"}
"""The token is a secret, so its text is redacted everywhere: it must be no word that occurs otherwise."""


def partial_settings(values: Mapping[str, Any], error: ValidationError) -> Settings:
    """Return the settings without the wrong values, so that everything else can still be checked."""
    locs = {detail["loc"] for detail in error.errors(include_url=False, include_input=False)}
    wrong = {loc[0] for loc in locs}
    valid = {name: value for name, value in values.items() if name not in wrong}
    apps, channels = values.get(APPS), values.get(CHANNELS)
    if APPS in wrong and isinstance(apps, list):
        valid[APPS] = [
            _with_stand_ins(app, index, {loc[:3] for loc in locs}) for index, app in enumerate(apps)
        ]
    if CHANNELS in wrong:
        bad = {str(loc[1]) for loc in locs if loc[0] == CHANNELS and len(loc) > 1}
        listed = channels if isinstance(channels, Mapping) else {}
        valid[CHANNELS] = {name: each for name, each in listed.items() if name not in bad}
        starts = ("NOTIFICATION_TYPE", *(variable_field(name, "").upper() for name in bad))
        valid = {name: value for name, value in valid.items() if not name.startswith(starts)}
    try:
        return Settings(**valid)
    except ValidationError as again:
        # Fields that depend on a removed one may be wrong now; at the latest the defaults alone are valid.
        return partial_settings(valid, again) if valid != values else Settings()


def is_stand_in(app: AppSettings) -> bool:
    """Return whether an app has a stand-in for its address or key, so that it cannot be queried."""
    return app.base_url == STAND_INS["base_url"] or app.api_token.get_secret_value() == STAND_INS["api_token"]


def _with_stand_ins(app: object, index: int, locs: Collection[Loc]) -> object:
    """Return an app without its wrong fields, with stand-ins for the required ones."""
    raw = app if isinstance(app, dict) else {}
    fit = {field: value for field, value in raw.items() if (APPS, index, field) not in locs}
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
        """Return the settings; ``arguments`` are values by variable name, of which None means not set.

        :raises SettingsError: with a line for each problem; also when ``need_app`` and none is defined.
        """
        return self.inspect(arguments, need_app=need_app).settings

    def inspect(
        self, arguments: Mapping[str, object] | None = None, *, need_app: bool = True
    ) -> "Inspection":
        """Return the settings with the origin of each value.

        :raises SettingsError: as ``load`` does.
        """
        inspection = self.examine(arguments, need_app=need_app)
        if inspection.problems:
            raise SettingsError(inspection.problems)
        return inspection

    def examine(
        self, arguments: Mapping[str, object] | None = None, *, need_app: bool = True
    ) -> "Inspection":
        """Return all problems, and the settings without the wrong values."""
        sources = open_sources(self.root, self.environ, arguments or {})
        reading = Reading.of(sources, need_app=need_app).with_secrets(self.root)
        wrong = [line for source in sources for line in source.problems]
        wrong += conflicts_in(reading)
        with beginning_at(self.root, self.environ):
            try:
                settings = Settings(**reading.values)
            except ValidationError as error:
                wrong += problems.describe(error, reading)
                settings = partial_settings(reading.values, error)
            wrong += problems.of_storage(settings, reading)
        wrong += problems.of_place(reading, self.root, need_app=need_app)
        settings.note_origin(problems.looked_in(self.root))
        # Two checks may find the same problem.
        return Inspection(settings, reading, tuple(dict.fromkeys(wrong)))

    def keys(self) -> tuple[SecretStr, ...]:
        """Return the keys of encrypted settings, newest first; nothing else is read or checked.

        :raises SettingsError: when a key file cannot be read.
        """
        reading = Reading.of(open_sources(self.root, self.environ, {}), need_app=False)
        keyring, lines = reading.keyring(self.root)
        if lines:
            raise SettingsError([f"{reading.label(loc)}: {line}" for loc, line in lines.items()])
        return keyring.keys


@dataclass(frozen=True, slots=True)
class Inspection:
    """Settings, the reading they were made of, and a line for each problem."""

    settings: Settings
    reading: Reading
    problems: tuple[str, ...] = ()

    def is_wrong(self, *beginnings: str) -> bool:
        """Return whether there is a problem with a variable whose name begins like this."""
        return any(line.startswith(beginnings) for line in self.problems)


MASK = "••••"
"""Stands for every secret, whatever its length."""


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """One setting: its name, its value as JSON with secrets masked, and where it came from."""

    name: str
    value: Any
    origin: str


def effective_settings(inspection: Inspection) -> Iterator[EffectiveSetting]:
    """Yield every setting, then those of each app and channel."""
    settings, reading = inspection.settings, inspection.reading
    for attribute in type(settings).model_fields:
        name = attribute.upper()
        if name not in APP_VARIABLES and name not in (APPS, CHANNELS):
            yield EffectiveSetting(name, masked(getattr(settings, attribute)), _origin((name,), inspection))
    for index, app in enumerate(settings.apps):
        yield from _of_app(index, app, inspection)
    for channel in settings.channels.values():
        yield from _of_channel(channel, inspection)
    if not settings.apps:
        yield EffectiveSetting("apps", [], reading.origin((APPS,)))


def masked(value: Any) -> Any:
    """Return a value as JSON, with the mask in the place of every secret."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Mapping):
        return {str(key): masked(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [masked(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _of_app(index: int, app: AppSettings, inspection: Inspection) -> Iterator[EffectiveSetting]:
    raw = dict(inspection.reading.listed_apps()).get(index, {})
    for attribute in AppSettings.model_fields:
        if attribute in raw:
            origin = _origin((APPS, index, attribute), inspection)
        elif attribute in APP_DEFAULTS:
            origin = _origin((APP_DEFAULTS[attribute].upper(),), inspection)
        else:
            origin = "default"
        yield EffectiveSetting(f"apps.{app.name}.{attribute}", masked(getattr(app, attribute)), origin)


def _of_channel(channel: ChannelSettings, inspection: Inspection) -> Iterator[EffectiveSetting]:
    place = inspection.reading.origin((CHANNELS,)) if channel.listed else "variables"
    yield EffectiveSetting(f"channels.{channel.name}.type", channel.type, place)
    for option, value in channel.options.items():
        origin = _origin((CHANNELS, channel.name, option), inspection)
        yield EffectiveSetting(f"channels.{channel.name}.{option}", masked(value), origin)


def _origin(loc: Loc, inspection: Inspection) -> str:
    """Return the place of a value, with the reference that stood there instead of a secret."""
    origin, reference = inspection.reading.origin(loc), inspection.reading.references.get(loc)
    if reference is None:
        return origin
    return f"{origin}, encrypted" if scheme_of(reference) == "enc" else f"{origin}, {reference.strip()}"
