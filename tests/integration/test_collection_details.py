"""Details of runs from every release: how deep, at how many requests, and why something is missing."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from simulated_dify import (
    END,
    FINAL_MIX,
    LOGIN,
    NODES,
    NOW,
    RELEASES,
    RUN_DETAIL,
    Access,
    at,
    make_day,
    opened,
    order,
    reasons,
    run_all,
    stored_entries,
    whole,
)

import flowledger_simulator as simulator
from flowledger.dify.credentials import AdminKey, ConsoleToken
from flowledger.domain.runs import Detailed, Missing, RunStatus
from flowledger.errors import AuthenticationError
from flowledger_simulator import credentials
from flowledger_simulator.datasets import StoredContent
from flowledger_simulator.world import SimulatedRun

ADMIN = AdminKey(SecretStr(credentials.ADMIN_KEY), credentials.WORKSPACE_ID)
CHATFLOW = Access(token=credentials.CHATFLOW_API_TOKEN, app_id=credentials.CHATFLOW_APP_ID)


@pytest.mark.parametrize("version", RELEASES)
def test_ended_runs_are_whole_at_one_request_each(version: str, tmp_path: Path) -> None:
    """Node executions alone tell inputs, outputs and cost of a run that has ended."""
    world = make_day(60, mix=FINAL_MIX)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    entries = stored_entries(tmp_path)
    assert len(whole(entries)) == len(entries) == result["detailed"]
    assert server.requests.count(ending=NODES) == len(entries)
    assert server.requests.count(RUN_DETAIL) == 0
    assert server.requests.count(LOGIN) == 1
    assert server.requests.total <= 1.1 * len(entries)


@pytest.mark.parametrize("version", RELEASES)
def test_a_rebuilt_detail_equals_the_one_the_server_gives(version: str, tmp_path: Path) -> None:
    """Inputs and outputs taken from the nodes are those of the run detail."""
    world = make_day(60, mix=FINAL_MIX)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        run_all(pipeline)
    for entry in stored_entries(tmp_path):
        run = world.find(world.app.id, entry.run.run_id)
        assert run is not None
        assert isinstance(entry.detail, Detailed)
        assert entry.detail.inputs == run.content.inputs(run)
        assert entry.detail.outputs == run.content.outputs(run)


@pytest.mark.parametrize("version", RELEASES)
def test_without_console_access_node_executions_are_missing_for_that_reason(
    version: str, tmp_path: Path
) -> None:
    """Inputs and outputs come from the service API; the nodes say why they are not there."""
    world = make_day(30, mix=FINAL_MIX)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path, Access(console=None)) as pipeline,
    ):
        result = run_all(pipeline)
    entries = stored_entries(tmp_path)
    assert reasons(entries) == {"no console access"}
    assert all(isinstance(entry.detail, Detailed) and entry.detail.inputs for entry in entries)
    assert server.requests.count(RUN_DETAIL) == len(entries)
    assert server.requests.count("/console") == 0
    assert result["missing_reasons"] == {"no console access": len(entries)}


def test_console_access_given_later_brings_the_missing_nodes(tmp_path: Path) -> None:
    """What was missing for want of access is asked for as soon as there is some."""
    world = make_day(40, mix=FINAL_MIX)
    with simulator.serve(world, options=at()) as server:
        with opened(server.base_url, tmp_path, Access(console=None)) as pipeline:
            run_all(pipeline)
        with opened(server.base_url, tmp_path) as pipeline:
            result = run_all(pipeline)
    assert (result["detailed"], result["missing"]) == (40, 0)
    assert len(whole(stored_entries(tmp_path))) == 40


@pytest.mark.parametrize("version", ["1.12.1", "1.13.3"])
def test_an_open_run_is_read_with_its_state(version: str, tmp_path: Path) -> None:
    """State first, then the nodes: two requests for each open run."""
    world = make_day(40, mix={"running": 0.5, "paused": 0.5})
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    assert (result["open"], result["stuck"], result["detailed"]) == (40, 0, 40)
    assert server.requests.count(RUN_DETAIL) == server.requests.count(ending=NODES) == 40


@pytest.mark.fault(18)
def test_a_zombie_is_stuck_after_a_day_and_shown_with_its_nodes(tmp_path: Path) -> None:
    """A stopped run that says running for ever is read once, counted as stuck and left alone."""
    world = make_day(30, mix={"running": 1.0})
    old = Access(now=NOW + timedelta(days=3))
    with (
        simulator.serve(world, options=at(old.now)) as server,
        opened(server.base_url, tmp_path, old) as pipeline,
    ):
        first = run_all(pipeline)
        server.requests.clear()
        second = run_all(pipeline)
    assert (first["stuck"], second["stuck"]) == (30, 30)
    assert second["requests"] <= 2
    assert len(whole(stored_entries(tmp_path))) == 30


def test_runs_of_earlier_windows_that_ended_are_brought_up_to_date(tmp_path: Path) -> None:
    """The next window's collection reads the open runs of the day before, by few requests, and says so."""
    world = make_day(30, mix={"running": 0.2, "succeeded": 0.8}, ties=0.0)
    open_ids = [run.id for run in world.runs() if run.status == "running"]
    later = NOW + timedelta(hours=2)
    next_hour = order(
        after=(END + timedelta(seconds=1)).isoformat(), before=(later - timedelta(minutes=30)).isoformat()
    )
    with simulator.serve(world, options=at(later)) as server:
        with opened(server.base_url, tmp_path) as pipeline:
            run_all(pipeline)
        for run_id in open_ids[:3]:
            started = next(run.created_at for run in world.runs() if run.id == run_id)
            world.change(run_id, status="succeeded", finished_at=started + 60, elapsed_time=60.0)
        with opened(server.base_url, tmp_path, Access(now=later)) as pipeline:
            sent = pipeline.source.requests
            result = run_all(pipeline, next_hour)
            assert pipeline.source.requests - sent <= 3 + 3 + 2 * 3
    ended = {each.run.run_id for each in stored_entries(tmp_path) if not each.run.status.is_open}
    assert ended.issuperset(open_ids[:3])
    assert not ended & set(open_ids[3:])
    assert result["notes"][-2:] == [
        "3 runs of earlier days ended and are up to date in the ledger",
        "written anew, since runs of it ended or appeared after it: report 2025-03-01",
    ]
    first, again = (
        figures_of(path)
        for path in sorted((tmp_path / "reports/json").glob("custom-2025-03-01_*.json"), key=version)
    )
    assert (first["open"], first["by_status"]) == (len(open_ids), statuses(30, open_ids))
    assert (again["open"], again["by_status"]) == (len(open_ids) - 3, statuses(30, open_ids[3:]))
    assert figures_of(next((tmp_path / "reports/json").glob("custom-2025-03-02_*.json")))["runs"] == 0


