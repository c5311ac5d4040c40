"""Interfaces of the orchestrator: what executes a node, where workflows and executions are stored.

``NodeHandler`` is implemented in ``nodes`` (one file each) and by plugins, ``WorkflowStore`` in
``ledger.sql``.  Every time is aware UTC.  ``fenced`` methods take a ``Lease`` and raise ``LeaseLostError``
when another worker has taken the execution over since; nothing is written then.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from flowledger.domain.runs import Json, RunStatus
from flowledger.domain.workflows.approvals import Vote
from flowledger.domain.workflows.definition import Document, WorkflowStatus
from flowledger.domain.workflows.steps import EventType, ExecutionFacts, StepStatus, WaitKind

# ---------------------------------------------------------------- nodes


@dataclass(frozen=True, slots=True)
class NodeCall:
    """What a handler gets: its rendered config and where it stands.

    ``idempotency_key`` is the same each time this step is tried (``execution_id:step_key:generation``).
    ``deadline_s`` is how long it may take, None without a limit.  ``input`` is the execution's, ``previous``
    the output of the step before.
    """

    key: str
    alias: str
    name: str
    node_type: str
    config: Mapping[str, Json]
    execution: ExecutionFacts
    idempotency_key: str
    input: Json = None
    previous: Json = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What a handler returns; a failure too is an answer, with ``error`` and ``error_type``.

    ``response`` is ``{status, headers, body}`` of a call.  ``metrics`` are numbers that the monitor adds up.
    ``seconds`` is how long the call itself took.
    """

    output: Json = None
    response: Mapping[str, Json] | None = None
    error: str | None = None
    error_type: str | None = None
    http_status: int | None = None
    retry_after_s: float | None = None
    seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class UnknownHandlerError(LookupError):
    """No installed plugin executes nodes of a type."""


class NodeHandler(Protocol):
    """Executes nodes of one type.  An exception it raises fails the step, with its class as type."""

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Do the node's work; cancelled when its time is over or nobody wants it any more."""


# ---------------------------------------------------------------- definitions


@dataclass(frozen=True, slots=True)
class StoredWorkflow:
    """A workflow as it is kept; ``revision`` grows with each change, ``published`` is its newest version."""

    id: int
    document: Document
    status: WorkflowStatus
    revision: int
    created_at: datetime
    updated_at: datetime
    published: int | None = None


@dataclass(frozen=True, slots=True)
class WorkflowVersion:
    """An immutable snapshot; ``version`` is the text people gave it, ``digest`` its SHA-256."""

    workflow_id: int
    number: int
    version: str
    digest: str
    document: Document
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class StoredApi:
    """An entry of the registry of APIs: ``fields`` as people gave them (docs/orchestration.md)."""

    id: int
    fields: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredNodeType:
    """A type of node that a plugin brings: its handler's name and the JSON Schema of its config."""

    type_name: str
    description: str
    config_schema: Mapping[str, Any]
    handler: str
    created_at: datetime


class WorkflowPage(NamedTuple):
    """Workflows by falling id, and the id after which the next page begins."""

    workflows: Sequence[StoredWorkflow]
    following: int | None


# ---------------------------------------------------------------- executions

LEASE = timedelta(seconds=30)
"""How long a worker has an execution after its last sign of life: a heartbeat, or a step it wrote."""


