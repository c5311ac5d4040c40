"""Bodies and queries of the pipelines' requests."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field

from flowledger.api.query_params import PLAIN, QueryParams, Word
from flowledger.api.workflow_bodies import LARGEST_ID, Body, Description, Document, Name
from flowledger.services.workflows.approving import LONGEST_COMMENT
from flowledger.services.workflows.pipeline_rows import APPROVAL_STATUSES

Number = Annotated[int, Field(ge=1, le=LARGEST_ID)]
GroupKey = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f/]+$")]
GroupId = Annotated[
    str, Path(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f/]+$", examples=["group_1"])
]
StepId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=512,
        pattern=r"^[^\x00-\x1f\x7f/]+$",
        description="The number, alias or name of its node.",
        examples=["3"],
    ),
]
Comment = Annotated[str, Field(max_length=LONGEST_COMMENT)]
SyncPolicy = Literal["wait_all", "wait_any", "fail_fast"]
ApprovalStatus = Literal["pending", "approved", "rejected", "timeout", "cancelled"]
assert set(APPROVAL_STATUSES) == set(ApprovalStatus.__args__)  # type: ignore[attr-defined]  # of typing
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]


class ListParams(QueryParams):
    """Which part of a plain list."""

    limit: int = Field(default=100, ge=1, le=500)
    offset: int = Field(default=0, ge=0, le=1_000_000)


class PipelineParams(ListParams):
    """Of which pipeline."""

    pipeline: Number | None = None


class MappingParams(PipelineParams):
    """Which mappings."""

    tool: Word | None = None


class ApprovalParams(PipelineParams):
    """Which approvals, newest first."""

    status: ApprovalStatus | None = None


class RunParams(PipelineParams):
    """Which executions, newest first."""

    status: Word | None = None


class HistoryParams(ListParams):
    """Which tries of steps; without an execution those of the newest executions."""

    execution: Word | None = Field(default=None, description="Its number, or its execution_id.")
    step: Word | None = Field(
        default=None, description="Number, alias or name of its node, or the step's key."
    )


class PipelineChanges(Body):
    """What of a pipeline is to change."""

    name: Name | None = None
    description: Description | None = None
    version: Annotated[str, Field(max_length=50)] | None = None
    config: Document | None = None
    tags: list[Name] | None = Field(default=None, max_length=100)


class NewPipeline(PipelineChanges):
    """A new pipeline: a draft without steps."""

    name: Name = Field(examples=["发布流水线"])


class StepConfig(Body):
    """What of a step is to change; null takes it away."""

    condition: Any = Field(default=None, examples=[{"type": "expression", "expression": "{{input.n}} > 1"}])
    parallel_group_id: int | str | None = Field(default=None, examples=["group_1"])
    approval_config: Document | None = Field(
        default=None, examples=[{"required": True, "approvers": ["ann", "bob"], "timeout_hours": 24}]
    )
    retry_policy: Document | None = Field(default=None, examples=[{"max_retries": 3}])
    notification_config: Document | None = Field(default=None, examples=[{"on_failure": True}])


class ConditionTrial(Body):
    """A condition, and what it is evaluated with: the roots of expressions by name."""

    condition: Any = Field(default=None, examples=["{{input.score}} >= 60"])
    context: Document = Field(default={}, examples=[{"input": {"score": 70}}])


class Notifications(Body):
    """What of a step is told, through which channels, to whom."""

    on_start: bool | None = None
    on_success: bool | None = None
    on_failure: bool | None = None
    on_approval_required: bool | None = None
    channels: list[Name] | None = Field(default=None, max_length=50)
    recipients: list[Name] | None = Field(default=None, max_length=100)
    message_template: Annotated[str, Field(max_length=4_000)] | None = None


class NotificationTrial(Notifications):
    """Through which channels a test message is sent; without any, through all."""

    type: Name | None = Field(default=None, description="One channel, beside `channels`.")
    message: Annotated[str, Field(max_length=4_000)] | None = None


class RunResumption(Body):
    """How an execution is to go on."""

    step_id: int | str | None = None
    from_step_id: int | str | None = None
    skip_failed: bool = False
    modify_parameters: bool = False
    parameters: Document | None = None
    recovery_strategy: str | None = Field(
        default=None, examples=["continue", "restart_from", "skip_and_continue"]
    )
    force_retry: bool = False
    custom_timeout: Seconds | None = None


class StepRetry(Body):
    """With which retry policy one failed step is tried again."""

    max_retries: Annotated[int, Field(ge=0, le=100)] | None = None
    delay_seconds: Annotated[float, Field(ge=0, le=86_400)] | None = None


class Decision(Body):
    """A vote; whose it is the key says."""

    approved: bool
    comment: Comment = ""


class ApprovalOrder(Body):
    """Which step of which execution is to be approved."""

    execution_id: Annotated[str, Field(min_length=1, max_length=512, pattern=PLAIN)]
    step: Annotated[int | str, Field(examples=[3])]
    pipeline: Number | None = None


class Response(Body):
    """An answer to an approval."""

    action: Literal["approve", "reject"]
    comment: Comment = ""


class GroupChanges(Body):
    """What of a parallel group is to change."""

    name: Name | None = None
    description: Description | None = None
    pipeline: Number | None = None
    sync_policy: SyncPolicy | None = None
    timeout_seconds: Seconds | None = None
    steps: list[Number] | None = Field(default=None, max_length=1_000)


class NewGroup(GroupChanges):
    """A new parallel group; without an `id` its number is it."""

    id: GroupKey | None = None
    name: Name = Field(examples=["测试"])
    pipeline: Number


class MappingChanges(Body):
    """What of a mapping is to change."""

    pipeline: Number | None = None
    tool: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, examples=["prefect"]
    )
    external_job_id: Name | None = None
    external_job_name: Annotated[str, Field(max_length=255)] | None = None
    auto_sync: bool | None = None
    last_sync_at: datetime | None = None
    sync_status: Annotated[str, Field(max_length=64)] | None = None


class NewMapping(MappingChanges):
    """Ties a pipeline to a job elsewhere."""

    pipeline: Number
    tool: Annotated[str, Field(min_length=1, max_length=64)] = Field(examples=["dify"])
    external_job_id: Name
