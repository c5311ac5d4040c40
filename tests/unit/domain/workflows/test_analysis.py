"""Analysis: critical paths, slack, bottlenecks and advice from measured durations."""

from collections.abc import Mapping, Sequence
from typing import Any

from flowledger.domain.workflows.analysis import NodeHistory, analyse
from flowledger.domain.workflows.definition import Connection, ConnectionType, Definition, Group, Node


def made(
    nodes: Sequence[tuple[str, str, Mapping[str, Any]]], links: Sequence[tuple[str, str, str]], **more: Any
) -> Definition:
    """A definition of (name, type, config) and (from, to, connection type)."""
    numbers = {name: number for number, (name, _, _) in enumerate(nodes, 1)}
    return Definition(
        name="w",
        nodes=tuple(Node(numbers[name], name, name, kind, config) for name, kind, config in nodes),
        connections=tuple(
            Connection(number, numbers[source], numbers[target], ConnectionType(kind))
            for number, (source, target, kind) in enumerate(links, 1)
        ),
        **more,
    )


def took(*seconds: float, **more: Any) -> NodeHistory:
    """A node's history."""
    return NodeHistory(seconds, executions=len(seconds), **more)


CALL = "API_CALL"
FORK = made(
    [
        ("start", "START", {}),
        ("fork", "PARALLEL", {}),
        ("quick", CALL, {}),
        ("slow", CALL, {}),
        ("after", CALL, {"body": "{{slow.x}}"}),
        ("last", CALL, {"body": "{{input.x}}"}),
        ("end", "END", {}),
    ],
    [
        ("start", "fork", "SEQUENCE"),
        ("fork", "quick", "PARALLEL"),
        ("fork", "slow", "PARALLEL"),
        ("fork", "after", "SEQUENCE"),
        ("after", "last", "SEQUENCE"),
        ("last", "end", "SEQUENCE"),
    ],
)
TIMES = {"quick": took(1.0), "slow": took(5.0, 4.0, 9.0), "after": took(2.0), "last": took(3.0)}


def test_the_critical_path_goes_through_the_slowest_branch() -> None:
    """By medians; the others have slack."""
    analysis = analyse(FORK, TIMES)
    assert analysis.critical_path == ["start", "fork", "slow", "after", "last", "end"]
    assert analysis.duration_s == 10.0
    slack = {time.alias: time.slack_s for time in analysis.times}
    assert (slack["quick"], slack["slow"], slack["after"]) == (4.0, 0.0, 0.0)
    assert ("fork", "slow", "PARALLEL") in analysis.dependencies


def test_neighbours_that_need_nothing_of_each_other_could_run_at_once() -> None:
    """What the shorter of them takes would be saved."""
    (suggestion,) = analyse(FORK, TIMES).suggestions
    assert (suggestion.steps, suggestion.saved_s) == (("after", "last"), 2.0)


def test_a_race_takes_as_long_as_its_quickest_branch() -> None:
    """Wait_any ends with the first success."""
    nodes = [
        (node.name, node.node_type, {"sync_policy": "wait_any"} if node.name == "fork" else node.config)
        for node in FORK.nodes
    ]
    links = [
        (FORK.nodes[each.from_id - 1].name, FORK.nodes[each.to_id - 1].name, each.connection_type.value)
        for each in FORK.connections
    ]
    analysis = analyse(made(nodes, links), TIMES)
    assert analysis.duration_s == 6.0
    assert "quick" in analysis.critical_path


def test_a_loop_counts_its_body_as_often_as_it_passes_in_the_mean() -> None:
    """Measured passes, one where none was measured."""
    loop = made(
        [("start", "START", {}), ("loop", "LOOP", {}), ("body", CALL, {}), ("end", "END", {})],
        [("start", "loop", "SEQUENCE"), ("loop", "body", "LOOP"), ("loop", "end", "SEQUENCE")],
    )
    history = {"body": took(2.0), "loop": NodeHistory(passes=[2, 4])}
    assert analyse(loop, history).duration_s == 6.0
    assert analyse(loop, {"body": took(2.0)}).duration_s == 2.0


def test_what_was_never_measured_is_marked() -> None:
    """A call counts as a second."""
    times = {time.alias: time for time in analyse(FORK, {}).times}
    assert (times["slow"].duration_s, times["slow"].is_estimate) == (1.0, True)
    assert analyse(FORK, TIMES).times[3].is_estimate is False


def test_bottlenecks_have_their_reason() -> None:
    """A large share of the path, a wide spread, many failures."""
    history = {
        **TIMES,
        "quick": NodeHistory([1.0] * 40 + [9.0] * 10, executions=50),
        "last": NodeHistory([3.0], executions=10, failures=2),
    }
    found = analyse(FORK, history).bottlenecks
    assert ("slow", "share") in found
    assert ("quick", "spread") in found
    assert ("last", "failures") in found
    assert ("after", "share") not in found


def test_complexity_and_counts() -> None:
    """total + 0.5 parallel + 1.5 conditional + 2 approval."""
    nodes = [
        ("start", "START", {}),
        ("if", "CONDITION", {"condition": "true"}),
        ("ask", "APPROVAL", {}),
        ("a", CALL, {}),
        ("b", CALL, {}),
        ("end", "END", {}),
    ]
    links = [
        ("start", "if", "SEQUENCE"),
        ("if", "ask", "CONDITIONAL_TRUE"),
        ("ask", "a", "SEQUENCE"),
        ("ask", "b", "SEQUENCE"),
        ("a", "end", "SEQUENCE"),
        ("b", "end", "SEQUENCE"),
    ]
    analysis = analyse(made(nodes, links, groups=(Group(1, "g", node_ids=(4, 5)),)), {"ask": took(3600.0)})
    assert analysis.counts == {"total": 6, "parallel": 2, "conditional": 1, "approval": 1}
    assert analysis.complexity_score == 6 + 1 + 1.5 + 2
    assert analysis.people_s == 3600.0


def test_cycles_are_named() -> None:
    """Nothing else can be said then."""
    nodes: list[tuple[str, str, dict[str, Any]]] = [
        ("start", "START", {}),
        ("a", CALL, {}),
        ("b", CALL, {}),
        ("end", "END", {}),
    ]
    links = [
        ("start", "a", "SEQUENCE"),
        ("a", "b", "SEQUENCE"),
        ("b", "a", "SEQUENCE"),
        ("b", "end", "SEQUENCE"),
    ]
    analysis = analyse(made(nodes, links), {})
    assert [sorted(cycle) for cycle in analysis.cycles] == [["a", "b"]]
    assert analysis.critical_path == ()
