"""The engine: what a definition says is done, recorded in order, and goes on where it stopped."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from workflow_place import document, failing, node, place

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.workflow_ports import NodeAnswer, NodeCall, Resumption

CHAIN = document(
    [
        node("start", "START"),
        node("get", url="https://api.test/{{input.id}}", output_mapping={"name": "response.data.name"}),
        node("put", body={"name": "{{get.name}}"}),
        node("end", "END", output="{{put}}"),
    ],
    [("start", "get"), ("get", "put"), ("put", "end")],
)


def test_a_chain_is_executed_and_recorded() -> None:
    """Each step's config is rendered, its output mapped, and the end gives the execution's output."""
    body = {"data": {"name": "张三"}}
    there = place(get=NodeAnswer(output=body, response={"status": 200, "headers": {}, "body": body}))
    execution = there.order(there.publish(CHAIN), input={"id": 7})
    ended = there.run(execution)
    assert (ended.status, ended.output, ended.progress) == (RunStatus.SUCCESS, "put", 100)
    assert there.trace(execution) == ["start:success", "get:success", "put:success", "end:success"]
    assert there.api.calls[0].config["url"] == "https://api.test/7"
    assert there.api.calls[1].config["body"] == {"name": "张三"}
    assert [call.idempotency_key for call in there.api.calls] == ["e1:get:1", "e1:put:1"]
    steps = {step.key: step for step in there.store.steps(execution.id)}
    assert steps["get"].output == {"name": "张三"}
    assert steps["get"].input == {"url": "https://api.test/7"}
    assert there.events(execution)[:2] == ["EXECUTION_CREATED", "EXECUTION_STARTED"]
    assert there.events(execution)[-1] == "EXECUTION_COMPLETED"


def test_each_try_is_a_step() -> None:
    """503 twice, then an answer: three tries, the failed ones kept with their error."""
    made = document(
        [node("start", "START"), node("get", retry_policy=QUICK), node("end", "END")],
        [("start", "get"), ("get", "end")],
    )
    there = place(get=[failing("HTTP 503: a"), failing("HTTP 503: b"), "ok"])
    execution = there.order(there.publish(made))
    assert there.run(execution).output == {"get": "ok"}
    assert there.trace(execution) == [
        *("start:success", "get:failed", "get:failed#2", "get:success#3", "end:success"),
    ]
    assert there.events(execution).count("STEP_RETRYING get") == 2


QUICK = {"max_retries": 2, "retry_delay_seconds": 0}


def test_an_unhandled_failure_ends_the_execution() -> None:
    """Its error and type are the step's."""
    there = place(get=failing("HTTP 404: no", status=404))
    execution = there.order(there.publish(CHAIN))
    ended = there.run(execution)
    assert (ended.status, ended.error, ended.error_type) == (RunStatus.FAILED, "HTTP 404: no", "HTTPError")
    assert there.trace(execution) == ["start:success", "get:failed"]


def test_what_a_handler_raises_is_its_steps_error() -> None:
    """The exception's class is the type; the worker goes on."""

    def broken(_call: NodeCall) -> Any:
        raise ZeroDivisionError("division by zero")

    there = place(get=broken)
    ended = there.run(there.order(there.publish(CHAIN)))
    assert (ended.error_type, ended.error) == ("ZeroDivisionError", "division by zero")


def printing(run: Any) -> Any:
    """Execute a step without a time limit whose handler does this; return the execution and the place."""
    there = place()
    handler = SimpleNamespace(run=run)
    there.engine = replace(there.engine, handler=lambda _: handler)
    made = document(
        [node("start", "START"), node("get", "PRINT"), node("end", "END")], [("start", "get"), ("get", "end")]
    )
    execution = there.run(there.order(there.publish(made)))
    return execution, there


async def _times_out(_call: NodeCall) -> Any:
    raise TimeoutError("the printer does not answer")


async def _cancels_itself(_call: NodeCall) -> Any:
    raise asyncio.CancelledError


