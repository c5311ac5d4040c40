"""A server that is busy, lies or breaks its answers: nothing is lost, and what is missing says why."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from simulated_dify import (
    END,
    FINAL_MIX,
    LOGS,
    NODES,
    Access,
    at,
    log_ids,
    make_day,
    opened,
    order,
    run_all,
    stored_entries,
    whole,
)

import flowledger_simulator as simulator
from flowledger.domain.run_filters import RunFilter
from flowledger.domain.runs import Detailed, Missing
from flowledger.errors import (
    AuthenticationError,
    DeadlineExceededError,
    SourceBusyError,
    SourceGarbledError,
    SourceUnreachableError,
)
from flowledger_simulator.datasets import StoredContent

CONSOLE_APPS = "/console/api/apps/"
LIES = (
    *("endless", "duplicate", "no-more", "wrong-page", "wrong-limit"),
    *("total-above", "total-below", "error-beside"),
)
"""What a list may say of itself that is not so, while it shows every row."""


def nodes_of(world: simulator.World, place: int) -> str:
    """Give the path of a run's node executions."""
    return f"{CONSOLE_APPS}{world.app.id}/workflow-runs/{world.runs()[place].id}{NODES}"


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    ("kind", "shortest_s", "longest_s"),
    [
        ("429", 1.0, 1.5),
        ("429-date", 1.0, 2.5),
        ("429-past", 0.0, 0.5),
        ("429-absurd", 60.0, 60.0),
        ("429-bare", 0.5, 1.0),
    ],
)
def test_too_many_requests_are_answered_with_patience(
    kind: str, shortest_s: float, longest_s: float, tmp_path: Path
) -> None:
    """It waits as long as it is told, a minute at most, lets fewer through at once, and loses nothing."""
    world = make_day(50, mix=FINAL_MIX)
    faults = simulator.parse_faults(f"{kind}:#1-2@{LOGS},{kind}:#20-21@{CONSOLE_APPS}")
    access = Access()
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        result = run_all(pipeline)
    assert result["certificate"]["certified"]
    assert (result["logs_count"], result["detailed"]) == (50, 50)
    assert len(access.waits) == 4
    assert all(shortest_s <= wait <= longest_s for wait in access.waits), access.waits


@pytest.mark.fault(1)
def test_too_many_requests_slow_the_limiter(tmp_path: Path) -> None:
    """After refusals fewer requests are let through at once than before."""
    world = make_day(60, mix=FINAL_MIX)
    faults = simulator.parse_faults(f"429:#5-10@{CONSOLE_APPS}")
    with (
        simulator.serve(world, faults=faults, latency_ms=5, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        collected = pipeline.collect(order())
        limiter = pipeline.source.service.session.limiter  # type: ignore[attr-defined]
        limit = limiter.limit
        pipeline.enrich(collected, order())
        assert limiter.limit < limit
    assert len(whole(stored_entries(tmp_path))) == 60


@pytest.mark.fault(3, 5)
@pytest.mark.parametrize("kind", ["500", "reset"])
def test_a_server_that_bears_few_requests_at_once_loses_nothing(tmp_path: Path, kind: str) -> None:
    """More than three at once are answered 500, or reset: the level is found, and every detail is read."""
    faults = simulator.parse_faults(f"{kind}:>3@{CONSOLE_APPS}")
    with (
        simulator.serve(make_day(150, mix=FINAL_MIX), faults=faults, latency_ms=10, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    assert (result["detailed"], result["missing"]) == (150, 0)
    assert 0 < faults.struck[kind] <= 0.1 * server.requests.total


@pytest.mark.fault(3, 5)
@pytest.mark.parametrize(
    "mixture",
    [
        "500:0.08,502:0.08,503:0.08",
        "html:0.1,error-object:0.1",
        "cut-json:0.15",
        "short-body:0.1,bad-chunk:0.1",
        "reset:0.1,drop:0.1",
    ],
)
def test_bursts_of_broken_answers_cost_time_and_nothing_else(mixture: str, tmp_path: Path) -> None:
    """A fifth of all answers broken: every run is there once, whole, and certified."""
    world = make_day(80, mix=FINAL_MIX)
    faults = simulator.parse_faults(mixture, seed=8)
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, Access(tries=12)) as pipeline,
    ):
        result = run_all(pipeline)
    entries = stored_entries(tmp_path)
    assert sum(faults.struck.values()) > 3
    assert result["certificate"]["certified"]
    assert log_ids(entries) == sorted(run.log_id for run in world.runs())
    assert len(whole(entries)) == 80


@pytest.mark.fault(3)
@pytest.mark.parametrize("kind", ["503", "html", "error-object", "cut-json", "short-body", "reset", "drop"])
def test_a_run_whose_detail_stays_broken_is_missing_alone_and_repaired_later(
    kind: str, tmp_path: Path
) -> None:
    """The reason reaches the report, the other runs are whole, and the next run asks for this one only."""
    world = make_day(30, mix=FINAL_MIX)
    faults = simulator.parse_faults(f"{kind}:1.0@{nodes_of(world, 7)}")
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, Access(tries=3)) as pipeline,
    ):
        first = run_all(pipeline)
        faults.rules = ()
        server.requests.clear()
        second = run_all(pipeline)
        asked = server.requests.count(ending=NODES)
    assert (first["detailed"], first["missing"]) == (29, 1)
    assert faults.struck[kind] == 3
    assert (second["detailed"], second["missing"], asked) == (30, 0, 1)


