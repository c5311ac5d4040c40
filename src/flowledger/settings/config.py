"""From all places to one frozen ``Settings``, or to all problems at once."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flowledger.errors import SettingsError
from flowledger.settings.model import AppSettings, Settings
from flowledger.settings.problems import Label, describe, incomplete, stray
from flowledger.settings.sources import YAML_FILE, Layer, read_layers
from flowledger.settings.variables import APP_VARIABLES, HINTS, PROGRAM_VARIABLES


@dataclass(frozen=True, slots=True)
class ConfigManager:
    """Reads settings: arguments > environment > ``.env`` > ``config/settings.yaml`` > defaults.

    ``root`` holds the two files and is where relative paths begin; by default the working directory.
    """

    root: Path = field(default_factory=Path.cwd)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def load(self, arguments: Mapping[str, object] | None = None, *, need_app: bool = True) -> Settings:
        """Give the settings; ``arguments`` are values by variable name, None standing for "not given".

        :raises SettingsError: with a line for everything wrong; also when ``need_app`` and none is defined.
        """
        reading = _Reading.of(self.root, read_layers(self.root, self.environ, arguments or {}))
        settings = reading.program()
        apps = reading.apps(settings, need_app=need_app)
        if reading.problems:
            raise SettingsError(tuple(dict.fromkeys(reading.problems)))
        return settings.model_copy(update={"apps": apps})


@dataclass(frozen=True, slots=True)
class _Reading:
    """Values found, the place of each, and the problems so far."""

    root: Path
    values: Mapping[str, Any]
    places: Mapping[str, str]
    listed: Sequence[object]
    problems: list[str]

    @classmethod
    def of(cls, root: Path, layers: Sequence[Layer]) -> "_Reading":
        weakest_first = layers[::-1]
        return cls(
            root,
            {name: value for layer in weakest_first for name, value in layer.values.items()},
            {name: layer.place for layer in weakest_first for name in layer.values},
            [app for layer in layers for app in layer.apps],
            [problem for layer in layers for problem in layer.problems],
        )

    def program(self) -> Settings:
        """Build all but the apps; what is wrong is noted and falls back to its default."""
        given = {field: self.values[name] for name, field in PROGRAM_VARIABLES.items() if name in self.values}
        context = {"root": self.root}
        try:
            return Settings.model_validate(given, context=context)
        except ValidationError as error:
            wrong = dict(describe(error, lambda field: self._label(field.upper()), HINTS))
            self.problems.extend(wrong.values())
            sound = {field: value for field, value in given.items() if field not in wrong}
            return Settings.model_validate(sound, context=context)

    def apps(self, settings: Settings, *, need_app: bool) -> tuple[AppSettings, ...]:
        """Build the app of the variables, then those of the file."""
        built = [self._listed_app(settings, index, given) for index, given in enumerate(self.listed)]
        if (need_app and not built) or self.values.keys() & APP_VARIABLES.keys():
            built.insert(0, self._variables_app(settings))
        apps = tuple(app for app in built if app)
        self.problems.extend(_clashes(apps))
        return apps

    def _variables_app(self, settings: Settings) -> AppSettings | None:
        given = {field: self.values[name] for name, field in APP_VARIABLES.items() if name in self.values}
        names = {field: name for name, field in APP_VARIABLES.items()}
        return self._app(settings, given, lambda field: self._label(names[field]))

    def _listed_app(self, settings: Settings, index: int, given: object) -> AppSettings | None:
        if not isinstance(given, dict):
            self.problems.append(
                f"apps[{index}] in {YAML_FILE}: must be a mapping with id, base_url, api_token"
            )
            return None
        present = {str(field): value for field, value in given.items() if value not in (None, "")}
        named = {"name": str(present.get("id", "default")), **present}
        return self._app(settings, named, lambda field: f"apps[{index}].{field} in {YAML_FILE}")

    def _app(self, settings: Settings, given: Mapping[str, Any], label: Label) -> AppSettings | None:
        known = {field: value for field, value in given.items() if field in AppSettings.model_fields}
        found = [stray(field, label, AppSettings.model_fields) for field in given.keys() - known.keys()]
        found.extend(incomplete(known, label, HINTS))
        app = None
        try:
            app = AppSettings.model_validate({**settings.app_defaults, **known}, context={"root": self.root})
        except ValidationError as error:
            found.extend(line for _, line in describe(error, label, HINTS))
        self.problems.extend(found)
        return app

    def _label(self, name: str) -> str:
        return f"{name} in {self.places[name]}" if name in self.places else name


def _clashes(apps: Sequence[AppSettings]) -> list[str]:
    names = [word for app in apps for word in dict.fromkeys((app.id, app.name))]
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"two apps are called {name!r}: ids and names must differ" for name in twice]
