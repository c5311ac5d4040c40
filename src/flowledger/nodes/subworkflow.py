"""SUBWORKFLOW: another workflow as a step."""

from typing import ClassVar

from flowledger.nodes.options import ANYTHING, COUNT, Schema, options


class SubworkflowNode:
    """Executes another workflow, waits for its end and gives its output."""

    config_schema: ClassVar[Schema] = options(workflow_id=ANYTHING, version=COUNT, input=ANYTHING)
    """``validation`` checks which workflow that is."""
