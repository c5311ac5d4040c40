"""Every type of node that is registered keeps the same promises, whatever it does."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import jsonschema
import pytest
from pydantic import SecretStr

from flowledger import plugins
from flowledger.bootstrap.ledgers import decoders
from flowledger.bootstrap.node_handlers import Handlers, own_kinds
from flowledger.domain.coze_runs import CozeEvent, WorkflowOrder
from flowledger.domain.messages import Message, OutboxMessage
from flowledger.domain.workflows import definition, exchange, schemas
from flowledger.domain.workflows.deciding import CONTAINERS, DECIDED
from flowledger.domain.workflows.definition import NodeType
from flowledger.domain.workflows.steps import ExecutionFacts
from flowledger.errors import UsageError
from flowledger.http.async_calls import CallReply
from flowledger.ledger import open_ledger, workflow_store
from flowledger.nodes.dify_run import DifyApp
from flowledger.nodes.notify import AT_ONCE
from flowledger.workflow_ports import NodeAnswer, NodeCall, NodeHandler

NOW = datetime(2026, 11, 30, tzinfo=UTC)
FACTS = ExecutionFacts(7, "e7", 1, 3, "1.0", NOW)
URL = "https://api.example.com/x"
PLANNED = {*DECIDED, *CONTAINERS, NodeType.APPROVAL, NodeType.SUBWORKFLOW}
SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "START": {"input_schema": {"type": "object", "required": ["id"]}},
    "END": {"output": {"name": "{{get.name}}"}, "error_message": None},
    "API_CALL": {"method": "POST", "url": URL, "headers": {"X-A": "1"}, "body": [1], "timeout": 5},
    "CONDITION": {"condition": "{{input.score}} >= 60", "true_path": "pass", "false_path": "fail"},
    "DELAY": {"seconds": 0},
    "PARALLEL": {"max_concurrent": 0, "wait_for_all": True, "sync_policy": "fail_fast"},
    "LOOP": {"items": "input.rows", "max_iterations": 1000, "on_max": "fail", "max_concurrent": 5},
    "APPROVAL": {"approvers": ["ann", "bo"], "required_approvals": 2, "timeout_hours": 0.5},
    "SUBWORKFLOW": {"workflow_id": 2, "version": 1, "input": {"id": "{{input.id}}"}},
    "TRANSFORM": {"whatever": ["{{input.id}}"]},
    "MERGE": {"strategy": "majority"},
    "NOTIFY": {"channel": "ops", "template": "{n} of {m}", "variables": {"n": 1}, "urgent": True},
    "REPORT": {"app": "sales", "period": "yesterday", "formats": ["csv", "json"]},
    "DIFY_RUN": {"app": "sales", "inputs": {"query": "你好"}, "timeout": 60},
    "COZE_RUN": {"workflow": "73", "inputs": {"q": 1}, "bot_id": None},
}
EVENTS = [
    {"event": "workflow_started", "task_id": "t1", "workflow_run_id": "r1", "data": {}},
    {"event": "workflow_finished", "data": {"status": "succeeded", "outputs": {"answer": "ok"}}},
]


@dataclass
class FakeCaller:
    """Answers every request, or none; streams the events of a run in Dify."""

    is_silent: bool = False
    asked: list[str] = field(default_factory=list)

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        deadline_s: float,
        taking: Callable[[bytes], None] | None = None,
    ) -> CallReply:
        """Answer."""
        self.asked.append(url)
        for event in EVENTS[: 1 if self.is_silent else 2] if taking else ():
            assert taking is not None
            taking(f"data: {json.dumps(event)}\n\n".encode())
        if self.is_silent and not url.endswith("/stop"):
            await asyncio.Event().wait()
        return CallReply(200, {"content-type": "application/json"}, b'{"name": "Rex"}', "utf-8")


@dataclass
class FakeRun:
    """A run in Coze that says something, or nothing until it is closed."""

    is_silent: bool
    closed: Event = field(default_factory=Event)
    told: list[CozeEvent] = field(
        default_factory=lambda: [
            CozeEvent("Message", {"content": '{"answer": 1}', "node_title": "End"}),
            CozeEvent("Done", {}),
        ]
    )

    def open(self) -> None:
        """Be accepted."""

    def read(self) -> Sequence[CozeEvent]:
        """Give the events, or wait."""
        if self.is_silent:
            self.closed.wait(10)
            return ()
        return self.told

    def close(self) -> None:
        """End it."""
        self.closed.set()


@dataclass
class World:
    """Everything that handlers reach, which answers or is silent."""

    is_silent: bool = False
    released: Event = field(default_factory=Event)
    caller: FakeCaller = field(init=False)

    def __post_init__(self) -> None:
        self.caller = FakeCaller(self.is_silent)

    def post(self, channel: str, message: Message) -> OutboxMessage:
        """Deliver a message."""
        self._wait()
        return OutboxMessage(
            letter_id="1", channel=channel, message=message, posted_at=NOW, not_before=NOW, sent_at=NOW
        )

    def write(self, options: Mapping[str, Any], instant: datetime, run_id: str) -> Mapping[str, Any]:
        """Write a report."""
        self._wait()
        return {"app": options["app"], "requests": 3, "report_paths": ("a", "b")}

    def app(self, name: str | None) -> DifyApp:
        """Give an app."""
        caller: Any = self.caller
        return DifyApp(str(name), "https://dify.example.com", SecretStr("app-1"), caller)

    def handler(self, node_type: str) -> NodeHandler:
        """Make the handler of a type as the engine does."""
        parts = {
            "caller": self.caller,
            "apis": lambda _: None,
            "post": self.post,
            "write": self.write,
            "dify_apps": self.app,
            "prepare": self.prepare,
        }
        return Handlers(workflow_store(open_ledger("memory://", decoders())), parts)(node_type)

    def prepare(self, order: WorkflowOrder) -> FakeRun:
        """Prepare a run."""
        return FakeRun(self.is_silent)

    def _wait(self) -> None:
        if self.is_silent:
            self.released.wait(10)


def call_of(node_type: str, deadline_s: float | None = 20.0, **config: Any) -> NodeCall:
    """Return the call of a step with the sample config of its type."""
    return NodeCall(
        key="loop/1/a",
        alias="a",
        name="A",
        node_type=node_type,
        config={**SAMPLES[node_type], **config},
        execution=FACTS,
        idempotency_key="e7:loop/1/a:1",
        deadline_s=deadline_s,
    )


def answer_of(node_type: str, world: World | None = None, **config: Any) -> NodeAnswer:
    """Run the handler of a type."""
    return asyncio.run((world or World()).handler(node_type).run(call_of(node_type, **config)))


EXECUTED = sorted({*plugins.NODES} - {each.value for each in PLANNED})


def test_the_types_of_the_definition_are_all_registered() -> None:
    """A type is a word of the definition, a line in plugins, and a sample here."""
    assert [*plugins.NODES] == [each.value for each in NodeType]
    assert set(SAMPLES) == set(plugins.NODES)


@pytest.mark.parametrize("kind", own_kinds(), ids=lambda kind: kind.type_name)
class TestEveryType:
    """What is the same for all."""

    def test_it_is_described(self, kind: Any) -> None:
        """Its schema is one, and a sentence says what it does."""
        jsonschema.Draft202012Validator.check_schema(kind.config_schema)
        assert kind.config_schema["type"] == "object"
        assert kind.description.endswith((".", ";"))
        assert bool(kind.handler) == (kind.type_name in EXECUTED)

    def test_its_config_fits_and_comes_back(self, kind: Any) -> None:
        """The sample fits by our reading and by the standard's, and survives an export."""
        config = SAMPLES[kind.type_name]
        assert list(schemas.misfits(config, kind.config_schema)) == []
        jsonschema.validate(config, kind.config_schema)
        assert list(schemas.misfits({}, {**kind.config_schema, "required": []})) == []
        node = {"id": 1, "alias": "a", "name": "A", "node_type": kind.type_name, "config": config}
        document = {"name": "w", "version": "1", "nodes": [node], "connections": [], "groups": []}
        exported = json.loads(json.dumps(exchange.exported(document, ())))
        (again,) = definition.read(exchange.imported(exported)).nodes
        assert again.config == config

    def test_an_unknown_option_is_named(self, kind: Any) -> None:
        """A mistyped option never does nothing in silence; but TRANSFORM's value may have any field."""
        misfits = list(schemas.misfits({**SAMPLES[kind.type_name], "colour": 1}, kind.config_schema))
        assert misfits == ([] if kind.type_name == "TRANSFORM" else [("colour", "is no option of this type")])


