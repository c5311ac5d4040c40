"""Executions beside a real Prefect server: what it shows of them, and what people do to them there."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Scheduled, Suspended
from prefect_records import last_flow_run, task_runs_of
from prefect_server import PrefectServer, prefect_in_use
from prefect_worker import wait_for

from flowledger import bootstrap
from flowledger.bootstrap import open_ledger_at
from flowledger.bootstrap.workers import reporting_worker
from flowledger.bootstrap.workflows import authoring, ordering
from flowledger.domain.runs import RunStatus
from flowledger.errors import SchedulerError
from flowledger.flows import environment, registration, reporter
from flowledger.flows.flow_runs import FlowRuns
from flowledger.flows.registration import infrastructure_of
from flowledger.flows.workflow_schedules import PrefectScheduler
from flowledger.flows.workflows import execute
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.services.deploy import WORKFLOW, Act, Entry, deployments_of
from flowledger.services.workflows.approving import Approving
from flowledger.services.workflows.ordering import Ordering
from flowledger.services.workflows.scheduling import Scheduling
from flowledger.settings import ConfigManager, Settings
from flowledger.settings.schedules import check_cron
from flowledger.workflow_ports import Execution, WorkflowStore

MOST_S = 30.0
AWAY = "http://127.0.0.1:9/api"


def chain(*middle: tuple[str, str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document of a START, some nodes and an END in a row."""
    nodes = [("start", "START", {}), *middle, ("end", "END", {})]
    return {
        "name": f"w-{uuid4().hex}",
        "version": "1",
        "config": {},
        "nodes": [
            {"id": number, "name": name, "alias": name, "node_type": kind, "config": config}
            for number, (name, kind, config) in enumerate(nodes, 1)
        ],
        "connections": [
            {"id": n, "from_node_id": n, "to_node_id": n + 1, "connection_type": "SEQUENCE"}
            for n in range(1, len(nodes))
        ],
    }


HELLO = ("hello", "TRANSFORM", {"template": "hello {{input.name}}"})
ASK = ("ask", "APPROVAL", {"approvers": ["ann"], "required_approvals": 1})
LATER = ("later", "DELAY", {"seconds": 2})
"""Long enough for a worker to hear what is wanted of an execution."""
LONG = ("long", "DELAY", {"seconds": 50})
BROKEN = ("broken", "TRANSFORM", {"template": "{{input.name + 1}}"})


@dataclass
class Site:
    """A ledger, settings that name a Prefect server, and a worker in a thread."""

    settings: Settings
    ledger: Ledger
    store: WorkflowStore = field(init=False)
    orders: Ordering = field(init=False)

    def __post_init__(self) -> None:
        self.store = workflow_store(self.ledger)
        self.orders = ordering(self.settings, self.store)

    def execute(self, document: Mapping[str, Any], name: str = "张三") -> Execution:
        """Order an execution of a new workflow."""
        stored = self.store.create_workflow(document, datetime.now(UTC))
        authoring(self.settings, self.store).publish(stored.id, "ann")
        return self.orders.execute(stored.id, input_data={"name": name}, by="ann", name=f"e-{uuid4().hex}")

    def once(self, number: int, enough: Callable[[Execution], bool]) -> Execution:
        """Wait until an execution is so."""
        ends, pause = monotonic() + MOST_S, threading.Event()
        while True:
            found = self.store.execution(number)
            assert found is not None
            if enough(found):
                return found
            assert monotonic() < ends, found
            pause.wait(0.05)

    def shown(self, number: int, state: str) -> FlowRun:
        """Wait until Prefect shows an execution in a state, and give its flow run."""
        run_id = UUID(self.once(number, lambda each: each.flow_run_id is not None).flow_run_id)
        return wait_for(
            lambda client: client.read_flow_run(run_id), lambda run: run.state_name == state, MOST_S
        )

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run a worker that reports."""
        loop, stop, begun = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

        async def work() -> None:
            async with reporting_worker(self.settings, self.ledger) as worker:
                begun.set()
                await worker.run(stop)

        thread = threading.Thread(target=lambda: loop.run_until_complete(work()))
        thread.start()
        try:
            assert begun.wait(MOST_S)
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


def site_at(folder: Path, ledger: Ledger, api: str, **more: str) -> Site:
    """A site whose settings name a server."""
    variables = {"OUTPUT_BASE_DIR": str(folder), "PREFECT_API_URL": api, **more}
    variables["WORKFLOWS_ALLOWED_HOSTS"] = "127.0.0.1"
    return Site(ConfigManager(folder, variables).load(need_app=False), ledger)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger in memory."""
    with open_ledger_at("memory://") as opened:
        yield opened


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look and report at once: what is tested is what happens then.  A worker names its server itself."""
    for name, value in {"PREFECT_API_URL": AWAY, **environment.QUIET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(reporter, "LOOK_S", 0.2)
    monkeypatch.setattr(reporter, "LOOK_AT_PARKED_S", 0.2)
    monkeypatch.setattr(reporter, "SWEEP_S", 0.2)
    monkeypatch.setattr(reporter, "AWAY_S", 0.2)


@pytest.fixture
def site(tmp_path: Path, ledger: Ledger, shared_prefect: PrefectServer, quick: None) -> Iterator[Site]:
    """A site at the session's server, and its worker."""
    place = site_at(tmp_path, ledger, shared_prefect.api)
    with temporary_settings({PREFECT_API_URL: shared_prefect.api}), place.worker():
        yield place


