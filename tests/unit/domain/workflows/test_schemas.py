"""Configs against the JSON Schema of their type."""

from typing import Any

import pytest

from flowledger.domain.workflows.schemas import json_schema, misfits


@pytest.mark.parametrize(
    ("value", "schema", "places"),
    [
        ({"x": 1}, {"type": "object", "required": ["x", "y"]}, ["y"]),
        ({"x": 1}, {"properties": {"x": {"enum": [2, 3]}}}, ["x"]),
        ({"x": 1}, {"properties": {"x": {"minimum": 2}}}, ["x"]),
        ({"x": [1, "a"]}, {"properties": {"x": {"items": {"type": "integer"}}}}, ["x[1]"]),
        ({"x": {"y": "long"}}, {"properties": {"x": {"properties": {"y": {"maxLength": 3}}}}}, ["x.y"]),
        ({"x": 1}, {"additionalProperties": False}, ["x"]),
        ({"x": 1}, {"additionalProperties": {"type": "string"}}, ["x"]),
        ({"x": True}, {"properties": {"x": {"type": ["number", "null"]}}}, ["x"]),
        ({"x": "{{input.n}}"}, {"properties": {"x": {"type": "number", "minimum": 2}}}, []),
        ([], {"type": "object"}, [""]),
        ({"x": 1}, {"type": "unheard-of"}, [""]),
        ({"x": 1}, "no schema", []),
    ],
)
def test_each_part_that_does_not_fit_is_named(value: Any, schema: Any, places: list[str]) -> None:
    """A text with brackets fits everywhere."""
    assert [place for place, _ in misfits(value, schema)] == places


def test_the_short_form_names_the_kind_of_each_field() -> None:
    """Anything else is a JSON Schema as it is."""
    short = {"processor_type": "string", "parameters": "object"}
    assert json_schema(short) == {
        "type": "object",
        "properties": {"processor_type": {"type": "string"}, "parameters": {"type": "object"}},
    }
    assert json_schema({"type": "object"}) == {"type": "object"}
    assert json_schema({"properties": {}}) == {"properties": {}}
