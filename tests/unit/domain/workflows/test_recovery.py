"""A restart from a step: what it replaces, and what keeps what it gave."""

import pytest
from workflow_driver import Drive, definition, drive

from flowledger.domain.workflows.graph import compile_workflow
from flowledger.domain.workflows.recovery import replaced

MADE = definition(
    [
        *("start > a > fork >p each > join > end", "fork >p other > more > join", "a > beside > end"),
        "each >l x > y",
    ],
    {"fork": ("PARALLEL", {}), "each": ("LOOP", {"items": [1, 2, 3]})},
)


@pytest.mark.parametrize(
    ("key", "stays"),
    [
        ("start", set()),
        ("join", {"start", "a", "beside", "fork", *(f"fork/other/{each}" for each in ("other", "more"))}),
        ("beside", {"start", "a", "fork", "join", "fork/other/other", "fork/other/more"}),
        ("fork/other/more", {"start", "a", "beside", "fork/other/other"}),
        ("fork", {"start", "a", "beside"}),
    ],
)
def test_a_restart_replaces_a_step_and_what_follows_it(key: str, stays: set[str]) -> None:
    """What stands beside it stays."""
    recorded = [each for each, _ in drive(MADE).record]
    inside_loop = {each for each in recorded if each.startswith("fork/each/")}
    stays = stays | inside_loop if key not in ("start", "fork") else stays
    assert set(recorded) - replaced(compile_workflow(MADE), key, recorded) == stays


def test_a_restart_inside_a_loop_replaces_later_passes() -> None:
    """And what comes after the step in its own pass, the loop, and all around it."""
    recorded = [each for each, _ in drive(MADE).record]
    stays = set(recorded) - replaced(compile_workflow(MADE), "fork/each/each/1/y", recorded)
    assert stays == {
        *("start", "a", "beside", "fork/other/other", "fork/other/more"),
        *("fork/each/each/0/x", "fork/each/each/0/y", "fork/each/each/1/x"),
    }


def test_what_stays_is_all_that_a_resumed_execution_needs() -> None:
    """It runs what was replaced and nothing else."""
    workflow = compile_workflow(MADE)
    first = drive(MADE)
    gone = replaced(workflow, "fork/each/each/1/y", [key for key, _ in first.record])
    held = [(key, outcome) for key, outcome in first.record if key not in gone]
    again = Drive(workflow, held=held).run()
    assert {key for key, _ in again.record} == gone
    assert again.done == first.done


def test_an_approval_before_a_step_is_asked_for_again() -> None:
    """Its key belongs to the step."""
    workflow = compile_workflow(definition(["start > a > b > end"]))
    recorded = ["start", "a/approval", "a", "b/approval", "b"]
    assert replaced(workflow, "a", recorded) == {"a/approval", "a", "b/approval", "b"}
    assert replaced(workflow, "b/approval", recorded) == {"b/approval", "b"}
    with pytest.raises(KeyError):
        replaced(workflow, "gone", recorded)
