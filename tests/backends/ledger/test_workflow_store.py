"""Workflows and executions in every ledger: what workers, people and the history rely on."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowledger.domain.history import RunKey, RunQuery
from flowledger.domain.runs import AppKey, Detailed, Missing, RunStatus
from flowledger.domain.workflows.definition import WorkflowStatus
from flowledger.domain.workflows.steps import EventType, StepStatus, WaitKind
from flowledger.errors import LeaseLostError, RecordConflictError, RecordNotFoundError
from flowledger.ledger import workflow_store
from flowledger.ports import Ledger
from flowledger.workflow_ports import (
    LEASE,
    Claim,
    Ended,
    Execution,
    ExecutionQuery,
    Order,
    Progressed,
    Resumption,
    Step,
    StoredNodeType,
    Wait,
    WorkflowStore,
)

NOW = datetime(2026, 11, 27, 2, 3, 4, 567000, UTC)
DOCUMENT: Mapping[str, Any] = {"name": "客户同步", "version": "1.0", "tags": ["demo", "night"], "nodes": []}


@pytest.fixture
def store(ledger: Ledger) -> WorkflowStore:
    """An empty store in each kind of ledger."""
    return workflow_store(ledger)


@pytest.fixture
def accepted(store: WorkflowStore) -> Callable[..., Execution]:
    """Accept executions of one published workflow."""
    workflow = store.create_workflow(DOCUMENT, NOW)
    store.publish(workflow.id, 1, DOCUMENT, "d1", NOW, "ann")

    def accept(execution_id: str = "e1", at: datetime = NOW, **config: Any) -> Execution:
        order = Order(
            execution_id=execution_id,
            workflow_id=workflow.id,
            workflow_name="客户同步",
            version=1,
            version_text="1.0",
            name="nightly",
            input={"id": 7},
            variables={"a": 1},
            config=config,
            trigger="api",
            requested_by="ann",
            at=at,
        )
        return store.accept(order)

    return accept


def take(store: WorkflowStore, at: datetime = NOW, owner: str = "w1", limit: int = 10) -> list[Claim]:
    """Take what is due."""
    return list(store.take(owner, at, LEASE, limit=limit))


def step(key: str, status: StepStatus = StepStatus.SUCCESS, **more: Any) -> Step:
    """A try of a node."""
    fields = {"alias": key, "name": key, "node_id": 1, "node_type": "API_CALL", "generation": 1, "try_no": 1}
    return Step(key=key, status=status, **{**fields, **more})


def events_of(store: WorkflowStore, execution: Execution) -> list[tuple[int, str]]:
    """The events of an execution by cursor."""
    return [(event.cursor, event.event.value) for event in store.events(execution.id)]


def test_a_draft_is_stored_changed_and_found(store: WorkflowStore) -> None:
    """A draft has a number, a revision, and is listed by name, tag and status."""
    first = store.create_workflow(DOCUMENT, NOW)
    other = store.create_workflow({"name": "other"}, NOW)
    later = NOW + timedelta(hours=1)
    changed = store.change_workflow(
        first.id, lambda stored: ({**stored.document, "description": "x"}, stored.status), later
    )
    assert changed == store.workflow(first.id)
    assert changed is not None
    assert (changed.revision, changed.document["description"], changed.updated_at) == (2, "x", later)
    assert [each.id for each in store.workflows().workflows] == [other.id, first.id]
    assert [each.id for each in store.workflows(tag="night").workflows] == [first.id]
    assert [each.id for each in store.workflows(name="other").workflows] == [other.id]
    assert store.workflows(status=WorkflowStatus.ACTIVE).workflows == []
    page = store.workflows(limit=1)
    assert page.following == other.id
    assert store.workflows(after=page.following, limit=1).workflows == [changed]
    assert store.change_workflow(999, lambda stored: (stored.document, stored.status), NOW) is None


def test_what_a_change_refuses_is_not_stored(store: WorkflowStore) -> None:
    """An error of the change leaves the draft as it was."""
    workflow = store.create_workflow(DOCUMENT, NOW)

    def refuse(_stored: object) -> Any:
        raise RecordConflictError("no")

    with pytest.raises(RecordConflictError):
        store.change_workflow(workflow.id, refuse, NOW)
    assert store.workflow(workflow.id) == workflow


def test_publishing_makes_versions_that_stay(store: WorkflowStore) -> None:
    """The same snapshot is one version; a changed draft is refused under its old revision."""
    workflow = store.create_workflow(DOCUMENT, NOW)
    first = store.publish(workflow.id, 1, DOCUMENT, "d1", NOW, "ann")
    assert first is not None
    assert store.publish(workflow.id, 1, DOCUMENT, "d1", NOW, "bob") == first
    second = store.publish(workflow.id, 1, {**DOCUMENT, "version": "2"}, "d2", NOW, "bob")
    assert second is not None
    assert (second.number, second.version, second.created_by) == (2, "2", "bob")
    assert store.versions(workflow.id) == [second, first]
    assert store.version(workflow.id) == second
    assert store.version(workflow.id, 1) == first
    stored = store.workflow(workflow.id)
    assert stored is not None
    assert (stored.status, stored.published) == (WorkflowStatus.ACTIVE, 2)
    with pytest.raises(RecordConflictError, match="changed meanwhile"):
        store.publish(workflow.id, 7, DOCUMENT, "d3", NOW, "ann")
    assert store.publish(999, 1, DOCUMENT, "d", NOW, "ann") is None


def test_a_number_is_never_used_twice(store: WorkflowStore) -> None:
    """A new workflow does not inherit the executions of a deleted one."""
    workflow = store.create_workflow(DOCUMENT, NOW)
    assert store.delete_workflow(workflow.id) is True
    assert store.delete_workflow(workflow.id) is False
    assert store.create_workflow(DOCUMENT, NOW).id > workflow.id


def test_apis_and_node_types(store: WorkflowStore) -> None:
    """The registries keep what they are given."""
    api = store.save_api(None, {"system": "crm", "path": "/u"}, NOW)
    assert api is not None
    later = NOW + timedelta(days=1)
    replaced = store.save_api(api.id, {"system": "crm", "path": "/v"}, later)
    assert replaced == store.api(api.id)
    assert replaced is not None
    assert (replaced.created_at, replaced.updated_at) == (NOW, later)
    assert store.apis() == [replaced]
    assert store.save_api(999, {}, NOW) is None
    assert (store.delete_api(api.id), store.delete_api(api.id)) == (True, False)
    kind = StoredNodeType("CUSTOM", "自定义", {"type": "object"}, "handler", NOW)
    store.save_node_type(kind)
    store.save_node_type(kind)
    assert store.node_types() == [kind]


def test_an_accepted_execution_is_a_run(
    store: WorkflowStore, ledger: Ledger, accepted: Callable[..., Execution]
) -> None:
    """It is in the history at once, as a run of source local, and accepting it twice is once."""
    execution = accepted()
    assert accepted() == execution
    assert store.execution(execution.id) == store.execution("e1") == execution
    assert (execution.status, execution.attempt, execution.progress) == (RunStatus.PENDING, 0, 0)
    entry = ledger.entry(RunKey(AppKey("local", str(execution.workflow_id)), "e1"))
    assert entry is not None
    assert entry.run.status is RunStatus.PENDING
    assert isinstance(entry.detail, Detailed)
    assert entry.detail.inputs == {"id": 7}
    assert events_of(store, execution) == [(1, "EXECUTION_CREATED")]


def test_workers_take_each_execution_once(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """Oldest first, up to the limit; what one has, no other gets."""
    assert store.is_due(NOW) is False
    accepted("e1")
    accepted("e2", NOW + timedelta(seconds=1))
    assert store.is_due(NOW) is True
    later = NOW + timedelta(seconds=5)
    (first,) = take(store, later, limit=1)
    (second,) = take(store, later, owner="w2")
    assert (first.execution.execution_id, second.execution.execution_id) == ("e1", "e2")
    assert take(store, later) == []
    assert (first.execution.status, first.execution.attempt) == (RunStatus.RUNNING, 1)
    assert (first.execution.started_at, first.took_over) == (later, False)
    assert first.version.document["name"] == "客户同步"
    assert store.renew("w1", later, LEASE) == {first.execution.id}


def test_an_execution_may_be_due_later(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """It is left alone until its time."""
    accepted("e1", NOW + timedelta(hours=1))
    assert take(store) == []
    assert len(take(store, NOW + timedelta(hours=1))) == 1


def test_what_a_worker_writes_is_in_order(
    store: WorkflowStore, accepted: Callable[..., Execution], ledger: Ledger
) -> None:
    """Steps are numbered as they settle, events without gap; the end makes node executions of the run."""
    execution = accepted()
    (claim,) = take(store)
    running = step("get", StepStatus.RUNNING, started_at=NOW)
    store.write(
        claim.lease, Progressed([running], [(EventType.STEP_STARTED, "get", {})], current_step="get"), NOW
    )
    assert store.steps(execution.id)[0].seq == 0
    done = step("get", started_at=NOW, completed_at=NOW + timedelta(seconds=2), output={"a": [1, "二"]})
    events = [(EventType.STEP_SUCCEEDED, "get", {}), (EventType.PROGRESS, "", {"progress": 50})]
    store.write(claim.lease, Progressed([step("start"), done], events, progress=50), NOW)
    ended = store.end(
        claim.lease,
        Ended(RunStatus.SUCCESS, output="ok"),
        Progressed([step("end")]),
        NOW + timedelta(seconds=3),
    )
    assert [(each.key, each.seq) for each in store.steps(execution.id)] == [
        ("start", 1),
        ("get", 2),
        ("end", 3),
    ]
    assert [cursor for cursor, _ in events_of(store, execution)] == [1, 2, 3, 4, 5]
    assert store.events(execution.id, after=4)[0].facts == {"progress": 50}
    assert (ended.status, ended.progress, ended.output) == (RunStatus.SUCCESS, 100, "ok")
    assert (ended.owner, ended.lease_until, ended.wake_at) == (None, None, None)
    assert store.execution("e1") == ended
    entry = ledger.entry(RunKey(AppKey("local", str(execution.workflow_id)), "e1"))
    assert entry is not None
    assert (entry.run.status, entry.run.total_steps) == (RunStatus.SUCCESS, 3)
    assert isinstance(entry.detail, Detailed)
    assert entry.detail.outputs == {"value": "ok"}
    assert not isinstance(entry.detail.nodes, Missing)
    assert [(node.node_id, node.status) for node in entry.detail.nodes] == [
        ("start", "success"),
        ("get", "success"),
        ("end", "success"),
    ]
    assert [each.run.run_id for each in ledger.history(RunQuery(sources=("local",))).entries] == ["e1"]


def test_a_stale_worker_writes_nothing(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """Once another worker has the execution, the first one's words are refused."""
    execution = accepted(auto_resume=True)
    (old,) = take(store)
    later = NOW + LEASE
    (new,) = take(store, later, owner="w2")
    assert (new.took_over, new.lease.attempt) == (True, 2)
    with pytest.raises(LeaseLostError):
        store.write(old.lease, Progressed([step("get")], [(EventType.STEP_SUCCEEDED, "get", {})]), later)
    with pytest.raises(LeaseLostError):
        store.end(old.lease, Ended(RunStatus.SUCCESS), Progressed(), later)
    assert store.steps(execution.id) == []
    assert store.renew("w1", later, LEASE) == frozenset()
    assert events_of(store, execution)[1:] == [(2, "EXECUTION_STARTED"), (3, "EXECUTION_STARTED")]


