"""Random workflows and outcomes: the planner ends, starts nothing twice or early, and agrees with another."""

from dataclasses import replace
from typing import Any

import reference_interpreter as reference
from hypothesis import given
from hypothesis import strategies as st
from workflow_driver import Drive, bad, definition, link, ok

from flowledger.domain.runs import RunStatus
from flowledger.domain.workflows.definition import Connection, Definition
from flowledger.domain.workflows.graph import compile_workflow
from flowledger.domain.workflows.validation import Surroundings, faults

SEEDS = st.integers(0, 10_000)


def blocks(
    policies: tuple[str, ...], limits: tuple[int, ...] = (0, 1, 2, 3)
) -> st.SearchStrategy[reference.Block]:
    """Return random nested blocks."""

    def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(inner, min_size=2, max_size=4).map(
            lambda each: tuple(replace(one) for one in each)
        )
        limit = st.sampled_from(limits)
        return st.one_of(
            st.builds(reference.Sequence_, several),
            st.builds(reference.Fork, st.sampled_from(policies), limit, several),
            st.builds(reference.Loop, st.integers(0, 3), st.booleans(), limit, inner.map(replace)),
            st.builds(reference.Choice, st.booleans(), inner.map(replace), inner.map(replace)),
        )

    return st.recursive(st.builds(reference.Call), nested, max_leaves=12)


@given(blocks(("wait_all", "wait_any", "fail_fast")), SEEDS)
def test_the_planner_does_as_the_reference_does(block: reference.Block, seed: int) -> None:
    """The same calls at the same times, with the same ends, and the same end of all."""
    built = reference.Built()
    made = built.definition(block)
    course = reference.Reference(built.names, seed).run(block, "", 0.0)
    assert [
        each for each in faults(made, Surroundings()) if not each.is_warning and each.field != "config.api_id"
    ] == []
    calls = {node.alias: reference.answer(seed) for node in made.nodes}
    run = Drive(compile_workflow(made), calls).run()
    assert run.done is not None
    assert run.status == (RunStatus.SUCCESS if course.succeeded else RunStatus.FAILED)
    assert run.now == course.end
    ends = {
        key: outcome.status.value for key, outcome in run.record if key.rpartition("/")[2].startswith("c")
    }
    ends = {key: status for key, status in ends.items() if status != "skipped"}
    assert ends == {key: fate.status for key, fate in course.calls.items()}
    assert dict(run.starts) == {key: fate.begin for key, fate in course.calls.items()}
    assert len(run.starts) == len(dict(run.starts))
    assert run.progress == sorted(run.progress)
    assert (run.planner.running, run.planner.waiting) == ((), ())


@given(blocks(("wait_all",)), SEEDS, st.data())
def test_replay_after_any_beginning_ends_the_same(
    block: reference.Block, seed: int, data: st.DataObject
) -> None:
    """Where no race can end otherwise; what was held does not run again."""
    made = reference.Built().definition(block)
    workflow, calls = compile_workflow(made), {node.alias: reference.answer(seed) for node in made.nodes}
    whole = Drive(workflow, calls).run()
    held = whole.record[: data.draw(st.integers(0, len(whole.record)))]
    again = Drive(workflow, calls, held=held).run()
    assert again.done is not None
    assert whole.done is not None
    assert (again.done.status, again.done.output) == (whole.done.status, whole.done.output)
    assert not dict(held).keys() & (dict(again.starts).keys() | dict(again.record).keys())


