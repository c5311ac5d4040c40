"""JSON Schema of the YAML files, so that an editor completes names and marks mistakes."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flowledger.plugins import CHANNELS
from flowledger.settings.apps import AppSettings
from flowledger.settings.config_files import write_whole
from flowledger.settings.model import Settings
from flowledger.settings.options import TYPE, options_model
from flowledger.settings.schedules import deployments_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ELSEWHERE = frozenset({"flowledger_env", "flowledger_secret_key", "apps", "channels"})
"""Fields that are no plain value of a YAML file."""

UNWANTED = ("title", "writeOnly", "format", "default", "description", "minLength")
UNSET = {"$ref": "#/$defs/unset"}
WORDS = {"$ref": "#/$defs/words"}
DEFINITIONS: Mapping[str, Any] = {
    "unset": {
        "description": "nothing, which means the default, or ${NAME} from the environment or .env",
        "anyOf": [{"type": "null"}, {"type": "string", "pattern": r"^\$\{\w+\}$"}],
    },
    "words": {"description": "words between commas", "type": "string"},
}


def settings_schema() -> dict[str, Any]:
    """Return the schema of settings.yaml, dev.yaml, staging.yaml and prod.yaml."""
    fields = _fields(Settings)
    properties = {name: field for name, field in fields.items() if name not in ELSEWHERE}
    properties["apps"] = {"type": ["array", "null"], "items": _object(AppSettings)}
    properties["channels"] = {
        "type": ["object", "null"],
        "additionalProperties": {"oneOf": [_channel(name) for name in CHANNELS]},
    }
    return {
        "$schema": DIALECT,
        "title": "Settings of Flowledger",
        "$defs": DEFINITIONS,
        **_closed(properties),
    }


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "settings": settings_schema,
    "deployments": deployments_schema,
}
"""Name of a file in config/ → its schema."""


def schema_text(name: str) -> str:
    """Return a schema as text, always the same for the same settings."""
    return json.dumps(SCHEMAS[name](), ensure_ascii=False, indent=2) + "\n"


def write_schemas(root: Path) -> Iterator[Path]:
    """Write all schemas into config/ below a root, and yield the files."""
    for name in SCHEMAS:
        file = root / "config" / f"{name}.schema.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, schema_text(name))
        yield file


def _channel(name: str) -> dict[str, Any]:
    described = _object(options_model("channel", name))
    properties = {TYPE: {"const": name}, **described["properties"]}
    return {"title": name, **_closed(properties), "required": [TYPE, *described.get("required", ())]}


def _object(model: type[Any]) -> dict[str, Any]:
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    return {**_closed(_fields(model)), **({"required": required} if required else {})}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _fields(model: type[Any]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=False, mode="validation")
    return {name: _lenient(field) for name, field in schema["properties"].items()}


def _lenient(field: Mapping[str, Any]) -> dict[str, Any]:
    """Allow what the reader allows besides the value itself: null, a ${NAME}, words between commas."""
    variants = [_bare(inner) for each in field.get("anyOf", [field]) for inner in each.get("oneOf", [each])]
    types = [each for each in variants if each.get("type") != "null"]
    if field.get("type") == "object":
        return {"anyOf": [{"type": "object", "additionalProperties": {"type": ["string", "null"]}}, UNSET]}
    default = {} if field.get("default") in (None, "") else {"default": field["default"]}
    if types == [{"type": "string"}]:
        return {"type": ["string", "null"], **default}
    words = [WORDS] if any(each.get("type") == "array" for each in types) else []
    return {"anyOf": [*types, *words, UNSET], **default}


def _bare(field: Mapping[str, Any]) -> dict[str, Any]:
    bare = {key: value for key, value in field.items() if key not in UNWANTED}
    if bare.get("type") == "array":  # words may be numbers, such as those of telephones
        bare["items"] = {**field["items"], "type": ["string", "integer"]}
    return bare
