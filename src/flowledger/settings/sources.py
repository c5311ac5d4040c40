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
from flowledger.settings.references import Keyring, Loc, read_file
from flowledger.settings.types import EnvironmentName
from flowledger.settings.validators import similar, split_pairs, stray

SELECTOR = "FLOWLEDGER_ENV"
ENV_FILE = ".env"
YAML_FILE = "config/settings.yaml"
APPS = "APPS"
CHANNELS = "CHANNELS"
REFERENCE = re.compile(r"\$\{(\w+)\}")


class Arguments(InitSettingsSource):
    """The arguments of a caller; None means not set."""

    place = "arguments"

    def __init__(self, arguments: Mapping[str, object]) -> None:
        self.problems = [
            f"{name} in arguments: unknown variable" for name in sorted(arguments.keys() - VARIABLES)
        ]
        raw = {name: value for name, value in arguments.items() if value is not None}
        super().__init__(Settings, {name: raw[name] for name in raw.keys() & VARIABLES})


class Environment(EnvSettingsSource):
    """The environment, as a mapping that need not be that of this process."""

    place = "environment"
    problems: Sequence[str] = ()

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # The one place where pydantic-settings would look at os.environ.
        return _own_variables(self.environ)


class EnvFile(DotEnvSettingsSource):
    """A file of NAME=value lines: its source has our variables only, ``variables`` has all of them."""

    def __init__(self, root: Path, place: str) -> None:
        self.place = place
        self.problems: list[str] = []
        self.variables: dict[str, str] = {}
        super().__init__(Settings, env_file=root / place)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # The library would put variables into "p$HOME" and skip lines that it cannot read.
        text = _read_text(self.env_file, self)
        for binding in parse_stream(StringIO(text)):
            if binding.error:
                line = binding.original.line
                self.problems.append(f"line {line} of {self.place}: cannot be read, write NAME=value")
            elif binding.key and binding.value:
                self.variables[binding.key] = binding.value
        return _own_variables(self.variables)


class YamlFile(YamlConfigSettingsSource):
    """A settings file, in which ``${NAME}`` stands for one of ``variables``; ``referred`` are those names.

    Where not ``is_read``, its content is unknown.
    """

    def __init__(self, root: Path, place: str, variables: Mapping[str, str]) -> None:
        self.place = place
        self.problems: list[str] = []
        self.referred: Sequence[str] = ()
        self.is_read = True
        self._variables = variables
        super().__init__(Settings, yaml_file=root / place)

    def _read_files(self, files: Any, deep_merge: bool = False) -> dict[str, Any]:  # noqa: ARG002
        # The library would take a folder of that name for no file, and end at the first problem.
        text = _read_text(files, self)
        self.referred = REFERENCE.findall(text)
        parsed = self._parse(text)
        self.is_read = not self.problems
        document = self._resolve(parsed)
        values = {str(name).upper(): value for name, value in document.items() if value not in (None, "")}
        allowed = VARIABLES | {APPS, CHANNELS}
        for name in sorted(values.keys() - allowed):
            guess = similar(name, allowed)
            self.problems.append(stray(f"{name.lower()} in {self.place}", guess and guess.lower()))
        return {name: value for name, value in values.items() if name in allowed}

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
        if not self._variables.get(reference[1]):
            self.problems.append(f"{reference[1]} is not set: {self.place} refers to it")
        return self._variables.get(reference[1])


Source = Arguments | Environment | EnvFile | YamlFile
"""One place: calling it returns the values by variable, and the lists ``APPS`` and ``CHANNELS``.

Empty values are left out.
"""


def open_sources(root: Path, environ: Mapping[str, str], arguments: Mapping[str, object]) -> Sequence[Source]:
    """Return all places, the strongest first."""
    passed, environment, env_file = Arguments(arguments), Environment(environ), EnvFile(root, ENV_FILE)
    name = _choose(passed, environment, env_file)
    env_files = [EnvFile(root, f"{ENV_FILE}.{name}"), env_file] if name else [env_file]
    # Weakest first: of two layers with one variable the later one counts.
    layers = [*(file.variables for file in env_files[::-1]), environ]
    variables = {key: value for layer in layers for key, value in layer.items() if value.strip()}
    overlay = [f"config/{name}.yaml"] if name else []
    yaml_files = [YamlFile(root, place, variables) for place in [*overlay, YAML_FILE]]
    referred = {key for file in yaml_files for key in file.referred}
    for file in env_files:
        # What a YAML file refers to is somebody's own variable and no mistyped one of ours.
        file.problems += _mistyped(file, file.variables.keys() - referred)
    return [passed, environment, *env_files, *yaml_files]


