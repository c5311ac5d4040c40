"""Failures, conditions of nodes, joins, delays, approvals, cancelling and pausing."""

from datetime import UTC, datetime
from typing import Any

import pytest
from workflow_driver import Drive, bad, definition, drive, link, ok

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.graph import compile_workflow
from flowledger.domain.workflows.steps import (
    CancelStep,
    Done,
    Outcome,
    RunStep,
    SetTimer,
    StepSettled,
    StepStatus,
    WaitKind,
)

TWO_WAYS = ["start > a > a2 > end", "start > b > b2 > end"]


def test_nothing_starts_after_a_failure_and_what_runs_may_end() -> None:
    """Its result is there when the execution is resumed; what has not run leaves no step."""
    run = drive(definition(TWO_WAYS), {"a": (1, bad("boom")), "b": (3, "b")})
    assert run.trace == ["start:success", "a:failed", "b:success"]
    assert run.done == Done(RunStatus.FAILED, None, "boom", "Broken")
    assert run.now == 3


def test_error_handling_cancel_ends_what_runs() -> None:
    """At once."""
    run = drive(
        definition(TWO_WAYS, config={"error_handling": "cancel"}), {"a": (1, bad("boom")), "b": (3, "b")}
    )
    assert run.trace == ["start:success", "a:failed", "b:cancelled"]
    assert run.done == Done(RunStatus.FAILED, None, "boom", "Broken")


def test_error_handling_continue_goes_on_as_if_every_node_did() -> None:
    """The execution ends partial."""
    run = drive(definition(TWO_WAYS, config={"error_handling": "continue"}), {"a": bad("boom")})
    assert run.steps("a", "end") == ["a:failed", "a2:success", "end:success"]
    assert run.status == RunStatus.PARTIAL


def test_a_handled_failure_is_not_partial_even_where_it_could_go_on() -> None:
    """Its connection for failures comes before ``continue_on_failure``."""
    made = definition(
        ["start > a > end", "a >! b > end"], {"a": ("API_CALL", {}, {"continue_on_failure": True})}
    )
    run = drive(made, {"a": bad()})
    assert (run.trace[-2:], run.status) == (["b:success", "end:success"], RunStatus.SUCCESS)


def test_an_always_connection_is_taken_either_way() -> None:
    """After a success, and after a failure, which it handles."""
    made = definition(["start > a >* clean > end"])
    assert drive(made).trace == drive(made, {"a": ok()}).trace
    run = drive(made, {"a": bad()})
    assert (run.trace[1:3], run.status) == (["a:failed", "clean:success"], RunStatus.SUCCESS)


def test_waits_are_cancelled_by_a_failure_beside_them() -> None:
    """An execution that has failed does not wait for people."""
    made = definition(TWO_WAYS, {"b": ("APPROVAL", {"approvers": ["x"]})})
    run = drive(made, {"a": (1, bad("boom"))})
    assert (run.trace[-1], run.status, run.planner.waiting) == ("b:cancelled", RunStatus.FAILED, ())


def test_a_node_of_false_conditions_is_skipped_with_all_behind_it() -> None:
    """Or, with ``skip_as: success``, only itself."""
    condition = {"conditions": [{"field": "input.n", "operator": "greater_than", "value": 5}]}
    made = definition(["start > a > b > end"], {"a": ("API_CALL", {}, condition)})
    run = drive(made, input={"n": 1})
    assert run.trace == ["start:success", "a:skipped", "b:skipped", "end:skipped"]
    assert run.done == Done(RunStatus.SUCCESS, None)
    made = definition(["start > a > b > end"], {"a": ("API_CALL", {}, {**condition, "skip_as": "success"})})
    assert drive(made, input={"n": 1}).trace == ["start:success", "a:skipped", "b:success", "end:success"]


def test_a_step_for_failures_runs_when_what_it_depends_on_has_failed() -> None:
    """As pipelines write it; it handles the failure."""
    made = definition(
        ["start > a > b > end", "a > rescue > end"],
        {"rescue": ("API_CALL", {}, {"conditions": {"type": "on_failure", "depends_on": ["a"]}})},
    )
    run = drive(made, {"a": bad()})
    assert run.trace == ["start:success", "a:failed", "b:skipped", "rescue:success", "end:success"]
    assert "rescue:skipped" in drive(made).trace


