"""REPORT: the report of an app as a step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, ClassVar

from flowledger.domain.runs import Json
from flowledger.errors import UsageError
from flowledger.io.own_thread import OwnThreads
from flowledger.nodes.options import FLAG, TEXT, Schema, handled
from flowledger.workflow_ports import NodeAnswer, NodeCall

AT_ONCE = 4
WriteReport = Callable[[Mapping[str, Any], datetime, str], Mapping[str, Json]]
"""Collects and reports what options say, seen from an instant, under an id; returns the result."""

_OPTIONS: Mapping[str, Schema] = {
    **dict.fromkeys(("app", "period", "after", "before", "timezone", "status", "keyword"), TEXT),
    "formats": {"type": ["string", "array"], "items": TEXT},
    "with_details": FLAG,
    "with_node_executions": FLAG,
}


def no_reports(_options: Mapping[str, Any], _instant: datetime, _run_id: str) -> Mapping[str, Json]:
    """Refuse to report.

    :raises UsageError: always.
    """
    raise UsageError("no reports are written here")


@dataclass(frozen=True)
class ReportNode:
    """Collects an app's runs of a period and writes their report; its output is the report's result."""

    config_schema: ClassVar[Schema] = handled(**_OPTIONS)
    write: WriteReport = no_reports
    threads: OwnThreads = field(default_factory=lambda: OwnThreads("report", AT_ONCE))

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Report; the period is seen from the start of the execution, however often the step is tried."""
        chosen = {name: call.config[name] for name in _OPTIONS if call.config.get(name) is not None}
        run_id = sha256(call.idempotency_key.encode()).hexdigest()[:8]
        started_at = call.execution.started_at
        result = await self.threads.run(lambda: self.write(chosen, started_at, run_id))
        requests = result.get("requests")
        metrics = {"requests": float(requests)} if isinstance(requests, int) else {}
        return NodeAnswer(dict(result), metrics=metrics)