@pytest.mark.parametrize("node_type", EXECUTED)
def test_its_answer_is_json(node_type: str) -> None:
    """What it gives can be kept; it succeeded."""
    answer = answer_of(node_type)
    assert answer.error is None, answer.error
    json.dumps([answer.output, answer.response], allow_nan=False)
    assert all(isinstance(each, float) for each in answer.metrics.values())


@pytest.mark.parametrize("node_type", EXECUTED)
def test_it_ends_when_nobody_wants_it_any_more(node_type: str) -> None:
    """However silent the other side is, a cancelled step ends at once."""
    world = World(is_silent=True)

    async def cancelled() -> float:
        longer = {"seconds": 30} if node_type == "DELAY" else {}
        task = asyncio.create_task(world.handler(node_type).run(call_of(node_type, **longer)))
        await asyncio.sleep(0.02)
        began = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.get_running_loop().time() - began

    try:
        assert asyncio.run(cancelled()) < 1
    finally:
        world.released.set()


def test_outputs() -> None:
    """What each gives where the other side answers."""
    outputs = {each: answer_of(each).output for each in EXECUTED}
    assert outputs == {
        "API_CALL": {"name": "Rex"},
        "COZE_RUN": {"End": {"answer": 1}},
        "DELAY": None,
        "DIFY_RUN": {"answer": "ok"},
        "NOTIFY": {"status": "delivered", "channel": "ops", "message_id": "e7:loop/1/a:1"},
        "REPORT": {"app": "sales", "requests": 3, "report_paths": ("a", "b")},
    }


def test_a_delay_of_more_than_a_minute_is_no_step() -> None:
    """The planner parks it."""
    with pytest.raises(UsageError, match="more than a minute"):
        answer_of("DELAY", seconds=61)


def test_not_every_message_has_a_thread() -> None:
    """Many steps that wait for slow channels take their turns."""
    world = World(is_silent=True)

    async def many() -> None:
        handler = world.handler("NOTIFY")
        steps = [asyncio.create_task(handler.run(call_of("NOTIFY"))) for _ in range(50)]
        await asyncio.sleep(0.05)
        number = sum(each.name == "notify" for each in enumerate_threads())
        world.released.set()
        await asyncio.gather(*steps)
        assert number == AT_ONCE

    asyncio.run(many())
