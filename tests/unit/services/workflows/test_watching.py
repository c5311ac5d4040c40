"""What the monitor makes of the past: histories of nodes, errors, means of metrics."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from workflow_place import NOW, document, node, place

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.steps import StepStatus
from flowledger.services.workflows.watching import Watching, histories, load_per_processor
from flowledger.workflow_ports import EndedExecution, NodeAnswer, PastStep, RecentPast, Step

Settled = tuple[int, str, str, dict[str, Any]]


def past(*steps: Settled, ended: list[EndedExecution] | None = None) -> RecentPast:
    """The past of ``(execution, key, status, more)`` steps."""
    rows = [
        PastStep(
            number,
            Step(
                key=key,
                status=StepStatus(status),
                **{
                    "alias": key.rpartition("/")[2],
                    "name": key,
                    "node_id": 1,
                    "node_type": "API_CALL",
                    "generation": 0,
                    "try_no": 1,
                    "completed_at": NOW,
                    **more,
                },
            ),
        )
        for number, key, status, more in steps
    ]
    return RecentPast(ended or [], rows)


def test_the_last_try_of_each_step_counts() -> None:
    """Tries before it are retries; what was replaced or skipped does not count."""
    found = histories(
        past(
            (1, "a", "failed", {"seconds": 9.0}),
            (1, "a", "success", {"try_no": 2, "seconds": 1.0}),
            (2, "a", "success", {"superseded": True, "seconds": 50.0}),
            (2, "a", "failed", {"generation": 1, "seconds": 2.0}),
            (2, "b", "skipped", {}),
        )
    )
    assert found.keys() == {"a"}
    assert (found["a"].durations_s, found["a"].executions, found["a"].failures) == ([1.0], 2, 1)
    assert found["a"].retries == 1


def test_passes_of_a_loop_are_counted_for_each_time_it_ran() -> None:
    """Loops within loops too."""
    steps: list[Settled] = [
        (1, f"outer/{first}/inner/{second}/body", "success", {}) for first in range(2) for second in range(3)
    ]
    steps += [(1, f"outer/{each}/inner", "success", {}) for each in range(2)]
    found = histories(past(*steps, (1, "outer", "success", {})))
    assert (found["outer"].passes, sorted(found["inner"].passes)) == ([2], [3, 3])
    assert found["body"].executions == 6


def test_errors_are_those_of_steps_and_of_executions_without_a_failed_step() -> None:
    """Each type once, the most frequent first."""
    ended = [
        EndedExecution(1, RunStatus.FAILED, "HTTPError", NOW),
        EndedExecution(2, RunStatus.FAILED, "Timeout", NOW),
    ]
    found = Watching(place().store, lambda: NOW).errors(
        1,
        past(
            (1, "a", "failed", {"error_type": "HTTPError", "error": "HTTP 503: x"}),
            (1, "b", "failed", {"error_type": "HTTPError", "completed_at": NOW + timedelta(seconds=1)}),
            ended=ended,
        ),
    )
    assert [(row["error_type"], row["count"], row["nodes"]) for row in found] == [
        ("HTTPError", 2, ["a", "b"]),
        ("Timeout", 1, []),
    ]
    assert found[0]["last_occurrence"] == NOW + timedelta(seconds=1)


def test_metrics_are_means() -> None:
    """Of the last tries."""
    there = place(get=lambda _: NodeAnswer(output=1, metrics={"rows": 4}))
    made = document(
        [node("start", "START"), node("get"), node("end", "END")], [("start", "get"), ("get", "end")]
    )
    workflow = there.publish(made)
    for number in range(2):
        there.run(there.order(workflow, f"e{number}"))
    watching = Watching(there.store, lambda: there.now)
    whole = watching.metrics(workflow)
    assert whole["custom_metrics"] == {"rows": 4.0}
    assert whole["stats"]["success_rate"] == 100.0
    assert {each["alias"] for each in whole["performance"]["nodes"]} == {"start", "get", "end"}
    assert watching.metrics(workflow, ["errors"]) == {"errors": []}


def test_the_current_node_is_shown_by_its_name() -> None:
    """Also inside a container; what is unknown is shown as it is."""
    there = place()
    made = document([node("读 取"), node("b")], [("读 取", "b")])
    execution = there.order(there.publish(made))
    watching = Watching(there.store, lambda: there.now)
    for step, name in (("读_取", "读 取"), ("loop/3/b", "b"), ("gone", "gone")):
        shown = watching.step_names([replace(execution, current_step=step)])
        assert shown == {execution.id: name}
    assert watching.step_names([execution]) == {}


def test_the_load_is_a_number() -> None:
    """Of each processor."""
    assert load_per_processor() >= 0
