"""Where settings come from, and what all places together say before it is typed."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any, get_args

from dotenv.parser import parse_stream
from pydantic import SecretStr
from pydantic_settings import (
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    YamlConfigSettingsSource,
)

from flowledger.errors import SettingsError, UnreadableSecretError
from flowledger.settings import references
from flowledger.settings.config_files import read_yaml
from flowledger.settings.encryption import split_keys
from flowledger.settings.model import APP_VARIABLES, VARIABLES, Settings
from flowledger.settings.options import storage_field, variable_field
from flowledger.settings.references import Keyring, Way, read_file
from flowledger.settings.types import EnvironmentName
from flowledger.settings.validators import similar, stray

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


NAMES = {field: name for name, field in APP_VARIABLES.items()}
KEY, KEY_FILE, STORAGE = "FLOWLEDGER_SECRET_KEY", "FLOWLEDGER_SECRET_KEY_FILE", "STORAGE_OPTIONS"
LEDGER = "LEDGER_URL"
"""Its file://DIR is a ledger in a folder, no reference; file:PATH still is one."""
NEEDED = ("base_url", "api_token", "id")


@dataclass(frozen=True, slots=True)
class Reading:
    """Values by variable, the place of each, the references among them, and what could not be read.

    ``has_own``: whether the variables DIFY_* define an app, which then is the first.  ``is_partial``: a file
    could not be read, so that what is not set may be set there.
    """

    values: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, str]
    has_own: bool
    references: Mapping[Way, str] = field(default_factory=dict, repr=False)
    unreadable: Mapping[Way, str] = field(default_factory=dict)
    keys: tuple[SecretStr, ...] = ()
    is_partial: bool = False

    @classmethod
    def of(cls, sources: Sequence[Source], *, need_app: bool) -> "Reading":
        """Put together what the places say; of two that name a variable, the stronger one counts."""
        said = [(source.place, source()) for source in reversed(sources)]
        values = {name: value for _, layer in said for name, value in layer.items()}
        own = {field: values[name] for name, field in APP_VARIABLES.items() if name in values}
        listed = values.get(APPS, [])
        has_own = _defines_app(own, listed, sources) or (need_app and not listed)
        if isinstance(listed, list):
            values[APPS] = [own] * has_own + [_complete(app) for app in listed]
        if isinstance(given := values.setdefault(CHANNELS, {}), dict):
            values[CHANNELS] = {str(name): _without_empty(channel) for name, channel in given.items()}
        places = {name: place for place, layer in said for name in layer}
        is_partial = not all(getattr(source, "is_read", True) for source in sources)
        return cls(values, places, has_own, is_partial=is_partial)

    def with_secrets(self, root: Path) -> "Reading":
        """Read the secrets that are referred to; those that cannot be read are left out, and named."""
        keyring, lines = self.keyring(root)
        found = {
            way: text
            for way, text in references.references_in(self.values)
            if way != (KEY,) and not (way == (LEDGER,) and text.strip().startswith("file://"))
        }
        answers = {text: _answer(text, keyring) for text in dict.fromkeys(found.values())}
        secrets: dict[Way, SecretStr | None] = {}
        for way, text in found.items():
            answer = answers[text]
            secrets[way] = None if isinstance(answer, str) else answer
            if isinstance(answer, str):
                lines[way] = answer
        values = references.put_in(self.values, secrets)
        return replace(self, values=values, references=found, unreadable=lines, keys=keyring.keys)

    def keyring(self, root: Path) -> tuple[Keyring, dict[Way, str]]:
        """Give what readers need, and a line for each source of keys that cannot be read."""
        keys: list[SecretStr] = []
        lines: dict[Way, str] = {}
        for name in (KEY, KEY_FILE):
            text = str(self.values.get(name, "")).strip()
            way, file = (name,), text.removeprefix("file:")
            if not text:
                continue
            try:
                is_file = name == KEY_FILE or file != text
                keys += split_keys(read_file(file, Keyring(root)) if is_file else text)
            except UnreadableSecretError as error:
                lines[way] = str(error)
        url = self.values.get("PREFECT_API_URL")
        return Keyring(root, tuple(keys), url if isinstance(url, str) else None), lines

    def label(self, way: Way) -> str:
        """Name a value as people wrote it, with its place if it has one."""
        name, shown = self._named(way)
        return f"{shown} in {self.places[name]}" if name in self.places else shown

    def origin(self, way: Way) -> str:
        """Name the place a value came from, or say that it is the default."""
        return self.places.get(self._named(way)[0], "default")

    def _named(self, way: Way) -> tuple[str, str]:
        """Give the variable that holds a value, and how people call the value."""
        match way:
            case ("APPS", 0, field, *_) if self.has_own and field in NAMES:
                name = shown = NAMES[str(field)]
            case ("APPS", int(index), "schedules", "crons", key, *_):
                name, shown = APPS, f"apps[{index - self.has_own}].schedules.{key}"
            case ("APPS", int(index), *rest):
                name, shown = APPS, ".".join([f"apps[{index - self.has_own}]", *map(str, rest[:1])])
            case ("CHANNELS", channel, str(option), *_) if not self.lists_channel(channel):
                name = shown = variable_field(str(channel), option).upper()
            case ("STORAGE_OPTIONS", str(option), *_):
                name = shown = storage_field(str(self.values.get("STORAGE_TYPE")), option).upper()
            case ("CHANNELS" | "APPS" as name, *rest):
                shown = ".".join([name.lower(), *map(str, rest[:2])])
            case _:
                name = shown = str(way[0])
        return name, shown

    def is_set(self, way: Way) -> bool:
        """Tell whether any place says something for the variable of a value."""
        return self._named(way)[0] in self.values

    def channel(self, name: object) -> object:
        """Give a listed channel as it was written; None where there is none of that name."""
        listed = self.values.get(CHANNELS)
        return listed.get(name) if isinstance(listed, Mapping) else None

    def lists_channel(self, name: object) -> bool:
        """Tell whether a YAML file lists a channel of a name."""
        return self.channel(name) is not None

    def listed_apps(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Give each app that is a mapping at all, with its number in ``APPS``."""
        listed = self.values[APPS] if isinstance(self.values.get(APPS), list) else []
        return ((index, app) for index, app in enumerate(listed) if isinstance(app, dict))


def _answer(reference: str, keyring: Keyring) -> SecretStr | str:
    """Give the secret of a reference, or say why it cannot be read."""
    try:
        return references.read(reference, keyring)
    except UnreadableSecretError as error:
        return str(error)


def _defines_app(own: Mapping[str, Any], listed: object, sources: Sequence[Source]) -> bool:
    """Tell whether DIFY_* define an app; not where they are no whole one and YAML files refer to them all."""
    if not own or not listed or all(field in own for field in NEEDED):
        return bool(own)
    referred = {name for source in sources for name in getattr(source, "referred", ())}
    return not {NAMES[field] for field in own} <= referred


def _complete(app: object) -> object:
    """Drop what a listed app leaves empty, and call it by its id where it has no name."""
    given = _without_empty(app)
    return {"name": str(given.get("id", "default")), **given} if isinstance(given, dict) else given


def _without_empty(given: object) -> Any:
    if not isinstance(given, dict):
        return given
    return {str(field): value for field, value in given.items() if value not in (None, "")}