@pytest.mark.fault(4, 5)
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("503", SourceBusyError),
        ("429-bare", SourceBusyError),
        ("html", SourceGarbledError),
        ("error-object", SourceGarbledError),
        ("cut-json", SourceGarbledError),
        ("short-body", SourceUnreachableError),
        ("bad-chunk", SourceUnreachableError),
        ("reset", SourceUnreachableError),
        ("drop", SourceUnreachableError),
    ],
)
def test_a_list_that_stays_broken_is_an_error_and_never_an_empty_day(
    kind: str, error: type[Exception], tmp_path: Path
) -> None:
    """Nothing is certified, and what was read before the break is kept."""
    world = make_day(250)
    faults = simulator.parse_faults(f"{kind}:#2-99@{LOGS}")
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, Access(tries=3)) as pipeline,
    ):
        with pytest.raises(error, match=r"127\.0\.0\.1"):
            pipeline.collect(order())
        assert not pipeline.ledger.certificates(pipeline.source.app, order().window)
        assert len(stored_entries(tmp_path)) == 100
        faults.rules = ()
        certificate = pipeline.collect(order()).certificate
    assert (certificate.certified, certificate.distinct) == (True, 250)
    assert faults.struck[kind] == 3


@pytest.mark.fault(6)
def test_connections_that_the_server_closes_at_once_are_invisible(tmp_path: Path) -> None:
    """Every request finds its pooled connection closed, and none of them is told to anybody."""
    world = make_day(60, mix=FINAL_MIX)
    with (
        simulator.serve(world, options=at(keep_alive_s=0.01)) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    assert (result["detailed"], result["missing"]) == (60, 0)


@pytest.mark.fault(7)
@pytest.mark.parametrize("kind", ["slow", "hang"])
def test_a_server_that_holds_its_answer_back_meets_the_deadline(kind: str, tmp_path: Path) -> None:
    """A byte now and then does not buy more time, and the next try succeeds."""
    world = make_day(10, mix=FINAL_MIX)
    faults = simulator.parse_faults(f"{kind}:#1@{LOGS},{kind}:#3@{CONSOLE_APPS}")
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, Access(deadline_s=0.5)) as pipeline,
    ):
        result = run_all(pipeline)
    assert faults.struck[kind] == 2
    assert (result["detailed"], result["certificate"]["certified"]) == (10, True)


@pytest.mark.fault(7)
@pytest.mark.parametrize("kind", ["slow", "hang"])
def test_a_server_that_never_answers_is_named_with_the_setting(kind: str, tmp_path: Path) -> None:
    """The message says which host hangs and which setting gives it longer."""
    faults = simulator.parse_faults(f"{kind}:1.0@{LOGS}")
    with (
        simulator.serve(make_day(3), faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, Access(deadline_s=0.2, tries=2)) as pipeline,
        pytest.raises(DeadlineExceededError, match=r"127\.0\.0\.1.*DIFY_REQUEST_DEADLINE_S"),
    ):
        pipeline.collect(order())