@given(blocks(("wait_any", "fail_fast")), SEEDS, st.data())
def test_replay_of_races_ends_too_and_runs_nothing_again(
    block: reference.Block, seed: int, data: st.DataObject
) -> None:
    """Only what was not decided may be decided otherwise."""
    made = reference.Built().definition(block)
    workflow, calls = compile_workflow(made), {node.alias: reference.answer(seed) for node in made.nodes}
    whole = Drive(workflow, calls).run()
    held = whole.record[: data.draw(st.integers(0, len(whole.record)))]
    again = Drive(workflow, calls, held=held).run()
    assert again.done is not None
    assert not dict(held).keys() & (dict(again.starts).keys() | dict(again.record).keys())


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Definition, dict[str, Any]]:
    """Return a random graph without containers, and outcomes for its nodes."""
    size = draw(st.integers(1, 9))
    names = ["start", *(f"n{number}" for number in range(size))]
    nodes: dict[str, Any] = {}
    links: list[str | Connection] = []
    for number, name in enumerate(names[1:], 1):
        options: dict[str, Any] = {"join": draw(st.sampled_from(["all", "any"]))}
        if draw(st.integers(0, 4)) == 0:
            options |= {"conditions": draw(st.sampled_from(["true", "false"]))}
            options |= {"skip_as": draw(st.sampled_from(["skipped", "success"]))}
        options["continue_on_failure"] = draw(st.booleans())
        nodes[name] = ("API_CALL", {}, options)
        for source in draw(st.sets(st.sampled_from(names[:number]), min_size=1, max_size=3)):
            kind = draw(st.sampled_from(["success", "failure", "always", "true", "false", "default"]))
            if kind in ("true", "false"):
                links.append(link(source, name, kind))
            elif kind == "default":
                links.append(link(source, name, default=True))
            else:
                links.append(link(source, name, kind="SEQUENCE", on=kind))
    answers = {name: (draw(st.integers(0, 9)), draw(st.sampled_from([ok(1), bad()]))) for name in names[1:]}
    handling = draw(st.sampled_from(["continue", "stop"]))
    return definition(links, {"start": ("START", {}), **nodes}, config={"error_handling": handling}), answers


def expected_statuses(made: Definition, answers: dict[str, Any]) -> tuple[dict[str, str], bool, bool]:
    """Return how each node ends if nothing stops, whether a failure is unhandled, whether one goes on."""
    statuses: dict[str, str] = {}
    taken: set[int] = set()
    unhandled = partial = False
    for node in made.nodes:  # each stands after all that lead to it
        into = [each for each in made.connections if each.to_id == node.id]
        out = [each for each in made.connections if each.from_id == node.id]
        reached = node.alias == "start" or any(each.id in taken for each in into)
        if not reached:
            statuses[node.alias] = "skipped"
            continue
        fires = "success"
        if node.options.get("conditions") == "false":
            statuses[node.alias] = "skipped"
            fires = "success" if node.options.get("skip_as") == "success" else ""
        else:
            statuses[node.alias] = "success" if node.alias == "start" else answers[node.alias][1].status.value
        if statuses[node.alias] == "failed":
            handlers = [each.id for each in out if each.config.get("on") in ("failure", "always")]
            fires = "" if handlers else "success"
            taken |= set(handlers)
            partial = partial or not handlers
            unhandled = unhandled or (not handlers and not node.options.get("continue_on_failure"))
        if fires:
            chosen = [each.id for each in out if each.condition == "true"]
            chosen = chosen or [each.id for each in out if each.config.get("default")]
            taken |= {*chosen, *(each.id for each in out if each.config.get("on") in ("success", "always"))}
    return statuses, unhandled, partial


@given(graphs())
def test_tokens_go_as_the_reference_says(case: tuple[Definition, dict[str, Any]]) -> None:
    """Each node once, after what it waits for; skipped where nothing leads to it."""
    made, answers = case
    statuses, unhandled, partial = expected_statuses(made, answers)
    run = Drive(compile_workflow(made), answers).run()
    ends = {key: outcome.status.value for key, outcome in run.record}
    stops = made.config["error_handling"] == "stop"
    if stops and unhandled:
        assert run.status == RunStatus.FAILED
        assert ends.items() <= statuses.items()
    else:
        assert ends == statuses
        assert run.status == (RunStatus.PARTIAL if partial else RunStatus.SUCCESS)
    place = {key: number for number, (key, _) in enumerate(run.record)}
    names = {node.id: node for node in made.nodes}
    for key, _ in run.starts:
        node = next(each for each in made.nodes if each.alias == key)
        before = [
            place.get(names[each.from_id].alias, 10**6) for each in made.connections if each.to_id == node.id
        ]
        assert (min if node.options["join"] == "any" else max)(before) < place[key]
