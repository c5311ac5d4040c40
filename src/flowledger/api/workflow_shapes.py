"""Answers of ``/workflows``, ``/executions`` and ``/apis`` (``services.workflows.rows`` fills them)."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flowledger import workflow_ports as ports
from flowledger.api.workflow_bodies import ApiEntry, Document
from flowledger.bootstrap.node_handlers import NodeKind


class WorkflowShape(BaseModel):
    """A workflow; ``revision`` grows with each change and is the ETag."""

    id: int
    name: str
    description: str
    version: str
    status: str = Field(examples=["draft"])
    config: Document
    tags: list[Any]
    revision: int
    published_version: int | None
    created_at: datetime
    updated_at: datetime


class NodeShape(BaseModel):
    """A node, with those of its options that are set."""

    model_config = ConfigDict(extra="allow")

    id: int
    workflow_id: int
    alias: str
    name: str
    node_type: str
    config: Document
    position_x: float | None
    position_y: float | None
    description: str


class ConnectionShape(BaseModel):
    """A connection."""

    id: int
    workflow_id: int
    from_node_id: int
    to_node_id: int
    connection_type: str
    condition: Any
    config: Document


class FaultShape(BaseModel):
    """Something wrong with a node, or (null) with the workflow, at one of its fields."""

    node: str | None
    field: str
    message: str


class ValidationShape(BaseModel):
    """Whether a workflow can be published, and all that is wrong with it or doubtful."""

    valid: bool
    errors: list[FaultShape]
    warnings: list[FaultShape]


class VersionShape(BaseModel):
    """An immutable version; ``digest`` is the SHA-256 of its canonical JSON."""

    workflow_id: int
    number: int
    version: str
    digest: str
    created_at: datetime
    created_by: str


class ScheduleShape(BaseModel):
    """By which cron a workflow is executed; ``active`` is false where somebody has paused it in Prefect."""

    workflow_id: int
    name: str
    cron: str
    timezone: str
    input: dict[str, Any]
    active: bool


class GraphNode(BaseModel):
    """A node as it is drawn."""

    id: int
    alias: str
    name: str
    node_type: str
    position_x: float
    position_y: float


class GraphShape(BaseModel):
    """A workflow as it is drawn."""

    workflow_id: int
    nodes: list[GraphNode]
    connections: list[ConnectionShape]


class ExportShape(BaseModel):
    """An exported workflow (docs/orchestration.md)."""

    model_config = ConfigDict(extra="allow")

    format: str = Field(examples=["workflow/1"])
    name: str


class ExecutionShape(BaseModel):
    """An execution; ``progress`` is in percent and never falls."""

    id: int
    execution_id: str
    workflow_id: int
    workflow_name: str
    workflow_version: int
    execution_name: str
    status: str
    progress: int
    current_step: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    input_data: Any
    output_data: Any
    error_message: str | None
    error_type: str | None
    attempt: int
    trigger: str
    requested_by: str
    omitted: list[str] = Field(
        description="What is too large for a list, input_data or output_data: null there, whole in one's own."
    )


class LogShape(BaseModel):
    """One try of one step."""

    model_config = ConfigDict(extra="allow")

    id: int
    execution_id: int
    node_id: int
    step_key: str
    alias: str
    step_name: str
    status: str
    try_no: int
    generation: int
    superseded: bool
    input_data: Any
    output_data: Any
    error_message: str | None
    execution_time: float | None
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime | None


class EventShape(BaseModel):
    """Something that happened; cursors count from 1 without gaps."""

    cursor: int
    event: str = Field(examples=["STEP_SUCCEEDED"])
    step_key: str
    at: datetime
    facts: Document


class EventPage(BaseModel):
    """Events in order; ``next_cursor`` is null once the execution has ended and all of them are here."""

    items: list[EventShape]
    next_cursor: int | None
    ended: bool


class ApiShape(ApiEntry):
    """An API of the registry."""

    id: int
    created_at: datetime
    updated_at: datetime


class TrialShape(BaseModel):
    """How a call ended; ``status`` is null where there was no answer."""

    success: bool
    status: int | None
    headers: Document
    body: Any
    error: str | None
    error_type: str | None
    seconds: float | None


class NodeTypeShape(BaseModel):
    """A type of nodes; one whose handler is not installed here cannot be executed."""

    type_name: str
    description: str
    config_schema: Document
    execution_handler: str
    custom: bool
    installed: bool


def api_row(api: ports.StoredApi) -> dict[str, Any]:
    """Return an API as ``ApiShape``."""
    fields = {name: api.fields.get(name) for name in ApiEntry.model_fields}
    return {"id": api.id, **fields, "created_at": api.created_at, "updated_at": api.updated_at}


def node_type_row(kind: NodeKind) -> dict[str, Any]:
    """Return a type of nodes as ``NodeTypeShape``."""
    return {
        "type_name": kind.type_name,
        "description": kind.description,
        "config_schema": dict(kind.config_schema),
        "execution_handler": kind.handler,
        "custom": kind.is_custom,
        "installed": kind.is_installed,
    }
