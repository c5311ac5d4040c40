"""Chatflows of releases that list no runs of them: found by their conversations, with a proof."""

from datetime import timedelta
from pathlib import Path

import pytest
from simulated_dify import (
    FINAL_MIX,
    NODES,
    NOW,
    Access,
    at,
    make_day,
    opened,
    order,
    run_all,
    stored_entries,
    whole,
)

import flowledger_simulator as simulator
from flowledger.domain.runs import Detailed, Missing, RunStatus
from flowledger.errors import SourceRefusedError
from flowledger_simulator import credentials
from flowledger_simulator.world import World, arriving

OLD = "1.9.1"
CHATFLOW = Access(token=credentials.CHATFLOW_API_TOKEN, app_id=credentials.CHATFLOW_APP_ID)
CONSOLE = f"/console/api/apps/{CHATFLOW.app_id}"
LATER = NOW + timedelta(days=3)


def wanted(world: World) -> set[str]:
    """The ids of the runs whose messages are of the day."""
    return {run.id for run in world.runs(CHATFLOW.app_id) if run.listed_at in range(*day())}


def day() -> tuple[int, int]:
    """The day's first second and the one after its last."""
    return order().window.after, order().window.before + 1


def ids(folder: Path) -> set[str]:
    """The ids of the runs that are stored of the day."""
    return {entry.run.run_id for entry in stored_entries(folder, CHATFLOW.app_id)}