async def _leaves(_call: NodeCall) -> Any:
    raise SystemExit(3)


async def _forgets(_call: NodeCall) -> Any:
    return {"printed": 1}


@pytest.mark.parametrize(
    ("run", "error_type", "error"),
    [
        (_times_out, "Timeout", "the printer does not answer"),
        (_cancels_itself, "Cancelled", "the handler cancelled itself"),
        (_leaves, "SystemExit", "3"),
        (_forgets, "ValidationError", "the handler returned dict, and no NodeAnswer"),
    ],
)
def test_whatever_a_handler_does_its_step_ends(run: Any, error_type: str, error: str) -> None:
    """A plugin is anybody's: it fails its step, and neither the worker nor the execution waits for ever."""
    ended, _ = printing(run)
    assert (ended.status, ended.error_type, ended.error) == (RunStatus.FAILED, error_type, error)


def test_metrics_are_numbers() -> None:
    """What else a handler calls a metric is left out, and fails nothing."""

    async def measure(_call: NodeCall) -> Any:
        metrics: Any = {"rows": 3, "rate": 0.5, "name": "x", "none": float("nan"), "all": float("inf")}
        return NodeAnswer(metrics=metrics)

    ended, there = printing(measure)
    step = next(step for step in there.store.steps(ended.id) if step.alias == "get")
    assert (ended.status, step.metrics) == (RunStatus.SUCCESS, {"rows": 3.0, "rate": 0.5})


def test_a_step_has_its_time() -> None:
    """A handler that never ends is cancelled."""
    made = document(
        [node("start", "START"), node("get", timeout=0.01), node("end", "END")],
        [("start", "get"), ("get", "end")],
    )
    there = place(get=lambda _call: asyncio.sleep(60))
    ended = there.run(there.order(there.publish(made)))
    assert (ended.status, ended.error_type) == (RunStatus.FAILED, "Timeout")


def test_an_execution_has_its_time() -> None:
    """What runs then is cancelled, here and in the record."""
    there = place(get=lambda _call: asyncio.sleep(60))
    execution = there.order(there.publish(CHAIN), timeout=0.05)
    ended = there.run(execution)
    assert (ended.status, ended.error_type) == (RunStatus.FAILED, "Timeout")
    assert there.trace(execution) == ["start:success", "get:cancelled"]


def test_the_first_success_ends_a_race() -> None:
    """The loser is cancelled and nobody waits for it."""
    made = document(
        [
            node("start", "START"),
            node("race", "PARALLEL", sync_policy="wait_any"),
            node("quick"),
            node("slow"),
            node("end", "END", output="{{race.winner}}"),
        ],
        [
            ("start", "race"),
            ("race", "quick", "PARALLEL"),
            ("race", "slow", "PARALLEL"),
            ("race", "end"),
        ],
    )
    there = place(slow=lambda _call: asyncio.sleep(60))
    execution = there.order(there.publish(made))
    assert there.run(execution).output == "quick"
    assert "race/slow/slow:cancelled" in there.trace(execution)


def test_a_secret_reaches_the_handler_and_no_record() -> None:
    """Also not where the API repeats it."""
    made = document(
        [
            node("start", "START"),
            node("get", headers={"Authorization": "Bearer {{secrets.CRM}}"}),
            node("end", "END"),
        ],
        [("start", "get"), ("get", "end")],
    )
    there = place(secrets={"CRM": "tr-8xk2-mine"}, get=lambda call: {"echo": call.config["headers"]})
    execution = there.order(there.publish(made))
    there.run(execution)
    assert there.api.calls[0].config["headers"] == {"Authorization": "Bearer tr-8xk2-mine"}
    assert "8xk2" not in repr(there.store.steps(execution.id))
    assert "8xk2" not in repr(there.store.execution(execution.id))


