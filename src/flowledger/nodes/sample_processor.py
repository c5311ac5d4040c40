"""A sample of a custom type's handler: hands its parameters on, with figures for the monitor."""

from dataclasses import dataclass
from time import perf_counter

from flowledger.workflow_ports import NodeAnswer, NodeCall


@dataclass(frozen=True, slots=True)
class SampleProcessor:
    """Returns the ``parameters`` of its config.

    ``metrics`` are processing_time (seconds), data_throughput (parameters) and error_rate (share of those
    that are null).
    """

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Process the parameters."""
        began = perf_counter()
        parameters = call.config.get("parameters")
        values = list(parameters.values()) if isinstance(parameters, dict) else []
        missing = sum(value is None for value in values)
        return NodeAnswer(
            {"processor_type": call.config.get("processor_type"), "parameters": parameters},
            metrics={
                "processing_time": perf_counter() - began,
                "data_throughput": float(len(values)),
                "error_rate": missing / len(values) if values else 0.0,
            },
        )
