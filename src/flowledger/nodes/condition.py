"""CONDITION: which of two ways is taken."""

from typing import ClassVar

from flowledger.nodes import options
from flowledger.nodes.options import TEXT, Schema


class ConditionNode:
    """Takes its true or its false way, and gives which."""

    config_schema: ClassVar[Schema] = options.options(
        condition=options.CONDITION, conditions=options.CONDITION, true_path=TEXT, false_path=TEXT
    )