def test_a_secret_where_none_may_be_fails_the_step() -> None:
    """An address is in every log."""
    made = document(
        [node("start", "START"), node("get", url="https://x/{{secrets.CRM}}"), node("end", "END")],
        [("start", "get"), ("get", "end")],
    )
    there = place(secrets={"CRM": "tr-8xk2-mine"})
    ended = there.run(there.order(there.publish(made)))
    assert ended.error_type == "ExpressionError"
    assert there.api.calls == []


APPROVAL = document(
    [
        node("start", "START"),
        node("get"),
        node("ask", "APPROVAL", approvers=["bob"], required_approvals=1, timeout_hours=48),
        node("put"),
        node("end", "END"),
    ],
    [("start", "get"), ("get", "ask"), ("ask", "put"), ("put", "end")],
)


def test_an_approval_holds_no_worker() -> None:
    """The execution is parked until somebody decides; what was done is not done again."""
    there = place()
    execution = there.order(there.publish(APPROVAL))
    parked = there.run(execution)
    assert (parked.status, parked.owner) == (RunStatus.PAUSED, None)
    assert parked.wake_at == there.now + timedelta(hours=48)
    assert there.trace(execution) == ["start:success", "get:success", "ask:waiting"]
    there.store.resolve(execution.id, "ask", {"approved": True, "by": "bob"}, there.now, by="bob")
    ended = there.run(execution)
    assert (ended.status, ended.attempt) == (RunStatus.SUCCESS, 2)
    assert there.api.called == ["get", "put"]
    assert there.trace(execution)[2:] == ["ask:success", "put:success", "end:success"]


def test_replay_notes_nothing_twice() -> None:
    """Passes of a loop that had settled before a wait are not told again."""
    made = document(
        [
            node("start", "START"),
            node("loop", "LOOP", items=[1, 2]),
            node("body"),
            node("ask", "APPROVAL", approvers=["bob"]),
            node("end", "END"),
        ],
        [("start", "loop"), ("loop", "body", "LOOP"), ("loop", "ask"), ("ask", "end")],
    )
    there = place()
    execution = there.order(there.publish(made))
    there.run(execution)
    there.store.resolve(execution.id, "ask", {"approved": True, "by": "bob"}, there.now, by="bob")
    assert there.run(execution).status is RunStatus.SUCCESS
    events = there.events(execution)
    assert len(set(events) - {"PROGRESS", "EXECUTION_STARTED"}) == len(
        [each for each in events if each not in ("PROGRESS", "EXECUTION_STARTED")]
    )


def test_a_rejected_approval_fails_its_step() -> None:
    """With the word of who rejected it."""
    there = place()
    execution = there.order(there.publish(APPROVAL))
    there.run(execution)
    there.store.resolve(execution.id, "ask", {"approved": False, "by": "bob"}, there.now, by="bob")
    ended = there.run(execution)
    assert (ended.status, ended.error_type, ended.error) == (
        *(RunStatus.FAILED, "ApprovalRejected", "rejected by bob"),
    )


def test_an_approval_that_another_branch_makes_needless_is_closed() -> None:
    """Though it was asked for in an earlier attempt: nobody can decide it any more."""
    made = document(
        [
            node("start", "START"),
            node("race", "PARALLEL", sync_policy="wait_any"),
            node("ask", "APPROVAL", approvers=["bob"]),
            node("get"),
            node("end", "END", output="{{race.winner}}"),
        ],
        [
            *(("start", "race"), ("race", "ask", "PARALLEL"), ("race", "get", "PARALLEL"), ("ask", "end")),
            ("get", "end"),
        ],
    )
    there = place(get=failing("HTTP 503: "))
    execution = there.order(there.publish(made))
    assert there.run(execution).status is RunStatus.PAUSED
    failed = next(step for step in there.store.steps(execution.id) if step.key == "race/get/get")
    by_hand = replace(failed, status=StepStatus.SKIPPED, error=None, manual=True, try_no=2)
    there.store.resume(execution.id, Resumption(1, "ann", steps=(by_hand,)), there.now)
    ended = there.run(execution)
    assert (ended.status, ended.output) == (RunStatus.SUCCESS, "get")
    assert "race/ask/ask:cancelled" in there.trace(execution)
    assert there.store.waits(execution.id, open_only=True) == []


