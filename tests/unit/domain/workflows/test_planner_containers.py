"""Branches and passes: policies, timeouts, concurrency, nesting, ends inside them."""

from typing import Any

import pytest
from workflow_driver import bad, definition, drive, link, ok

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.definition import Group
from flowledger.domain.workflows.steps import StepStatus, WaitKind

FORK = ["start > fork >p a > end", "fork >p b > end", "fork >p c > end"]


def fork(**config: Any) -> dict[str, Any]:
    """Return the options of a PARALLEL named fork."""
    return {"fork": ("PARALLEL", config)}


@pytest.mark.parametrize("policy", ["wait_all", "wait_any", "fail_fast"])
def test_all_branches_failed_is_a_failure_in_every_policy(policy: str) -> None:
    """And the execution's error names the first."""
    run = drive(definition(FORK, fork(sync_policy=policy)), {each: bad(each) for each in "abc"})
    assert (run.status, run.outcome("fork").status) == (RunStatus.FAILED, StepStatus.FAILED)
    assert run.done is not None
    assert (run.done.error, run.done.error_type) == ("branch a: a", "Broken")


def test_wait_all_lets_the_others_run_on_and_fails_at_the_end() -> None:
    """What has ended is in its output."""
    run = drive(definition(FORK, fork()), {"a": (1, bad()), "b": (5, "b")})
    assert run.steps("fork/") == ["fork/c/c:success", "fork/a/a:failed", "fork/b/b:success"]
    output: Any = run.outcome("fork").output
    assert output["results"] == {"a": None, "b": "b", "c": "c"}
    assert (run.now, run.status) == (5, RunStatus.FAILED)


def test_fail_fast_returns_at_the_first_failure() -> None:
    """And cancels what runs."""
    made = definition([*FORK, "fork >! alarm"], fork(sync_policy="fail_fast"))
    run = drive(made, {"a": (1, bad()), "b": (5, "b"), "c": (9, "c")})
    assert run.trace == [
        *("start:success", "fork/a/a:failed", "fork/b/b:cancelled", "fork/c/c:cancelled"),
        *("fork:failed", "end:skipped", "alarm:success"),
    ]
    assert run.status == RunStatus.SUCCESS


def test_at_most_so_many_branches_run_at_once() -> None:
    """Three by default, all with 0."""
    links = [f"fork >p b{each} > end" for each in range(7)]
    answers = {f"b{each}": (10, each) for each in range(7)}
    starts = drive(definition(["start > fork", *links], fork()), answers).starts
    assert [at for _, at in starts] == [0, 0, 0, 10, 10, 10, 20]
    starts = drive(definition(["start > fork", *links], fork(max_concurrent=0)), answers).starts
    assert {at for _, at in starts} == {0}


def test_a_branch_that_never_started_is_cancelled_in_the_statuses() -> None:
    """It leaves no step."""
    run = drive(definition(FORK, fork(wait_for_all=False, max_concurrent=1)), {})
    assert run.steps("fork/") == ["fork/a/a:success"]
    output: Any = run.outcome("fork").output
    assert output["statuses"] == {"a": "success", "b": "cancelled", "c": "cancelled"}


@pytest.mark.parametrize(
    ("policy", "winner"), [("wait_all", {}), ("fail_fast", {}), ("wait_any", {"winner": None})]
)
def test_a_parallel_whose_time_is_over_fails_and_keeps_results(policy: str, winner: dict[str, Any]) -> None:
    """The rest is cancelled; a success would have ended wait_any before."""
    first = (1, bad()) if policy == "wait_any" else (1, "a")
    run = drive(
        definition([*FORK, "fork >! late"], fork(sync_policy=policy, timeout_seconds=4)),
        {"a": first, "b": (5, "b"), "c": (9, "c")},
    )
    outcome = run.outcome("fork")
    assert (outcome.status, outcome.error_type, run.now) == (StepStatus.FAILED, "Timeout", 4)
    result = None if winner else "a"
    assert outcome.output == {
        **winner,
        "results": {"a": result, "b": None, "c": None},
        "statuses": {"a": "failed" if winner else "success", "b": "cancelled", "c": "cancelled"},
    }
    assert run.steps("late") == ["late:success"]


def test_a_skipped_branch_does_not_fail_its_parallel() -> None:
    """Its connection to the join is dead."""
    made = definition(FORK, {**fork(), "b": ("API_CALL", {}, {"conditions": "{{input.b}} == true"})})
    run = drive(made)
    assert run.outcome("fork").status is StepStatus.SUCCESS
    assert run.done is not None
    assert (run.status, run.done.output) == (RunStatus.SUCCESS, {"a": "a", "c": "c"})