def test_a_lost_execution_is_interrupted(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """Without auto_resume nobody takes it again by itself; what ran is cancelled."""
    execution = accepted()
    (claim,) = take(store)
    store.write(claim.lease, Progressed([step("get", StepStatus.RUNNING)]), NOW)
    assert store.interrupt_lost(NOW) == []
    later = NOW + LEASE
    assert take(store, later) == []
    (interrupted,) = store.interrupt_lost(later)
    assert (interrupted.status, interrupted.owner) == (RunStatus.INTERRUPTED, None)
    assert [each.status for each in store.steps(execution.id)] == [StepStatus.CANCELLED]
    assert store.interrupt_lost(later) == []


def test_a_worker_that_died_over_a_cancellation_leaves_it_cancelled(
    store: WorkflowStore, accepted: Callable[..., Execution]
) -> None:
    """Prefect kills the process of a run that is cancelled, which may be faster than the worker in it."""
    execution = accepted()
    (claim,) = take(store)
    store.write(claim.lease, Progressed([step("get", StepStatus.RUNNING)]), NOW)
    store.ask(execution.id, "cancel", NOW, by="ann")
    (cancelled,) = store.interrupt_lost(NOW + LEASE)
    assert (cancelled.status, cancelled.owner, cancelled.asked) == (RunStatus.CANCELLED, None, None)
    assert [each.status for each in store.steps(execution.id)] == [StepStatus.CANCELLED]


def test_an_execution_that_kills_its_workers_is_given_up(
    store: WorkflowStore, accepted: Callable[..., Execution]
) -> None:
    """Three take-overs without a new step are enough; a settled step begins the count anew."""
    accepted(auto_resume=True)
    at = NOW
    (claim,) = take(store, at)
    for number in range(3):
        at += LEASE
        (claim,) = take(store, at)
        if number == 0:
            store.write(claim.lease, Progressed([step("get")]), at)
    at += LEASE
    (claim,) = take(store, at)
    at += LEASE
    assert take(store, at) == []
    assert [each.status for each in store.interrupt_lost(at)] == [RunStatus.INTERRUPTED]


def wait(key: str = "ask", **more: Any) -> Wait:
    """A parked step."""
    return Wait(key=key, alias=key, generation=1, kind=WaitKind.APPROVAL, since=NOW, **more)


def test_a_parked_execution_wakes_when_its_wait_is_resolved(
    store: WorkflowStore, accepted: Callable[..., Execution]
) -> None:
    """Nobody has it meanwhile; the second resolution is told that it is one too many."""
    execution = accepted()
    (claim,) = take(store)
    store.write(claim.lease, Progressed(waits=[wait()]), NOW)
    parked = store.end(claim.lease, Ended(RunStatus.PAUSED), Progressed(), NOW)
    assert (parked.status, parked.owner, parked.wake_at) == (RunStatus.PAUSED, None, None)
    assert take(store, NOW + timedelta(days=9)) == []
    assert [each.key for each in store.waits(open_only=True)] == ["ask"]
    assert store.resolve(execution.id, "ask", {"approved": True}, NOW, by="bob") is True
    assert store.resolve(execution.id, "ask", {"approved": False}, NOW, by="eve") is False
    (again,) = take(store)
    assert again.execution.attempt == 2
    assert [each.resolution for each in again.waits] == [{"approved": True}]


def test_a_resolution_while_a_worker_has_it_is_not_lost(
    store: WorkflowStore, accepted: Callable[..., Execution]
) -> None:
    """The worker hears of it; one that did not is woken anew after parking."""
    execution = accepted()
    (claim,) = take(store)
    store.write(claim.lease, Progressed(waits=[wait("a"), wait("b")]), NOW)
    store.resolve(execution.id, "a", {"approved": True}, NOW, by="bob")
    news = store.news("w1")[execution.id]
    assert (news.asked, [each.key for each in news.resolved]) == (None, ["a"])
    store.write(claim.lease, Progressed(waits=list(news.resolved)), NOW)
    assert store.news("w1") == {}
    store.resolve(execution.id, "b", {"approved": True}, NOW, by="bob")
    parked = store.end(claim.lease, Ended(RunStatus.PAUSED), Progressed(), NOW)
    assert parked.wake_at == NOW


def test_a_wait_with_a_due_time_wakes_its_execution(
    store: WorkflowStore, accepted: Callable[..., Execution]
) -> None:
    """At that time a worker takes it."""
    accepted()
    (claim,) = take(store)
    due = NOW + timedelta(hours=2)
    store.end(claim.lease, Ended(RunStatus.PAUSED, wake_at=due), Progressed(waits=[wait(due_at=due)]), NOW)
    assert take(store, due - timedelta(seconds=1)) == []
    assert len(take(store, due)) == 1


def test_cancelling(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """What nobody has ends at once, with its open steps and waits; a worker is told."""
    accepted("e1")
    accepted("e2")
    first, second = take(store)
    store.end(first.lease, Ended(RunStatus.PAUSED), Progressed(waits=[wait()]), NOW)
    cancelled = store.ask(first.execution.id, "cancel", NOW, by="ann")
    assert cancelled is not None
    assert (cancelled.status, cancelled.wake_at) == (RunStatus.CANCELLED, None)
    assert store.waits(first.execution.id, open_only=True) == []
    asked = store.ask(second.execution.id, "cancel", NOW, by="ann")
    assert asked is not None
    assert (asked.status, asked.asked) == (RunStatus.RUNNING, "cancel")
    assert store.news("w1")[second.execution.id].asked == "cancel"
    assert store.ask(999, "cancel", NOW, by="ann") is None
    again = store.ask(first.execution.id, "cancel", NOW, by="ann")
    assert again == cancelled


def test_pausing_and_resuming(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """A paused execution is not woken by anything but a resume."""
    accepted()
    (claim,) = take(store)
    store.write(claim.lease, Progressed(waits=[wait()]), NOW)
    store.ask(claim.execution.id, "pause", NOW, by="ann")
    store.end(claim.lease, Ended(RunStatus.PAUSED, wake_at=NOW), Progressed(), NOW)
    store.resolve(claim.execution.id, "ask", {"approved": True}, NOW, by="bob")
    assert take(store, NOW + timedelta(days=1)) == []
    resumed = store.resume(claim.execution.id, Resumption(1, "ann", variables={"b": 2}), NOW)
    assert (resumed.status, resumed.variables) == (RunStatus.PENDING, {"b": 2})
    assert len(take(store)) == 1


def test_one_of_two_resumes_wins(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """The other one is told; superseded steps are marked and what a person decided is there."""
    accepted()
    (claim,) = take(store)
    failed = step("get", StepStatus.FAILED, error="HTTP 503: ")
    store.end(claim.lease, Ended(RunStatus.FAILED, error="no"), Progressed([step("start"), failed]), NOW)
    by_hand = step("get", StepStatus.SKIPPED, generation=2, manual=True)
    store.resume(claim.execution.id, Resumption(1, "ann", superseded=("get",), steps=(by_hand,)), NOW)
    with pytest.raises(RecordConflictError, match="somebody was faster"):
        store.resume(claim.execution.id, Resumption(1, "ann"), NOW)
    (again,) = take(store)
    assert [(each.key, each.superseded, each.manual) for each in again.steps] == [
        ("start", False, False),
        ("get", True, False),
        ("get", False, True),
    ]
    with pytest.raises(RecordConflictError):
        store.resume(claim.execution.id, Resumption(2, "ann"), NOW)
    with pytest.raises(RecordNotFoundError):
        store.resume(999, Resumption(1, "ann"), NOW)


def test_executions_are_listed(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """Newest first, by what is asked, page by page."""
    first = accepted("e1")
    second = accepted("e2", NOW + timedelta(hours=1))
    page = store.executions(ExecutionQuery(), limit=1)
    assert (page.executions, page.following) == ([second], second.id)
    assert store.executions(ExecutionQuery(), after=page.following).executions == [first]
    assert store.executions(ExecutionQuery(since=NOW + timedelta(minutes=1))).executions == [second]
    assert store.executions(ExecutionQuery(statuses=(RunStatus.FAILED,))).executions == []
    assert len(store.executions(ExecutionQuery(workflow_id=first.workflow_id, trigger="api")).executions) == 2


def test_deleting_the_run_deletes_the_execution(
    store: WorkflowStore, ledger: Ledger, accepted: Callable[..., Execution]
) -> None:
    """Retention needs to know runs only."""
    execution = accepted()
    assert ledger.delete_runs([RunKey(AppKey("local", str(execution.workflow_id)), "e1")]) == 1
    assert store.execution("e1") is None
    assert store.events(execution.id) == []


def test_a_workflow_with_open_executions_stays(
    store: WorkflowStore, accepted: Callable[..., Execution]
) -> None:
    """Its version stays for as long as an execution has it."""
    execution = accepted()
    with pytest.raises(RecordConflictError, match="have not ended"):
        store.delete_workflow(execution.workflow_id)
    store.ask(execution.id, "cancel", NOW, by="ann")
    assert store.delete_workflow(execution.workflow_id) is True
    assert store.version(execution.workflow_id, 1) is not None


def test_what_prefect_was_told(store: WorkflowStore, accepted: Callable[..., Execution]) -> None:
    """An execution is unreported until its present state was told."""
    execution = accepted()
    assert [each.id for each in store.unreported()] == [execution.id]
    store.reported(execution.id, flow_run_id="f1", state="pending")
    assert store.unreported() == []
    take(store)
    (running,) = store.unreported()
    assert (running.flow_run_id, running.reported_state) == ("f1", None)  # each attempt is told