def test_an_execution_is_a_flow_run_and_its_tries_are_task_runs(site: Site) -> None:
    """Under its own name, with the names of its nodes, in the state it ended in."""
    execution = site.execute(chain(HELLO))
    run = site.shown(execution.id, "Completed")
    assert run.name == execution.name
    assert run.parameters["execution"] == execution.execution_id
    tasks = task_runs_of(run, 3)
    assert {task.name: task.state_name for task in tasks} == {
        "start": "Completed",
        "hello": "Completed",
        "end": "Completed",
    }
    stored = site.store.execution(execution.id)
    assert stored is not None
    assert stored.reported_state == "success"


def test_a_failure_says_why(site: Site) -> None:
    """The failed node is a failed task run, and the run's message is the execution's error."""
    execution = site.execute(chain(BROKEN))
    run = site.shown(execution.id, "Failed")
    failed = site.once(execution.id, lambda each: each.error is not None)
    assert run.state is not None
    assert run.state.message == f"Flowledger: {failed.error}"
    assert {task.name: task.state_name for task in task_runs_of(run, 2)}["broken"] == "Failed"


def test_an_approval_is_a_suspension(site: Site) -> None:
    """Suspended while it waits, under another key each time; completed once it is approved."""
    execution = site.execute(chain(ASK, ("again", *ASK[1:])))
    run = site.shown(execution.id, "Suspended")
    assert run.state is not None
    assert run.state.state_details.pause_key == "park-1"
    assert "ask" in str(run.state.message)
    approving = Approving(site.store, site.orders, site.orders.clock)
    approving.vote(execution.id, "ask", approved=True, by="ann")
    site.once(execution.id, lambda each: each.attempt == 2 and each.reported_state == "paused")
    again = site.shown(execution.id, "Suspended").state
    assert again is not None
    assert again.state_details.pause_key == "park-2"
    approving.vote(execution.id, "again", approved=True, by="ann")
    site.shown(execution.id, "Completed")


def set_state(run: FlowRun, state: Any) -> None:
    """Do what the UI does."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, state)


def test_cancelled_in_prefect(site: Site) -> None:
    """What runs is cancelled here; what waits, too."""
    running, waiting = site.execute(chain(LONG)), site.execute(chain(ASK))
    set_state(site.shown(running.id, "Running"), Cancelling())
    set_state(site.shown(waiting.id, "Suspended"), Cancelling())
    for each in (running, waiting):
        site.once(each.id, lambda found: found.status is RunStatus.CANCELLED)
        site.shown(each.id, "Cancelled")


def test_suspended_and_resumed_in_prefect(site: Site) -> None:
    """A suspension there pauses here once what runs has ended, a resumption there lets it go on."""
    with gated_api() as (url, gate):
        execution = site.execute(chain(("call", "API_CALL", {"url": url}), LATER, HELLO))
        set_state(site.shown(execution.id, "Running"), Suspended())
        site.once(execution.id, lambda each: each.asked == "pause")
        gate.set()
        site.once(execution.id, lambda each: each.status is RunStatus.PAUSED)
        site.once(execution.id, lambda each: each.reported_state == "paused")
        run = site.shown(execution.id, "Suspended")
        with get_client(sync_client=True) as client:
            client.resume_flow_run(run.id)
        site.once(execution.id, lambda each: each.status is RunStatus.SUCCESS)
        site.shown(execution.id, "Completed")


@contextmanager
def gated_api() -> Iterator[tuple[str, threading.Event]]:
    """An API that answers once its gate is open."""
    gate = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gate.wait(MOST_S)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", gate
    finally:
        gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_tried_again_in_prefect(site: Site) -> None:
    """A retry there is a resumption here; one of what succeeded shows the success again."""
    failed, done = site.execute(chain(BROKEN)), site.execute(chain(HELLO))
    set_state(site.shown(failed.id, "Failed"), Scheduled(name="AwaitingRetry"))
    site.once(failed.id, lambda each: each.attempt == 2 and each.status is RunStatus.FAILED)
    site.shown(failed.id, "Failed")
    set_state(site.shown(done.id, "Completed"), Scheduled(name="AwaitingRetry"))
    site.shown(done.id, "Completed")
    assert site.once(done.id, lambda _: True).attempt == 1


def test_a_run_of_a_schedule_is_executed(site: Site) -> None:
    """A workflow's cron is a deployment, whose runs start executions with its input, each once."""
    document = chain(HELLO)
    stored = site.store.create_workflow(document, datetime.now(UTC))
    author = authoring(site.settings, site.store)
    scheduling = Scheduling(author, PrefectScheduler(site.settings), check_cron, "Asia/Shanghai")
    scheduling.put(stored.id, {"cron": "0 2 * * *", "input": {"name": "李四"}}, "ann")
    schedule = scheduling.get(stored.id)
    assert (schedule.cron, schedule.timezone, schedule.active) == ("0 2 * * *", "Asia/Shanghai", True)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"workflow-execution/workflow-{stored.id}")
        run = client.create_flow_run_from_deployment(deployment.id)
    wait_for(lambda client: client.read_flow_run(run.id), lambda each: each.state_name == "Completed", MOST_S)
    execution = site.store.execution(run.id.hex)
    assert execution is not None
    assert (execution.output, execution.trigger) == ({"hello": "hello 李四"}, "prefect")
    scheduling.remove(stored.id)
    with pytest.raises(LookupError):
        scheduling.get(stored.id)