def test_a_parallel_without_a_join_joins_itself() -> None:
    """Its SEQUENCE connections follow."""
    made = definition(["start > fork > end", "fork >p a > a2", "fork >p b"], fork())
    assert drive(made).trace == [
        *("start:success", "fork/a/a:success", "fork/b/b:success", "fork/a/a2:success"),
        *("fork:success", "end:success"),
    ]


def test_a_failure_inside_an_inner_parallel_is_handled_outside() -> None:
    """The inner one fails its branch, the outer one fails, its connection handles it."""
    made = definition(
        [
            *("start > outer >p inner >p a > mid > join > end", "inner >p b > mid"),
            *("outer >p c > join", "outer >! rescue > end"),
        ],
        {"outer": ("PARALLEL", {}), "inner": ("PARALLEL", {"sync_policy": "fail_fast"})},
    )
    run = drive(made, {"a": (1, bad("boom")), "b": (8, "b"), "c": (3, "c"), "rescue": "saved"})
    assert run.trace == [
        *("start:success", "outer/inner/inner/a/a:failed", "outer/inner/inner/b/b:cancelled"),
        *("outer/inner/inner:failed", "outer/c/c:success", "outer:failed", "join:skipped"),
        *("rescue:success", "end:success"),
    ]
    assert run.outcome("outer").error == "branch inner: branch a: boom"
    assert run.status == RunStatus.SUCCESS


def test_a_failure_handler_may_stand_inside_a_branch() -> None:
    """A side way that ends there leaves the join where it is."""
    made = definition([*FORK, "a >! alarm"], fork())
    run = drive(made, {"a": bad()})
    assert sorted(run.steps("fork/a")) == ["fork/a/a:failed", "fork/a/alarm:success"]
    assert run.done is not None
    assert (run.status, run.done.output) == (RunStatus.SUCCESS, {"b": "b", "c": "c"})


def test_an_inner_and_an_outer_parallel_may_share_their_join() -> None:
    """It runs once, when both have ended."""
    made = definition(
        ["start > outer >p inner >p a > end", "inner >p b > end", "outer >p c > end"],
        {"outer": ("PARALLEL", {}), "inner": ("PARALLEL", {})},
    )
    run = drive(made)
    assert run.trace[-3:] == ["outer/inner/inner:success", "outer:success", "end:success"]
    assert run.done is not None
    assert run.done.output == {"a": "a", "b": "b", "c": "c"}


def test_loops_stand_in_parallels_and_parallels_in_loops() -> None:
    """Keys are nested, ways back to the loop are its passes' end."""
    made = definition(
        [
            *("start > fork >p each > join > end", "fork >p other > join"),
            *("each >l inner >p x > after > each", "inner >p y > after"),
        ],
        {**fork(), "each": ("LOOP", {"items": [1, 2]}), "inner": ("PARALLEL", {})},
    )
    run = drive(made, {"x": lambda key, *_: key})
    assert sorted(run.trace) == sorted(
        [
            *("start:success", "fork/other/other:success", "fork/each/each:success", "fork:success"),
            *("join:success", "end:success"),
            *(
                f"fork/each/each/{number}/{each}:success"
                for number in (0, 1)
                for each in ("inner", "inner/x/x", "inner/y/y", "after")
            ),
        ]
    )
    assert run.trace.index("fork/each/each/0/after:success") < run.trace.index(
        "fork/each/each/1/inner/x/x:success"
    )


def test_a_loop_in_a_loop_has_passes_in_passes() -> None:
    """The inner one sees its own ``loop``."""
    made = definition(
        ["start > out >l inside >l body", "out > end"],
        {
            "out": ("LOOP", {"items": ["a", "b"]}),
            "inside": ("LOOP", {"items": ["{{loop.item}}1", "{{loop.item}}2"]}),
            "end": ("END", {"output": "{{out.items}}"}),
        },
    )
    run = drive(made, {"body": lambda key, _, drive: drive.planner.scope(key).root("loop")["item"]})
    assert run.steps("out/1") == [
        *("out/1/inside/0/body:success", "out/1/inside/1/body:success", "out/1/inside:success"),
    ]
    assert run.done is not None
    output: Any = run.done.output
    assert [each["items"] for each in output] == [["a1", "a2"], ["b1", "b2"]]


