"""END: where an execution ends."""

from typing import ClassVar

from flowledger.nodes.options import ANYTHING, TEXT, Schema, options


class EndNode:
    """Ends an execution with its output, or as failed with an ``error_message``."""

    config_schema: ClassVar[Schema] = options(output=ANYTHING, error_message=TEXT)