@dataclass(frozen=True, slots=True)
class Order:
    """An execution to be: of which version, with what, told by whom.

    ``workflow_name`` and ``version_text`` are what people read of it later, whatever becomes of the draft.
    """

    execution_id: str
    workflow_id: int
    workflow_name: str
    version: int
    version_text: str
    name: str
    input: Json
    variables: Mapping[str, Json]
    config: Mapping[str, Json]
    trigger: str
    requested_by: str
    at: datetime
    parent: str | None = None
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution as it is kept; the same row is a run of ``AppKey("local", workflow id)``.

    ``wake_at`` is when a worker may take it next, None while it has ended or waits for people only.
    ``owner`` and ``lease_until`` are the worker's that has it.  ``asked`` is what somebody wants of it:
    cancel or pause, until a worker has done it, then paused, until it is resumed.  ``omitted`` names those of
    input, variables, config and output that are too large for a list and None there.
    """

    id: int
    execution_id: str
    workflow_id: int
    workflow_name: str
    version: int
    version_text: str
    name: str
    status: RunStatus
    attempt: int
    progress: int
    current_step: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    input: Json
    variables: Mapping[str, Json]
    config: Mapping[str, Json]
    output: Json
    error: str | None
    error_type: str | None
    trigger: str
    requested_by: str
    parent: str | None = None
    owner: str | None = None
    lease_until: datetime | None = None
    wake_at: datetime | None = None
    asked: str | None = None
    resumes_itself: bool = False
    flow_run_id: str | None = None
    reported_state: str | None = None
    take_overs: int = 0
    planner_format: int = 1
    resumed_seq: int = 0
    omitted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One try of one node; ``seq`` is the order in which steps settled, per execution.

    ``superseded`` says that a later generation (restart_from) has taken its place; ``manual`` that a person
    decided it.  ``input`` is the rendered config with secrets masked.
    """

    key: str
    alias: str
    name: str
    node_id: int
    node_type: str
    generation: int
    try_no: int
    status: StepStatus
    input: Json = None
    output: Json = None
    response: Json = None
    error: str | None = None
    error_type: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    seconds: float | None = None
    superseded: bool = False
    manual: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    seq: int = 0
    id: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; ``cursor`` counts from 1 within its execution, without gaps."""

    cursor: int
    event: EventType
    key: str
    at: datetime
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """A parked step: since when, until when at most, and how it was resolved (None: it still waits)."""

    key: str
    alias: str
    generation: int
    kind: WaitKind
    since: datetime
    due_at: datetime | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    resolution: Mapping[str, Json] | None = None
    resolved_at: datetime | None = None
    id: int = 0
    execution_id: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to write of one execution, for one attempt."""

    execution: int
    attempt: int
    owner: str
    execution_id: str
    workflow_id: int


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that a worker has taken, with all that replay needs.

    ``took_over`` says that its last worker died.
    """

    lease: Lease
    execution: Execution
    version: WorkflowVersion
    steps: Sequence[Step]
    waits: Sequence[Wait]
    took_over: bool = False


@dataclass(frozen=True, slots=True)
class ExecutionQuery:
    """Which executions; what is None or empty does not restrict.

    ``among`` are numbers of workflows; with an empty one there are no executions.
    """

    workflow_id: int | None = None
    statuses: tuple[RunStatus, ...] = ()
    name: str | None = None
    trigger: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    parent: str | None = None
    among: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class WaitQuery:
    """Which waits; what is None does not restrict.  ``among`` are the workflows within somebody's reach."""

    kind: WaitKind | None = None
    is_open: bool | None = None
    workflow_id: int | None = None
    execution: int | None = None
    among: Collection[int] | None = None


class ExecutionPage(NamedTuple):
    """Executions by falling id, and the id after which the next page begins."""

    executions: Sequence[Execution]
    following: int | None


@dataclass(frozen=True, slots=True)
class Progressed:
    """What one write of a worker adds: steps (new or settled), events, waits, and where the execution is."""

    steps: Sequence[Step] = ()
    events: Sequence[tuple[EventType, str, Mapping[str, Json]]] = ()
    waits: Sequence[Wait] = ()
    progress: int | None = None
    current_step: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How an execution, or one attempt of it, ends.

    ``wake_at`` of one that is parked is its earliest due time; with ``stays`` only a person lets it go on.
    """

    status: RunStatus
    output: Json = None
    error: str | None = None
    error_type: str | None = None
    wake_at: datetime | None = None
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Resumption:
    """How an execution goes on: in which attempt it was when that was decided, and by whom.

    ``superseded`` are keys whose steps a new generation replaces, ``steps`` are decided by hand;
    ``variables``, ``input`` and ``config`` take the place of those it has, where they are not None.
    """

    expected_attempt: int
    by: str
    superseded: tuple[str, ...] = ()
    variables: Mapping[str, Json] | None = None
    input: Json = None
    steps: tuple[Step, ...] = ()
    config: Mapping[str, Json] | None = None


class StatusTotal(NamedTuple):
    """How many executions have a status, how many of them have ended, and how long these took together."""

    status: RunStatus
    executions: int
    seconds: float
    timed: int


class Moment(NamedTuple):
    """What is open now, by status, and how many executions were accepted in the last minute."""

    open: Mapping[RunStatus, int]
    accepted: int


class EndedExecution(NamedTuple):
    """How an execution ended."""

    id: int
    status: RunStatus
    error_type: str | None
    completed_at: datetime


class PastStep(NamedTuple):
    """A settled try of a step, without its input, output and response, and its execution's number."""

    execution: int
    step: Step


