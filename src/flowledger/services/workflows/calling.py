"""Calls a registered API once, outside of any workflow: to try it out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from flowledger.domain.runs import Json
from flowledger.domain.workflows.definition import Node, NodeType
from flowledger.domain.workflows.steps import ExecutionFacts, RunStep, StepStatus
from flowledger.services.workflows.engine import Engine
from flowledger.services.workflows.stepping import StepRunner

ALIAS = "call"
BY_NAME = ("headers", "parameters", "query")
"""Parts that are merged with those of the registry, name by name."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What the caller wants to send is data: it is found as ``input`` and never read as a template."""

    values: Json

    def root(self, name: str) -> Json:
        """Return a root's value."""
        return self.values if name == "input" else None


async def call_api(engine: Engine, api_id: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Call an API with headers, parameters, query, body and timeout; return its answer, secrets masked."""
    values: list[Json] = []
    config: dict[str, Json] = {"api_id": api_id}
    for name in BY_NAME:
        if part := given.get(name):
            config[name] = {key: _place(values, value) for key, value in part.items()}
    if given.get("body") is not None:
        config["body"] = _place(values, given["body"])
    if given.get("timeout") is not None:
        config["timeout"] = given["timeout"]
    call_id = uuid4().hex
    runner = StepRunner(
        engine=engine,
        step=RunStep(ALIAS, ALIAS),
        # Once: whoever tries an API wants to see how it fails.
        node=Node(1, ALIAS, ALIAS, NodeType.API_CALL, config, options={"retry_policy": {"max_retries": 0}}),
        scope=_Given(values),
        generation=0,
        tries=0,
        execution=ExecutionFacts(0, call_id, 1, 0, "", engine.clock()),
        workflow_config={},
        input=None,
        record=lambda _steps, _events: None,
    )
    finished = await runner.run()
    response = finished.outcome.response or {}
    return {
        "success": finished.outcome.status is StepStatus.SUCCESS,
        "status": response.get("status"),
        "headers": response.get("headers") or {},
        "body": response.get("body"),
        "error": finished.outcome.error,
        "error_type": finished.outcome.error_type,
        "seconds": finished.step.seconds,
    }


def _place(values: list[Json], value: Json) -> str:
    """Return the expression that finds a value."""
    values.append(value)
    return f"{{{{input[{len(values) - 1}]}}}}"
