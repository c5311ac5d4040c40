"""From all places to one frozen ``Settings``, or to all problems at once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flowledger.errors import SettingsError
from flowledger.settings import problems
from flowledger.settings.model import Settings
from flowledger.settings.rules import beginning_at
from flowledger.settings.sources import APPS, ENV_FILE, SELECTOR, Source, open_sources
from flowledger.settings.variables import APP_VARIABLES

NAMES = {field: name for name, field in APP_VARIABLES.items()}


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
        sources = open_sources(self.root, self.environ, arguments or {})
        reading = _Reading.of(sources, need_app=need_app)
        wrong = [line for source in sources for line in source.problems]
        wrong += reading.check()
        try:
            with beginning_at(self.root):
                settings = Settings(**reading.values)
        except ValidationError as error:
            lines = problems.describe(error, reading.label)
            raise SettingsError(tuple(dict.fromkeys([*wrong, *lines]))) from None
        if wrong:
            raise SettingsError(tuple(dict.fromkeys(wrong)))
        return settings


@dataclass(frozen=True, slots=True)
class _Reading:
    """Values by variable, the place of each, and whether the variables define the first app."""

    values: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, str]
    has_own: bool

    @classmethod
    def of(cls, sources: Sequence[Source], *, need_app: bool) -> "_Reading":
        said = [(source.place, source()) for source in reversed(sources)]
        values = {name: value for _, layer in said for name, value in layer.items()}
        own = {field: values[name] for name, field in APP_VARIABLES.items() if name in values}
        listed = values.get(APPS, [])
        has_own = bool(own) or (need_app and not listed)
        if isinstance(listed, list):
            values[APPS] = [own] * has_own + [_complete(app) for app in listed]
        return cls(values, {name: place for place, layer in said for name in layer}, has_own)

    def check(self) -> Iterator[str]:
        """Give what no single value shows."""
        place = self.places.get(SELECTOR)
        if place not in (None, "arguments", "environment", ENV_FILE):
            yield f"{self.label((SELECTOR,))}: must be set in {ENV_FILE} or the environment"
        listed = self.values[APPS] if isinstance(self.values[APPS], list) else []
        apps = {index: app for index, app in enumerate(listed) if isinstance(app, dict)}
        for index, app in apps.items():
            yield from problems.incomplete(app, (APPS, index), self.label)
        yield from problems.clashes(list(apps.values()))

    def label(self, way: problems.Way) -> str:
        """Name a value as people wrote it, with its place if it has one."""
        match way:
            case ("APPS", 0, field, *_) if self.has_own:
                name = shown = NAMES[str(field)]
            case ("APPS", int(index), *rest):
                name, shown = APPS, ".".join([f"apps[{index - self.has_own}]", *map(str, rest[:1])])
            case ("APPS",):
                name, shown = APPS, "apps"
            case _:
                name = shown = str(way[0])
        return f"{shown} in {self.places[name]}" if name in self.places else shown


def _complete(app: object) -> object:
    """Drop what a listed app leaves empty, and call it by its id where it has no name."""
    if not isinstance(app, dict):
        return app
    given = {str(field): value for field, value in app.items() if value not in (None, "")}
    return {"name": str(given.get("id", "default")), **given}
