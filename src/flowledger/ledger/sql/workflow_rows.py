"""Workflows, executions, steps and waits to table rows and back."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.definition import Document, WorkflowStatus
from flowledger.domain.workflows.steps import EventType, StepStatus, WaitKind
from flowledger.workflow_ports import (
    Event,
    Execution,
    Step,
    StoredApi,
    StoredNodeType,
    StoredWorkflow,
    Wait,
    WorkflowVersion,
)


def workflow_from(row: Row[Any]) -> StoredWorkflow:
    """Make a workflow of a row."""
    return StoredWorkflow(
        id=row.id,
        document=row.document,
        status=WorkflowStatus(row.status),
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        published=row.published,
    )


def document_row(document: Document) -> dict[str, Any]:
    """Columns of ``workflows`` that the document fills."""
    tags = document.get("tags") or ()
    return {
        "name": str(document.get("name", "")),
        "tags": "".join(f"\n{tag}" for tag in tags) + "\n",
        "document": dict(document),
    }


def version_from(row: Row[Any]) -> WorkflowVersion:
    """Make a version of a row."""
    return WorkflowVersion(
        workflow_id=row.workflow,
        number=row.number,
        version=row.version,
        digest=row.digest,
        document=row.document,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def api_from(row: Row[Any]) -> StoredApi:
    """Make an API of a row."""
    return StoredApi(row.id, row.fields, row.created_at, row.updated_at)


def node_type_from(row: Row[Any]) -> StoredNodeType:
    """Make a node type of a row."""
    return StoredNodeType(row.type_name, row.description, row.config_schema, row.handler, row.created_at)


def execution_from(row: Row[Any]) -> Execution:
    """Make an execution of a row of ``workflow_executions`` joined with its values."""
    return Execution(
        id=row.id,
        execution_id=row.execution_id,
        workflow_id=row.workflow,
        workflow_name=row.workflow_name,
        version=row.version,
        version_text=row.version_text,
        name=row.name,
        status=RunStatus(row.status),
        attempt=row.attempt,
        progress=row.progress,
        current_step=row.current_step,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        input=row.input,
        variables=row.variables,
        config=row.config,
        output=row.output,
        error=row.error,
        error_type=row.error_type,
        trigger=row.trigger,
        requested_by=row.requested_by,
        parent=row.parent,
        owner=row.owner,
        lease_until=row.lease_until,
        wake_at=row.wake_at,
        asked=row.asked,
        resumes_itself=row.resumes_itself,
        flow_run_id=row.flow_run_id,
        reported_state=row.reported_state,
        take_overs=row.take_overs,
        planner_format=row.planner_format,
        resumed_seq=row.resumed_seq,
    )


def execution_record(execution: Execution, total_steps: int | None) -> dict[str, Any]:
    """Return an execution as its run's record (``domain.workflows.execution_runs``)."""
    return {
        "execution_id": execution.execution_id,
        "workflow_id": execution.workflow_id,
        "workflow_name": execution.workflow_name,
        "version": execution.version,
        "version_text": execution.version_text,
        "name": execution.name,
        "status": execution.status.value,
        "trigger": execution.trigger,
        "requested_by": execution.requested_by,
        "parent": execution.parent,
        "attempt": execution.attempt,
        "created_at": execution.created_at.isoformat(),
        "started_at": _text(execution.started_at),
        "completed_at": _text(execution.completed_at),
        "input": execution.input,
        "output": execution.output,
        "error": execution.error,
        "error_type": execution.error_type,
        "total_steps": total_steps,
    }


def step_values(step: Step) -> dict[str, Any]:
    """Return a step as the JSON object that the detail of its run holds."""
    return {
        **{name: getattr(step, name) for name in _STEP_VALUES},
        "metrics": dict(step.metrics),
        "status": step.status.value,
        "started_at": _text(step.started_at),
        "completed_at": _text(step.completed_at),
    }


_STEP_VALUES = tuple(each.name for each in fields(Step) if each.name not in ("id", "seq"))


def step_row(step: Step, execution: int, seq: int) -> dict[str, Any]:
    """A row of ``execution_steps``."""
    return {
        "execution": execution,
        "key": step.key,
        "generation": step.generation,
        "try_no": step.try_no,
        "seq": seq,
        "alias": step.alias,
        "name": step.name,
        "node_id": step.node_id,
        "node_type": step.node_type,
        "status": step.status.value,
        "input": step.input,
        "output": step.output,
        "response": step.response,
        "error": step.error,
        "error_type": step.error_type,
        "started_at": step.started_at,
        "completed_at": step.completed_at,
        "seconds": step.seconds,
        "superseded": step.superseded,
        "manual": step.manual,
        "metrics": dict(step.metrics),
    }


def step_from(row: Row[Any]) -> Step:
    """Make a step of a row."""
    return Step(
        key=row.key,
        alias=row.alias,
        name=row.name,
        node_id=row.node_id,
        node_type=row.node_type,
        generation=row.generation,
        try_no=row.try_no,
        status=StepStatus(row.status),
        input=row.input,
        output=row.output,
        response=row.response,
        error=row.error,
        error_type=row.error_type,
        started_at=row.started_at,
        completed_at=row.completed_at,
        seconds=row.seconds,
        superseded=row.superseded,
        manual=row.manual,
        metrics=row.metrics,
        seq=row.seq,
        id=row.id,
    )


def event_row(
    execution: int, cursor: int, event: EventType, key: str, at: datetime, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of ``execution_events``."""
    return {
        "execution": execution,
        "cursor": cursor,
        "event": event.value,
        "key": key,
        "at": at,
        "facts": dict(facts),
    }


def event_from(row: Row[Any]) -> Event:
    """Make an event of a row."""
    return Event(row.cursor, EventType(row.event), row.key, row.at, row.facts)


def wait_row(wait: Wait, execution: int) -> dict[str, Any]:
    """A row of ``execution_waits``."""
    return {
        "execution": execution,
        "key": wait.key,
        "alias": wait.alias,
        "generation": wait.generation,
        "kind": wait.kind.value,
        "since": wait.since,
        "due_at": wait.due_at,
        "facts": dict(wait.facts),
        "resolution": None if wait.resolution is None else dict(wait.resolution),
        "resolved_at": wait.resolved_at,
        "heard": wait.resolved_at is not None,
    }


def wait_from(row: Row[Any]) -> Wait:
    """Make a wait of a row of ``execution_waits`` joined with its execution's id."""
    return Wait(
        key=row.key,
        alias=row.alias,
        generation=row.generation,
        kind=WaitKind(row.kind),
        since=row.since,
        due_at=row.due_at,
        facts=row.facts,
        resolution=row.resolution,
        resolved_at=row.resolved_at,
        id=row.id,
        execution_id=row.execution_id,
    )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
