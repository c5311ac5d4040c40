"""Run details, node executions, cursor list and count."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from simulated_site import ADMIN, KEY, RUNS, ask, ask_console, ask_logs, make_site, post

from flowledger_simulator import Options, Recipe, Release, SimulatedRun, World, make_world
from flowledger_simulator.payloads import node_rows

MIX = dict.fromkeys(("succeeded", "failed", "partial-succeeded", "stopped", "running", "paused"), 1.0)


@pytest.fixture(scope="module")
def world() -> World:
    """A world with plenty of runs of every status and no orphans."""
    return make_world(Recipe(runs=120, mix=MIX, orphans=0.0))


def find(world: World, status: str) -> SimulatedRun:
    """Give a run of a status."""
    return next(run for run in world.runs() if run.status == status)


def service_run(world: World, version: str, run_id: str) -> Any:
    """Give the service API's run detail."""
    return json.loads(ask(make_site(version, world), f"/v1/workflows/run/{run_id}").body)


def nodes_of(world: World, run: SimulatedRun, version: str = "1.12.1") -> list[dict[str, Any]]:
    """Give a run's node executions."""
    nodes: list[dict[str, Any]] = ask_console(make_site(version, world), f"{RUNS}/{run.id}/node-executions")[
        "data"
    ]
    return nodes


@pytest.mark.parametrize("version", ["1.9.1", "1.12.1"])
def test_outputs_are_a_text_until_1_12(world: World, version: str) -> None:
    """A JSON text where the run ended well, null where it did not, "{}" while running."""
    outputs = service_run(world, version, find(world, "succeeded").id)["outputs"]
    assert set(json.loads(outputs)) == {"answer"}
    assert service_run(world, version, find(world, "failed").id)["outputs"] is None
    assert service_run(world, version, find(world, "running").id)["outputs"] == "{}"


def test_outputs_are_an_object_since_1_13(world: World) -> None:
    """It is empty where there are none."""
    assert set(service_run(world, "1.13.3", find(world, "succeeded").id)["outputs"]) == {"answer"}
    assert service_run(world, "1.13.3", find(world, "failed").id)["outputs"] == {}


def test_inputs_are_an_escaped_text(world: World) -> None:
    """The text inside the text is ASCII."""
    inputs = service_run(world, "1.13.3", find(world, "succeeded").id)["inputs"]
    assert inputs.isascii()
    assert "sys.workflow_run_id" in json.loads(inputs)


def test_unknown_runs(world: World) -> None:
    """They are a 200 full of nulls, since 1.13.1 a 404; what is no UUID breaks the server."""
    path = f"/v1/workflows/run/{uuid4()}"
    releases = ("1.9.1", "1.12.1", "1.13.3")
    assert [ask(make_site(version, world), path).status for version in releases] == [200, 200, 404]
    assert set(service_run(world, "1.12.1", str(uuid4())).values()) == {None}
    assert ask(make_site(), "/v1/workflows/run/not-a-uuid").status == 500
    assert ask_console(make_site(world=world), f"{RUNS}/{uuid4()}/node-executions") == {"data": []}


@pytest.mark.parametrize("status", ["succeeded", "partial-succeeded"])
def test_a_detail_can_be_rebuilt_from_the_nodes(world: World, status: str) -> None:
    """Inputs are the start node's, outputs the end node's, tokens and money add up."""
    run = find(world, status)
    detail = service_run(world, "1.13.3", run.id)
    nodes = nodes_of(world, run)
    assert json.loads(detail["inputs"]) == nodes[0]["inputs"]
    assert detail["outputs"] == nodes[-1]["outputs"]
    metadata = [node["execution_metadata"] for node in nodes]
    assert sum(value.get("total_tokens", 0) for value in metadata) == run.total_tokens
    assert sum(Decimal(value.get("total_price", "0")) for value in metadata) > 0
    assert len(nodes) == run.total_steps


@pytest.mark.parametrize(
    ("status", "last", "count"),
    [("failed", "failed", 5), ("stopped", "failed", 5), ("paused", "paused", 3), ("running", "succeeded", 6)],
)
def test_runs_that_did_not_end_well(world: World, status: str, last: str, count: int) -> None:
    """The last node tells why; a zombie's nodes have all ended although it is running for ever."""
    nodes = nodes_of(world, find(world, status))
    assert (nodes[-1]["status"], len(nodes)) == (last, count)


def test_a_partial_run_has_a_node_that_failed_and_was_handled(world: World) -> None:
    """Its message is in the node only."""
    run = find(world, "partial-succeeded")
    spoilt = [node for node in nodes_of(world, run) if node["status"] == "exception"]
    assert [node["execution_metadata"]["error_strategy"] for node in spoilt] == ["default-value"]
    assert spoilt[0]["error"]
    assert run.error is None


def test_nodes_are_not_numbered_on_1_9_1(world: World) -> None:
    """The index is always 1 there."""
    run = find(world, "succeeded")
    assert [node["index"] for node in nodes_of(world, run)] == [1, 2, 3, 4, 5, 6]
    assert {node["index"] for node in node_rows(run, Release.parse("1.9.1"))} == {1}