def _choose(*strongest_first: Source) -> str | None:
    """Return the environment whose files are read; validation refuses a wrong one later."""
    name = next((source()[SELECTOR] for source in strongest_first if SELECTOR in source()), None)
    return name if name in get_args(EnvironmentName) else None


def _mistyped(file: EnvFile, names: Collection[str]) -> Iterator[str]:
    for name in file.variables:
        if name in names and (guess := similar(name, VARIABLES)):
            yield f"{name} in {file.place}: unknown variable, did you mean {guess}?"


def _own_variables(values: Mapping[str, str]) -> Mapping[str, str | None]:
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
SECRETS = "WORKFLOW_SECRETS"
KEY, KEY_FILE, STORAGE = "FLOWLEDGER_SECRET_KEY", "FLOWLEDGER_SECRET_KEY_FILE", "STORAGE_OPTIONS"
LEDGER = "LEDGER_URL"
"""In it ``file://DIR`` is a ledger in a folder, no reference; ``file:PATH`` is one."""
NEEDED = ("base_url", "api_token", "id")


@dataclass(frozen=True, slots=True)
class Reading:
    """Values by variable, the place of each, the references among them, and what could not be read.

    ``has_own``: whether the variables DIFY_* define an app, which then is the first.  ``is_partial``: a file
    could not be read, so that what is not set may be set there.  ``variables`` are those of the environment.
    """

    values: Mapping[str, Any] = field(repr=False)
    places: Mapping[str, str]
    has_own: bool
    references: Mapping[Loc, str] = field(default_factory=dict, repr=False)
    unreadable: Mapping[Loc, str] = field(default_factory=dict)
    keys: tuple[SecretStr, ...] = ()
    is_partial: bool = False
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, sources: Sequence[Source], *, need_app: bool) -> "Reading":
        """Merge the places; of two that set a variable, the stronger one counts."""
        # Weakest first, so that a stronger place overwrites.
        layers = [(source.place, source()) for source in reversed(sources)]
        values = {name: value for _, layer in layers for name, value in layer.items()}
        own = {field: values[name] for name, field in APP_VARIABLES.items() if name in values}
        listed = values.get(APPS, [])
        # An app that is needed but not defined at all counts too: each field it lacks is then reported.
        has_own = _defines_app(own, listed, sources) or (need_app and not listed)
        if isinstance(listed, list):
            values[APPS] = [own] * has_own + [_complete(app) for app in listed]
        if isinstance(raw := values.setdefault(CHANNELS, {}), dict):
            values[CHANNELS] = {str(name): _without_empty(channel) for name, channel in raw.items()}
        if SECRETS in values:  # each of them may be a reference
            values[SECRETS] = _without_empty(split_pairs(values[SECRETS]))
        places = {name: place for place, layer in layers for name in layer}
        is_partial = not all(getattr(source, "is_read", True) for source in sources)
        environ = next((each.environ for each in sources if isinstance(each, Environment)), {})
        return cls(values, places, has_own, is_partial=is_partial, variables=environ)

    def with_secrets(self, root: Path) -> "Reading":
        """Replace references by their secrets; those that cannot be read become None, with a line each."""
        keyring, lines = self.keyring(root)
        by_loc = {
            loc: text
            for loc, text in references.references_in(self.values)
            if loc != (KEY,) and not (loc == (LEDGER,) and text.strip().startswith("file://"))
        }
        # Each reference is read once, however many values it stands for.
        answers = {text: _answer(text, keyring) for text in dict.fromkeys(by_loc.values())}
        secrets: dict[Loc, SecretStr | None] = {}
        for loc, text in by_loc.items():
            answer = answers[text]
            secrets[loc] = None if isinstance(answer, str) else answer
            if isinstance(answer, str):
                lines[loc] = answer
        values = references.put_in(self.values, secrets)
        return replace(self, values=values, references=by_loc, unreadable=lines, keys=keyring.keys)

    def keyring(self, root: Path) -> tuple[Keyring, dict[Loc, str]]:
        """Return the keyring, and a line for each source of keys that cannot be read."""
        keys: list[SecretStr] = []
        lines: dict[Loc, str] = {}
        for name in (KEY, KEY_FILE):
            text = str(self.values.get(name, "")).strip()
            loc, file = (name,), text.removeprefix("file:")
            if not text:
                continue
            try:
                is_file = name == KEY_FILE or file != text
                keys += split_keys(
                    read_file(file, Keyring(root, variables=self.variables)) if is_file else text
                )
            except UnreadableSecretError as error:
                lines[loc] = str(error)
        url = self.values.get("PREFECT_API_URL")
        return Keyring(root, tuple(keys), url if isinstance(url, str) else None, self.variables), lines

    def label(self, loc: Loc) -> str:
        """Return the name of a value as people write it, with its place if it has one."""
        name, written = self._named(loc)
        return f"{written} in {self.places[name]}" if name in self.places else written

    def origin(self, loc: Loc) -> str:
        """Return the place a value came from, or ``default``."""
        return self.places.get(self._named(loc)[0], "default")

    def _named(self, loc: Loc) -> tuple[str, str]:
        """Return the variable of a value, and the name that people write."""
        match loc:
            case ("APPS", 0, field, *_) if self.has_own and field in NAMES:
                name = written = NAMES[str(field)]
            case ("APPS", int(index), "schedules", "crons", key, *_):
                name, written = APPS, f"apps[{index - self.has_own}].schedules.{key}"
            case ("APPS", int(index), *rest):
                name, written = APPS, ".".join([f"apps[{index - self.has_own}]", *map(str, rest[:1])])
            case ("CHANNELS", channel, str(option), *_) if not self.lists_channel(channel):
                name = written = variable_field(str(channel), option).upper()
            case ("STORAGE_OPTIONS", str(option), *_):
                name = written = storage_field(str(self.values.get("STORAGE_TYPE")), option).upper()
            case ("WORKFLOW_SECRETS" as name, str(secret), *_):
                written = f"{name}.{secret}"
            case ("CHANNELS" | "APPS" as name, *rest):
                written = ".".join([name.lower(), *map(str, rest[:2])])
            case _:
                name = written = str(loc[0])
        return name, written

    def is_set(self, loc: Loc) -> bool:
        """Return whether any place sets the variable of a value."""
        return self._named(loc)[0] in self.values

    def channel(self, name: object) -> object:
        """Return a listed channel as it was written, or None if there is none of that name."""
        listed = self.values.get(CHANNELS)
        return listed.get(name) if isinstance(listed, Mapping) else None

    def lists_channel(self, name: object) -> bool:
        """Return whether a YAML file lists a channel of a name."""
        return self.channel(name) is not None

    def listed_apps(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield each app that is a mapping at all, after its number in ``APPS``."""
        listed = self.values[APPS] if isinstance(self.values.get(APPS), list) else []
        return ((index, app) for index, app in enumerate(listed) if isinstance(app, dict))


def _answer(reference: str, keyring: Keyring) -> SecretStr | str:
    """Return the secret of a reference, or the reason why it cannot be read."""
    try:
        return references.read(reference, keyring)
    except UnreadableSecretError as error:
        return str(error)


def _defines_app(own: Mapping[str, Any], listed: object, sources: Sequence[Source]) -> bool:
    """Return whether DIFY_* define an app: not if they are incomplete and YAML files refer to them all."""
    if not own or not listed or all(field in own for field in NEEDED):
        return bool(own)
    referred = {name for source in sources for name in getattr(source, "referred", ())}
    return not {NAMES[field] for field in own} <= referred


def _complete(app: object) -> object:
    """Return a listed app without empty fields; its id is its name where it has none."""
    raw = _without_empty(app)
    return {"name": str(raw.get("id", "default")), **raw} if isinstance(raw, dict) else raw


def _without_empty(raw: object) -> Any:
    if not isinstance(raw, dict):
        return raw
    return {str(field): value for field, value in raw.items() if value not in (None, "")}
