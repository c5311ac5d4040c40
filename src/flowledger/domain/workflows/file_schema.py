"""JSON Schema of files of workflows, so that an editor completes names and marks mistakes.  Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from flowledger.domain.workflows.containers import POLICIES
from flowledger.domain.workflows.definition import ConnectionType
from flowledger.domain.workflows.old_exports import FORMAT

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEMPLATE: Mapping[str, Any] = {"type": "string", "pattern": r"\{\{|\$\{"}
_TEXT: Mapping[str, Any] = {"type": "string"}
_OBJECT: Mapping[str, Any] = {"type": "object"}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_SECONDS: Mapping[str, Any] = {"type": "number", "exclusiveMinimum": 0}
_CONDITION: Mapping[str, Any] = {"type": ["string", "object", "array", "boolean", "null"]}
_RETRIES: Mapping[str, Any] = {
    "max_retries": _COUNT,
    "retry_delay_seconds": {"type": "number", "minimum": 0},
    "backoff_strategy": {"enum": ["fixed", "linear", "exponential"]},
    "max_delay_seconds": {"type": "number", "minimum": 0},
    "jitter": {"type": "number", "minimum": 0, "maximum": 1},
    "retry_on": {"type": "array"},
    "non_retryable": {"type": "array"},
    "max_total_seconds": _SECONDS,
}


def file_schema(node_types: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the schema of a file; ``node_types`` are a description and the schema of the config by type."""
    return {
        "$schema": DIALECT,
        "title": "A workflow of Flowledger",
        **_closed(
            {
                "$schema": _TEXT,
                "format": {"const": FORMAT},
                "name": {"type": "string", "minLength": 1},
                "description": {"type": ["string", "null"]},
                "version": _TEXT,
                "config": _workflow_config(),
                "tags": {"type": "array", "items": _TEXT},
                "nodes": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "connections": {"type": "array", "items": {"$ref": "#/$defs/connection"}},
                "groups": {"type": "array", "items": {"$ref": "#/$defs/group"}},
                "apis": {"type": "array", "items": {**_OBJECT, "required": ["id"]}},
            },
            "format",
            "name",
            "nodes",
        ),
        "$defs": {"node": _node(node_types), "connection": _connection(), "group": _group()},
    }


def _workflow_config() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "timeout": _SECONDS,
            "retry_count": _COUNT,
            "error_handling": {"enum": ["stop", "continue", "cancel"]},
            "auto_resume": {"type": "boolean"},
            "variables": _OBJECT,
        },
    }


def _node(node_types: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    listed = [{"const": name, "description": words} for name, (words, _) in node_types.items()]
    return {
        **_closed(
            {
                "alias": {"type": "string", "minLength": 1},
                "name": {"type": "string", "minLength": 1},
                # Plugins bring further types.
                "node_type": {"anyOf": [*listed, {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"}]},
                "config": {"type": ["object", "null"]},
                "description": {"type": ["string", "null"]},
                "position_x": {"type": ["number", "null"]},
                "position_y": {"type": ["number", "null"]},
                "conditions": _CONDITION,
                "condition_logic": {"enum": ["and", "or"]},
                "join": {"enum": ["all", "any"]},
                "skip_as": {"enum": ["success", "skipped"]},
                "retry_policy": {"type": "object", "properties": _RETRIES},
                "timeout": _SECONDS,
                "continue_on_failure": {"type": "boolean"},
                "approval_required": {"type": "boolean"},
                "approval_config": _OBJECT,
                "notification_config": _OBJECT,
            },
            "node_type",
        ),
        "allOf": [
            {
                "if": {"properties": {"node_type": {"const": name}}, "required": ["node_type"]},
                "then": {"properties": {"config": {"anyOf": [lenient(schema), {"type": "null"}]}}},
            }
            for name, (_, schema) in node_types.items()
        ],
    }


def _connection() -> dict[str, Any]:
    return _closed(
        {
            "from": {"type": ["string", "integer"]},
            "to": {"type": ["string", "integer"]},
            "connection_type": {"enum": list(ConnectionType.__members__)},
            "condition": _CONDITION,
            "config": {
                "type": ["object", "null"],
                "properties": {
                    "on": {"enum": ["success", "failure", "always"]},
                    "delay": {"type": "number", "minimum": 0},
                    "default": {"type": "boolean"},
                },
            },
        },
        "from",
        "to",
    )


def _group() -> dict[str, Any]:
    steps = {"type": "array", "items": {"type": ["string", "integer"]}}
    return _closed(
        {
            "name": _TEXT,
            "description": _TEXT,
            "sync_policy": {"enum": list(POLICIES)},
            "timeout_seconds": _SECONDS,
            "steps": steps,
        },
        "name",
        "steps",
    )


def lenient(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a config in which a text with brackets may stand for any value."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return dict(schema)
    return {**schema, "properties": {name: _or_template(each) for name, each in properties.items()}}


def _or_template(schema: Any) -> Any:
    if not isinstance(schema, Mapping) or not schema or ("string" in _kinds(schema) and "enum" not in schema):
        return schema
    inner = lenient(schema)
    if isinstance(schema.get("items"), Mapping):
        inner["items"] = _or_template(schema["items"])
    return {"anyOf": [inner, TEMPLATE]}


def _kinds(schema: Mapping[str, Any]) -> Iterable[str]:
    kinds = schema.get("type", ())
    return (kinds,) if isinstance(kinds, str) else kinds


def _closed(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
        "required": list(required),
    }
