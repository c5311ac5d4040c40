"""An execution that is taken up after any of its steps ends as it would have."""

from typing import Any

import pytest
from workflow_driver import Drive, bad, definition, drive, link

from flowledger.domain.workflows.definition import Definition
from flowledger.domain.workflows.graph import compile_workflow
from flowledger.domain.workflows.steps import CancelStep, Outcome, StepStatus

CASES: dict[str, tuple[Definition, dict[str, Any]]] = {
    "chain": (definition(["start > a > b > c > end"]), {}),
    "handled failure": (definition(["start > a > end", "a >! b > c > end"]), {"a": bad()}),
    "unhandled failure": (definition(["start > a > b > end", "start > c > d > end"]), {"b": bad()}),
    "conditions": (
        definition(
            [
                "start > c >t yes > end",
                "c >f no > end",
                link("yes", "more", "{{yes}} == 'yes'"),
                "more > end",
            ],
            {"c": ("CONDITION", {"condition": "{{input.x}} == 1"})},
        ),
        {},
    ),
    "join any": (
        definition(
            ["start > a > j > end", "start > b > j"], {"j": ("MERGE", {"strategy": "FIRST"}, {"join": "any"})}
        ),
        {"a": (3, "a"), "b": (1, "b")},
    ),
    "first of a race": (
        definition(
            ["start > f >p a > a2 > end", "f >p b > b2 > end", "f >p c > end"],
            {
                "f": ("PARALLEL", {"sync_policy": "wait_any"}),
                "end": ("END", {"output": ["{{f.winner}}", "{{a.status}}"]}),
            },
        ),
        {"a": (3, "a"), "b": (1, "b"), "c": (1, bad()), "b2": (1, "b2")},
    ),
    "failing fast": (
        definition(
            ["start > f >p a > end", "f >p b > end", "f >! h > end"],
            {"f": ("PARALLEL", {"sync_policy": "fail_fast"})},
        ),
        {"a": (3, "a"), "b": (1, bad())},
    ),
    "loop": (
        definition(
            ["start > l >l x > y > l", "l > end"],
            {"l": ("LOOP", {"condition": "{{loop.index}} < 3"}), "end": ("END", {"output": "{{l}}"})},
        ),
        {"y": lambda key, *_: key},
    ),
    "loop that goes on": (
        definition(
            ["start > l >l x > y", "l > end"],
            {
                "l": ("LOOP", {"items": [1, 2, 3, 4], "break_on_error": False, "max_concurrent": 2}),
                "end": ("END", {"output": "{{l}}"}),
            },
        ),
        {"x": lambda key, *_: bad() if "/2/" in key else (1.0, key)},
    ),
    "nested": (
        definition(
            [
                *("start > f >p each > join > end", "f >p other > join"),
                *("each >l inner >p x > after > each", "inner >p y > after"),
            ],
            {
                "f": ("PARALLEL", {}),
                "each": ("LOOP", {"items": [1, 2]}),
                "inner": ("PARALLEL", {"wait_for_all": False}),
                "join": ("MERGE", {}),
            },
        ),
        {"x": (2, "x"), "y": lambda key, *_: (1, key)},
    ),
    "partial": (
        definition(["start > a > b > end"], {"a": ("API_CALL", {}, {"continue_on_failure": True})}),
        {"a": bad()},
    ),
    "skipped as a success": (
        definition(
            ["start > a > b > end"], {"a": ("API_CALL", {}, {"conditions": "false", "skip_as": "success"})}
        ),
        {},
    ),
    "end in a branch": (
        definition(
            ["start > f >p a >! stop", "a > end", "f >p b > end"],
            {"f": ("PARALLEL", {}), "stop": ("END", {"error_message": "stop"})},
        ),
        {"a": bad(), "b": (2, "b")},
    ),
    "approval": (
        definition(
            ["start > a > ask > end"],
            {"ask": ("APPROVAL", {"approvers": ["x"]}), "end": ("END", {"output": "{{ask}}"})},
        ),
        {"ask": "yes"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_replay_of_each_beginning_ends_the_same(name: str) -> None:
    """Nothing of what was held runs again, and nothing of it is recorded again."""
    made, answers = CASES[name]
    workflow = compile_workflow(made)
    whole = Drive(workflow, answers, input={"x": 1}).run()
    assert whole.done is not None
    for length in range(len(whole.record) + 1):
        held = whole.record[:length]
        again = Drive(workflow, answers, input={"x": 1}, held=held).run()
        assert again.done == whole.done, (length, again.trace)
        assert not {key for key, _ in again.starts} & {key for key, _ in held}
        assert not {key for key, _ in again.record} & {key for key, _ in held}
        everything = {key: outcome.status for key, outcome in [*held, *again.record]}
        expected = {key: outcome.status for key, outcome in whole.record}
        if whole.done.status == "failed":  # what ran beside a failure is cancelled rather than run again
            expected |= {key: status for key, status in everything.items() if status == "cancelled"}
            expected = {key: status for key, status in expected.items() if key in everything}
        assert everything == expected, length


def test_a_loser_of_a_race_stays_one() -> None:
    """Its container's success counts, though the loser itself has no record any more."""
    made, answers = CASES["first of a race"]
    whole = drive(made, answers)
    held = [(key, outcome) for key, outcome in whole.record if outcome.status is StepStatus.SUCCESS]
    again = Drive(compile_workflow(made), answers, held=held).run()
    assert (again.starts, again.trace) == ([], [])
    assert again.done is not None
    assert whole.done is not None
    assert again.done.status == whole.done.status


def test_a_wait_that_lost_a_race_in_an_earlier_attempt_is_cancelled() -> None:
    """And the approval before a step, under its own key."""
    gate = {"approval_required": True, "approval_config": {"approvers": ["x"]}}
    made = definition(
        ["start > f >p a > end", "f >p b > end", "f >p c > end"],
        {
            "f": ("PARALLEL", {"sync_policy": "wait_any"}),
            "a": ("APPROVAL", {"approvers": ["x"]}),
            "b": ("API_CALL", {}, gate),
        },
    )
    held = [("start", Outcome(StepStatus.SUCCESS)), ("f/c/c", Outcome(StepStatus.SUCCESS, "c"))]
    actions = Drive(compile_workflow(made)).planner.begin(held)
    assert [each.key for each in actions if isinstance(each, CancelStep)] == ["f/a/a", "f/b/b/approval"]


def test_resuming_after_a_failure_runs_what_failed_and_what_never_ran() -> None:
    """The finished branch gives what it gave."""
    made = definition(["start > f >p a > end", "f >p b > b2 > end"], {"f": ("PARALLEL", {})})
    first = drive(made, {"b": bad()})
    held = [(key, outcome) for key, outcome in first.record if outcome.status is StepStatus.SUCCESS]
    again = Drive(compile_workflow(made), {}, held=held).run()
    assert again.trace == ["f/b/b:success", "f/b/b2:success", "f:success", "end:success"]
    assert again.done is not None
    assert again.done.output == {"a": "a", "b2": "b2"}


def test_held_outcomes_settle_before_anything_starts() -> None:
    """A success that was held ends a race that its rivals would begin again."""
    made = definition(
        ["start > f >p a > end", "f >p b > end", "f >p c > end"],
        {"f": ("PARALLEL", {"sync_policy": "wait_any"})},
    )
    held = [("start", Outcome(StepStatus.SUCCESS)), ("f/c/c", Outcome(StepStatus.SUCCESS, "c"))]
    run = Drive(compile_workflow(made), {}, held=held).run()
    assert run.starts == []
    assert run.trace == ["f/a/a:cancelled", "f/b/b:cancelled", "f:success", "end:success"]


def test_a_gate_that_was_passed_is_not_asked_for_again() -> None:
    """Its approval is held by its own key."""
    options = {"approval_required": True, "approval_config": {"approvers": ["x"]}}
    made = definition(["start > a > end"], {"a": ("API_CALL", {}, options)})
    run = Drive(
        compile_workflow(made),
        {},
        held=[("start", Outcome(StepStatus.SUCCESS)), ("a/approval", Outcome(StepStatus.SUCCESS))],
    )
    assert run.run().trace == ["a:success", "end:success"]


def test_the_order_of_what_was_held_does_not_lose_any_of_it() -> None:
    """A record that stands too early is taken when its step is reached; one whose step was lost, too."""
    made = definition(["start > a > c >t b > end", "c >f end"], {"c": ("CONDITION", {"condition": "true"})})
    success = Outcome(StepStatus.SUCCESS, 1)
    for held in ([("a", success), ("start", success)], [("start", success), ("b", success), ("a", success)]):
        run = Drive(compile_workflow(made), held=held).run()
        assert not {key for key, _ in run.starts} & {key for key, _ in held}
        assert run.trace[-1] == "end:success"


def test_an_approval_that_was_refused_before_fails_its_step() -> None:
    """Where the step's own record was lost."""
    options = {"approval_required": True, "approval_config": {"approvers": ["x"]}}
    made = definition(["start > a > end", "a >! b > end"], {"a": ("API_CALL", {}, options)})
    held = [("start", Outcome(StepStatus.SUCCESS)), ("a/approval", bad("no", "ApprovalRejected"))]
    assert Drive(compile_workflow(made), held=held).run().trace == ["a:failed", "b:success", "end:success"]


def test_a_loop_that_is_paused_begins_no_pass() -> None:
    """The next attempt does."""
    made = definition(["start > l >l x", "l > end"], {"l": ("LOOP", {"items": [1, 2]})})
    planner = Drive(compile_workflow(made)).planner
    planner.begin()
    assert planner.current == "l/0/x"
    planner.drain()
    assert planner.settle("l/0/x", Outcome(StepStatus.SUCCESS, 7)) == []
    assert not planner.running
    assert planner.scope("l/0/x").root("loop") != planner.scope("l").root("loop")
    with pytest.raises(KeyError):
        planner.scope("l/1/x")
