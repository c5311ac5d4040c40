"""What the API works with: one frozen value, built in ``open_backend`` and handed to every operation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

from fastapi import Request

from flowledger import bootstrap
from flowledger.api.report_queue import PrefectReportQueue, ReportQueue, open_report_queue
from flowledger.bootstrap.api import ReportStore, open_streams, report_stores
from flowledger.bootstrap.ledgers import options_of_records
from flowledger.bootstrap.workflows import WorkflowServices, open_engine, workflow_services
from flowledger.domain.runs import OPEN_FOR, AppKey
from flowledger.domain.windows import zone
from flowledger.ports import Clock, Ledger
from flowledger.records.execution_history import ExecutionHistoryService
from flowledger.records.log_service import LogService
from flowledger.records.storage import LedgerLogStorage
from flowledger.services.streaming import Streams
from flowledger.services.workflows.engine import Engine
from flowledger.settings import Settings


@dataclass(frozen=True)
class WorkflowBackend:
    """The services of workflows, and the engine that calls APIs for those who try one out."""

    services: WorkflowServices
    open_engine: Callable[[], AbstractAsyncContextManager[Engine]]
    longest_wait_s: float = 600.0
    longest_stream_s: float = 3600.0
    engine: list[Engine] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True)
class Backend:
    """All that operations use.

    ``names`` are the configured apps; ``open_for`` is how long a run may stay open before it counts as stuck;
    each of ``checks`` raises a ``FlowledgerError`` while its part cannot be used.
    """

    ledger: Ledger
    clock: Clock
    tz: ZoneInfo
    open_for: timedelta = OPEN_FOR
    names: Mapping[AppKey, str] = field(default_factory=dict)
    report_stores: Sequence[ReportStore] = ()
    report_queue: ReportQueue | None = None
    logs: LogService | None = None
    coze: ExecutionHistoryService | None = None
    streams: Streams | None = None
    workflows: WorkflowBackend | None = None
    checks: Mapping[str, Callable[[], object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Who may use the API and how much: without keys on loopback only, from which web pages, how often."""

    require_keys: bool = True
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 1_048_576
    per_minute: int = 6000
    wrong_keys: int = 10
    lock_out: timedelta = timedelta(minutes=1)


def options_of(settings: Settings, *, require_keys: bool) -> ApiOptions:
    """Return the options of the API as the settings have them."""
    return ApiOptions(
        require_keys=require_keys,
        cors_origins=settings.api_cors_origins,
        max_body_bytes=settings.api_max_body_kb * 1024,
        per_minute=settings.api_requests_per_minute,
    )


@contextmanager
def open_backend(settings: Settings) -> Iterator[Backend]:
    """Open all that the API works with, and close it at the end.

    :raises LedgerError: when the ledger cannot be opened.
    """
    # The queue is left first: it still writes to the ledger how its reports ended.
    with bootstrap.opened_ledger(settings) as ledger, open_report_queue(settings, ledger) as queue:
        checks: dict[str, Callable[[], object]] = {"storage": partial(bootstrap.check_storage, settings)}
        if isinstance(queue, PrefectReportQueue):
            checks["prefect"] = queue.check_connection
        coze = ExecutionHistoryService(ledger=ledger)
        yield Backend(
            ledger=ledger,
            clock=bootstrap.clock.utc_now,
            tz=zone(settings.timezone),
            open_for=settings.stuck_after,
            names={app.key: app.name for app in settings.apps},
            report_stores=report_stores(settings),
            report_queue=queue,
            logs=LogService(storage=LedgerLogStorage(ledger, options_of_records())),
            coze=coze,
            streams=open_streams(settings, coze, ledger),
            workflows=WorkflowBackend(
                workflow_services(settings, ledger), partial(open_engine, settings, ledger)
            ),
            checks=checks,
        )


def backend_of(request: Request) -> Backend:
    """Return what the API of a request works with."""
    backend: Backend = request.app.state.backend
    return backend
