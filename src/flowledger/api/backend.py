"""What the API stands on: one frozen value, built in one place and handed to every operation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from fastapi import Request

from flowledger.domain.retention import StoredReport
from flowledger.domain.runs import OPEN_FOR, AppKey
from flowledger.ports import Clock, Ledger
from flowledger.services.report_requests import ReportRequest, RunOrder

Json = dict[str, Any]


class ReportLibrary(Protocol):
    """Where reports are kept: a storage, below one prefix."""

    @property
    def place(self) -> str:
        """Which one: a folder, or a bucket with its prefix."""

    def reports(
        self, *, app: str | None = None, report_type: str | None = None, since: datetime | None = None
    ) -> Sequence[StoredReport]:
        """List the reports that are kept whole, oldest first."""

    def read(self, name: str) -> bytes:
        """Give a kept file's content."""


class ReportDesk(Protocol):
    """Takes orders for reports, and says what became of them."""

    def check(self, order: RunOrder) -> ReportRequest:
        """Read an order without doing anything.

        :raises UsageError: for words that cannot be read.
        """

    def place(self, order: RunOrder, order_id: str) -> str:
        """Have a report made, once for each id, and give a reference to ask by."""

    def state(self, reference: str) -> Json | None:
        """Give what became of an order: its ``state`` (waiting, running, done, failed) and more, or None."""


class LogRecords(Protocol):
    """Workflow executions and operations that programs log (``records.LogService``)."""

    def log_workflow_execution(self, execution_data: Mapping[str, Any]) -> Json:
        """Insert or update an execution, and give it as it is kept."""

    def log_workflow_operation(
        self,
        operation_type: str,
        workflow_id: str | None,
        data: Mapping[str, Any] | None = None,
        user: str | None = None,
    ) -> Json:
        """Append an operation, and give it as it is kept."""

    def update_workflow_execution(
        self,
        execution_id: str,
        status: str | None = None,
        messages: Sequence[Any] | None = None,
        task_results: Mapping[str, Any] | None = None,
    ) -> Json:
        """Change an execution that is there."""


class CozeHistory(Protocol):
    """Executions of Coze workflows (``records.ExecutionHistoryService``)."""

    async def get_execution_history(self, workflow_id: str, page_size: int = 20, page_index: int = 1) -> Json:
        """Give a page: histories, total, has_more."""

    async def get_execution_detail(self, workflow_id: str, execute_id: str) -> Json | None:
        """Give one execution; None where there is none."""

    async def delete_execution_record(
        self, workflow_id: str, execute_id: str, user: str | None = None
    ) -> bool:
        """Forget one execution; False where there was none."""

    async def clear_workflow_history(self, workflow_id: str, user: str | None = None) -> int:
        """Forget all executions of a workflow, and give how many there were."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """One library, and the apps whose reports it keeps."""

    library: ReportLibrary
    apps: Sequence[AppKey] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """All that operations use.  ``names`` are the configured apps; ``checks`` raise where a part is away."""

    ledger: Ledger
    clock: Clock
    tz: ZoneInfo
    open_for: timedelta = OPEN_FOR
    names: Mapping[AppKey, str] = field(default_factory=dict)
    shelves: Sequence[Shelf] = ()
    desk: ReportDesk | None = None
    logs: LogRecords | None = None
    coze: CozeHistory | None = None
    checks: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    """What routers of other packages need, by their own names."""


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """How the API is open: without keys (loopback only), to which web pages, how much and how often."""

    keys_wanted: bool = True
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 1_048_576
    per_minute: int = 6000
    wrong_keys: int = 10
    lock_out: timedelta = timedelta(minutes=1)


def backend_of(request: Request) -> Backend:
    """Give what the API stands on."""
    backend: Backend = request.app.state.backend
    return backend
