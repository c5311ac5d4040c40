"""Schemas of what the pipelines' operations answer, for the OpenAPI document."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Document = dict[str, Any]


class _Row(BaseModel):
    model_config = ConfigDict(extra="allow")


class StepShape(_Row):
    """A step of a pipeline; approval and status are those of its newest execution."""

    id: int
    pipeline: int
    name: str
    step_type: str
    order: int
    dependencies: list[int]
    parallel_group: str | None
    conditions: Any
    approval_required: bool
    approval_users: list[Any]
    approval_status: str | None
    approved_by: str | None
    approved_at: datetime | None
    retry_policy: Document
    notification_config: Document
    timeout_seconds: Any


class PipelineShape(_Row):
    """A pipeline; `steps` is there where one is shown."""

    id: int
    name: str
    description: str
    version: str
    status: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


class StepConfigShape(BaseModel):
    """What can be set of a step."""

    step_id: int
    condition: Any
    parallel_group_id: str | None
    approval_config: Document
    retry_policy: Document
    notification_config: Document


class ChangedShape(BaseModel):
    """That a step was changed."""

    message: str
    step_id: int


class NotificationsShape(ChangedShape):
    """What of a step is told now."""

    config: Document


class EvaluationShape(BaseModel):
    """What a condition gives in a context."""

    result: bool
    error: str | None
    should_execute: bool
    reason: str
    evaluated_expression: str


class AnalysisShape(_Row):
    """How steps depend on each other, and what could run in parallel; durations are seconds."""

    dependencies: list[Document]
    cycles: list[list[str]]
    critical_path: list[str]
    parallelization_suggestions: list[Document]


class MetricsShape(_Row):
    """Figures of a pipeline; rates are percent, durations seconds."""

    total_steps: int
    parallel_steps: int
    conditional_steps: int
    approval_steps: int
    estimated_duration: float
    complexity_score: float
    critical_path: list[str]
    risk_factors: list[str]
    performance_metrics: dict[str, float]
    historical_data: Document


class ResumedShape(BaseModel):
    """That an execution goes on."""

    execution_id: str
    resumed_from_step: int | str | None
    parameters: Document
    status: str = Field(examples=["resumed"])
    message: str
    attempt: int


class RunStepShape(_Row):
    """Where a step of an execution is."""

    id: int
    name: str
    status: str
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    retry_count: int
    max_retries: int
    error_message: str | None


class RetriedShape(BaseModel):
    """That a step is tried again."""

    execution_id: str
    step_id: int | str
    retry_config: Document
    status: str = Field(examples=["retrying"])
    message: str


class DecidedShape(BaseModel):
    """That a vote was taken."""

    execution_id: str
    step_id: int | str
    approved: bool
    comment: str
    approved_by: str
    approved_at: datetime
    success: bool


class ApprovalShape(_Row):
    """An approval that was asked for."""

    id: int
    pipeline: int
    step: int | None
    execution_id: str
    requester_username: str
    approvers: list[str]
    required_approvals: int
    status: str
    approval_message: str
    timeout_hours: Any
    auto_approve_on_timeout: bool
    created_at: datetime
    resolved_at: datetime | None


class RespondedShape(BaseModel):
    """That a vote was taken, and how the approval stands."""

    message: str
    approval_request: ApprovalShape


class GroupShape(BaseModel):
    """A parallel group."""

    id: str
    name: str
    description: str
    pipeline: int
    sync_policy: str
    timeout_seconds: float | None
    steps: list[int]


class GroupList(BaseModel):
    """The parallel groups of one pipeline."""

    parallel_groups: list[GroupShape]
    total_groups: int
    total_steps: int


class TriedShape(BaseModel):
    """Whether test messages arrived."""

    success: bool
    message: str


class RunShape(_Row):
    """An execution of a pipeline."""

    id: int
    execution_id: str
    pipeline: int
    status: str
    trigger_data: Any
    context_variables: Document
    step_results: Document
    current_step: int | None
    failed_steps: list[int]
    pending_approvals: list[int]
    recovery_point: int | None


class RecoveryShape(BaseModel):
    """From where an execution can go on."""

    failed_steps: list[Document]
    recovery_points: list[Document]
    can_recover: bool
    last_successful_step: str | None
    execution_progress: dict[str, int]


class HistoryShape(_Row):
    """One try of one step."""

    id: int
    workflow_execution: int
    step: int
    status: str
    retry_count: int
    max_retries: int
    logs: str
    error_message: str | None
    output_data: Any
    duration_seconds: float | None


class MappingShape(_Row):
    """What ties a pipeline to a job elsewhere."""

    id: int
    pipeline: int
    tool: str
    external_job_id: str
    external_job_name: str | None
    auto_sync: bool
    last_sync_at: datetime | None
    sync_status: str | None