def test_an_approval_nobody_decides_times_out() -> None:
    """When its time is over, whatever the clock did meanwhile."""
    there = place()
    execution = there.order(there.publish(APPROVAL))
    there.run(execution)
    there.now += timedelta(hours=49)
    ended = there.run(execution)
    assert (ended.status, ended.error_type) == (RunStatus.FAILED, "ApprovalTimeout")
    assert "APPROVAL_TIMED_OUT ask" in there.events(execution)


def test_a_long_delay_is_a_wait() -> None:
    """No process is held for it."""
    made = document(
        [node("start", "START"), node("later", "DELAY", duration="PT2H"), node("end", "END")],
        [("start", "later"), ("later", "end")],
    )
    there = place()
    execution = there.order(there.publish(made))
    parked = there.run(execution)
    assert parked.wake_at == there.now + timedelta(hours=2)
    there.now += timedelta(hours=2)
    assert there.run(execution).status is RunStatus.SUCCESS
    assert [each for each in there.events(execution) if "TIMER" in each] == [
        *("TIMER_SET later", "TIMER_FIRED later"),
    ]


def test_what_ran_when_a_worker_died_runs_again_under_the_same_key() -> None:
    """All that was on record before is not done again."""
    there = place()
    execution = there.order(there.publish(CHAIN), auto_resume=True)

    async def die_in_put() -> None:
        from flowledger.services.workflows.worker import Worker

        there.api.answers["put"] = lambda _call: asyncio.sleep(60)
        worker = Worker(there.engine, "w1")
        task = asyncio.create_task(worker.run_one(execution.id))
        while "put" not in there.api.called:
            await asyncio.sleep(0.005)
        for driver in list(worker._drivers.values()):
            driver.lose()
        await task

    asyncio.run(die_in_put())
    there.now += timedelta(minutes=1)
    there.api.answers["put"] = "ok"
    ended = there.run(execution, "w2")
    assert (ended.status, ended.attempt) == (RunStatus.SUCCESS, 2)
    assert there.api.called == ["get", "put", "put"]
    assert len({call.idempotency_key for call in there.api.calls[1:]}) == 1


def test_a_failed_execution_goes_on_where_it_failed() -> None:
    """A resume runs what failed, and nothing that had succeeded."""
    there = place(put=[failing("HTTP 503: "), "ok"])
    execution = there.order(there.publish(CHAIN))
    assert there.run(execution).status is RunStatus.FAILED
    there.store.resume(execution.id, Resumption(1, "ann"), there.now)
    assert there.run(execution).status is RunStatus.SUCCESS
    assert there.api.called == ["get", "put", "put"]
    assert there.trace(execution)[-3:] == ["put:failed", "put:success#2", "end:success"]


def test_step_by_step_through_branches() -> None:
    """The time of a PARALLEL does not run while a person looks at it: each step parks at once."""
    made = document(
        [
            node("start", "START"),
            node("both", "PARALLEL", timeout_seconds=30),
            *(node("a"), node("b")),
            node("end", "END"),
        ],
        [("start", "both"), ("both", "a", "PARALLEL"), ("both", "b", "PARALLEL"), ("both", "end")],
    )
    there = place()
    execution = there.order(there.publish(made), step_by_step=True)
    runs = 0
    while execution.status.is_open and runs < 20:
        execution, runs = there.run(execution), runs + 1
        if not execution.status.is_open:
            break
        assert execution.status is RunStatus.PAUSED
        there.now += timedelta(minutes=5)
        execution = there.store.resume(execution.id, Resumption(execution.attempt, "ann"), there.now)
    assert (execution.status, runs) == (RunStatus.SUCCESS, 4)
    assert sorted(there.api.called) == ["both/a/a", "both/b/b"]


