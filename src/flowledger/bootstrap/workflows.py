"""Workflows, wired: the engine that carries executions out, and the services that people's orders go to."""

import asyncio
import os
import platform
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from flowledger import plugins
from flowledger.bootstrap.configuration import clock
from flowledger.bootstrap.node_handlers import Handlers, installed_handlers, node_schemas
from flowledger.ledger import workflow_store
from flowledger.ports import Clock, Ledger
from flowledger.services.workflows.approving import Approving
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.engine import Engine
from flowledger.services.workflows.mappings import Mappings
from flowledger.services.workflows.metrics import PipelineMetrics
from flowledger.services.workflows.ordering import Ordering
from flowledger.services.workflows.pipelines import Pipelines
from flowledger.services.workflows.recovering import Recovering
from flowledger.services.workflows.registry import Registry
from flowledger.services.workflows.watching import Watching
from flowledger.settings import Settings
from flowledger.workflow_ports import Observer, WorkflowStore


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
    delivering = asyncio.create_task(parts.deliver())
    try:
        yield Engine(
            store,
            Handlers(store, parts.by_field()),
            _now,
            settings.workflow_secrets,
            (*observers, parts.announcer()),
            random.random,
            parts.complete,
        )
    finally:
        delivering.cancel()
        await parts.close()


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
    recovering: Recovering
    registry: Registry
    watching: Watching
    pipelines: Pipelines
    metrics: PipelineMetrics
    mappings: Mappings
    try_channels: Callable[[Sequence[str]], Mapping[str, str]]


def workflow_services(settings: Settings, ledger: Ledger) -> WorkflowServices:
    """Return the services of workflows over a ledger."""
    store = workflow_store(ledger)
    orders = ordering(settings, store)
    watching = Watching(store, _now)

    def try_channels(names: Sequence[str]) -> Mapping[str, str]:
        # As above: few requests send messages.
        from flowledger.bootstrap import workflow_letters

        return workflow_letters.try_channels(settings, ledger, names)

    return WorkflowServices(
        store=store,
        authoring=orders.authoring,
        ordering=orders,
        approving=Approving(store, orders, _now),
        recovering=Recovering(store, orders, _now),
        registry=Registry(store, _now, installed_handlers, lambda: plugins.NODES),
        watching=watching,
        pipelines=Pipelines(store, orders.authoring),
        metrics=PipelineMetrics(watching),
        mappings=Mappings(ledger, _now),
        try_channels=try_channels,
    )


def worker_name() -> str:
    """Return a name for a worker of this process, another one each time."""
    return f"{platform.node() or 'worker'}:{os.getpid()}:{uuid4().hex[:8]}"


_now: Clock = lambda: clock.utc_now()  # noqa: E731, PLW0108  tests put another clock there