def test_join_any_starts_at_the_first_taken_connection_and_once() -> None:
    """The later one changes nothing."""
    made = definition(
        ["start > a > join > end", "start > b > join"], {"join": ("API_CALL", {}, {"join": "any"})}
    )
    run = drive(made, {"a": (5, "a"), "b": (1, "b"), "join": (1, "j")})
    assert run.trace == ["start:success", "b:success", "join:success", "end:success", "a:success"]
    assert [at for key, at in run.starts if key == "join"] == [1]
    both = drive(made, {"a": (1, bad()), "b": (2, "b")})
    assert both.trace == ["start:success", "a:failed", "b:success"]


def test_join_any_is_skipped_when_all_are_dead() -> None:
    """Not before."""
    made = definition(
        ["start > check >t a > join > end", "check >t b > join", "check >f other > end"],
        {"check": ("CONDITION", {"condition": "false"}), "join": ("API_CALL", {}, {"join": "any"})},
    )
    assert "join:skipped" in drive(made).trace


def test_paths_of_a_condition_are_connections() -> None:
    """By the names of nodes, without connections or with plain ones."""
    config = {"condition": "{{input.x}} > 1", "true_path": "yes", "false_path": "no"}
    for links in (["start > c", "yes > end", "no > end"], ["start > c > yes > end", "c > no > end"]):
        made = definition(links, {"c": ("CONDITION", config)})
        assert drive(made, input={"x": 2}).steps("yes", "no") == ["no:skipped", "yes:success"]
        assert drive(made, input={"x": 0}).steps("yes", "no") == ["yes:skipped", "no:success"]


def test_a_path_to_no_node_leaves_the_connections_as_they_are() -> None:
    """Publishing refuses it; a draft can be executed."""
    config = {"condition": "{{input.x}} > 1", "true_path": "gone", "false_path": "gone too"}
    made = definition(["start > c >t yes > end"], {"c": ("CONDITION", config)})
    assert drive(made, input={"x": 2}).steps("yes", "end") == ["yes:success", "end:success"]
    assert drive(made, input={"x": 0}).steps("yes", "end") == ["yes:skipped", "end:skipped"]


def test_two_ends_give_the_output_of_the_one_that_is_reached() -> None:
    """Of both, by alias, where both are."""
    ends = {"one": ("END", {"output": 1}), "two": ("END", {"output": 2})}
    made = definition(
        ["start > c >t one", "c >f two"], {"c": ("CONDITION", {"condition": "{{input}}"}), **ends}
    )
    for given, output in ((True, 1), (False, 2)):
        run = drive(made, input=given)
        assert run.done == Done(RunStatus.SUCCESS, output)
    assert drive(definition(["start > one", "start > two"], ends)).done == Done(
        RunStatus.SUCCESS, {"one": 1, "two": 2}
    )


def test_errors_of_expressions_fail_the_step_by_their_name() -> None:
    """And can be handled."""
    made = definition(
        ["start > c >t yes > end", "c >! no > end"], {"c": ("CONDITION", {"condition": "{{input}} > 'a'"})}
    )
    run = drive(made, input=1)
    assert run.outcome("c").error_type == "ExpressionError"
    assert run.steps("no") == ["no:success"]


def test_an_error_in_a_connection_names_it_and_fails_the_execution() -> None:
    """The step before it has succeeded."""
    made = definition(["start > a", link("a", "b", "{{a}} > 1"), "b > end"])
    run = drive(made, {"a": "text"})
    assert run.trace == ["start:success", "a:success"]
    assert run.done is not None
    assert run.done.error_type == "ExpressionError"
    assert (run.done.error or "").startswith("connection a to b: ")


@pytest.mark.parametrize(
    ("strategy", "answers", "output"),
    [
        ("ALL", {}, {"a": "a", "b": "b", "c": None}),
        ("FIRST", {"a": (2, "a"), "b": (1, "b")}, "b"),
        ("MAJORITY", {"a": {"x": 1}, "b": {"x": 1}}, {"x": 1}),
    ],
)
def test_a_merge_gives_what_leads_to_it(strategy: str, answers: dict[str, Any], output: object) -> None:
    """Null for what was not taken."""
    made = definition(
        ["start > a > m > end", "start > b > m", "start > no >t c > m"],
        {"m": ("MERGE", {"strategy": strategy}), "no": ("CONDITION", {"condition": "false"})},
    )
    assert drive(made, answers).outcome("m").output == output