def test_step_by_step() -> None:
    """The execution is paused after each node."""
    there = place()
    execution = there.order(there.publish(CHAIN), step_by_step=True)
    seen = []
    for attempt in range(1, 5):
        seen.append((there.run(execution).status, len(there.trace(execution))))
        if attempt < 4:
            there.store.resume(execution.id, Resumption(attempt, "ann"), there.now)
    assert seen == [
        *((RunStatus.PAUSED, 1), (RunStatus.PAUSED, 2), (RunStatus.PAUSED, 3), (RunStatus.SUCCESS, 4)),
    ]


def test_a_node_whose_plugin_is_gone_fails_with_its_name() -> None:
    """Nothing else of the worker suffers."""
    made = document(
        [node("start", "START"), node("odd", "CUSTOM"), node("end", "END")],
        [("start", "odd"), ("odd", "end")],
    )
    there = place()
    ended = there.run(there.order(there.publish(made)))
    assert (ended.status, ended.error_type) == (RunStatus.FAILED, "ValidationError")
    assert "CUSTOM" in (ended.error or "")


def test_a_subworkflow_is_an_execution_of_its_own() -> None:
    """Its parent is parked until it has ended, and gets its output."""
    child = document(
        [node("start", "START"), node("work"), node("end", "END", output="{{input.n}}")],
        [("start", "work"), ("work", "end")],
    )
    there = place()
    child_id = there.publish(child)
    made = document(
        [
            node("start", "START"),
            node("sub", "SUBWORKFLOW", workflow_id=child_id, input={"n": "{{input.n}}"}),
            node("end", "END", output="{{sub}}"),
        ],
        [("start", "sub"), ("sub", "end")],
    )
    execution = there.order(there.publish(made), input={"n": 5})
    assert there.run(execution).status is RunStatus.PAUSED
    began = there.store.execution("e1.sub.1")
    assert began is not None
    assert there.run(began).output == 5
    ended = there.run(execution)
    assert (ended.status, ended.output) == (RunStatus.SUCCESS, 5)


class Watcher:
    """An observer that notes what it is told, and breaks."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def began(self, claim: Any) -> None:
        self.told.append(f"began {claim.execution.execution_id}")
        raise ValueError("broken")

    async def progressed(self, _execution: Any, progressed: Any) -> None:
        self.told += [f"{step.key}:{step.status}" for step in progressed.steps]

    async def ended(self, execution: Any) -> None:
        self.told.append(f"ended {execution.status}")


def test_observers_are_told_and_change_nothing() -> None:
    """One that raises is logged."""
    watcher = Watcher()
    there = place(watcher)
    assert there.run(there.order(there.publish(CHAIN))).status is RunStatus.SUCCESS
    assert (watcher.told[0], watcher.told[-1]) == ("began e1", "ended success")
    assert "put:success" in watcher.told


def test_a_cancelled_execution_ends_with_its_steps() -> None:
    """Running handlers are cancelled; rows say so."""
    there = place(get=lambda _call: asyncio.sleep(60))
    execution = there.order(there.publish(CHAIN))

    async def cancel() -> None:
        from flowledger.services.workflows.worker import Worker, WorkerOptions

        worker = Worker(there.engine, "w1", WorkerOptions(news_s=0.01))
        task = asyncio.create_task(worker.run_one(execution.id))
        while not there.api.calls:
            await asyncio.sleep(0.005)
        there.store.ask(execution.id, "cancel", there.now, by="ann")
        await task

    asyncio.run(cancel())
    ended = there.store.execution(execution.id)
    assert ended is not None
    assert ended.status is RunStatus.CANCELLED
    assert there.trace(execution) == ["start:success", "get:cancelled"]
    assert [step.status for step in there.store.steps(execution.id)][-1] is StepStatus.CANCELLED
