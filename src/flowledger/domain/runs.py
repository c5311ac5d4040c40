"""Runs, node executions and their detail, in the ledger's own words (docs/architecture.md, Words)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum

Json = object
"""Any parsed JSON value."""

OPEN_FOR = timedelta(hours=24)
"""How long an unfinished run is polled before it counts as stuck (setting ``stuck_after_hours``)."""

WAITS_FOR = timedelta(hours=36)
"""How long a paused run waits for a person at least: the default time limit of a human input form of Dify."""


class RunStatus(StrEnum):
    """Status of a run in the ledger, whatever its source calls it."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_open(self) -> bool:
        """Return whether the run may still change."""
        return self in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.PAUSED)


STATUS_ORDER = (
    *(RunStatus.SUCCESS, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED),
    *(RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.PENDING),
)
"""The one order in which people read statuses: what has ended first."""


@dataclass(frozen=True, slots=True)
class AppKey:
    """One monitored application: the source it lives in and its id there."""

    source: str
    app_id: str

    def __str__(self) -> str:
        return f"{self.source}:{self.app_id}"


@dataclass(frozen=True, slots=True)
class Creator:
    """Who started a run: an end user of the app or a member's account.

    ``name`` is what reports show: the session id of an end user, the name (else e-mail) of an account.
    """

    role: str
    id: str | None = None
    name: str | None = None
    email: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a workflow, as the source's list tells it.

    ``listed_at`` (UTC, whole seconds) is where the source's list files the run; windows are cut by it.
    ``started_at`` and ``finished_at`` are the run's own times (UTC).  ``elapsed_s`` is in seconds.
    ``log_id`` is the list's own id for the row, the run's where rows have none; ``gone`` means that the list
    names a run that no longer exists.
    ``raw`` is the source's row as JSON text in UTF-8.
    """

    app: AppKey
    run_id: str
    listed_at: datetime
    status: RunStatus
    source_status: str
    log_id: str | None = None
    gone: bool = False
    workflow_version: str | None = None
    created_from: str | None = None
    creator: Creator | None = None
    error: str | None = None
    elapsed_s: Decimal | None = None
    total_tokens: int | None = None
    total_steps: int | None = None
    exceptions_count: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    raw: bytes = b""

    @property
    def identity(self) -> str:
        """What the run is known by: its id, or the list's id for the row where the run itself is gone."""
        return (self.log_id or self.run_id) if self.gone else self.run_id

    def is_stuck(self, now: datetime, open_for: timedelta = OPEN_FOR) -> bool:
        """Return whether the run has been open too long to expect an end (stopped, yet running for ever)."""
        if self.status is RunStatus.PAUSED:
            open_for = max(open_for, WAITS_FOR)
        return self.status.is_open and now - self.listed_at >= open_for


@dataclass(frozen=True, slots=True)
class NodeExecution:
    """One try of one node in one run; ``position`` counts from 0 in the order the source gives them.

    ``elapsed_s`` is in seconds; ``total_price`` is in ``currency``.  Payloads are parsed JSON, None where
    the source has none.  ``truncated`` names the payloads the source itself has cut.
    """

    position: int
    execution_id: str
    node_id: str
    node_type: str
    title: str
    status: str
    index: int | None = None
    error: str | None = None
    elapsed_s: Decimal | None = None
    total_tokens: int | None = None
    total_price: Decimal | None = None
    currency: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    inputs: Json = None
    process_data: Json = None
    outputs: Json = None
    metadata: Json = None
    truncated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that should be there and is not, and why; the reason reaches the report.

    ``permanent`` says that asking again cannot help (the source has deleted it).
    """

    reason: str
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Detailed:
    """Inputs, outputs and node executions of a run.

    ``nodes`` is ``Missing`` where only the run itself could be read.  ``raw`` keeps the source's bodies by
    the name of the endpoint (``nodes``, ``detail``, ``console_detail``), as JSON text in UTF-8.
    """

    inputs: Mapping[str, Json] | None
    outputs: Mapping[str, Json] | None
    nodes: Sequence[NodeExecution] | Missing
    raw: Mapping[str, bytes]


Detail = Detailed | Missing


@dataclass(frozen=True, slots=True)
class Entry:
    """A run and its detail: what a report reads."""

    run: Run
    detail: Detail


def missing_reason(detail: Detail) -> str | None:
    """Return why something of the detail is missing, or None where it is whole."""
    match detail:
        case Missing(reason):
            return reason
        case Detailed(nodes=Missing(reason)):
            return reason
        case _:
            return None


UNREAD = Missing("not read yet")
"""What a ledger tells of a detail that was never asked for."""


class Level(IntEnum):
    """Depth of detail, in order."""

    NONE = 0
    RUN = 1
    NODES = 2


def level_of(detail: Detail) -> Level:
    """Return how deep a detail goes."""
    match detail:
        case Missing():
            return Level.NONE
        case Detailed(nodes=Missing()):
            return Level.RUN
        case _:
            return Level.NODES
