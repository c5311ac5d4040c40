"""From all places to one frozen ``Settings``, or to all problems at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr, ValidationError

from flowledger.errors import SettingsError
from flowledger.settings import problems
from flowledger.settings.conflicts import conflicts_in
from flowledger.settings.model import Settings
from flowledger.settings.partial import salvage
from flowledger.settings.reading import Reading
from flowledger.settings.sources import open_sources
from flowledger.settings.validators import beginning_at


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
