"""DELAY: some time passes."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from flowledger.domain.workflows import delays
from flowledger.errors import UsageError
from flowledger.nodes.options import TEXT, Schema, handled
from flowledger.workflow_ports import NodeAnswer, NodeCall


@dataclass(frozen=True)
class DelayNode:
    """Waits ``seconds``, a ``duration`` (ISO 8601) or ``until`` a time; what is long is no handler's."""

    config_schema: ClassVar[Schema] = handled(
        seconds={"type": "number", "minimum": 0}, duration=TEXT, until=TEXT
    )

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Sleep, where the planner did not park the step: up to a minute.

        :raises UsageError: when the config asks for anything else.
        """
        delay = delays.delay_of(call.config)
        if isinstance(delay, datetime) or delay > delays.LONGEST_IN_PROCESS_S:
            raise UsageError("a delay of more than a minute is a wait, and no step of this process")
        await asyncio.sleep(delay)
        return NodeAnswer()