def version(report: Path) -> tuple[int, str]:
    """Order reports of one name: the first has no number."""
    return len(report.name), report.name


def figures_of(report: Path) -> dict[str, Any]:
    """Give the figures of a stored JSON report."""
    figures: dict[str, Any] = orjson.loads(report.read_bytes())["figures"]
    return figures


def statuses(runs: int, still_open: list[str]) -> dict[str, int]:
    """Give how many runs have ended, and how many have not."""
    return {"success": runs - len(still_open), "running": len(still_open)}


def test_a_paused_run_waits_for_its_person(tmp_path: Path) -> None:
    """A form is open for 36 hours unless its app says otherwise; a running run is stuck after a day."""
    world = make_day(10, mix={"running": 0.5, "paused": 0.5}, ties=0.0)
    access = Access(now=NOW + timedelta(hours=11))
    for run in world.runs():
        world.change(run.id, listed_at=int(NOW.timestamp()) - 20 * 3600)
    with (
        simulator.serve(world, options=at(access.now)) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        result = run_all(pipeline)
    assert (result["open"], result["stuck"]) == (10, result["by_status"]["running"])


def late_nodes(run: SimulatedRun, kind: str) -> StoredContent:
    """Return what a run shows while a queue has not written all of its nodes yet."""
    nodes = [dict(node) for node in run.content.nodes(run)]
    if kind == "none":
        nodes = []
    elif kind == "last":
        nodes[-1] |= {"status": "running", "outputs": None, "finished_at": None}
    else:
        child = {"iteration_id": nodes[0]["node_id"], "iteration_index": 1}
        nodes.append({**nodes[1], "id": "child", "status": "running", "execution_metadata": child})
    return StoredContent(run.content.inputs(run), run.content.outputs(run), nodes)


@pytest.mark.parametrize("kind", ["none", "last", "child"])
@pytest.mark.parametrize("access", [Access(), CHATFLOW], ids=["workflow", "chatflow"])
def test_nodes_that_contradict_their_run_are_read_again(tmp_path: Path, kind: str, access: Access) -> None:
    """A run of six steps without nodes, or one that ended before its nodes did, is not detailed yet."""
    world = make_day(6, chat_runs=6, mix={"succeeded": 1.0}, ties=0.0)
    run = world.runs(access.app_id)[0]
    world.change(run.id, content=late_nodes(run, kind))
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        first = run_all(pipeline)
        (missing,) = [each for each in stored_entries(tmp_path, access.app_id) if each.run.run_id == run.id]
        world.change(run.id, content=run.content)
        second = run_all(pipeline)
    assert first["missing_reasons"] == {"node executions not complete yet": 1}
    assert isinstance(missing.detail, Detailed)
    assert missing.detail.nodes == Missing("node executions not complete yet")
    assert missing.detail.inputs
    assert (second["missing"], second["detailed"]) == (0, first["logs_count"])


def test_nodes_that_never_become_complete_are_missing_for_good(tmp_path: Path) -> None:
    """A day after a run's end nobody asks for them any more."""
    world = make_day(6, mix={"succeeded": 1.0}, ties=0.0)
    run = world.runs()[0]
    world.change(run.id, content=late_nodes(run, "none"))
    old = Access(now=NOW + timedelta(days=2))
    with (
        simulator.serve(world, options=at(old.now)) as server,
        opened(server.base_url, tmp_path, old) as pipeline,
    ):
        first = run_all(pipeline)
        second = run_all(pipeline)
    assert first["missing_reasons"] == {"node executions not complete a day after the run": 1}
    assert second["missing"] == 1
    assert second["requests"] <= 2


@pytest.mark.fault(17)
@pytest.mark.parametrize("version", RELEASES)
def test_orphan_rows_are_kept_counted_and_explained(version: str, tmp_path: Path) -> None:
    """A log row whose run is gone is a run that no request can detail, and none is tried."""
    world = make_day(60, mix=FINAL_MIX, orphans=0.3)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    gone = [entry for entry in stored_entries(tmp_path) if entry.run.gone]
    assert result["certificate"]["certified"]
    assert len(gone) == result["missing"] == result["by_status"]["interrupted"] > 10
    assert all(isinstance(entry.detail, Missing) and entry.detail.permanent for entry in gone)
    assert server.requests.count(ending=NODES) == result["logs_count"] - len(gone)


@pytest.mark.parametrize("version", RELEASES)
def test_a_run_deleted_after_it_was_listed_is_missing_for_good(version: str, tmp_path: Path) -> None:
    """The source no longer knows it, in whatever words its release says so."""
    world = make_day(20, mix=FINAL_MIX)
    doomed = world.runs()[5].id
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        collected = pipeline.collect(order())
        world.remove(doomed)
        pipeline.enrich(collected, order())
        again = pipeline.enrich(collected, order())
    missing = [entry for entry in stored_entries(tmp_path) if isinstance(entry.detail, Missing)]
    assert [entry.run.run_id for entry in missing] == [doomed]
    assert "no longer knows" in str(missing[0].detail)
    assert again.asked == 0


@pytest.mark.fault(19)
def test_truncated_outputs_are_fetched_whole_from_the_run_detail(tmp_path: Path) -> None:
    """The server cuts what a node keeps, but not what the run keeps."""
    world = make_day(12, mix={"succeeded": 1.0})
    run = world.runs()[3]
    nodes = [dict(node) for node in run.content.nodes(run)]
    nodes[-1] |= {"outputs": {"answer": "只有开头..."}, "outputs_truncated": True}
    outputs = {"answer": "全文" * 50_000}
    world.change(run.id, content=StoredContent(run.content.inputs(run), outputs, nodes))
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        run_all(pipeline)
    assert server.requests.count(RUN_DETAIL) == 1
    detail = next(entry.detail for entry in stored_entries(tmp_path) if entry.run.run_id == run.id)
    assert isinstance(detail, Detailed)
    assert detail.outputs == outputs
    assert isinstance(detail.nodes, tuple)
    assert detail.nodes[-1].truncated == ("outputs",)


@pytest.mark.parametrize("version", ["1.12.1", "1.13.3"])
def test_a_chatflow_is_certified_by_the_console_s_counts(version: str, tmp_path: Path) -> None:
    """Its runs have no log rows; the cursor list cut to the window and two counts prove it complete."""
    world = make_day(5, chat_runs=130, mix=FINAL_MIX, ties=0.1, busiest_second=4)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        result = run_all(pipeline)
    window = order().window
    wanted = {
        run.id
        for run in world.runs(CHATFLOW.app_id)
        if window.after <= run.started_us // 1_000_000 <= window.before
    }
    entries = stored_entries(tmp_path, CHATFLOW.app_id)
    assert result["certificate"]["certified"], result["certificate"]["reason"]
    assert {entry.run.run_id for entry in entries} == wanted
    assert len(whole(entries)) == len(wanted) == result["logs_count"]
    assert all(entry.run.creator for entry in entries)


def test_a_whole_run_of_a_chatflow_costs_one_request(tmp_path: Path) -> None:
    """Its node executions name the user too; only one that may have an error is asked for its detail."""
    world = make_day(5, chat_runs=60, mix={"succeeded": 0.7, "partial-succeeded": 0.1, "failed": 0.2})
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        run_all(pipeline)
    entries = stored_entries(tmp_path, CHATFLOW.app_id)
    failed = [entry.run for entry in entries if entry.run.status is RunStatus.FAILED]
    assert failed
    assert all(run.error for run in failed)
    path = f"/console/api/apps/{CHATFLOW.app_id}/workflow-runs/"
    assert server.requests.count(path, ending=NODES) == len(entries)
    details = server.requests.count(path) - server.requests.count(path, ending="/count") - len(entries)
    assert details == len(failed)
    for entry in entries:
        run = world.find(CHATFLOW.app_id, entry.run.run_id)
        assert run is not None
        assert isinstance(entry.detail, Detailed)
        assert entry.detail.inputs == run.content.inputs(run)
        assert (entry.detail.outputs or {}) == (run.content.outputs(run) or {})
        assert entry.run.creator
        assert entry.run.creator.id == run.author.id


def test_a_run_of_a_chatflow_is_asked_once_where_no_nodes_are_wanted(tmp_path: Path) -> None:
    """The console's detail has inputs, outputs, user and error at once."""
    world = make_day(5, chat_runs=20, mix=FINAL_MIX)
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        result = run_all(pipeline, order(with_node_executions=False))
    path = f"/console/api/apps/{CHATFLOW.app_id}/workflow-runs/"
    asked = server.requests.count(path) - server.requests.count(path, ending="/count")
    assert (asked, server.requests.count(ending=NODES)) == (result["logs_count"], 0)


def test_an_unchanged_chatflow_costs_at_most_three_requests(tmp_path: Path) -> None:
    """It is counted, however many runs are newer; a run that has come is read."""
    world = make_day(5, chat_runs=350, mix=FINAL_MIX)
    listed = order(with_details=False)
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        first = pipeline.collect(listed).certificate
        second = pipeline.collect(listed)
        world.add_runs(1, first.scope.window.after + 3600, app_id=CHATFLOW.app_id)
        third = pipeline.collect(listed).certificate
    assert first.certified
    assert (second.certificate.certified, second.certificate.distinct) == (True, first.distinct)
    assert second.requests <= 3
    assert (third.certified, third.distinct) == (True, first.distinct + 1)


def test_a_chatflow_without_console_access_is_refused_clearly(tmp_path: Path) -> None:
    """The message names the settings that would help."""
    access = Access(token=credentials.CHATFLOW_API_TOKEN, app_id=credentials.CHATFLOW_APP_ID, console=None)
    world = make_day(5, chat_runs=20)
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
        pytest.raises(AuthenticationError, match="DIFY_CONSOLE_EMAIL"),
    ):
        pipeline.collect(order())