@pytest.mark.fault(8)
def test_a_host_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Nothing is written but an empty ledger."""
    with simulator.serve(make_day(1), options=at()) as server:
        gone = server.base_url
    with (
        opened(gone, tmp_path, Access(tries=2)) as pipeline,
        pytest.raises(SourceUnreachableError, match=gone.removeprefix("http://")),
    ):
        pipeline.collect(order())
    assert stored_entries(tmp_path) == []


@pytest.mark.fault(3)
def test_a_server_that_dies_while_details_are_read_is_not_asked_for_each_run(tmp_path: Path) -> None:
    """After many failures in a row the rest waits for the next run, which reads it."""
    world = make_day(250, mix=FINAL_MIX)
    faults = simulator.parse_faults(f"503:1.0@{CONSOLE_APPS}")
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, Access(tries=2)) as pipeline,
    ):
        first = run_all(pipeline)
        asked = server.requests.count(ending=NODES)
        faults.rules = ()
        second = run_all(pipeline)
    assert (first["logs_count"], first["missing"]) == (250, 250)
    assert asked < 200  # of 500: two tries for 50 runs, and for those under way by then
    assert len(first["missing_reasons"]) <= 2
    assert "503" in "".join(first["missing_reasons"])
    assert (second["detailed"], second["missing"]) == (250, 0)


@pytest.mark.fault(9, 12)
@pytest.mark.parametrize("kind", LIES)
@pytest.mark.parametrize("share", ["1.0", "#1-2"])
def test_an_answer_whose_fields_disagree_is_no_proof(kind: str, share: str, tmp_path: Path) -> None:
    """It is asked for again; what never agrees leaves the window uncertified, with rows and reason."""
    world = make_day(350, mix=FINAL_MIX)
    faults = simulator.parse_faults(f"{kind}:{share}@{LOGS}")
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline, order(with_details=False))
    assert result["certificate"]["certified"] == (share == "#1-2")
    assert ("the source" in result["certificate"]["reason"]) == (share == "1.0")
    assert result["logs_count"] == 350
    assert server.requests.count(LOGS) < 100


@pytest.mark.fault(9)
@pytest.mark.parametrize("share", ["1.0", "#1-2"])
def test_a_source_that_ignores_the_filter_is_not_certified_as_if_it_filtered(
    share: str, tmp_path: Path
) -> None:
    """Rows that do not fit are no members of the filtered window."""
    world = make_day(350, mix={"succeeded": 1.0, "failed": 0.2})
    faults = simulator.parse_faults(f"unfiltered:{share}@{LOGS}")
    failed = sum(run.status == "failed" for run in world.runs())
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        only_failed = replace(order(with_details=False), run_filter=RunFilter(status="failed"))
        result = run_all(pipeline, only_failed)
    assert result["certificate"]["certified"] == (share == "#1-2")
    assert ("ignored the filter" in result["certificate"]["reason"]) == (share == "1.0")
    assert set(result["by_status"]) <= {"failed"}
    assert result["logs_count"] <= failed


@pytest.mark.fault(9)
def test_the_first_page_again_and_again_ends_without_a_certificate(tmp_path: Path) -> None:
    """A proxy that caches one page is seen through at its second answer."""
    faults = simulator.parse_faults(f"repeat:1.0@{LOGS}")
    with (
        simulator.serve(make_day(350), faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline, order(with_details=False))
    assert not result["certificate"]["certified"]
    assert "ignored the bounds" in result["certificate"]["reason"]
    assert server.requests.count(LOGS) < 10


@pytest.mark.fault(16)
def test_a_refused_key_says_where_to_get_another(tmp_path: Path) -> None:
    """One request, no second offer, and the setting's name."""
    with (
        simulator.serve(make_day(3), options=at()) as server,
        opened(server.base_url, tmp_path, Access(token="app-of-another-server")) as pipeline,
        pytest.raises(AuthenticationError, match=r"DIFY_API_TOKEN.*API access") as refusal,
    ):
        pipeline.collect(order())
    assert server.requests.total == 1
    assert "app-of-another-server" not in str(refusal.value)


@pytest.mark.fault(16)
def test_a_key_revoked_while_details_are_read_stops_the_run_and_keeps_what_is_read(tmp_path: Path) -> None:
    """Without console access every detail needs the key, so nothing more can be had."""
    world = make_day(60, mix=FINAL_MIX)
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, Access(console=None, at_once=2)) as pipeline,
    ):
        collected = pipeline.collect(order())
        world.apps[world.app.id] = replace(world.app, api_token="app-renewed")
        with pytest.raises(AuthenticationError, match="DIFY_API_TOKEN"):
            pipeline.enrich(collected, order())
    assert server.requests.total < 15
    assert len(stored_entries(tmp_path)) == 60


