"""What all places say together, before it is typed: values, where each came from, references replaced."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flowledger.errors import UnreadableSecretError
from flowledger.settings import references
from flowledger.settings.channels import variable_field
from flowledger.settings.encryption import split_keys
from flowledger.settings.options import storage_field
from flowledger.settings.references import Keyring, Way, read_file
from flowledger.settings.sources import APPS, CHANNELS, Source
from flowledger.settings.variables import APP_VARIABLES

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
