"""JSON Schemas of nodes' configs, put together from the kinds of values that options have.

``services.workflows.authoring`` checks configs against them; a text with brackets fits everywhere.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

ANYTHING: Schema = {}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SECONDS: Schema = {"type": "number", "exclusiveMinimum": 0}
OBJECT: Schema = {"type": "object"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
LIST: Schema = {"type": "array"}
CONDITION: Schema = {"type": ["string", "object", "array", "boolean"]}

_OF_HANDLERS: Mapping[str, Schema] = {
    "output_mapping": TEXTS,
    "retry_policy": OBJECT,
    "retry_count": COUNT,
    "timeout": SECONDS,
}


def options(*required: str, **fields: Schema) -> Schema:
    """Return the schema of a config with these options and no others; one that is null is not set."""
    properties = {name: field if name in required else _or_null(field) for name, field in fields.items()}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def handled(*required: str, **fields: Schema) -> Schema:
    """Return the schema of a config that a handler gets: these options, and those of every such node."""
    return options(*required, **fields, **_OF_HANDLERS)


def one_of(*words: str) -> Schema:
    """Return the schema of a choice."""
    return {"type": "string", "enum": list(words)}


def _or_null(field: Schema) -> Schema:
    kinds = field.get("type")
    if kinds is None:
        return field
    choices = {"enum": [*field["enum"], None]} if "enum" in field else {}
    return {**field, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"], **choices}
