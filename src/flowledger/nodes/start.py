"""START: where an execution begins."""

from typing import ClassVar

from flowledger.nodes.options import OBJECT, Schema, options


class StartNode:
    """Begins an execution; its output is the input, which has to fit ``input_schema``."""

    config_schema: ClassVar[Schema] = options(input_schema=OBJECT)
