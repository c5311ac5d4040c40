"""The JSON Schema of files of workflows: the one in config/ is the program's, and marks mistakes."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flowledger.cli.workflow_files import SCHEMA_FILE, schema_text
from flowledger.io.yaml_text import read_document

ROOT = Path(__file__).parents[3]
VALIDATOR = jsonschema.Draft202012Validator(read_document(schema_text()).value)


def test_the_file_is_the_programs() -> None:
    """``flowledger workflow schema --write`` would change nothing."""
    assert (ROOT / SCHEMA_FILE).read_text("utf-8") == schema_text()
    VALIDATOR.check_schema(VALIDATOR.schema)


def workflow(node: str = "", more: str = "") -> Any:
    """A workflow with one node, and what else its file says."""
    return read_document(f"format: workflow/1\nname: x\nnodes:\n- {{node_type: START}}\n{node}\n{more}").value


@pytest.mark.parametrize(
    ("node", "more"),
    [
        ('- {node_type: LOOP, config: {max_iterations: "{{input.most}}"}}', ""),
        ("- {node_type: OWN_TYPE, config: {anything: 1}}", ""),
        ("- {alias: a, node_type: DELAY, config: {seconds: 2}, timeout: 5, retry_policy: {jitter: 1}}", ""),
        ("", "connections: [{from: a, to: b, config: {on: failure}}, {from: 1, to: 2}]"),
        ("", "config: {timeout: 5, variables: {a: 1}}\ntags: [x]\napis: [{id: 1, path: /}]"),
    ],
)
def test_what_may_be_written_is_valid(node: str, more: str) -> None:
    """Expressions for any value, types of plugins, ends by alias or number."""
    assert [error.message for error in VALIDATOR.iter_errors(workflow(node, more))] == []


@pytest.mark.parametrize(
    ("node", "more"),
    [
        ("- {node_type: LOOP, config: {max_iterations: many}}", ""),
        ("- {node_type: API_CALL, config: {urll: x}}", ""),
        ("- {node_type: START, colour: red}", ""),
        ("- {alias: a}", ""),
        ("- {node_type: DELAY, join: some}", ""),
        ("", "connections: [{from: a}]"),
        ("", "connections: [{from: a, to: b, config: {on: sometimes}}]"),
        ("", "colour: red"),
        ("", "config: {timeout: -1}"),
    ],
)
def test_mistakes_are_marked(node: str, more: str) -> None:
    """Unknown names, wrong kinds, missing fields."""
    assert not VALIDATOR.is_valid(workflow(node, more))
