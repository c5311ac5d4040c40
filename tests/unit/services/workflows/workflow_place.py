"""A store in memory, a scripted API and a worker: what tests of the engine stand on."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from flowledger.bootstrap.ledgers import decoders
from flowledger.domain.workflows import definition
from flowledger.domain.workflows.definition import alias_from
from flowledger.ledger import open_ledger, workflow_store
from flowledger.services.workflows.engine import Engine
from flowledger.services.workflows.scheduling import WorkflowSchedule
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import (
    Execution,
    NodeAnswer,
    NodeCall,
    NodeHandler,
    Observer,
    Order,
    UnknownHandlerError,
    WorkflowStore,
)

NOW = datetime(2026, 11, 27, 2, 3, 4, tzinfo=UTC)
Answer = Callable[[NodeCall], Any]


def node(
    name: str, node_type: str = "API_CALL", *, options: Mapping[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    """A node of a document; its alias is made of its name."""
    return {
        "name": name,
        "alias": alias_from(name),
        "node_type": node_type,
        "config": config,
        **(options or {}),
    }


def document(nodes: Sequence[dict[str, Any]], links: Sequence[Any], **config: Any) -> dict[str, Any]:
    """A document of nodes and ``(from, to)`` or ``(from, to, type, more)`` connections by name."""
    numbers = {each["name"]: number for number, each in enumerate(nodes, 1)}
    connections = [
        {
            "id": number,
            "from_node_id": numbers[link[0]],
            "to_node_id": numbers[link[1]],
            "connection_type": link[2] if len(link) > 2 else "SEQUENCE",
            **(link[3] if len(link) > 3 else {}),
        }
        for number, link in enumerate(links, 1)
    ]
    numbered = [{"id": numbers[each["name"]], **each} for each in nodes]
    made = {"name": "w", "version": "1", "config": config, "nodes": numbered, "connections": connections}
    definition.read(made)
    return made


@dataclass
class ScriptedApi:
    """A handler whose answers are scripted by alias: a value, an answer, a function, or a list of them."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[NodeCall] = field(default_factory=list)

    async def run(self, call: NodeCall) -> NodeAnswer:
        """Answer as scripted; what is not scripted gives its alias."""
        self.calls.append(call)
        answer = self.answers.get(call.alias, call.alias)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if callable(answer):
            answer = answer(call)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return answer if isinstance(answer, NodeAnswer) else NodeAnswer(output=answer)

    @property
    def called(self) -> list[str]:
        """The keys of the steps that called it."""
        return [call.key for call in self.calls]


@dataclass
class Place:
    """An engine over a ledger in memory, at a time that tests move."""

    store: WorkflowStore
    api: ScriptedApi
    engine: Engine
    now: datetime = NOW

    def publish(self, made: Mapping[str, Any]) -> int:
        """Store and publish a document; return the workflow's number."""
        stored = self.store.create_workflow(made, self.now)
        self.store.publish(stored.id, 1, made, f"digest {stored.id}", self.now, "ann")
        return stored.id

    def order(
        self, workflow_id: int, execution_id: str = "e1", input: Any = None, **config: Any
    ) -> Execution:
        """Accept an execution of the newest version."""
        version = self.store.version(workflow_id)
        assert version is not None
        return self.store.accept(
            Order(
                execution_id=execution_id,
                workflow_id=workflow_id,
                workflow_name="w",
                version=version.number,
                version_text=version.version,
                name="test",
                input={} if input is None else input,
                variables={},
                config=config,
                trigger="api",
                requested_by="ann",
                at=self.now,
            )
        )

    def run(self, execution: Execution, owner: str = "w1") -> Execution:
        """Drive an execution that is due until it ends or is parked."""
        driven = asyncio.run(Worker(self.engine, owner).run_one(execution.id))
        assert driven is not None
        return driven

    def trace(self, execution: Execution) -> list[str]:
        """The steps in settle order as ``key:status``, tries from the second on with their number."""
        return [
            f"{step.key}:{step.status}" + (f"#{step.try_no}" if step.try_no > 1 else "")
            for step in self.store.steps(execution.id)
        ]

    def events(self, execution: Execution) -> list[str]:
        """The events in order, as ``EVENT key``."""
        return [f"{event.event} {event.key}".strip() for event in self.store.events(execution.id)]


def place(*observers: Observer, secrets: Mapping[str, str] | None = None, **answers: Any) -> Place:
    """A new place whose API answers as scripted."""
    api = ScriptedApi(dict(answers))
    made: list[Place] = []

    def handler(node_type: str) -> NodeHandler:
        if node_type != "API_CALL":
            raise UnknownHandlerError(f"no plugin executes nodes of type {node_type}")
        return api

    store = workflow_store(open_ledger("memory://", decoders()))
    engine = Engine(
        store,
        handler,
        lambda: made[0].now,
        {name: SecretStr(value) for name, value in (secrets or {}).items()},
        observers,
    )
    made.append(Place(store, api, engine))
    return made[0]


@dataclass
class KeptSchedules:
    """A scheduler that keeps schedules in memory."""

    kept: dict[int, WorkflowSchedule] = field(default_factory=dict)

    def put(self, schedule: WorkflowSchedule) -> None:
        """Keep it."""
        self.kept[schedule.workflow_id] = schedule

    def get(self, workflow_id: int) -> WorkflowSchedule | None:
        """Give it."""
        return self.kept.get(workflow_id)

    def remove(self, workflow_id: int) -> bool:
        """Forget it."""
        return self.kept.pop(workflow_id, None) is not None


def failing(error: str, error_type: str = "HTTPError", status: int | None = 503, **more: Any) -> NodeAnswer:
    """A failed answer."""
    return NodeAnswer(error=error, error_type=error_type, http_status=status, **more)


SECOND = timedelta(seconds=1)
