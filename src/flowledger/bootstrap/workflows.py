"""Workflows, wired: the engine that carries executions out, and the services that people's orders go to."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from flowledger.bootstrap.configuration import clock
from flowledger.bootstrap.node_handlers import Handlers, node_schemas
from flowledger.bootstrap.node_parts import NodeParts
from flowledger.domain.workflows.definition import NodeType
from flowledger.ledger import workflow_store
from flowledger.nodes import api_call
from flowledger.ports import Clock, Ledger
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.engine import Config, Engine
from flowledger.services.workflows.ordering import Ordering
from flowledger.settings import Settings
from flowledger.workflow_ports import Observer, WorkflowStore


@asynccontextmanager
async def open_engine(
    settings: Settings, ledger: Ledger, *, observers: Sequence[Observer] = ()
) -> AsyncIterator[Engine]:
    """Open the engine in the running event loop; its connections are closed at the end."""
    store = workflow_store(ledger)
    parts = NodeParts(settings, ledger, store)
    try:
        yield Engine(
            store,
            Handlers(store, parts.by_field()),
            _now,
            settings.workflow_secrets,
            observers,
            random.random,
            _completing(store),
        )
    finally:
        await parts.close()


def authoring(settings: Settings, store: WorkflowStore) -> Authoring:
    """Return the service that changes, checks and publishes drafts."""
    return Authoring(store, _now, lambda: node_schemas(store), tuple(settings.channels))


def ordering(
    settings: Settings, store: WorkflowStore, *, wake: Callable[[], None] = lambda: None
) -> Ordering:
    """Return the service that accepts executions, and what people want of them."""
    return Ordering(store, authoring(settings, store), _now, wake)


def _completing(store: WorkflowStore) -> Callable[[str, Config], Awaitable[Config]]:
    """Return what puts the fields of a registered API into a config that names it."""

    async def complete(node_type: str, config: Config) -> Config:
        # One that is computed is known only when it is rendered, and completed by the node.
        if node_type != NodeType.API_CALL or not isinstance(config.get("api_id"), int):
            return config
        return await asyncio.to_thread(api_call.complete, config, store.api)

    return complete


_now: Clock = lambda: clock.utc_now()  # noqa: E731, PLW0108  tests put another clock there
