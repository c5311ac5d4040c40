"""Steps of an execution: how each ended, what the planner asks for next, and the events people watch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flowledger.domain.runs import Json, RunStatus


class StepStatus(StrEnum):
    """Status of one try of one node."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def is_settled(self) -> bool:
        """Return whether the step will not change any more."""
        return self in (StepStatus.SUCCESS, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED)


class ErrorType(StrEnum):
    """Why a step failed, where it is none of its handler's own words."""

    HTTP = "HTTPError"
    TIMEOUT = "Timeout"
    CONNECTION = "ConnectionError"
    EXPRESSION = "ExpressionError"
    VALIDATION = "ValidationError"
    APPROVAL_REJECTED = "ApprovalRejected"
    APPROVAL_TIMEOUT = "ApprovalTimeout"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended.

    ``output`` is what expressions find under the node's alias (its mapped output); ``response`` what they
    find as ``response``: ``{status, headers, body}`` of a call, None of other nodes.  ``manual`` says that a
    person decided it.  ``http_status`` and ``retry_after_s`` are for the decision to try again.
    """

    status: StepStatus
    output: Json = None
    response: Mapping[str, Json] | None = None
    error: str | None = None
    error_type: str | None = None
    http_status: int | None = None
    retry_after_s: float | None = None
    manual: bool = False


class WaitKind(StrEnum):
    """What a parked step waits for."""

    APPROVAL = "approval"
    DELAY = "delay"
    EVENT = "event"
    DEBUG = "debug"
    CHILD = "child"


class EventType(StrEnum):
    """What happened in an execution, as people and programs watch it."""

    EXECUTION_CREATED = "EXECUTION_CREATED"
    EXECUTION_STARTED = "EXECUTION_STARTED"
    EXECUTION_PAUSED = "EXECUTION_PAUSED"
    EXECUTION_RESUMED = "EXECUTION_RESUMED"
    EXECUTION_COMPLETED = "EXECUTION_COMPLETED"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    EXECUTION_CANCELLED = "EXECUTION_CANCELLED"
    EXECUTION_INTERRUPTED = "EXECUTION_INTERRUPTED"
    STEP_STARTED = "STEP_STARTED"
    STEP_RETRYING = "STEP_RETRYING"
    STEP_SUCCEEDED = "STEP_SUCCEEDED"
    STEP_FAILED = "STEP_FAILED"
    STEP_SKIPPED = "STEP_SKIPPED"
    STEP_CANCELLED = "STEP_CANCELLED"
    STEP_WAITING = "STEP_WAITING"
    APPROVAL_REQUESTED = "APPROVAL_REQUESTED"
    APPROVAL_VOTED = "APPROVAL_VOTED"
    APPROVAL_RESOLVED = "APPROVAL_RESOLVED"
    APPROVAL_TIMED_OUT = "APPROVAL_TIMED_OUT"
    TIMER_SET = "TIMER_SET"
    TIMER_FIRED = "TIMER_FIRED"
    LOOP_ITERATION = "LOOP_ITERATION"
    PARALLEL_JOINED = "PARALLEL_JOINED"
    MESSAGE = "MESSAGE"
    PROGRESS = "PROGRESS"


@dataclass(frozen=True, slots=True)
class RunStep:
    """Start a node's handler; its result comes back by ``Planner.settle``.

    ``key`` is the step's key (``loop/3/body``), ``alias`` its node's; ``delay_s`` is the wait before it.
    """

    key: str
    alias: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WaitStep:
    """Park a step until somebody, a time or a message resolves it; then settle it.

    ``facts`` are what the kind needs: ``{until}`` or ``{seconds}`` of a delay, the rendered request of an
    approval.  With ``gate`` the wait stands before the node, which runs after it: it has a key of its own
    (``deploy/approval``), and is settled and held by it.
    """

    key: str
    alias: str
    kind: WaitKind
    facts: Mapping[str, Json] = field(default_factory=dict)
    gate: bool = False


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call ``Planner.timer_fired(key)`` in so many seconds: the time of a container, or a wait before a step.

    A timer that nobody needs any more does nothing when it fires.
    """

    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CancelStep:
    """End a running or waiting step that is not wanted any more; it is settled as cancelled already."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepSettled:
    """A step that no handler ran has its result: a container, a condition, a skipped or cancelled node."""

    key: str
    alias: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Note:
    """Something to record as an event: the pass of a loop, the end of a group, progress in percent."""

    event: EventType
    key: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """The execution has ended; nothing runs any more."""

    status: RunStatus
    output: Json = None
    error: str | None = None
    error_type: str | None = None


Action = RunStep | WaitStep | SetTimer | CancelStep | StepSettled | Note | Done


@dataclass(frozen=True, slots=True)
class ExecutionFacts:
    """What expressions find as ``execution``; times are aware UTC."""

    id: int
    execution_id: str
    attempt: int
    workflow_id: int
    version: str
    started_at: datetime