@pytest.mark.parametrize("version", ["1.12.1", "1.13.3"])
def test_the_admin_key_opens_the_console_without_a_login(version: str, tmp_path: Path) -> None:
    """No login request is sent, and everything is detailed."""
    world = make_day(20, mix=FINAL_MIX)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path, Access(console=ADMIN)) as pipeline,
    ):
        result = run_all(pipeline)
    assert (result["detailed"], server.requests.count(LOGIN)) == (20, 0)


def test_a_console_token_opens_an_old_release(tmp_path: Path) -> None:
    """Up to 1.9.1 a token copied from a browser is enough."""
    world = make_day(20, mix=FINAL_MIX)
    with simulator.serve(world, version="1.9.1", options=at()) as server:
        tokens = server.site.sessions.log_in(credentials.EMAIL, credentials.PASSWORD)
        assert tokens is not None
        access = Access(console=ConsoleToken(SecretStr(tokens.access)))
        with opened(server.base_url, tmp_path, access) as pipeline:
            result = run_all(pipeline)
    assert (result["detailed"], server.requests.count(LOGIN)) == (20, 0)


def test_a_console_token_is_not_enough_for_a_new_release(tmp_path: Path) -> None:
    """The runs are reported without nodes, for a reason that a reader understands."""
    world = make_day(20, mix=FINAL_MIX)
    access = Access(console=ConsoleToken(SecretStr("copied-from-a-browser")))
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path, access) as pipeline,
    ):
        result = run_all(pipeline)
    assert result["missing_reasons"] == {"console login refused": 20}


