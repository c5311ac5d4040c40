"""Where settings come from: each place is a source of pydantic-settings with a name and its problems."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, get_args

from dotenv.parser import parse_stream
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    YamlConfigSettingsSource,
)

from flowledger.errors import SettingsError
from flowledger.settings.model import Settings
from flowledger.settings.suggestions import similar, stray
from flowledger.settings.types import EnvironmentName
from flowledger.settings.variables import VARIABLES
from flowledger.settings.yaml_files import read_yaml

SELECTOR = "FLOWLEDGER_ENV"
ENV_FILE = ".env"
YAML_FILE = "config/settings.yaml"
APPS = "APPS"
CHANNELS = "CHANNELS"
REFERENCE = re.compile(r"\$\{(\w+)\}")


class Arguments(InitSettingsSource):
    """What a caller says; None stands for "not given"."""

    place = "arguments"

    def __init__(self, arguments: Mapping[str, object]) -> None:
        self.problems = [
            f"{name} in arguments: unknown variable" for name in sorted(arguments.keys() - VARIABLES)
        ]
        given = {name: value for name, value in arguments.items() if value is not None}
        super().__init__(Settings, {name: given[name] for name in given.keys() & VARIABLES})


class Environment(EnvSettingsSource):
    """The environment, as a mapping that need not be that of this process."""

    place = "environment"
    problems: Sequence[str] = ()

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # The one place where pydantic-settings would look at os.environ.
        return _known(self._environ)


class EnvFile(DotEnvSettingsSource):
    """A file of NAME=value lines, of which only ours are values here; ``said`` has them all."""

    def __init__(self, root: Path, place: str) -> None:
        self.place = place
        self.problems: list[str] = []
        self.said: dict[str, str] = {}
        super().__init__(Settings, env_file=root / place)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # The library would put variables into "p$HOME" and skip lines that it cannot read.
        text = _read_text(self.env_file, self)
        for binding in parse_stream(StringIO(text)):
            if binding.error:
                line = binding.original.line
                self.problems.append(f"line {line} of {self.place}: cannot be read, write NAME=value")
            elif binding.key and binding.value:
                self.said[binding.key] = binding.value
        return _known(self.said)


class YamlFile(YamlConfigSettingsSource):
    """A file of ours, where ``${NAME}`` stands for what ``said`` has; ``referred`` are those names.

    Where not ``is_read``, nobody knows what it says.
    """

    def __init__(self, root: Path, place: str, said: Mapping[str, str]) -> None:
        self.place = place
        self.problems: list[str] = []
        self.referred: Sequence[str] = ()
        self.is_read = True
        self._said = said
        super().__init__(Settings, yaml_file=root / place)

    def _read_files(self, files: Any, deep_merge: bool = False) -> dict[str, Any]:  # noqa: ARG002
        # The library would take a folder of that name for no file, and end at the first problem.
        text = _read_text(files, self)
        self.referred = REFERENCE.findall(text)
        parsed = self._parse(text)
        self.is_read = not self.problems
        document = self._resolve(parsed)
        values = {str(name).upper(): value for name, value in document.items() if value not in (None, "")}
        known = VARIABLES | {APPS, CHANNELS}
        for name in sorted(values.keys() - known):
            guess = similar(name, known)
            self.problems.append(stray(f"{name.lower()} in {self.place}", guess and guess.lower()))
        return {name: value for name, value in values.items() if name in known}

    def _parse(self, text: str) -> dict[object, Any]:
        try:
            document = read_yaml(text, self.place)
        except SettingsError as error:
            self.problems += error.problems
            return {}
        if isinstance(document, dict):
            return document
        if document is not None:
            self.problems.append(f"{self.place}: must be a mapping of names to values")
        return {}

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._resolve(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._resolve(inner) for inner in value]
        reference = REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
        if reference is None:
            return value
        if not self._said.get(reference[1]):
            self.problems.append(f"{reference[1]} is not set: {self.place} refers to it")
        return self._said.get(reference[1])


Source = Arguments | Environment | EnvFile | YamlFile
"""One place: called, it gives values by variable, and what is listed as ``APPS`` and ``CHANNELS``.

Empty ones are left out.
"""


def open_sources(root: Path, environ: Mapping[str, str], arguments: Mapping[str, object]) -> Sequence[Source]:
    """Open all places, the strongest first."""
    given, environment, env_file = Arguments(arguments), Environment(environ), EnvFile(root, ENV_FILE)
    name = _choose(given, environment, env_file)
    env_files = [EnvFile(root, f"{ENV_FILE}.{name}"), env_file] if name else [env_file]
    layers = [*(file.said for file in env_files[::-1]), environ]
    said = {key: value for layer in layers for key, value in layer.items() if value.strip()}
    overlay = [f"config/{name}.yaml"] if name else []
    yaml_files = [YamlFile(root, place, said) for place in [*overlay, YAML_FILE]]
    referred = {key for file in yaml_files for key in file.referred}
    for file in env_files:
        file.problems += _mistyped(file, file.said.keys() - referred)
    return [given, environment, *env_files, *yaml_files]


def _choose(*strongest_first: Source) -> str | None:
    """Give the environment to read files of; a wrong one is left for validation to refuse."""
    name = next((source()[SELECTOR] for source in strongest_first if SELECTOR in source()), None)
    return name if name in get_args(EnvironmentName) else None


def _mistyped(file: EnvFile, names: Collection[str]) -> Iterator[str]:
    for name in file.said:
        if name in names and (guess := similar(name, VARIABLES)):
            yield f"{name} in {file.place}: unknown variable, did you mean {guess}?"


def _known(values: Mapping[str, str]) -> Mapping[str, str | None]:
    return {name: values[name] for name in sorted(VARIABLES) if values.get(name, "").strip()}


def _read_text(path: Any, source: EnvFile | YamlFile) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        source.problems.append(f"{source.place}: is not UTF-8 text")
    except OSError as error:
        source.problems.append(f"{source.place}: cannot be read ({error.strerror})")
    return ""
