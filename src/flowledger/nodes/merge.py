"""MERGE: one value of several ways."""

from typing import ClassVar

from flowledger.nodes.options import TEXT, Schema, options


class MergeNode:
    """Returns the outputs of what leads to it: ALL of them by alias, the FIRST, or that of the MAJORITY."""

    config_schema: ClassVar[Schema] = options(strategy=TEXT)
    """``validation`` knows its words, in capitals or not."""