@pytest.mark.fault(14)
def test_host_cookies_work_over_plain_http(tmp_path: Path) -> None:
    """Secure cookies named __Host- are sent by hand, where a cookie jar would drop them."""
    world = make_day(20, mix=FINAL_MIX)
    with (
        simulator.serve(world, version="1.13.3", options=at(secure_cookies=True)) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline)
    assert (result["detailed"], server.requests.count(LOGIN)) == (20, 1)


def test_statuses_of_the_ledger_follow_the_source_s_words(tmp_path: Path) -> None:
    """Each word of Dify becomes the ledger's, and an unknown one is kept beside a careful guess."""
    words = ("succeeded", "failed", "stopped", "partial-succeeded", "running", "paused", "melted")
    world = make_day(len(words), ties=0.0, mix={"succeeded": 1.0})
    for run, word in zip(world.runs(), words, strict=True):
        ended = {} if word not in ("running", "paused") else {"finished_at": None}
        world.change(run.id, status=word, **ended)
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        run_all(pipeline)
    entries = stored_entries(tmp_path)
    assert {entry.run.source_status: entry.run.status for entry in entries} == {
        "succeeded": RunStatus.SUCCESS,
        "failed": RunStatus.FAILED,
        "stopped": RunStatus.CANCELLED,
        "partial-succeeded": RunStatus.PARTIAL,
        "running": RunStatus.RUNNING,
        "paused": RunStatus.PAUSED,
        "melted": RunStatus.FAILED,
    }
    assert Counter(type(entry.detail) for entry in entries) == {Detailed: len(words)}
