"""Recovery and approvals: executions go on from where people want them to, and wait for their decisions."""

from typing import Any

import pytest
from workflow_place import Place, document, failing, node, place

from flowledger.domain.runs import RunStatus
from flowledger.errors import ForbiddenError, RecordConflictError, RecordNotFoundError, UsageError
from flowledger.services.workflows.approving import Approving
from flowledger.services.workflows.authoring import Authoring
from flowledger.services.workflows.ordering import Ordering
from flowledger.services.workflows.recovering import Recovering, Wish
from flowledger.workflow_ports import Execution

CHAIN = document(
    [
        node("start", "START"),
        node("a"),
        node("b"),
        node("c", body="{{b}}"),
        node("end", "END", output="{{c}}"),
    ],
    [("start", "a"), ("a", "b"), ("b", "c"), ("c", "end")],
)


def recovery(there: Place) -> Recovering:
    """The recovery service of a place."""
    return Recovering(there.store, ordering(there), lambda: there.now)


def ordering(there: Place) -> Ordering:
    """The ordering service of a place."""
    return Ordering(there.store, Authoring(there.store, lambda: there.now), lambda: there.now)


def failed(**answers: Any) -> tuple[Place, Execution]:
    """A place whose execution has failed at b."""
    there = place(b=[failing("HTTP 503: x"), "ok", "ok"], **answers)
    execution = there.order(there.publish(CHAIN))
    assert there.run(execution).status is RunStatus.FAILED
    return there, execution


def test_continue_runs_what_failed() -> None:
    """What had succeeded is not done again."""
    there, execution = failed()
    recovery(there).resume(execution.id, Wish(), "ann")
    assert there.run(execution).status is RunStatus.SUCCESS
    assert there.api.called == ["a", "b", "b", "c"]


def test_restart_from_runs_a_step_and_all_that_follows_it() -> None:
    """In a new generation, under new idempotency keys; the old steps stay on record as superseded."""
    there, execution = failed()
    recovery(there).resume(execution.id, Wish("restart_from", step="a"), "ann")
    assert there.run(execution).status is RunStatus.SUCCESS
    assert there.api.called == ["a", "b", "a", "b", "c"]
    assert [call.idempotency_key for call in there.api.calls][2:4] == ["e1:a:2", "e1:b:2"]
    assert [step.superseded for step in there.store.steps(execution.id)][:3] == [False, True, True]


def test_a_loop_is_restarted_as_a_whole() -> None:
    """What is in a container follows with it, and so does what comes after the container."""
    made = document(
        [
            node("start", "START"),
            node("loop", "LOOP", items="{{input.ids}}"),
            node("body", body="{{loop.item}}"),
            node("after"),
            node("end", "END"),
        ],
        [("start", "loop"), ("loop", "body", "LOOP"), ("loop", "after"), ("after", "end")],
    )
    there = place(after=[failing("HTTP 503: "), "ok"])
    execution = there.order(there.publish(made), input={"ids": [1, 2]})
    assert there.run(execution).status is RunStatus.FAILED
    recovery(there).resume(execution.id, Wish("restart_from", step="body"), "ann")
    assert there.run(execution).status is RunStatus.SUCCESS
    assert there.api.called == [
        *("loop/0/body", "loop/1/body", "after", "loop/0/body", "loop/1/body", "after"),
    ]


def test_skipping_a_failed_step_gives_its_output_by_hand() -> None:
    """Its success connections fire, and what follows sees the output."""
    there, execution = failed()
    recovery(there).skip(execution.id, "b", "ann", {"x": 1})
    ended = there.run(execution)
    assert ended.status is RunStatus.SUCCESS
    assert there.api.calls[-1].config["body"] == {"x": 1}
    assert "b:skipped#2" in there.trace(execution)


def test_retrying_one_step() -> None:
    """Only a failed one; what it leads to follows."""
    there, execution = failed()
    with pytest.raises(RecordConflictError, match="success, not failed"):
        recovery(there).retry(execution.id, "a", "ann")
    with pytest.raises(RecordNotFoundError):
        recovery(there).retry(execution.id, "nowhere", "ann")
    recovery(there).retry(execution.id, 3, "ann")
    assert there.run(execution).status is RunStatus.SUCCESS


def test_parameters_become_variables_or_input() -> None:
    """As somebody wants it."""
    there, execution = failed()
    resumed = recovery(there).resume(execution.id, Wish(parameters={"x": 1}), "ann")
    assert (resumed.variables, resumed.input) == ({"x": 1}, {})
    there.api.answers["b"] = failing("HTTP 503: ")
    there.run(execution)
    resumed = recovery(there).resume(execution.id, Wish(parameters={"y": 2}, modify_parameters=True), "ann")
    assert (resumed.variables, resumed.input) == ({"x": 1}, {"y": 2})


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (Wish("elsewhere"), UsageError),
        (Wish("restart_from"), UsageError),
        (Wish("restart_from", step="nowhere"), UsageError),
    ],
)
def test_a_wrong_wish_is_refused(wish: Wish, error: type[Exception]) -> None:
    """With what is wrong."""
    there, execution = failed()
    with pytest.raises(error):
        recovery(there).resume(execution.id, wish, "ann")


