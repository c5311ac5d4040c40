"""Broken definitions: the fault of each by node and field, and all of them at once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workflow_driver import definition, link

from flowledger.domain.workflows.definition import (
    NODE_OPTIONS,
    Connection,
    ConnectionType,
    Definition,
    Group,
    Node,
    NodeType,
)
from flowledger.domain.workflows.graph import compile_workflow
from flowledger.domain.workflows.validation import Surroundings, faults
from flowledger.errors import InvalidWorkflowError

AROUND = Surroundings(
    api_ids={1, 2},
    node_types={
        "SPLIT": {"size": "integer", "mode": "string"},
        "API_CALL": {"properties": {"timeout": {"type": "number"}}},
    },
    channels={"ops"},
    workflow_id=1,
)
CALL = {"url": "https://api.example.com", "timeout": 5}


def made(
    *links: str | Connection, groups: tuple[Group, ...] = (), config: Any = None, **nodes: Any
) -> Definition:
    """Return a workflow; nodes are calls that are right unless they are described."""
    right = definition(list(links), nodes, config=config, groups=groups)
    calls = (
        replace(node, config=CALL) if node.node_type == "API_CALL" and node.alias not in nodes else node
        for node in right.nodes
    )
    return replace(right, nodes=tuple(calls))


def errors(broken: Definition, around: Surroundings = AROUND) -> list[tuple[str | None, str]]:
    """Return node and field of each error."""
    return [(each.node, each.field) for each in faults(broken, around) if not each.is_warning]


FORK: tuple[str, dict[str, Any]] = ("PARALLEL", {})
LOOP: tuple[str, dict[str, Any]] = ("LOOP", {"items": [1]})
SUB = Surroundings(
    workflows=lambda number: made("start > sub > end", sub=("SUBWORKFLOW", {"workflow_id": number + 1}))
)

BROKEN: dict[str, tuple[Definition, tuple[str | None, str]]] = {
    "no START": (made("a > end"), (None, "nodes")),
    "two STARTs": (made("start > a > end", "s2 > a", s2=("START", {})), ("s2", "node_type")),
    "no END": (made("start > a"), (None, "nodes")),
    "unreachable": (made("start > end", "b > end"), ("b", "connections")),
    "cycle": (made("start > a > b > a", "b > end"), ("a", "connections")),
    "way from nowhere": (
        replace(made("start > end"), connections=(Connection(1, 1, 2), Connection(2, 1, 9))),
        (None, "connections[2]"),
    ),
    "PARALLEL connection from a call": (
        made("start > a >p b > end"),
        ("a", "connections[2].connection_type"),
    ),
    "LOOP connection from a call": (made("start > a >l b > end"), ("a", "connections[2].connection_type")),
    "TRUE from a call": (made("start > a >t b > end"), ("a", "connections[2].connection_type")),
    "way from END": (made("start > end > a", "a > e2", e2=("END", {})), ("end", "connections[2]")),
    "way to START": (made("start > a > end", "a > start"), ("start", "connections[3]")),
    "CONDITIONAL without a condition": (
        made("start > a > end", link("start", "a")),
        ("start", "connections[3].condition"),
    ),
    "condition on a SEQUENCE": (
        made("start > a > end", link("start", "end", "true", kind="SEQUENCE")),
        ("start", "connections[3].condition"),
    ),
    "unknown on": (
        made("start > end", link("start", "end", kind="SEQUENCE", on="maybe")),
        ("start", "connections[2].config.on"),
    ),
    "two defaults": (
        made(
            "a > end", "start > b > end", link("start", "a", default=True), link("start", "b", default=True)
        ),
        ("start", "connections"),
    ),
    "one branch": (made("start > f >p a > end", f=FORK), ("f", "connections")),
    "LOOP without a body": (made("start > l > end", l=LOOP), ("l", "connections")),
    "LOOP with two bodies": (made("start > l > end", "l >l a", "l >l b", l=LOOP), ("l", "connections")),
    "way around the join": (
        made(
            "start > f >p a > m > j > end",
            "f >p b > m",
            "a > n > j",
            f=FORK,
            m=("MERGE", {}),
            j=("MERGE", {}),
        ),
        ("m", "connections"),
    ),
    "body that follows its loop": (made("start > l >l a > end", "l > a", l=LOOP), ("l", "connections")),
    "branch out of a body": (made("start > l >l a > end", "l > end", l=LOOP), ("a", "connections")),
    "way into a body": (made("start > l >l a > b", "l > end", "start > b", l=LOOP), ("b", "connections")),
    "syntax of an expression": (
        made("start > c >t a > end", "c >f end", c=("CONDITION", {"condition": "{{input.x}} >="})),
        ("c", "config.condition"),
    ),
    "syntax of a template": (
        made("start > end", end=("END", {"output": "{{input."})),
        ("end", "config.output"),
    ),
    "syntax of a mapping": (
        made("start > a > end", a=("API_CALL", {**CALL, "output_mapping": {"x": "response..y"}})),
        ("a", "config.output_mapping.x"),
    ),
    "syntax of a connection's condition": (
        made("a > end", link("start", "a", "1 +")),
        ("start", "connections[2].condition"),
    ),
    "unknown name": (made("start > end", end=("END", {"output": "{{nobody.x}}"})), ("end", "config.output")),
    "unknown node": (
        made("start > end", end=("END", {"output": "{{nodes['no'].x}}"})),
        ("end", "config.output"),
    ),
    "loop outside of one": (
        made("start > end", end=("END", {"output": "{{loop.index}}"})),
        ("end", "config.output"),
    ),
    "a secret in an output": (
        made("start > end", end=("END", {"output": "{{secrets.KEY}}"})),
        ("end", "config.output"),
    ),
    "unknown API": (
        made("start > a > end", a=("API_CALL", {"api_id": 7, "timeout": 1})),
        ("a", "config.api_id"),
    ),
    "call of nothing": (made("start > a > end", a=("API_CALL", {"timeout": 1})), ("a", "config.api_id")),
    "unknown type": (made("start > a > end", a=("GONE", {})), ("a", "node_type")),
    "config against its schema": (
        made("start > a > end", a=("SPLIT", {"size": "big"})),
        ("a", "config.size"),
    ),
    "config against a JSON Schema": (
        made("start > a > end", a=("API_CALL", {**CALL, "timeout": []})),
        ("a", "config.timeout"),
    ),
    "unknown channel": (made("start > a > end", a=("NOTIFY", {"channel": "no"})), ("a", "config.channel")),
    "members that depend on each other": (
        made("start > a > b > end", groups=(Group(1, "g", node_ids=(2, 3)),)),
        ("b", "groups[g]"),
    ),
    "group of one": (made("start > a > end", groups=(Group(1, "g", node_ids=(2,)),)), (None, "groups[g]")),
    "policy of a group": (
        made(
            "start > a > end", "start > b > end", groups=(Group(1, "g", sync_policy="some", node_ids=(2, 4)),)
        ),
        (None, "groups[g].sync_policy"),
    ),
    "more approvals than approvers": (
        made("start > a > end", a=("APPROVAL", {"approvers": ["x"], "required_approvals": 2})),
        ("a", "config.required_approvals"),
    ),
    "no approvers": (made("start > a > end", a=("APPROVAL", {})), ("a", "config.approvers")),
    "gate without approvers": (
        made("start > a > end", a=("API_CALL", CALL, {"approval_required": True})),
        ("a", "approval_config.approvers"),
    ),
    "bad policy": (
        made("start > f >p a > end", "f >p b > end", f=("PARALLEL", {"sync_policy": "x"})),
        ("f", "config.sync_policy"),
    ),
    "too many passes": (
        made("start > l >l a", "l > end", l=("LOOP", {"max_iterations": 5000})),
        ("l", "config.max_iterations"),
    ),
    "no delay": (made("start > d > end", d=("DELAY", {})), ("d", "config")),
    "bad retries": (
        made("start > a > end", a=("API_CALL", CALL, {"retry_policy": {"max_retries": -1}})),
        ("a", "retry_policy"),
    ),
    "bad timeout": (made("start > a > end", a=("API_CALL", CALL, {"timeout": 0})), ("a", "timeout")),
    "bad join": (made("start > a > end", a=("API_CALL", CALL, {"join": "some"})), ("a", "join")),
    "bad error handling": (
        made("start > end", config={"error_handling": "no"}),
        (None, "config.error_handling"),
    ),
    "unknown path": (
        made("start > c > end", c=("CONDITION", {"condition": "true", "true_path": "no"})),
        ("c", "true_path"),
    ),
    "paths that do not agree": (
        made("start > c >t a > end", "c >f end", c=("CONDITION", {"condition": "true", "true_path": "end"})),
        ("c", "true_path"),
    ),
    "a word of expressions as alias": (
        replace(made("start > end"), nodes=(Node(1, "not", "s", "START"), Node(2, "end", "e", "END"))),
        ("not", "alias"),
    ),
    "two nodes of one alias": (
        replace(made("start > end"), nodes=(Node(1, "x", "s", "START"), Node(2, "x", "e", "END"))),
        ("x", "alias"),
    ),
    "unpublished sub-workflow": (
        made("start > s > end", s=("SUBWORKFLOW", {"workflow_id": 4})),
        ("s", "config.workflow_id"),
    ),
    "recursion": (
        made("start > s > end", s=("SUBWORKFLOW", {"workflow_id": 1})),
        ("s", "config.workflow_id"),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_is_named_by_node_and_field(name: str) -> None:
    """Whatever else is wrong with it."""
    broken, place = BROKEN[name]
    assert place in errors(broken), faults(broken, AROUND)


def test_sub_workflows_are_at_most_five_deep() -> None:
    """And recursion through others is named."""
    broken = made("start > s > end", s=("SUBWORKFLOW", {"workflow_id": 2}))
    [fault] = [each for each in faults(broken, SUB) if not each.is_warning]
    assert (fault.node, fault.field) == ("s", "config.workflow_id")
    assert "deeper than 5" in fault.message
    around = replace_id(lambda _: made("start > s > end", s=("SUBWORKFLOW", {"workflow_id": 9})))
    assert "recursion: workflow 2 > 9" in faults(broken, around)[0].message


def replace_id(workflows: Callable[[int], Definition]) -> Surroundings:
    """Return surroundings of workflow 9."""
    return Surroundings(workflows=workflows, workflow_id=9)


def test_all_faults_come_at_once() -> None:
    """Errors before warnings."""
    broken = made(
        "start > a > b > a",
        "c > d",
        link("a", "c", "1 +"),
        a=("API_CALL", {"api_id": 9}),
        d=("APPROVAL", {}),
        c=("GONE", {"x": "{{nobody}}"}),
    )
    places = {(each.node, each.field) for each in faults(broken, AROUND)}
    assert places >= {
        *((None, "nodes"), ("a", "connections"), ("b", "connections"), ("a", "config.api_id")),
        *(("a", "config.timeout"), ("d", "config.approvers"), ("c", "node_type"), ("c", "config.x")),
        *(("a", "connections[5].condition"), ("d", "connections")),
    }
    warnings = [each.is_warning for each in faults(broken, AROUND)]
    assert warnings == sorted(warnings)


def test_a_right_workflow_has_no_faults() -> None:
    """Of everything that there is."""
    right = made(
        *("start > check >t f >p a > m > l > d > end", "f >p b > m", "check >f no > end", "l >l body"),
        check=("CONDITION", {"condition": "{{input.x}} is not null"}),
        f=FORK,
        m=("MERGE", {}),
        l=("LOOP", {"items": "input.rows"}),
        body=("API_CALL", {**CALL, "headers": {"A": "{{secrets.KEY}}"}, "query": {"i": "{{loop.index}}"}}),
        d=("DELAY", {"seconds": "{{input.s}}"}),
    )
    assert faults(right, AROUND) == []


@pytest.mark.parametrize(
    ("doubtful", "place"),
    [
        (made("start > c >t a > end", c=("CONDITION", {"condition": "true"})), ("c", "connections")),
        (made("start > a > end", "start > b"), ("b", "connections")),
        (made("start > a > end", a=("API_CALL", {"api_id": 1})), ("a", "config.timeout")),
        (
            made(
                "start > a > end",
                a=("API_CALL", {**CALL, "method": "POST"}, {"retry_policy": {"max_retries": 1}}),
            ),
            ("a", "retry_policy"),
        ),
        (
            made(
                "start > c >t a > end",
                "c >f end",
                c=("CONDITION", {"condition": "true"}),
                end=("END", {"output": "{{a.x}}"}),
            ),
            ("end", "config.output"),
        ),
        (
            made("start > b > a > end", b=("API_CALL", {**CALL, "query": {"x": "{{a.x}}"}})),
            ("b", "config.query"),
        ),
        (
            made(
                "start > f >p a > one",
                "f >p c > two",
                f=FORK,
                one=("END", {}),
                two=("END", {}),
            ),
            ("two", "connections"),
        ),
    ],
)
def test_what_is_doubtful_is_a_warning(doubtful: Definition, place: tuple[str, str]) -> None:
    """It can be published."""
    assert errors(doubtful) == []
    assert place in [(each.node, each.field) for each in faults(doubtful, AROUND) if each.is_warning]


def test_a_reference_inside_the_branch_that_was_taken_is_certain() -> None:
    """What leads to a node has run before it."""
    right = made(
        "start > c >t a > b > end",
        "c >f no > end",
        c=("CONDITION", {"condition": "true"}),
        b=("API_CALL", {**CALL, "query": {"x": "{{a.x}}"}}),
    )
    assert faults(right, AROUND) == []


@st.composite
def anything(draw: st.DrawFn) -> Definition:
    """Return a definition of the right kinds that makes sense by chance only."""
    kinds = st.sampled_from([*NodeType.__members__, "GONE"])
    values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.sampled_from(["", "n1", "{{n2.x}}", "{{", "true"]),
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "x"]), inner, max_size=2)
        ),
        max_leaves=4,
    )
    names = st.sampled_from(
        [
            *(
                "condition",
                "items",
                "output",
                "approvers",
                "required_approvals",
                "sync_policy",
                "max_iterations",
            ),
            *(
                "seconds",
                "until",
                "true_path",
                "workflow_id",
                "output_mapping",
                "api_id",
                "method",
                "strategy",
            ),
            *(
                "error_message",
                "retry_policy",
                "timeout_seconds",
                "headers",
                "on",
                "delay",
                "default",
                "channel",
            ),
        ]
    )
    configs = st.dictionaries(names, values, max_size=3)
    options = st.dictionaries(st.sampled_from(NODE_OPTIONS), values, max_size=2)
    size = draw(st.integers(0, 6))
    nodes = tuple(
        Node(number, f"n{number}", f"n{number}", draw(kinds), draw(configs), options=draw(options))
        for number in range(1, size + 1)
    )
    ids = st.integers(1, 7)
    connections = tuple(
        Connection(
            number, draw(ids), draw(ids), draw(st.sampled_from(ConnectionType)), draw(values), draw(configs)
        )
        for number in range(draw(st.integers(0, 9)))
    )
    groups = (
        Group(
            1, "g", "", draw(st.sampled_from(["wait_all", ""])), None, tuple(draw(st.lists(ids, max_size=3)))
        ),
    )
    return Definition(
        "any", "", "1", draw(configs), (), nodes, connections, groups[: draw(st.integers(0, 1))]
    )


@given(anything())
def test_whatever_is_written_has_faults_and_never_raises(written: Definition) -> None:
    """What has no faults can be executed."""
    problems = [each for each in faults(written, AROUND) if not each.is_warning]
    try:
        compile_workflow(written)
    except InvalidWorkflowError:
        assert problems
