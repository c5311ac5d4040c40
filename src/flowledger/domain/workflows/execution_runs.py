"""Executions of workflows as runs of the ledger (source ``local``): one list with those of Dify.

A *record* is an execution as a JSON object: execution_id, workflow_id, name, status, created_at …; it is the
run's ``raw``.  Its steps are the one body of the detail, ``steps``: a JSON list in the order they settled.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from flowledger.domain.numbers import integer_of
from flowledger.domain.record_kinds import instant_of, raw_of, record_of
from flowledger.domain.runs import AppKey, Creator, Detailed, Json, Missing, NodeExecution, Run, RunStatus

LOCAL = "local"
STEPS = "steps"
NOT_ENDED = Missing("the execution has not ended yet")


def execution_run(record: Mapping[str, Any]) -> Run:
    """Return the run of an execution's record."""
    created = instant_of(record["created_at"]) or datetime.fromtimestamp(0, UTC)
    started, ended = instant_of(record.get("started_at")), instant_of(record.get("completed_at"))
    who = record.get("requested_by")
    status = RunStatus(record["status"])
    return Run(
        app=AppKey(LOCAL, str(record["workflow_id"])),
        run_id=str(record["execution_id"]),
        listed_at=created.replace(microsecond=0),
        status=status,
        source_status=status.value,
        workflow_version=str(record.get("version_text") or record.get("version") or "") or None,
        created_from=record.get("trigger"),
        creator=Creator("user", str(who), str(who)) if who else None,
        error=record.get("error"),
        elapsed_s=_seconds(started, ended),
        total_steps=integer_of(record.get("total_steps")),
        started_at=started,
        finished_at=ended,
        raw=raw_of(record),
    )


def execution_detail(record: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Detailed:
    """Return the detail of an execution, ``steps`` being the values of its steps in settle order."""
    body = raw_of({STEPS: steps})
    return decode(execution_run(record), {STEPS: body}, "")


def decode(run: Run, bodies: Mapping[str, bytes], why_missing: str) -> Detailed:
    """Rebuild the detail of an execution: its input, its output, and each try of each node."""
    record = record_of(run)
    nodes: Sequence[NodeExecution] | Missing = Missing(why_missing) if why_missing else NOT_ENDED
    if STEPS in bodies:
        steps = steps_of(bodies[STEPS])
        nodes = [_node_execution(step, position) for position, step in enumerate(steps)]
    return Detailed(_object(record.get("input")), _object(record.get("output")), nodes, dict(bodies))


def steps_of(body: bytes) -> Sequence[Mapping[str, Any]]:
    """Return the values of the steps that a body holds."""
    steps: list[Mapping[str, Any]] = json.loads(body.decode("utf-8", "surrogatepass"))[STEPS]
    return steps


def _node_execution(step: Mapping[str, Any], position: int) -> NodeExecution:
    started, ended = instant_of(step.get("started_at")), instant_of(step.get("completed_at"))
    facts = ("key", "alias", "generation", "try_no", "superseded", "manual", "error_type", "metrics")
    return NodeExecution(
        position=position,
        execution_id=f"{step['key']}:{step.get('generation', 1)}:{step.get('try_no', 1)}",
        node_id=str(step.get("alias", "")),
        node_type=str(step.get("node_type", "")),
        title=str(step.get("name", "")),
        status=str(step["status"]),
        index=position + 1,
        error=step.get("error"),
        elapsed_s=_seconds(started, ended),
        started_at=started,
        finished_at=ended,
        inputs=step.get("input"),
        outputs=step.get("output"),
        metadata={name: step[name] for name in facts if step.get(name)},
    )


def _object(value: Json) -> Mapping[str, Json] | None:
    if value is None:
        return None
    return value if isinstance(value, dict) else {"value": value}


def _seconds(started: datetime | None, ended: datetime | None) -> Decimal | None:
    if started is None or ended is None or ended < started:
        return None
    return Decimal((ended - started) // timedelta(microseconds=1)) / 1_000_000
