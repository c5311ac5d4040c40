"""Where settings come from, and what each place says."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from dotenv.parser import parse_stream

from flowledger.settings.problems import similar
from flowledger.settings.variables import VARIABLES

ENV_FILE = ".env"
YAML_FILE = "config/settings.yaml"
REFERENCE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place says: variables by name, apps (``config/settings.yaml`` only), what is wrong there.

    ``referred`` are the variables that its values name as ``${NAME}``.
    """

    place: str
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    apps: Sequence[object] = field(default=(), repr=False)
    problems: Sequence[str] = ()
    referred: Collection[str] = ()


def read_layers(root: Path, environ: Mapping[str, str], arguments: Mapping[str, object]) -> Sequence[Layer]:
    """Read all places, the strongest first; an empty value counts as not given."""
    file_values, file_problems = _read_env_file(root / ENV_FILE)
    yaml_layer = _read_yaml(root / YAML_FILE, {**file_values, **environ})
    unused = [name for name in file_values if name not in yaml_layer.referred]
    return (
        Layer(
            "arguments",
            {name: value for name, value in arguments.items() if value is not None},
            problems=[
                f"{name} in arguments: unknown variable" for name in arguments if name not in VARIABLES
            ],
        ),
        Layer("environment", _known(environ)),
        Layer(ENV_FILE, _known(file_values), problems=[*file_problems, *_mistyped(unused)]),
        yaml_layer,
    )


def _mistyped(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if guess := similar(name, VARIABLES):
            yield f"{name} in {ENV_FILE}: unknown variable, did you mean {guess}?"


def _known(values: Mapping[str, str]) -> Mapping[str, str]:
    return {name: values[name] for name in sorted(VARIABLES) if values.get(name, "").strip()}


def _read_env_file(path: Path) -> tuple[Mapping[str, str], Sequence[str]]:
    text, problems = _read_text(path, ENV_FILE)
    values: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            problems.append(f"line {binding.original.line} of {ENV_FILE}: cannot be read, write NAME=value")
        elif binding.key and binding.value:
            values[binding.key] = binding.value
    return values, problems


def _read_yaml(path: Path, said: Mapping[str, str]) -> Layer:
    text, problems = _read_text(path, YAML_FILE)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The error's own text quotes the file, which may hold secrets.
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1} of " if mark else ""
        return Layer(YAML_FILE, problems=[f"{line}{YAML_FILE}: is not valid YAML"])
    if not isinstance(document, dict):
        wrong = [] if document is None else [f"{YAML_FILE}: must be a mapping of names to values"]
        return Layer(YAML_FILE, problems=[*problems, *wrong])
    document = _resolve(document, said, problems)
    apps = document.pop("apps", None) or []
    if not isinstance(apps, list):
        problems.append(f"apps in {YAML_FILE}: must be a list")
        apps = []
    values = {str(name).upper(): value for name, value in document.items() if value not in (None, "")}
    problems += _strangers(values)
    known = {name: value for name, value in values.items() if name in VARIABLES}
    return Layer(YAML_FILE, known, apps, problems, REFERENCE.findall(text))


def _strangers(values: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(values.keys() - VARIABLES):
        guess = similar(name, VARIABLES)
        hint = f", did you mean {guess.lower()}?" if guess else ""
        yield f"{name.lower()} in {YAML_FILE}: unknown setting{hint}"


def _resolve(value: Any, said: Mapping[str, str], problems: list[str]) -> Any:
    """Put what the environment or ``.env`` says in the place of every ``${NAME}``."""
    if isinstance(value, dict):
        return {key: _resolve(inner, said, problems) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, said, problems) for inner in value]
    reference = REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    if reference is None:
        return value
    if not said.get(reference[1]):
        problems.append(f"{reference[1]} is not set: {YAML_FILE} refers to it")
    return said.get(reference[1])


def _read_text(path: Path, place: str) -> tuple[str, list[str]]:
    try:
        return path.read_text("utf-8-sig"), []
    except FileNotFoundError:
        return "", []
    except UnicodeDecodeError:
        return "", [f"{place}: is not UTF-8 text"]
    except OSError as error:
        return "", [f"{place}: cannot be read ({error.strerror})"]