class RecentPast(NamedTuple):
    """The newest executions of a workflow that have ended, and settled steps, oldest first."""

    ended: Sequence[EndedExecution]
    steps: Sequence[PastStep]


class News(NamedTuple):
    """What reached an execution while a worker has it: cancel or pause, and waits that were resolved."""

    asked: str | None
    resolved: Sequence[Wait]


class Observer(Protocol):
    """Is told what happens in executions, beside it; what it raises is logged and changes nothing."""

    async def began(self, claim: Claim) -> None:
        """An attempt begins."""

    async def progressed(self, execution: Execution, progressed: Progressed) -> None:
        """Steps and events have been stored."""

    async def ended(self, execution: Execution) -> None:
        """An attempt is over: the execution has ended, or is parked."""


class WorkflowStore(Protocol):
    """Workflows, versions and executions.  Every method raises ``LedgerError`` when the database fails."""

    # -- definitions

    def create_workflow(self, document: Document, at: datetime) -> StoredWorkflow:
        """Store a new draft and return it with its id."""

    def workflow(self, workflow_id: int) -> StoredWorkflow | None:
        """Return one workflow; None where there is none."""

    def workflows(
        self,
        *,
        status: WorkflowStatus | None = None,
        name: str | None = None,
        tag: str | None = None,
        among: Collection[int] | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> WorkflowPage:
        """Return workflows, newest first; ``name`` is matched whole, ``among`` are numbers (None: all)."""

    def change_workflow(
        self,
        workflow_id: int,
        change: Callable[[StoredWorkflow], tuple[Document, WorkflowStatus]],
        at: datetime,
    ) -> StoredWorkflow | None:
        """Read one workflow and store what the change makes of it, atomically; None where there is none.

        What ``change`` raises ends it, and nothing is written.
        """

    def delete_workflow(self, workflow_id: int) -> bool:
        """Delete a workflow and its versions; its executions stay in the history.

        :raises RecordConflictError: while one of its executions is open.
        """

    def publish(
        self,
        workflow_id: int,
        revision: int,
        snapshot: Document,
        digest: str,
        at: datetime,
        by: str,
        *,
        activates: bool = True,
    ) -> WorkflowVersion | None:
        """Store a version of the draft that has this revision, and make the workflow active.

        One that does not activate is for the execution of a draft: the workflow stays as it is.

        The newest version is returned as it is where its digest is the same; None without such a workflow.

        :raises RecordConflictError: when the draft has another revision by now.
        """

    def versions(self, workflow_id: int) -> Sequence[WorkflowVersion]:
        """Return all versions of a workflow, newest first."""

    def version(self, workflow_id: int, number: int | None = None) -> WorkflowVersion | None:
        """Return one version, or the newest."""

    def save_api(self, api_id: int | None, fields: Mapping[str, Any], at: datetime) -> StoredApi | None:
        """Store a new API (``api_id`` None) or replace one; None where there is none of that id."""

    def api(self, api_id: int) -> StoredApi | None:
        """Return one API."""

    def apis(self) -> Sequence[StoredApi]:
        """Return all APIs by id."""

    def delete_api(self, api_id: int) -> bool:
        """Delete an API; return whether there was one."""

    def save_node_type(self, node_type: StoredNodeType) -> None:
        """Store a node type; one of the same name is replaced."""

    def node_types(self) -> Sequence[StoredNodeType]:
        """Return the stored node types by name."""

    # -- executions, for everybody

    def accept(self, order: Order) -> Execution:
        """Store an execution that a worker may take at once (or at ``wake_at``); durable when it returns.

        Its run, its row and the event EXECUTION_CREATED are one transaction.  One of the same
        ``execution_id`` is returned as it is.
        """

    def execution(self, execution_id: int | str) -> Execution | None:
        """Return one execution by its number or its id."""

    def executions(
        self, query: ExecutionQuery, *, after: int | None = None, limit: int = 50
    ) -> ExecutionPage:
        """Return executions, newest first."""

    def steps(self, execution: int) -> Sequence[Step]:
        """Return every try of every step in the order they settled; what has not, last."""

    def events(self, execution: int, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        """Return events in order, those after a cursor."""

    def waits(
        self, execution: int | None = None, *, open_only: bool = False, kind: WaitKind | None = None
    ) -> Sequence[Wait]:
        """Return waits, oldest first: of one execution, or of all."""

    def wait(self, wait_id: int) -> Wait | None:
        """Return one wait by its number."""

    def step(self, step_id: int) -> PastStep | None:
        """Return one try of one step by its number."""

    def newest_waits(
        self, query: WaitQuery, *, after: int | None = None, limit: int = 50
    ) -> Sequence[tuple[Wait, Execution]]:
        """Return waits with their executions, newest first, those before a number."""

    def ask(self, execution: int, what: str, at: datetime, *, by: str) -> Execution | None:
        """Keep that somebody wants ``cancel`` or ``pause``; a worker that has it does so at its next look.

        An execution that nobody has is cancelled or paused in this transaction.  None where there is none.
        """

    def resume(self, execution: int, resumption: Resumption, at: datetime) -> Execution:
        """Let an ended or paused execution be taken again, in one transaction; durable when it returns.

        :raises RecordConflictError: when its attempt is another one by now, or it is running.
        """

    def resolve(
        self, execution: int, key: str, resolution: Mapping[str, Json], at: datetime, *, by: str
    ) -> bool:
        """Resolve an open wait and wake its execution, in one transaction; False where it was resolved."""

    def vote(
        self,
        execution: int,
        key: str,
        vote: Vote,
        decide: Callable[[Wait, Sequence[Vote]], Mapping[str, Json] | None],
    ) -> Wait | None:
        """Store a vote on an open wait, and resolve it where ``decide`` says so, in one durable transaction.

        Return the wait as it is then; None where none of that key is open.  The same vote again changes
        nothing.  What ``decide`` raises ends it, and nothing is written.
        """

    def votes(self, wait: int) -> Sequence[Vote]:
        """Return all votes on a wait, oldest first."""

    # -- statistics

    def totals(self, workflow_id: int | None = None) -> Sequence[StatusTotal]:
        """Count the executions of a workflow, or of all, by status."""

    def moment(self, since: datetime) -> Moment:
        """Count what is open now, and what was accepted since a moment of the near past."""

    def recent_past(self, workflow_id: int, *, executions: int = 500, steps: int = 20_000) -> RecentPast:
        """Return at most so many of the newest executions of a workflow, and their steps."""

    # -- executions, for workers

    def take(
        self, owner: str, at: datetime, lease: timedelta, *, limit: int, formats: Sequence[int] = (1,)
    ) -> Sequence[Claim]:
        """Take executions that are due, oldest first: attempt + 1, a lease, status running.

        Those whose lease ran out count as due, unless their worker died ``TAKE_OVERS`` times without a new
        step: they become interrupted.  On PostgreSQL rows that others are taking are skipped.
        """

    def take_one(self, execution: int, owner: str, at: datetime, lease: timedelta) -> Claim | None:
        """Take one execution that is due; None where somebody else has it or it is not due."""

    def renew(self, owner: str, at: datetime, lease: timedelta) -> frozenset[int]:
        """Extend every lease of a worker and return the executions it still has."""

    def news(self, owner: str) -> Mapping[int, "News"]:
        """Return what others want of the executions that a worker has, and what was resolved there."""

    def is_due(self, at: datetime) -> bool:
        """Return whether an execution can be taken; cheap enough to be asked many times a second."""

    def write(self, lease: Lease, progressed: Progressed, at: datetime) -> None:
        """Store what happened (fenced); it survives the end of the process, not a power cut."""

    def end(self, lease: Lease, ended: Ended, progressed: Progressed, at: datetime) -> Execution:
        """Store how the execution ended, or that it is parked or paused, and give the lease back (fenced).

        One durable transaction: execution, run with its node executions, events.
        """

    def interrupt_lost(self, at: datetime) -> Sequence[Execution]:
        """Mark executions whose lease ran out as interrupted where they do not resume by themselves."""

    def reported(self, execution: int, *, flow_run_id: str | None, state: str | None) -> None:
        """Keep what Prefect was told."""

    def unreported(self, *, limit: int = 100) -> Sequence[Execution]:
        """Return executions whose state Prefect has not been told."""
