"""The engine of the settings: registered APIs with their secrets, allowed hosts, plugins."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from wired_engine import executed, settings_of
from workflow_place import NOW, document, node

from flowledger.bootstrap import open_ledger_at
from flowledger.bootstrap.node_handlers import Handlers, installed_handlers, node_kinds
from flowledger.bootstrap.workflows import authoring, open_engine, ordering
from flowledger.domain.redaction import MARK
from flowledger.domain.runs import RunStatus
from flowledger.errors import InvalidWorkflowError
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.services.workflows.worker import Worker
from flowledger.workflow_ports import StoredNodeType, UnknownHandlerError

SECRET = "planted-secret-of-the-pets"


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger in memory."""
    with open_ledger_at("memory://") as opened:
        yield opened


@pytest.fixture
def site() -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """A server that echoes a header back; its address, and the headers of what it was asked."""
    asked: list[Mapping[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append({name.lower(): value for name, value in self.headers.items()})
            body = (self.headers.get("Authorization") or "").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registered_api_with_a_secret(tmp_path: Path, ledger: Ledger, site: Any) -> None:
    """Its fields are rendered with the node's; the secret reaches the server, and no record."""
    address, asked = site
    settings = settings_of(tmp_path, WORKFLOWS_ALLOWED_HOSTS="127.0.0.1", WORKFLOW_SECRETS=f"PETS={SECRET}")
    store = workflow_store(ledger)
    fields = {
        "base_url": address,
        "path": "/pets/{{input.pet}}",
        "auth": {"type": "bearer", "token": "{{secrets.PETS}}"},
    }
    api = store.save_api(None, fields, NOW)
    assert api is not None
    execution, (step,) = executed(settings, ledger, node("get", api_id=api.id))
    assert execution.status is RunStatus.SUCCESS, execution.error
    assert asked[0]["authorization"] == f"Bearer {SECRET}"
    assert step.output == f"Bearer {MARK}"
    assert isinstance(step.input, dict)
    assert step.input["url"] == f"{address}/pets/1"
    assert SECRET not in str((step, store.events(execution.id)))


def test_a_key_written_into_an_entry_is_in_no_record_either(
    tmp_path: Path, ledger: Ledger, site: Any
) -> None:
    """Headers that carry keys are recorded without them, however they came there."""
    address, asked = site
    store = workflow_store(ledger)
    fields = {"base_url": address, "path": "/status", "auth": {"type": "bearer", "token": "plain-token-1"}}
    api = store.save_api(None, fields, NOW)
    assert api is not None
    _, (step,) = executed(
        settings_of(tmp_path, WORKFLOWS_ALLOWED_HOSTS="127.0.0.1"), ledger, node("a", api_id=1)
    )
    assert asked[0]["authorization"] == "Bearer plain-token-1"
    assert isinstance(step.input, dict)
    assert step.input["headers"] == {"Authorization": MARK}


def test_private_hosts_only_where_the_settings_allow_them(tmp_path: Path, ledger: Ledger, site: Any) -> None:
    """Without an entry in WORKFLOWS_ALLOWED_HOSTS this machine cannot be called."""
    address, asked = site
    execution, (step,) = executed(settings_of(tmp_path), ledger, node("get", url=address))
    assert (execution.status, step.error_type) == (RunStatus.FAILED, "ValidationError")
    assert "WORKFLOWS_ALLOWED_HOSTS" in str(step.error)
    assert not asked


def test_a_computed_api_is_completed_without_expressions(tmp_path: Path, ledger: Ledger, site: Any) -> None:
    """What nobody rendered is not sent."""
    address, asked = site
    settings = settings_of(tmp_path, WORKFLOWS_ALLOWED_HOSTS="127.0.0.1", WORKFLOW_SECRETS=f"PETS={SECRET}")
    store = workflow_store(ledger)
    store.save_api(None, {"base_url": address, "path": "/x"}, NOW)
    execution, _ = executed(settings, ledger, node("get", api_id="{{input.api}}"))
    assert (execution.status, len(asked)) == (RunStatus.SUCCESS, 1)
    store.save_api(1, {"base_url": address, "path": "/{{input.x}}"}, NOW)
    execution, (step,) = executed(settings, ledger, node("get", api_id="{{input.api}}"))
    assert (execution.status, len(asked)) == (RunStatus.FAILED, 1)
    assert step.error == "the API 1 has expressions: write its api_id as a number"


PLUGIN = '''
"""A handler as packages bring them."""

from flowledger.workflow_ports import NodeAnswer


class Doubling:
    """Doubles a number."""

    async def run(self, call):
        """Double it."""
        return NodeAnswer(call.config["number"] * 2, metrics={"doubled": 1})


no_handler = 5
'''
POINTS = """[flowledger.nodes]
doubling = doubling_plugin:Doubling
broken = doubling_plugin:nothing_of_that_name
no_handler = doubling_plugin:no_handler
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with handlers."""
    (tmp_path / "doubling_plugin.py").write_text(PLUGIN, "utf-8")
    info = tmp_path / "doubling_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: doubling-plugin\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(POINTS, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with fresh_handlers():
        yield


@contextmanager
def fresh_handlers() -> Iterator[None]:
    """Look at what is installed anew, now and afterwards."""
    installed_handlers.cache_clear()
    yield
    installed_handlers.cache_clear()


def make_known(ledger: Ledger, type_name: str, handler: str) -> None:
    """Store a custom type."""
    store = workflow_store(ledger)
    schema = {"number": "number"}
    store.save_node_type(StoredNodeType(type_name, "Doubles", schema, handler, NOW))


@pytest.mark.usefixtures("plugin")
def test_a_custom_type_is_executed_by_its_plugin(tmp_path: Path, ledger: Ledger) -> None:
    """A type that was made known has a schema and is executed; its numbers are kept."""
    make_known(ledger, "DOUBLE", "doubling")
    execution, (step,) = executed(settings_of(tmp_path), ledger, node("twice", "DOUBLE", number=21))
    assert (execution.status, step.output, step.metrics) == (RunStatus.SUCCESS, 42, {"doubled": 1})
    with pytest.raises(InvalidWorkflowError, match=r"twice: config\.number: must be of type number"):
        executed(settings_of(tmp_path), ledger, node("twice", "DOUBLE", number="x"))


@pytest.mark.usefixtures("plugin")
def test_a_removed_plugin_is_a_clear_failure(tmp_path: Path, ledger: Ledger) -> None:
    """A published workflow fails at the step, which says why; a new one is not published."""
    settings = settings_of(tmp_path)
    make_known(ledger, "DOUBLE", "doubling")
    store = workflow_store(ledger)
    nodes = [node("start", "START"), node("twice", "DOUBLE", number=1), node("end", "END")]
    made = document(nodes, [("start", "twice"), ("twice", "end")])
    stored = store.create_workflow(made, NOW)
    authoring(settings, store).publish(stored.id, "ann")
    make_known(ledger, "DOUBLE", "removed")
    execution = ordering(settings, store).execute(stored.id, by="ann")

    async def drive() -> None:
        async with open_engine(settings, ledger) as engine:
            await Worker(engine, "w1").run_one(execution.id)

    asyncio.run(drive())
    step = next(step for step in store.steps(execution.id) if step.alias == "twice")
    assert step.error_type == "ValidationError"
    assert step.error == "nodes of type DOUBLE are executed by 'removed', which no installed package brings"
    assert [each.is_installed for each in node_kinds(store) if each.is_custom] == [False]
    (fault,) = [each for each in authoring(settings, store).faults(stored.id) if not each.is_warning]
    assert fault.message == "there is no type 'DOUBLE', or its plugin is not installed"


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("broken", "cannot be loaded: AttributeError: "),
        ("no_handler", "has no run"),
        (None, "there is no type"),
    ],
)
def test_a_handler_that_cannot_be_used(ledger: Ledger, handler: str | None, reason: str) -> None:
    """Whatever is wrong with a plugin is named, and is no fault of the engine's."""
    if handler:
        make_known(ledger, "BAD", handler)
    with pytest.raises(UnknownHandlerError, match=reason):
        Handlers(workflow_store(ledger), {})("BAD")


def test_what_the_planner_decides_is_not_executed(ledger: Ledger) -> None:
    """Such a type has a schema and no handler."""
    with pytest.raises(UnknownHandlerError, match="decided by the planner"):
        Handlers(workflow_store(ledger), {})("START")
    kinds = {each.type_name: each.handler for each in node_kinds(workflow_store(ledger))}
    assert kinds["START"] == ""
    assert kinds["API_CALL"]