@pytest.mark.parametrize("users", [1, 200])
def test_a_chatflow_of_an_old_release_is_collected_by_its_conversations(users: int, tmp_path: Path) -> None:
    """All runs of all people, long conversations and crowded seconds too, certified and with all details."""
    world = make_day(5, chat_runs=300, mix=FINAL_MIX, ties=0.4, busiest_second=60, users=users)
    with (
        simulator.serve(world, version=OLD, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        result = run_all(pipeline)
    certificate = result["certificate"]
    assert certificate["certified"], certificate["reason"]
    assert certificate["reason"].startswith("complete by the messages of")
    assert (certificate["expected"], certificate["distinct"]) == (None, 300)
    assert ids(tmp_path) == wanted(world)
    entries = stored_entries(tmp_path, CHATFLOW.app_id)
    assert len(whole(entries)) == len(entries) == result["detailed"]
    for entry in entries:
        run = world.find(CHATFLOW.app_id, entry.run.run_id)
        assert run is not None
        assert isinstance(entry.detail, Detailed)
        assert (entry.run.source_status, entry.run.error) == (run.status, run.error)
        assert entry.detail.inputs == run.content.inputs(run)
        assert entry.run.creator
        assert entry.run.creator.id == run.author.id
    assert server.requests.count(f"{CONSOLE}/workflow-runs", ending=NODES) == len(entries)


def test_the_state_of_each_run_is_read_once_where_no_details_are_wanted(tmp_path: Path) -> None:
    """A message does not tell how its run ended, so the detail is read, of old windows too, and only once."""
    world = make_day(5, chat_runs=40, mix=FINAL_MIX)
    late = Access(token=CHATFLOW.token, app_id=CHATFLOW.app_id, now=LATER)
    with (
        simulator.serve(world, version=OLD, options=at(LATER)) as server,
        opened(server.base_url, tmp_path, late) as pipeline,
    ):
        first = run_all(pipeline, order(with_details=False))
        assert server.requests.count(f"{CONSOLE}/workflow-runs/") == 40
        server.requests.clear()
        second = run_all(pipeline, order(with_details=False))
        assert server.requests.count(f"{CONSOLE}/workflow-runs/") == 0
    assert first["by_status"] == second["by_status"]
    assert (first["open"], second["open"], sum(first["by_status"].values())) == (0, 0, 40)


def test_a_second_collection_takes_nothing_away(tmp_path: Path) -> None:
    """The list's rows tell less than was read before, and everything stays."""
    world = make_day(5, chat_runs=60, mix={**FINAL_MIX, "running": 0.2, "paused": 0.1})
    with (
        simulator.serve(world, version=OLD, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        run_all(pipeline)
        before = stored_entries(tmp_path, CHATFLOW.app_id)
        again = pipeline.collect(order()).certificate
        after = stored_entries(tmp_path, CHATFLOW.app_id)
    assert again.certified, again.reason
    assert [entry.run for entry in after] == [entry.run for entry in before]


def test_only_conversations_around_the_window_are_read(tmp_path: Path) -> None:
    """Those that were quiet before it, or began after it, cost nothing."""
    world = make_day(5, chat_runs=300, mix=FINAL_MIX, users=40)
    hour = order(after="2025-03-01T12:00:00Z", before="2025-03-01T12:59:59Z")
    with (
        simulator.serve(world, version=OLD, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        certificate = pipeline.collect(hour).certificate
    inside = range(hour.window.after, hour.window.before + 1)
    expected = {run.id for run in world.runs(CHATFLOW.app_id) if run.listed_at in inside}
    assert certificate.certified, certificate.reason
    assert ids(tmp_path) == expected
    assert server.requests.count(f"{CONSOLE}/chat-messages") < 60


def test_a_conversation_that_is_talked_in_meanwhile_is_not_missed(tmp_path: Path) -> None:
    """It moves to the first page, which was read before: the list is read again until it stands still."""
    world = make_day(5, chat_runs=400, mix=FINAL_MIX, users=200)
    calls = iter(range(1000))

    def talk(world: World) -> None:
        if next(calls) in (1, 3, 4):
            _talk_in_the_oldest(world)

    with (
        simulator.serve(world, version=OLD, options=at(on_page=talk)) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        certificate = pipeline.collect(order()).certificate
    assert certificate.certified, certificate.reason
    assert ids(tmp_path) == wanted(world)


def test_a_chatflow_that_never_stands_still_is_not_certified(tmp_path: Path) -> None:
    """All that was seen is stored, and the reason says what moved."""
    world = make_day(5, chat_runs=400, mix=FINAL_MIX, users=200)
    with (
        simulator.serve(world, version=OLD, options=at(on_page=_talk_in_the_oldest)) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        certificate = pipeline.collect(order()).certificate
    assert not certificate.certified
    assert "while they were listed" in certificate.reason


def _talk_in_the_oldest(world: World) -> None:
    """Let whoever was quiet for longest say something just now."""
    runs = world.runs(CHATFLOW.app_id)
    last_of = {run.author.id: run for run in reversed(runs)}
    oldest = min(last_of.values(), key=lambda run: run.started_us)
    new = world.add_runs(1, int(NOW.timestamp()) - 1, app_id=CHATFLOW.app_id)[0]
    world.change(new.id, author=oldest.author)


def test_new_conversations_meanwhile_do_no_harm(tmp_path: Path) -> None:
    """They are of later than the window."""
    world = make_day(5, chat_runs=150, mix=FINAL_MIX, users=100)
    hour = order(after="2025-03-01T00:00:00Z", before="2025-03-01T20:00:00Z")
    calls = iter(range(1000))
    arrive = arriving(1, at=int(NOW.timestamp()))

    def once(world: World) -> None:
        if next(calls) == 1:
            arrive(world)

    with (
        simulator.serve(world, version=OLD, options=at(on_page=once)) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        certificate = pipeline.collect(hour).certificate
    assert certificate.certified, certificate.reason


def test_a_run_that_only_its_message_remembers_is_said(tmp_path: Path) -> None:
    """Dify has deleted it: it is counted as interrupted, and missing for good."""
    world = make_day(5, chat_runs=20, mix={"succeeded": 1.0})
    run = world.runs(CHATFLOW.app_id)[3]
    world.remove(run.id, row_too=False)
    with (
        simulator.serve(world, version=OLD, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        first = run_all(pipeline)
        server.requests.clear()
        second = run_all(pipeline)
        assert server.requests.count(f"{CONSOLE}/workflow-runs/") == 0
    (entry,) = [each for each in stored_entries(tmp_path, CHATFLOW.app_id) if each.run.run_id == run.id]
    assert entry.run.status is RunStatus.INTERRUPTED
    assert isinstance(entry.detail, Missing)
    assert entry.detail.permanent
    assert (first["missing"], second["missing"], second["logs_count"]) == (1, 1, 20)


@pytest.mark.parametrize("kind", ["hidden", "repeat", "503"])
def test_a_lie_that_passes_is_read_again(kind: str, tmp_path: Path) -> None:
    """Once only: the list is asked for again, and the conversations that gave cause for doubt."""
    world = make_day(5, chat_runs=250, mix=FINAL_MIX, users=80)
    faults = simulator.parse_faults(
        f"{kind}:#2@{CONSOLE}/chat-conversations,{kind}:#3@{CONSOLE}/chat-messages"
    )
    with (
        simulator.serve(world, version=OLD, faults=faults, options=at()) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
    ):
        certificate = pipeline.collect(order()).certificate
    assert certificate.certified, certificate.reason
    assert ids(tmp_path) == wanted(world)


def test_who_may_not_read_conversations_is_told_what_to_change(tmp_path: Path) -> None:
    """Dify shows them to editors only."""
    world = make_day(5, chat_runs=5)
    with (
        simulator.serve(world, version=OLD, options=at(is_editor=False)) as server,
        opened(server.base_url, tmp_path, CHATFLOW) as pipeline,
        pytest.raises(SourceRefusedError, match="make it an editor of the workspace"),
    ):
        pipeline.collect(order())