@pytest.mark.fault(17)
def test_odd_values_are_kept_shown_and_counted(tmp_path: Path) -> None:
    """NaN, numbers as text, nulls, unknown node types and fields never stop a report."""
    world = make_day(4, ties=0.0, mix={"succeeded": 1.0})
    nan, texts, nulls, foreign = world.runs()
    for run, inputs, change in (
        (nan, {"score": float("nan")}, {"elapsed_time": float("nan"), "total_tokens": 3}),
        (texts, {"n": "1"}, {"elapsed_time": "1.5", "total_tokens": "12", "total_steps": "3"}),
        (nulls, {}, {"total_steps": None, "exceptions_count": None}),
        (foreign, {"deep": [{"x": None}]}, {"status": "melted"}),
    ):
        nodes = [dict(node) for node in run.content.nodes(run)]
        nodes[0] |= {"inputs": inputs, "outputs": inputs}
        nodes[1] |= {"node_type": "quantum", "status": "superposed", "outputs": None, "new_field": [1]}
        nodes[1] |= {"execution_metadata": None, "elapsed_time": "0.25", "index": None}
        world.change(run.id, content=StoredContent(inputs, {"answer": 1}, nodes), **change)
    access = Access(formats=("json", "csv", "markdown", "data"))
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        result = run_all(pipeline)
    entries = {entry.run.run_id: entry for entry in stored_entries(tmp_path)}
    assert (result["logs_count"], result["detailed"]) == (4, 4)
    assert entries[nan.id].run.elapsed_s is None
    assert (entries[texts.id].run.total_tokens, entries[texts.id].run.total_steps) == (12, 3)
    assert entries[foreign.id].run.source_status == "melted"
    detail = entries[foreign.id].detail
    assert isinstance(detail, Detailed)
    assert not isinstance(detail.nodes, Missing)
    assert detail.nodes[1].node_type == "quantum"


@pytest.mark.fault(19)
def test_an_output_of_megabytes_is_kept_whole(tmp_path: Path) -> None:
    """Every character of a long answer comes back out of the ledger."""
    world = make_day(2, ties=0.0, mix={"succeeded": 1.0})
    run = world.runs()[0]
    answer = {"answer": "长" * 1_000_000}
    nodes = [dict(node) for node in run.content.nodes(run)]
    nodes[-1] |= {"outputs": answer}
    world.change(run.id, content=StoredContent(run.content.inputs(run), answer, nodes))
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        run_all(pipeline)
    detail = next(entry.detail for entry in stored_entries(tmp_path) if entry.run.run_id == run.id)
    assert isinstance(detail, Detailed)
    assert detail.outputs == answer


@pytest.mark.fault(20)
@pytest.mark.parametrize("skew", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_server_clock_an_hour_off_cuts_the_window_by_the_server_s_clock(
    skew: timedelta, tmp_path: Path
) -> None:
    """A window that ends now ends two seconds before the server's now, wherever ours stands."""
    world = make_day(200)
    theirs = END + timedelta(seconds=5)
    access = Access(now=theirs - skew)
    with (
        simulator.serve(world, options=at(theirs)) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        certificate = pipeline.collect(order(before=(END + timedelta(hours=6)).isoformat())).certificate
    assert certificate.scope.window.before_at == theirs - timedelta(seconds=2)
    assert (certificate.certified, certificate.distinct) == (True, 200)


@pytest.mark.fault(20)
def test_a_clock_a_day_ahead_certifies_nothing_that_has_not_happened(tmp_path: Path) -> None:
    """A window that has ended long ago by our clock is cut by the source's, which its answers tell."""
    theirs = END + timedelta(seconds=5)
    access = Access(now=theirs + timedelta(days=1))
    with (
        simulator.serve(make_day(200), options=at(theirs)) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        collected = pipeline.collect(order(before=(END + timedelta(hours=6)).isoformat()))
    certificate = collected.certificate
    assert certificate.scope.window.before_at == theirs - timedelta(seconds=2)
    assert (certificate.certified, certificate.distinct) == (True, 200)
    assert collected.notes == ("the source's clock is 86400 s behind ours: set both by a time server",)


def test_a_broken_list_of_open_runs_costs_requests_and_nothing_else(tmp_path: Path) -> None:
    """Where the console cannot list what is still open, the open runs are asked one by one."""
    world = make_day(20, mix={"running": 1.0})
    faults = simulator.parse_faults(f"503:1.0@{CONSOLE_APPS}{world.app.id}/workflow-app-logs")
    with (
        simulator.serve(world, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, Access(tries=2)) as pipeline,
    ):
        run_all(pipeline)
        result = run_all(pipeline)
    assert faults.struck["503"] > 0
    assert (result["open"], result["detailed"]) == (20, 20)