def test_a_merge_after_a_parallel_gives_its_branches() -> None:
    """Null for those that lost."""
    made = definition(
        ["start > f >p a > m > end", "f >p b > m"],
        {"f": ("PARALLEL", {"wait_for_all": False}), "m": ("MERGE", {})},
    )
    assert drive(made, {"a": (9, "a")}).outcome("m").output == {"a": None, "b": "b"}


def test_a_majority_needs_more_than_half() -> None:
    """Else the step fails."""
    made = definition(["start > a > m > end", "start > b > m"], {"m": ("MERGE", {"strategy": "MAJORITY"})})
    assert drive(made).outcome("m").error_type == "ValidationError"


def test_a_transform_renders_its_template() -> None:
    """With the nearest response before it, and the step before."""
    made = definition(
        ["start > a > b > t > end"],
        {"t": ("TRANSFORM", {"template": {"r": "{{response.x}}", "p": "{{previous_step.y}}"}})},
    )
    answers = {"a": ok({}, response={"status": 200, "headers": {}, "body": {"x": 1}}), "b": ok({"y": 2})}
    assert drive(made, answers).outcome("t").output == {"r": 1, "p": 2}


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        ({"seconds": 61}, {"seconds": 61.0}),
        ({"duration": "PT1H30M"}, {"seconds": 5400.0}),
        ({"until": "2026-03-01T08:00:00+08:00"}, {"until": "2026-03-01T08:00:00+08:00"}),
        ({"seconds": "{{input.s}}"}, {"seconds": 100.0}),
    ],
)
def test_a_long_delay_is_a_wait(config: dict[str, Any], facts: dict[str, Any]) -> None:
    """It holds no process."""
    run = drive(definition(["start > d > end"], {"d": ("DELAY", config)}), input={"s": 100})
    assert (run.waits["d"].kind, run.waits["d"].facts, run.planner.running) == (WaitKind.DELAY, facts, ())
    run.resolve("d", ok())
    assert run.status == RunStatus.SUCCESS


def test_a_short_delay_runs_and_a_bad_one_fails() -> None:
    """As a step of its own."""
    assert drive(definition(["start > d > end"], {"d": ("DELAY", {"seconds": 60})})).starts == [("d", 0)]
    for config in ({}, {"seconds": -1}, {"duration": "an hour"}, {"until": "2026-03-01"}, {"duration": "PT"}):
        run = drive(definition(["start > d > end"], {"d": ("DELAY", config)}))
        assert run.outcome("d").error_type == "ValidationError"


def test_a_connection_can_wait_before_its_step() -> None:
    """A call gets the delay with it, other nodes a timer."""
    made = definition(
        [link("start", "a", kind="SEQUENCE", delay=2), link("a", "t", kind="SEQUENCE", delay=3), "t > end"],
        {"start": ("START", {}), "t": ("TRANSFORM", {"template": 1})},
    )
    run = drive(made)
    assert (run.starts, run.now, run.status) == ([("a", 2)], 5, RunStatus.SUCCESS)


def test_an_approval_and_a_sub_workflow_wait() -> None:
    """With their rendered config."""
    made = definition(
        ["start > ask > sub > end"],
        {
            "ask": ("APPROVAL", {"approvers": ["{{input.who}}"], "required_approvals": 1}),
            "sub": ("SUBWORKFLOW", {"workflow_id": 9, "input": {"x": "{{ask.by}}"}}),
            "end": ("END", {"output": "{{sub}}"}),
        },
    )
    run = drive(made, input={"who": "li"})
    assert run.waits["ask"].facts == {"approvers": ["li"], "required_approvals": 1}
    run.resolve("ask", ok({"by": "li"}))
    assert (run.waits["sub"].kind, run.waits["sub"].facts) == (
        WaitKind.CHILD,
        {"workflow_id": 9, "input": {"x": "li"}},
    )
    run.resolve("sub", ok("result"))
    assert run.done == Done(RunStatus.SUCCESS, "result")


def test_stopping_cancels_all_that_runs() -> None:
    """And nothing follows late results."""
    planner = Drive(compile_workflow(definition(TWO_WAYS))).planner
    assert [each for each in planner.begin() if isinstance(each, RunStep)] == [
        RunStep("a", "a"),
        RunStep("b", "b"),
    ]
    actions = planner.stop(RunStatus.CANCELLED, "cancelled by li", "Cancelled")
    assert [each.key for each in actions if isinstance(each, CancelStep)] == ["b", "a"]
    assert actions[-1] == Done(RunStatus.CANCELLED, None, "cancelled by li", "Cancelled")
    assert (planner.running, planner.settle("a", ok()), planner.stop(RunStatus.FAILED, "x", "Timeout")) == (
        (),
        [],
        [],
    )