def test_an_entry_of_a_workflow_is_deployed(site: Site) -> None:
    """Once, without a limit to how many run at once; deployed again, it stays as it is."""
    entry = Entry(
        *("night", f"night-{uuid4().hex}", WORKFLOW, "0 1 * * *", ""),
        parameters={WORKFLOW: "orders", "input": {}},
        timezone="UTC",
    )
    planned, _ = deployments_of((), {"night": entry})
    with get_client(sync_client=True) as client:
        place = replace(infrastructure_of(site.settings), pool=f"pool-{uuid4().hex}")
        client.create_work_pool(WorkPoolCreate(name=place.pool, type="process"))
        for act in (Act.CREATE, Act.UNCHANGED):
            changes = registration.compare(client, planned, place, lambda _: True, prune=False)
            ours = [each for each in changes if each.name == entry.name]
            assert [each.act for each in registration.apply(client, ours)] == [act]
        deployed = client.read_deployment_by_name(f"workflow-execution/{entry.name}")
        assert (deployed.tags[0], deployed.global_concurrency_limit) == ("flowledger-workflow", None)
        client.delete_deployment(deployed.id)


def test_away_and_back(tmp_path: Path, ledger: Ledger, shared_prefect: PrefectServer, quick: None) -> None:
    """Executions go on while Prefect is away; the next worker that reaches it tells what it has missed."""
    place = site_at(tmp_path, ledger, AWAY)
    with temporary_settings({PREFECT_API_URL: AWAY}), place.worker():
        execution = place.execute(chain(HELLO))
        place.once(execution.id, lambda each: each.status is RunStatus.SUCCESS)
        with pytest.raises(SchedulerError):
            PrefectScheduler(place.settings).get(1)
    assert place.once(execution.id, lambda _: True).reported_state is None
    back = site_at(tmp_path, ledger, shared_prefect.api)
    with temporary_settings({PREFECT_API_URL: shared_prefect.api}), back.worker():
        run = back.shown(execution.id, "Completed")
        assert len(task_runs_of(run, 3)) == 3


def test_first_in_prefect(tmp_path: Path, ledger: Ledger, shared_prefect: PrefectServer, quick: None) -> None:
    """With ``first`` the flow run is there before the first node runs."""
    place = site_at(tmp_path, ledger, shared_prefect.api, WORKFLOWS_IN_PREFECT="first")
    with temporary_settings({PREFECT_API_URL: shared_prefect.api}), place.worker():
        execution = place.execute(chain(HELLO))
        run = place.shown(execution.id, "Completed")
        (first, *_) = place.store.steps(execution.id)
        assert run.created is not None
        assert first.started_at is not None
        assert run.created <= first.started_at


def test_a_killed_registration_is_found_again(site: Site) -> None:
    """Killed before the id was kept, the next registration gives the same flow run."""
    execution = site.execute(chain(HELLO))
    run = site.shown(execution.id, "Completed")

    async def register() -> UUID:
        async with get_client() as client:
            return await FlowRuns(client, infrastructure_of(site.settings)).register(execution)

    assert execution.flow_run_id is None
    assert asyncio.run(register()) == run.id


def test_a_process_of_a_pool_carries_an_execution_out(
    tmp_path: Path, shared_prefect: PrefectServer, quick: None
) -> None:
    """The flow alone, as a worker of Prefect starts it: once more it goes on where it is."""
    variables = {
        "OUTPUT_BASE_DIR": str(tmp_path),
        "LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "PREFECT_API_URL": shared_prefect.api,
    }
    reader = ConfigManager(tmp_path, variables)
    with bootstrap.configured(reader), bootstrap.opened_ledger(reader.load(need_app=False)) as ledger:
        place = Site(reader.load(need_app=False), ledger)
        stored = place.store.create_workflow(chain(ASK), datetime.now(UTC))
        with prefect_in_use(shared_prefect):
            with pytest.raises(Abort):
                execute(workflow=str(stored.document["name"]))
            run = last_flow_run()
            execution = place.store.execution(run.id.hex)
            assert execution is not None
            assert (execution.status, run.state_name) == (RunStatus.PAUSED, "Suspended")
            approving = Approving(place.store, place.orders, place.orders.clock)
            approving.vote(execution.id, "ask", approved=True, by="ann")
            with pytest.raises(Abort):
                execute(execution=execution.execution_id)
            assert place.once(execution.id, lambda _: True).status is RunStatus.SUCCESS
            place.shown(execution.id, "Completed")