def test_a_default_connection_chooses_inside_a_loop() -> None:
    """In each pass anew."""
    made = definition(
        [
            "start > each >l pick",
            link("pick", "even", "{{loop.item}} % 2 == 0"),
            link("pick", "odd", default=True),
            "each > end",
        ],
        {"each": ("LOOP", {"items": [1, 2]})},
    )
    run = drive(made)
    assert run.steps("each/") == [
        *("each/0/pick:success", "each/0/even:skipped", "each/0/odd:success"),
        *("each/1/pick:success", "each/1/odd:skipped", "each/1/even:success"),
    ]
    output: Any = run.outcome("each").output
    assert output["items"] == ["odd", "even"]


def test_a_loop_that_does_not_break_records_its_failures() -> None:
    """And goes on."""
    made = definition(
        ["start > each >l body > after", "each > end"],
        {"each": ("LOOP", {"items": [1, 2, 3], "break_on_error": False})},
    )
    run = drive(made, {"body": lambda key, *_: bad("two") if "/1/" in key else "fine"})
    assert "each/1/after:skipped" not in run.trace
    assert run.outcome("each").output == {
        **{"iterations": 3, "items": ["after", None, "after"], "reached_max": False},
        "errors": [{"index": 1, "error": "two"}],
    }
    assert run.status == RunStatus.SUCCESS


@pytest.mark.parametrize(("on_max", "status"), [("warn", RunStatus.SUCCESS), ("fail", RunStatus.FAILED)])
def test_a_loop_ends_after_its_most_passes(on_max: str, status: RunStatus) -> None:
    """With a word about it, or as failed."""
    config = {"condition": "true", "max_iterations": 4, "on_max": on_max}
    run = drive(definition(["start > again >l body", "again > end"], {"again": ("LOOP", config)}))
    output: Any = run.outcome("again").output
    assert (run.status, len(run.steps("again/")), output["reached_max"]) == (status, 4, True)


def test_a_loop_without_passes_succeeds() -> None:
    """Of an empty list, or when its condition is false at once."""
    options: tuple[dict[str, Any], ...] = ({"items": []}, {"condition": "{{loop.index}} < 0"})
    for config in options:
        run = drive(definition(["start > none >l body", "none > end"], {"none": ("LOOP", config)}))
        assert run.trace == ["start:success", "none:success", "end:success"]


def test_passes_over_items_may_run_at_once() -> None:
    """Their outputs stay in order."""
    config = {"items": [5, 1, 3], "max_concurrent": 2}
    made = definition(["start > each >l body", "each > end"], {"each": ("LOOP", config)})

    def body(key: str, _tries: int, drive: Any) -> Any:
        item = drive.planner.scope(key).root("loop")["item"]
        return float(item), item

    run = drive(made, {"body": body})
    assert run.steps("each/") == ["each/1/body:success", "each/2/body:success", "each/0/body:success"]
    output: Any = run.outcome("each").output
    assert output["items"] == [5, 1, 3]


def test_bad_items_and_options_fail_the_loop() -> None:
    """As a failure of validation, which a connection can handle."""
    for config in ({"items": "{{input.rows}}"}, {"items": {"a": 1}}, {"items": [1], "max_iterations": 5_000}):
        made = definition(
            ["start > each >l body", "each > end", "each >! no > end"], {"each": ("LOOP", config)}
        )
        run = drive(made, input={})
        assert run.steps("each", "no") == ["each:failed", "no:success"]
        assert run.outcome("each").error_type == "ValidationError"


def test_an_end_inside_a_branch_ends_that_branch() -> None:
    """Its output is the execution's where no other END is reached."""
    made = definition(
        ["start > fork >p a > one", "fork >p b > two"],
        {**fork(), "one": ("END", {"output": 1}), "two": ("END", {"output": 2})},
    )
    run = drive(made)
    assert run.done is not None
    assert (run.status, run.done.output) == (RunStatus.SUCCESS, {"one": 1, "two": 2})


def test_an_end_with_a_message_inside_a_branch_ends_the_execution() -> None:
    """What runs beside it is cancelled."""
    made = definition([*FORK, "a >! stop"], {**fork(), "stop": ("END", {"error_message": "a: {{a.error}}"})})
    run = drive(made, {"a": (1, bad("gone")), "b": (9, "b"), "c": (9, "c")})
    assert run.trace == [
        *("start:success", "fork/a/a:failed", "fork/a/stop:failed", "fork/b/b:cancelled"),
        *("fork/c/c:cancelled", "fork:cancelled"),
    ]
    assert run.done is not None
    assert (run.status, run.done.error) == (RunStatus.FAILED, "a: gone")