def test_draining_starts_nothing_and_records_the_rest() -> None:
    """A paused execution goes on from there."""
    planner = Drive(compile_workflow(definition(TWO_WAYS))).planner
    planner.begin()
    planner.drain()
    assert planner.settle("a", ok(1)) == []
    assert (planner.running, planner.settle("b", ok(2)), planner.running) == (("b",), [], ())
    again = Drive(
        compile_workflow(definition(TWO_WAYS)), held=[("start", ok()), ("a", ok(1)), ("b", ok(2))]
    ).run()
    assert again.trace == ["a2:success", "b2:success", "end:success"]


def test_a_timer_that_nobody_needs_does_nothing() -> None:
    """Nor does an unknown one."""
    made = definition(["start > f >p a > end", "f >p b > end"], {"f": ("PARALLEL", {"timeout_seconds": 5})})
    planner = Drive(compile_workflow(made)).planner
    assert SetTimer("f", 5.0) in planner.begin()
    planner.settle("f/a/a", ok())
    planner.settle("f/b/b", ok())
    assert planner.timer_fired("f") == []


def test_a_step_skipped_by_hand_fires_its_success_connections() -> None:
    """With the output that was given; a container is not entered."""
    by_hand = Outcome(StepStatus.SKIPPED, {"x": 1}, manual=True)
    made = definition(["start > a > end"], {"end": ("END", {"output": "{{a.x}}"})})
    run = Drive(compile_workflow(made), held=[("start", ok()), ("a", by_hand)]).run()
    assert (run.trace, run.done) == (["end:success"], Done(RunStatus.SUCCESS, 1))
    made = definition(["start > f >p a > end", "f >p b > end"], {"f": ("PARALLEL", {})})
    run = Drive(compile_workflow(made), held=[("start", ok()), ("f", by_hand)]).run()
    assert (run.trace, run.status) == (["end:success"], RunStatus.SUCCESS)


def test_progress_never_falls_and_ends_at_100() -> None:
    """A branch counts as it settles, a loop by its passes."""
    made = definition(
        ["start > f >p a > end", "f >p b > end", "f >p each > end", "each >l body"],
        {"f": ("PARALLEL", {}), "each": ("LOOP", {"items": list(range(20))})},
    )
    progress = drive(made).progress
    assert progress == sorted(progress)
    assert (len(set(progress)) > 8, progress[-1]) == (True, 100)


def test_scopes_know_what_the_page_says() -> None:
    """Execution, names that are no identifiers, status and error of a step, variables."""
    made = definition(
        ["start > a > end"],
        {
            "end": (
                "END",
                {
                    "output": [
                        "{{execution.id}}",
                        "{{execution.started_at}}",
                        "{{nodes['a'].status}}",
                        "{{$variables.v}}",
                    ]
                },
            )
        },
    )
    run = drive(made, variables={"v": 4})
    assert run.done is not None
    assert run.done.output == [7, datetime(2026, 1, 1, tzinfo=UTC).isoformat(), "success", 4]


def test_settled_by_thinking_is_told_at_once() -> None:
    """START, CONDITION and END need no driver."""
    actions = Drive(compile_workflow(definition(["start > end"]))).planner.begin()
    assert [type(each) for each in actions] == [StepSettled, StepSettled, Done]


def test_an_error_in_a_connection_is_gone_on_from_where_all_are() -> None:
    """The connection is dead, the others are not."""
    made = definition(
        ["start > a", link("a", "b", "{{a}} > 1"), "b > end", "a > end"],
        config={"error_handling": "continue"},
    )
    run = drive(made, {"a": "text"})
    assert (run.trace[1:], run.status) == (["a:success", "b:skipped", "end:success"], RunStatus.PARTIAL)


def test_an_error_in_a_loops_condition_fails_the_loop() -> None:
    """As its own failure."""
    made = definition(
        ["start > l >l x", "l > end", "l >! no > end"],
        {"l": ("LOOP", {"condition": "{{loop.last}} is null or {{x}} > 1"})},
    )
    run = drive(made, {"x": "text"})
    assert run.steps("l", "no") == ["l/0/x:success", "l:failed", "no:success"]
    assert run.outcome("l").error_type == "ExpressionError"
