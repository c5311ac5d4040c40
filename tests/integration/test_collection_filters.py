"""Filters of every release: the right rows, a note for what we decide, and the certificate kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simulated_dify import (
    LOGS,
    RELEASES,
    Access,
    at,
    make_day,
    open_fetcher,
    opened,
    order,
    run_all,
)

import flowledger_simulator as simulator
from flowledger.domain.run_filters import RunFilter
from flowledger_simulator.datasets import StoredContent
from flowledger_simulator.world import EndUser, SimulatedRun

MIX = {"succeeded": 0.6, "failed": 0.15, "partial-succeeded": 0.1, "running": 0.1, "paused": 0.05}


def marked_day() -> simulator.World:
    """A day of 120 runs, every tenth of which talks about a refund in two languages."""
    world = make_day(120, mix=MIX)
    for run in world.runs()[::10]:
        inputs = {**run.content.inputs(run), "query": "请问 refund 退款 怎么办"}
        world.change(run.id, content=StoredContent(inputs, run.content.outputs(run), _nodes(run, inputs)))
    return world


def _nodes(run: SimulatedRun, inputs: dict[str, Any]) -> list[dict[str, Any]]:
    nodes = [dict(node) for node in run.content.nodes(run)]
    nodes[0] |= {"inputs": inputs, "outputs": inputs}
    return nodes


def listed(world: simulator.World, version: str) -> list[SimulatedRun]:
    """Give the runs that a release lists on the day."""
    from_start = simulator.Release.parse(version).lists_at_start
    last = order().window.before
    return [
        run
        for run in world.runs()
        if from_start or (run.listed_at_end is not None and run.listed_at_end <= last)
    ]


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("word", ["partial-succeeded", "running", "paused"])
def test_a_status_the_server_refuses_is_filtered_by_us(word: str, version: str, tmp_path: Path) -> None:
    """The service API answers 400 to these words, so all rows are listed and ours are picked."""
    world = marked_day()
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline, order(status=word, with_details=False))
    wanted = sum(run.status == word for run in listed(world, version))
    assert result["logs_count"] == wanted
    assert result["certificate"]["certified"]
    assert result["certificate"]["distinct"] == len(listed(world, version))
    assert any(word in note for note in result["notes"])


@pytest.mark.parametrize("version", RELEASES)
def test_a_status_the_server_knows_is_asked_of_it(version: str, tmp_path: Path) -> None:
    """Only the failed rows travel, and the certificate is about them."""
    world = marked_day()
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline, order(status="failed", with_details=False))
    wanted = sum(run.status == "failed" for run in listed(world, version))
    certificate = result["certificate"]
    assert (result["logs_count"], certificate["distinct"], certificate["certified"]) == (wanted, wanted, True)
    assert not any("our side" in note for note in result["notes"])
    assert all(
        request.query["status"] == "failed" for request in server.requests.recent if request.path == LOGS
    )


@pytest.mark.parametrize("version", RELEASES)
def test_a_chinese_keyword_finds_its_runs_on_every_release(version: str, tmp_path: Path) -> None:
    """Since 1.11.3 the server finds none of them, so we look ourselves."""
    world = marked_day()
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline, order(keyword="退款"))
    marked = {run.id for run in world.runs()[::10]}
    assert result["logs_count"] == sum(run.id in marked for run in listed(world, version)) > 0
    assert result["certificate"]["certified"]
    assert any("退款" in note for note in result["notes"])
    assert not any("keyword" in request.query for request in server.requests.recent)


@pytest.mark.parametrize("version", RELEASES)
def test_an_ascii_keyword_is_asked_of_the_server(version: str, tmp_path: Path) -> None:
    """The server's own search gives the rows and their total."""
    world = marked_day()
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        result = run_all(pipeline, order(keyword="refund"))
    marked = {run.id for run in world.runs()[::10]}
    wanted = sum(run.id in marked for run in listed(world, version))
    assert (result["logs_count"], result["certificate"]["distinct"]) == (wanted, wanted)
    assert result["certificate"]["certified"]
    assert not any("our side" in note for note in result["notes"])


def test_a_chinese_keyword_works_without_reports_of_details(tmp_path: Path) -> None:
    """Inputs and outputs are read to decide, even where the report shows none."""
    world = marked_day()
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        result = run_all(pipeline, order(keyword="退款", with_details=False))
    assert result["logs_count"] == 12


@pytest.mark.parametrize("version", RELEASES)
def test_a_session_and_a_keyword_together_do_not_break_the_server(version: str, tmp_path: Path) -> None:
    """Dify answers 500 to both at once, so the session is asked for and the keyword is ours."""
    world = marked_day()
    session = next(
        run.author.session_id
        for run in listed(world, version)
        if isinstance(run.author, EndUser) and run.id in {one.id for one in world.runs()[::10]}
    )
    wanted = {
        run.id
        for run in listed(world, version)
        if isinstance(run.author, EndUser)
        and run.author.session_id == session
        and "refund" in str(run.content.inputs(run))
    }
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        both = RunFilter(keyword="refund", session_id=session)
        split = pipeline.source.split(both)
        request = replace(order(), run_filter=both)
        collected = pipeline.collect(request)
        enriched = pipeline.enrich(collected, request)
        report = pipeline.report(collected, request, enriched, run_id="test")
    assert report.figures.runs == len(wanted) > 0
    assert collected.certificate.certified
    assert split.remote == {"created_by_end_user_session_id": session}
    assert any("500" in note for note in split.notes)


def test_a_filtered_collection_does_not_pass_for_the_whole_day(tmp_path: Path) -> None:
    """The certificate of the failed runs proves nothing about the others."""
    world = marked_day()
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        run_all(pipeline, order(status="failed", with_details=False))
        result = run_all(pipeline, order(with_details=False))
    assert (result["logs_count"], result["certificate"]["distinct"]) == (120, 120)


def test_a_filter_leaves_the_fetcher_s_split_the_same_for_every_release(tmp_path: Path) -> None:
    """What is ours to decide never depends on an answer, so that a report says the same everywhere."""
    world = make_day(1)
    wanted = RunFilter(status="paused", keyword="退款", account="ops@example.com")
    splits = []
    for version in RELEASES:
        with (
            simulator.serve(world, version=version, options=at()) as server,
            open_fetcher(server.base_url, Access()) as source,
        ):
            splits.append(source.split(wanted))
    assert splits[0] == splits[1] == splits[2]
    assert len(splits[0].notes) == 3
