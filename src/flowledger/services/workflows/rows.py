"""Workflows and executions as JSON objects: the fields that the HTTP API, commands and programs show."""

from collections.abc import Mapping
from typing import Any

from flowledger.domain.workflows.definition import NODE_OPTIONS, ConnectionType
from flowledger.domain.workflows.validation import Fault
from flowledger.workflow_ports import Event, Execution, Step, StoredWorkflow, WorkflowVersion

Row = dict[str, Any]


def workflow_row(stored: StoredWorkflow) -> Row:
    """Return a workflow without its nodes and connections."""
    document = stored.document
    return {
        "id": stored.id,
        "name": document["name"],
        "description": document.get("description") or "",
        "version": document.get("version") or "1.0",
        "status": stored.status.value,
        "config": document.get("config") or {},
        "tags": list(document.get("tags") or ()),
        "revision": stored.revision,
        "published_version": stored.published,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def node_row(workflow_id: int, node: Mapping[str, Any]) -> Row:
    """Return a node, with those of the options of any node that it has."""
    return {
        "id": node["id"],
        "workflow_id": workflow_id,
        "alias": node["alias"],
        "name": node["name"],
        "node_type": node["node_type"],
        "config": node.get("config") or {},
        "position_x": node.get("position_x"),
        "position_y": node.get("position_y"),
        "description": node.get("description") or "",
        **{name: node[name] for name in NODE_OPTIONS if node.get(name) is not None},
    }


def connection_row(workflow_id: int, connection: Mapping[str, Any]) -> Row:
    """Return a connection."""
    return {
        "id": connection["id"],
        "workflow_id": workflow_id,
        "from_node_id": connection["from_node_id"],
        "to_node_id": connection["to_node_id"],
        "connection_type": connection.get("connection_type") or ConnectionType.SEQUENCE.value,
        "condition": connection.get("condition"),
        "config": connection.get("config") or {},
    }


def version_row(version: WorkflowVersion) -> Row:
    """Return a version without its document."""
    names = ("workflow_id", "number", "version", "digest", "created_at", "created_by")
    return {name: getattr(version, name) for name in names}


def fault_row(fault: Fault) -> Row:
    """Return a fault; whether it is a warning is for the reader of the list to know."""
    return {"node": fault.node, "field": fault.field, "message": fault.message}


def execution_row(execution: Execution, step_name: str | None = None) -> Row:
    """Return an execution; ``step_name`` is the name of the node that it is at."""
    return {
        "id": execution.id,
        "execution_id": execution.execution_id,
        "workflow_id": execution.workflow_id,
        "workflow_name": execution.workflow_name,
        "workflow_version": execution.version,
        "execution_name": execution.name,
        "status": execution.status.value,
        "progress": execution.progress,
        "current_step": step_name or execution.current_step,
        "created_at": execution.created_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
        "input_data": execution.input,
        "output_data": execution.output,
        "error_message": execution.error,
        "error_type": execution.error_type,
        "attempt": execution.attempt,
        "trigger": execution.trigger,
        "requested_by": execution.requested_by,
        "omitted": [f"{name}_data" for name in ("input", "output") if name in execution.omitted],
    }


def event_row(event: Event) -> Row:
    """Return an event."""
    return {
        "cursor": event.cursor,
        "event": event.event.value,
        "step_key": event.key,
        "at": event.at,
        "facts": dict(event.facts),
    }


def log_row(execution: Execution, step: Step) -> Row:
    """Return a try of a step, in the columns of the old table of logs and those that came later."""
    seconds = seconds_of(step)
    return {
        "id": step.id,
        "execution_id": execution.id,
        "step_key": step.key,
        "step_name": step.name,
        "node_id": step.node_id,
        "node_type": step.node_type,
        "alias": step.alias,
        "status": step.status.value,
        "input_data": step.input,
        "output_data": step.output,
        "error_message": step.error,
        "error_type": step.error_type,
        "execution_time": None if seconds is None else round(seconds, 6),
        "started_at": step.started_at,
        "completed_at": step.completed_at,
        "created_at": step.started_at or step.completed_at,
        "try_no": step.try_no,
        "generation": step.generation,
        "superseded": step.superseded,
        "manual": step.manual,
    }


def seconds_of(step: Step) -> float | None:
    """Return how long a try took; None while it has not ended."""
    if step.seconds is not None:
        return step.seconds
    if step.started_at is None or step.completed_at is None:
        return None
    return (step.completed_at - step.started_at).total_seconds()
