"""Bodies of requests to ``/workflows``, ``/executions`` and ``/apis``, and the ids in their paths."""

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from flowledger.domain.workflows.definition import ConnectionType

LARGEST_ID = 2**53
WorkflowId = Annotated[int, Path(ge=1, le=LARGEST_ID, examples=[1])]
EntryId = Annotated[int, Path(ge=1, le=LARGEST_ID, examples=[1])]
ExecutionId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=512,
        pattern=r"^[^\x00-\x1f\x7f/]+$",
        description="Its number, or its execution_id.",
        examples=["1"],
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=20_000)]
Document = dict[str, Any]


class Body(BaseModel):
    """A body; unknown fields are refused, since a field that does nothing misleads."""

    model_config = ConfigDict(extra="forbid")

    def fields(self) -> dict[str, Any]:
        """Return what was sent."""
        return self.model_dump(exclude_unset=True)


class WorkflowChanges(Body):
    """What of a workflow is to change."""

    name: Name | None = None
    description: Description | None = None
    version: Annotated[str, Field(max_length=50)] | None = None
    config: Document | None = Field(default=None, examples=[{"timeout": 300, "retry_count": 3}])
    tags: list[Name] | None = Field(default=None, max_length=100)


class NewWorkflow(WorkflowChanges):
    """A new workflow."""

    name: Name = Field(examples=["示例工作流"])


class NodeChanges(Body):
    """What of a node is to change; what any node may have stands beside ``config``."""

    name: Name | None = None
    node_type: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, examples=["API_CALL"]
    )
    config: Document | None = None
    position_x: float | None = None
    position_y: float | None = None
    description: Description | None = None
    alias: Name | None = None
    conditions: Any = None
    condition_logic: Any = None
    join: Any = None
    skip_as: Any = None
    retry_policy: Any = None
    timeout: Any = None
    continue_on_failure: Any = None
    approval_required: Any = None
    approval_config: Any = None
    notification_config: Any = None


class NewNode(NodeChanges):
    """A new node."""

    name: Name = Field(examples=["API调用节点"])
    node_type: Annotated[str, Field(min_length=1, max_length=64, examples=["API_CALL"])]


class ConnectionChanges(Body):
    """What of a connection is to change."""

    from_node_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    to_node_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    connection_type: ConnectionType | None = None
    condition: Any = None
    config: Document | None = None


class NewConnection(ConnectionChanges):
    """A new connection; in a draft it may lead to a node that is still to come."""

    from_node_id: int = Field(ge=1, le=LARGEST_ID)
    to_node_id: int = Field(ge=1, le=LARGEST_ID)


class NewExecution(Body):
    """What to execute a workflow with."""

    execution_name: Annotated[str, Field(max_length=255)] | None = Field(default=None, examples=["测试执行"])
    input_data: Any = Field(default=None, examples=[{"value": "test_data", "user_id": 123}])
    config: Document = Field(
        default={},
        examples=[{"async": True, "timeout": 600}],
        description="async (true), timeout in seconds, auto_resume, error_handling, step_by_step, debug.",
    )


class Resumption(Body):
    """How an execution is to go on."""

    recovery_strategy: str = Field(
        default="continue", examples=["continue", "restart_from", "skip_and_continue"]
    )
    step: Annotated[str | int, Field()] | None = Field(
        default=None, description="Key, alias, name or number."
    )
    parameters: Document | None = None
    modify_parameters: bool = False
    output: Any = Field(default=None, description="Of the steps that are skipped.")
    force: bool = False
    force_retry: bool = False


class ApiEntry(Body):
    """An API that nodes call by its number."""

    name: Name | None = None
    description: Description | None = None
    system: Annotated[str, Field(max_length=2000)] | None = Field(
        default=None, description="A name, or the address that `path` is below."
    )
    base_url: Annotated[str, Field(max_length=2000)] | None = None
    method: Annotated[str, Field(max_length=16)] | None = Field(default=None, examples=["GET"])
    path: Annotated[str, Field(max_length=4000)] | None = Field(default=None, examples=["/users/{id}"])
    version: Annotated[str, Field(max_length=50)] | None = None
    enabled: bool | None = None
    request_schema: Document | None = None
    response_schema: Document | None = None
    headers: Document | None = None
    parameters: Document | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] | None = None
    auth: Document | None = Field(default=None, examples=[{"type": "bearer", "token": "{{secrets.CRM}}"}])


class ApiTrial(Body):
    """What to call a registered API with."""

    parameters: Document = {}
    headers: Document = {}
    query: Document = {}
    body: Any = None
    timeout: Annotated[float, Field(gt=0, le=600)] | None = None


class NewNodeType(Body):
    """A type of nodes, executed by an installed handler."""

    type_name: Annotated[str, Field(max_length=64, examples=["CUSTOM_PROCESSOR"])]
    description: Description | None = None
    config_schema: Document | None = Field(
        default=None, examples=[{"processor_type": "string", "parameters": "object"}]
    )
    execution_handler: Name = Field(description="The name of a handler that is installed; never code.")