def test_node_payloads_have_the_wanted_size() -> None:
    """Six nodes of 4 kB are about 24 kB, whatever the seed."""
    site = make_site(world=make_world(Recipe(runs=20, mix={"succeeded": 1.0}, orphans=0.0)))
    for run in site.world.runs():
        size = len(ask(site, f"{RUNS}/{run.id}/node-executions", ADMIN).body)
        assert 20_000 < size < 28_000


def test_a_changed_run_is_told_anew(world: World) -> None:
    """Detail and nodes follow the status."""
    own = make_world(Recipe(runs=30, mix={"running": 1.0}, orphans=0.0))
    run = own.runs()[0]
    changed = own.change(run.id, status="succeeded", finished_at=run.created_at + 5, total_tokens=100)
    assert set(service_run(own, "1.13.3", run.id)["outputs"]) == {"answer"}
    assert nodes_of(own, changed)[-1]["node_type"] == "end"


def test_the_cursor_list_gives_every_run_once(world: World) -> None:
    """Following last_id from page to page meets each run exactly once, newest first."""
    site = make_site(world=world)
    ids: list[str] = []
    query = {"triggered_from": "app-run", "limit": "50"}
    more = True
    while more:
        answer = ask_console(site, RUNS, **query)
        ids += [row["id"] for row in answer["data"]]
        more, query["last_id"] = answer["has_more"], ids[-1]
    newest_first = sorted(world.runs(), key=lambda run: -run.started_us)
    assert ids == [run.id for run in newest_first]


def test_the_cursor_must_fit_the_filter(world: World) -> None:
    """A last_id that the filter leaves out is refused; without a trigger only previews are listed."""
    site = make_site(world=world)
    query = {"triggered_from": "app-run", "status": "failed", "last_id": find(world, "succeeded").id}
    assert ask(site, RUNS, ADMIN, **query).status == 400
    assert ask_console(site, RUNS)["data"] == []


def test_the_count_knows_a_range_that_ends_now(world: World) -> None:
    """Runs older than the range by the server's clock are left out; paused ones are in the total only."""
    newest = max(run.created_at for run in world.runs())
    site = make_site(world=world, options=Options(clock=lambda: newest + 1.0))
    whole = ask_console(site, f"{RUNS}/count", triggered_from="app-run")
    assert whole["total"] == 120 > sum(number for name, number in whole.items() if name != "total")
    recent = ask_console(site, f"{RUNS}/count", triggered_from="app-run", time_range="1h")
    assert recent["total"] == sum(run.started_us >= (newest - 3599) * 1_000_000 for run in world.runs())
    assert ask(site, f"{RUNS}/count", ADMIN, time_range="soon").status == 400


def test_editor_previews_are_in_the_default_cursor_list_only() -> None:
    """They have no log row."""
    world = make_world(Recipe(runs=10, orphans=0.0))
    preview = world.change(world.runs()[0].id, triggered_from="debugging")
    site = make_site(world=world)
    assert [row["id"] for row in ask_console(site, RUNS)["data"]] == [preview.id]
    assert ask_logs(site)["total"] == 9


def test_an_orphan_has_a_log_row_and_no_run() -> None:
    """Its row says null; its detail is unknown; the cursor list leaves it out."""
    world = make_world(Recipe(runs=10, orphans=0.0))
    run = world.runs()[0]
    world.remove(run.id, row_too=False)
    site = make_site(world=world)
    rows = json.loads(ask(site, "/v1/workflows/logs").body)["data"]
    assert [row["workflow_run"] for row in rows if row["id"] == run.log_id] == [None]
    assert json.loads(ask(site, f"/v1/workflows/run/{run.id}", KEY).body)["id"] is None
    assert len(ask_console(site, RUNS, triggered_from="app-run")["data"]) == 9


RUN = "/v1/workflows/run"
RECORDED = Path(__file__).parents[2] / "data/recordings/v1_run_blocking_succeeded.json"


def test_a_run_can_be_started() -> None:
    """It is told as the recorded server did, streamed or whole, and is in the list then."""
    site = make_site(world=make_world(Recipe(runs=0, mix=MIX)))
    recorded = json.loads(RECORDED.read_text("utf-8"))["response"]["body"]
    for number in range(1, 21):
        whole = json.loads(post(site, RUN, {"inputs": {"q": 1}, "response_mode": "blocking"}, **KEY).body)
        assert (whole.keys(), whole["data"].keys()) == (recorded.keys(), recorded["data"].keys())
        assert whole["data"]["finished_at"] is not None
        assert len(site.world.runs()) == number
    streamed = post(site, RUN, {"inputs": {"q": 1}, "response_mode": "streaming"}, **KEY).body.decode()
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    assert [each["event"] for each in events] == ["workflow_started", "workflow_finished"]
    assert events[0]["data"]["inputs"] == {"q": 1}
    assert ask_logs(site)["total"] == 21


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"inputs": {}, "response_mode": "sometimes"}, 400, "invalid_param"),
        ({"response_mode": "blocking"}, 400, "invalid_param"),
        ([], 400, "bad_request"),
    ],
)
def test_what_starts_no_run(form: Any, status: int, code: str) -> None:
    """A wrong form is refused, as is a request without the app's key; a GET is none."""
    site = make_site()
    refused = post(site, RUN, form, **KEY)
    assert (refused.status, json.loads(refused.body)["code"]) == (status, code)
    assert post(site, RUN, form).status == 401
    assert ask(site, RUN).status == 405
