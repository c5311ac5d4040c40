"""Workflows, wired: the engine that carries executions out, and the services that people's orders go to."""

import os
import platform
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from flowledger import plugins
from flowledger.bootstrap.configuration import clock
from flowledger.bootstrap.node_handlers import Handlers, installed_handlers, node_schemas
from flowledger.domain.windows import zone
from flowledger.errors import UsageError
from flowledger.ledger import workflow_store
from flowledger.ports import Clock, Ledger
from flowledger.services.workflows.announcing import Announcer
from flowledger.services.workflows.approval_links import ApprovalLinks
from flowledger.services.workflows.approving import Approving
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.engine import Engine
from flowledger.services.workflows.mappings import Mappings
from flowledger.services.workflows.metrics import PipelineMetrics
from flowledger.services.workflows.ordering import Ordering
from flowledger.services.workflows.pipelines import Pipelines
from flowledger.services.workflows.recovering import Recovering
from flowledger.services.workflows.registry import Registry
from flowledger.services.workflows.scheduling import Scheduling
from flowledger.services.workflows.watching import Watching
from flowledger.settings import Settings
from flowledger.settings.schedules import check_cron
from flowledger.workflow_ports import Observer, Wait, WorkflowStore

if TYPE_CHECKING:
    from flowledger.bootstrap.node_parts import NodeParts


@asynccontextmanager
async def open_engine(
    settings: Settings, ledger: Ledger, *, observers: Sequence[Observer] = ()
) -> AsyncIterator[Engine]:
    """Open the engine in the running event loop; its connections are closed at the end.

    Meanwhile people are told what nodes want to be told, and messages that wait for their channels are sent.
    """
    # What only executions need is not paid for by whoever lists workflows.
    from flowledger.bootstrap.node_parts import NodeParts

    store = workflow_store(ledger)
    parts = NodeParts(settings, ledger, store)
    announcing = _announcing(settings, ledger, store, parts)
    telling = () if announcing is None else (announcing,)
    parts.begin_delivery(announcing.catch_up if announcing is not None else lambda: None)
    try:
        yield Engine(
            store,
            Handlers(store, parts.by_field()),
            _now,
            settings.workflow_secrets,
            (*observers, *telling),
            random.random,
            parts.complete,
        )
    finally:
        await parts.close()


def _announcing(
    settings: Settings, ledger: Ledger, store: WorkflowStore, parts: "NodeParts"
) -> Announcer | None:
    """Return what tells people of steps; None where nobody can be told."""
    if not (settings.notification_enabled and settings.channels):
        return None
    links = approval_links(store, ledger, Approving(store, ordering(settings, store), _now))
    address = (settings.api_public_url or "").rstrip("/")

    def link(wait: Wait, approver: str) -> str:
        return f"{address}/approvals/{links.token(wait, approver)}" if address else ""

    return Announcer(
        store,
        parts.keep,
        _now,
        settings.report_language,
        zone(settings.timezone),
        link,
    )


def approval_links(store: WorkflowStore, ledger: Ledger, approving: Approving) -> ApprovalLinks:
    """Return what makes and reads the links to approvals."""
    return ApprovalLinks(store, ledger, approving, _now)


def authoring(settings: Settings, store: WorkflowStore) -> Authoring:
    """Return the service that changes, checks and publishes drafts."""
    return Authoring(store, _now, lambda: node_schemas(store), tuple(settings.channels))


def ordering(
    settings: Settings, store: WorkflowStore, *, wake: Callable[[], None] = lambda: None
) -> Ordering:
    """Return the service that accepts executions, and what people want of them."""
    return Ordering(store, authoring(settings, store), _now, wake)


@dataclass(frozen=True, slots=True)
class WorkflowServices:
    """All that people's orders about workflows go to, over one store."""

    store: WorkflowStore
    authoring: Authoring
    ordering: Ordering
    approving: Approving
    links: ApprovalLinks
    recovering: Recovering
    registry: Registry
    watching: Watching
    pipelines: Pipelines
    metrics: PipelineMetrics
    mappings: Mappings
    language: str
    try_channels: Callable[[Sequence[str]], Mapping[str, str]]
    scheduling: Callable[[], Scheduling]


def workflow_services(settings: Settings, ledger: Ledger) -> WorkflowServices:
    """Return the services of workflows over a ledger."""
    store = workflow_store(ledger)
    orders = ordering(settings, store)
    watching = Watching(store, _now)

    def try_channels(names: Sequence[str]) -> Mapping[str, str]:
        # As above: few requests send messages.
        from flowledger.bootstrap import workflow_letters

        return workflow_letters.try_channels(settings, ledger, names)

    approving = Approving(store, orders, _now)
    return WorkflowServices(
        store=store,
        authoring=orders.authoring,
        ordering=orders,
        approving=approving,
        links=approval_links(store, ledger, approving),
        recovering=Recovering(store, orders, _now),
        registry=Registry(store, _now, installed_handlers, lambda: plugins.NODES),
        watching=watching,
        pipelines=Pipelines(store, orders.authoring),
        metrics=PipelineMetrics(watching),
        mappings=Mappings(ledger, _now),
        language=settings.report_language,
        try_channels=try_channels,
        scheduling=lambda: scheduling(settings, orders.authoring),
    )


def scheduling(settings: Settings, author: Authoring) -> Scheduling:
    """Return the service that gives workflows schedules, which Prefect keeps.

    :raises UsageError: where no Prefect is set.
    """
    if settings.prefect_api_url is None:
        raise UsageError("PREFECT_API_URL is not set, and Prefect starts what is scheduled")
    # Prefect reads its settings when it is imported, which happens with its scheduler.
    plugins.load("prefect", "point_at")(os.environ, api_url=str(settings.prefect_api_url))
    scheduler = plugins.load("prefect", "scheduler")(settings)
    return Scheduling(author, scheduler, check_cron, settings.timezone)


def worker_name() -> str:
    """Return a name for a worker of this process, another one each time."""
    return f"{platform.node() or 'worker'}:{os.getpid()}:{uuid4().hex[:8]}"


_now: Clock = lambda: clock.utc_now()  # noqa: E731, PLW0108  tests put another clock there