def test_what_succeeded_is_resumed_by_force_only() -> None:
    """A successful execution is refused otherwise."""
    there, execution = failed()
    recovery(there).resume(execution.id, Wish(), "ann")
    there.run(execution)
    with pytest.raises(RecordConflictError, match="success"):
        recovery(there).resume(execution.id, Wish(), "ann")
    recovery(there).resume(execution.id, Wish("restart_from", step="c", force=True), "ann")
    assert there.run(execution).status is RunStatus.SUCCESS
    assert there.api.called[-2:] == ["c", "c"]


def test_recovery_info() -> None:
    """What failed, from where it can go on, how far it is."""
    there, execution = failed()
    info = recovery(there).info(execution.id)
    assert info["can_recover"] is True
    assert [step["name"] for step in info["failed_steps"]] == ["b"]
    assert info["last_successful_step"] == "a"
    assert info["execution_progress"] == {
        **{"total_steps": 5, "completed_steps": 2, "failed_steps": 1, "pending_steps": 2},
    }


def asking(**config: Any) -> tuple[Place, Execution, Approving]:
    """An execution that waits for bob, cid and dan."""
    ask = {"approvers": ["bob", "cid", "dan"], "required_approvals": 2, **config}
    made = document(
        [node("start", "START"), node("ask", "APPROVAL", **ask), node("put"), node("end", "END")],
        [("start", "ask"), ("ask", "put"), ("put", "end")],
    )
    there = place()
    execution = there.order(there.publish(made))
    there.run(execution)
    return there, execution, Approving(there.store, ordering(there), lambda: there.now)


def test_two_of_three_approve() -> None:
    """The first vote decides nothing; the second one resolves it, and a third is told so."""
    there, execution, approving = asking()
    assert [wait.key for wait in approving.waiting(approver="bob")] == ["ask"]
    assert approving.vote(execution.id, "ask", approved=True, by="bob").resolution is None
    resolved = approving.vote(execution.execution_id, 2, approved=True, by="cid", comment="好")
    assert resolved.resolution is not None
    assert resolved.resolution["by"] == "bob, cid"
    with pytest.raises(RecordConflictError, match="resolved"):
        approving.vote(execution.id, "ask", approved=False, by="dan")
    assert there.run(execution).status is RunStatus.SUCCESS
    assert approving.waiting() == []
    votes = [event for event in there.events(execution) if "VOTED" in event]
    assert len(votes) == 2


def test_a_vote_may_be_changed_until_it_is_resolved() -> None:
    """The last one counts; the same again is one."""
    there, execution, approving = asking(reject_policy="unreachable")
    approving.vote(execution.id, "ask", approved=False, by="bob", vote_id="v1")
    approving.vote(execution.id, "ask", approved=False, by="bob", vote_id="v1")
    approving.vote(execution.id, "ask", approved=True, by="bob", vote_id="v2")
    resolved = approving.vote(execution.id, "ask", approved=True, by="dan")
    assert resolved.resolution is not None
    assert resolved.resolution["approved"] is True
    assert len(there.store.votes(resolved.id)) == 3


@pytest.mark.parametrize(("policy", "rejections"), [("any", 1), ("unreachable", 2)])
def test_rejection_policies(policy: str, rejections: int) -> None:
    """The first rejection, or when so many approvals cannot come together any more."""
    there, execution, approving = asking(reject_policy=policy)
    for number, voter in enumerate(("bob", "cid")[:rejections], 1):
        wait = approving.vote(execution.id, "ask", approved=False, by=voter, comment="no")
        assert (wait.resolution is not None) is (number == rejections)
    ended = there.run(execution)
    assert (ended.status, ended.error_type) == (RunStatus.FAILED, "ApprovalRejected")


def test_who_may_not_vote() -> None:
    """Others, and the requester where that is forbidden; nothing of it is stored."""
    there, execution, approving = asking(approvers=["ann", "bob"], forbid_self_approval=True)
    with pytest.raises(ForbiddenError, match="eve"):
        approving.vote(execution.id, "ask", approved=True, by="eve")
    with pytest.raises(ForbiddenError, match="started"):
        approving.vote(execution.id, "ask", approved=True, by="ann")
    with pytest.raises(RecordNotFoundError):
        approving.vote(execution.id, "put", approved=True, by="bob")
    (wait,) = approving.waiting()
    assert there.store.votes(wait.id) == []


def test_a_signal_decides_no_approval() -> None:
    """It is for what waits for an event."""
    there = place()
    made = document(
        [node("start", "START"), node("sign", "APPROVAL", approvers=["bob"]), node("end", "END")],
        [("start", "sign"), ("sign", "end")],
    )
    execution = there.order(there.publish(made))
    there.run(execution)
    assert ordering(there).signal(execution.id, "sign", {"approved": True}, "eve") is False
    (wait,) = there.store.waits(execution.id)
    assert wait.resolved_at is None