def test_a_group_is_a_parallel_around_its_steps() -> None:
    """What leads to one leads to the group; what follows waits for its end."""
    made = definition(
        ["start > a > end", "start > b > end"],
        groups=[Group(3, "both of them", sync_policy="wait_any", node_ids=(2, 4))],
        order=("start", "a", "end", "b"),
    )
    run = drive(made, {"a": (5, "a"), "b": (1, "b")})
    assert run.trace == [
        *("start:success", "both_of_them/b/b:success", "both_of_them/a/a:cancelled"),
        *("both_of_them:success", "end:success"),
    ]
    assert run.done is not None
    assert run.done.output == {"b": "b"}
    assert run.planner.node("both_of_them").id == -3


def test_a_step_of_a_group_may_be_a_loop() -> None:
    """Its passes are inside the group's branch."""
    made = definition(
        ["start > each > end", "start > b > end", "each >l body > more > each"],
        {"each": ("LOOP", {"items": [1, 2]})},
        groups=[Group(1, "both", node_ids=(2, 4))],
        order=("start", "each", "end", "b"),
    )
    run = drive(made)
    assert run.steps("both/each") == [
        *("both/each/each/0/body:success", "both/each/each/0/more:success", "both/each/each/1/body:success"),
        *("both/each/each/1/more:success", "both/each/each:success"),
    ]
    assert run.trace[-2:] == ["both:success", "end:success"]


def test_a_group_may_be_the_body_of_a_loop() -> None:
    """Each pass runs its steps beside one another."""
    made = definition(
        ["start > each >l pick > a > each", "pick > b", "each > end"],
        {"each": ("LOOP", {"items": [1, 2]}), "pick": ("TRANSFORM", {"template": "{{loop.item}}"})},
        groups=[Group(1, "both", node_ids=(3, 4))],
        order=("start", "each", "a", "b", "pick", "end"),
    )
    assert drive(made).steps("each/1") == [
        *("each/1/pick:success", "each/1/both/a/a:success", "each/1/both/b/b:success", "each/1/both:success"),
    ]


def test_error_handling_of_a_workflow_leaves_branches_to_their_parallel() -> None:
    """A failure wins no race; that of the PARALLEL lets the execution go on."""
    made = definition(FORK, fork(sync_policy="wait_any"), config={"error_handling": "continue"})
    run = drive(made, {"a": bad(), "b": (1, "b"), "c": (5, "c")})
    output: Any = run.outcome("fork").output
    assert (output["winner"], run.status) == ("b", RunStatus.SUCCESS)
    run = drive(made, {each: bad() for each in "abc"})
    assert (run.outcome("fork").status, run.trace[-1], run.status) == (
        "failed",
        "end:success",
        RunStatus.PARTIAL,
    )


def test_a_member_of_a_group_that_nothing_led_to_is_skipped() -> None:
    """The others run."""
    made = definition(
        ["start > pick", link("pick", "a", "true"), link("pick", "b", "false"), "a > end", "b > end"],
        groups=[Group(1, "both", node_ids=(3, 4))],
        order=("start", "pick", "a", "b", "end"),
    )
    assert drive(made).steps("both") == ["both/b/b:skipped", "both/a/a:success", "both:success"]


def test_a_wait_inside_a_loser_is_cancelled() -> None:
    """By its own key."""
    made = definition(FORK, {**fork(sync_policy="wait_any"), "a": ("APPROVAL", {"approvers": ["x"]})})
    run = drive(made, {"b": (2, "b")})
    assert "fork/a/a:cancelled" in run.trace
    assert run.planner.waiting == ()


def test_a_gate_stands_before_a_step_and_before_a_parallel() -> None:
    """Approved, the step runs; rejected, it fails."""
    approval = {"approval_required": True, "approval_config": {"approvers": ["{{input.who}}"]}}
    made = definition(FORK, {"fork": ("PARALLEL", {}, approval), "b": ("API_CALL", {}, approval)})
    run = drive(made, input={"who": "li"})
    assert run.planner.waiting == ("fork/approval",)
    wait = run.waits["fork/approval"]
    assert (wait.kind, wait.gate, wait.facts, wait.alias) == (
        WaitKind.APPROVAL,
        True,
        {"approvers": ["li"]},
        "fork",
    )
    run.resolve("fork/approval", ok({"approved_by": ["li"]}))
    assert run.planner.waiting == ("fork/b/b/approval",)
    run.resolve("fork/b/b/approval", bad("no", "ApprovalRejected"))
    assert run.outcome("fork/b/b").error_type == "ApprovalRejected"
    assert run.status == RunStatus.FAILED
