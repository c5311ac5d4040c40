"""LOOP: a body again and again."""

from typing import ClassVar

from flowledger.domain.workflows.graph import MOST_PASSES
from flowledger.nodes import options
from flowledger.nodes.options import Schema


class LoopNode:
    """Repeats its body for each item, or while its condition holds; its output has what each pass gave."""

    config_schema: ClassVar[Schema] = options.options(
        condition=options.CONDITION,
        conditions=options.CONDITION,
        items={"type": ["array", "string"]},
        max_iterations={"type": "integer", "minimum": 1, "maximum": MOST_PASSES},
        break_on_error=options.FLAG,
        on_max=options.one_of("warn", "fail"),
        max_concurrent=options.COUNT,
        timeout_seconds=options.SECONDS,
    )
