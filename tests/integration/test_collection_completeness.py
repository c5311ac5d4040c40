"""Collecting 20,000 runs while others arrive, change or vanish: all of them once, or no certificate."""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from simulated_dify import (
    DAY,
    END,
    FINAL_MIX,
    LOGS,
    NOW,
    RELEASES,
    Access,
    at,
    log_ids,
    make_day,
    opened,
    order,
    run_all,
    stored_entries,
)

import flowledger_simulator as simulator
from flowledger_simulator.world import PageHook, by_end, by_start

RUNS = 20_000
LISTED = order(with_details=False)


@cache
def busy_day() -> simulator.World:
    """A day of 20,000 runs, 30 % of which share a second, up to 90 in one."""
    return make_day(RUNS, ties=0.3, busiest_second=90, orphans=0.001)


def expected(world: simulator.World, version: str) -> list[str]:
    """Give the log ids that a release lists on the day."""
    listing = by_start if simulator.Release.parse(version).lists_at_start else by_end
    window = LISTED.window
    return sorted(run.log_id for run in world.between(world.app.id, listing, window.after, window.before))


def for_pages(pages: int, hook: PageHook) -> PageHook:
    """Let a hook act before the first so many pages only."""
    left = iter(range(pages))

    def act(world: simulator.World) -> None:
        if next(left, None) is not None:
            hook(world)

    return act


@pytest.mark.fault(10)
@pytest.mark.parametrize("version", RELEASES)
def test_nothing_is_lost_or_doubled_while_five_runs_arrive_per_page(version: str, tmp_path: Path) -> None:
    """The ledger holds exactly the log rows of the window, and the certificate says so."""
    world = busy_day()
    arrivals = simulator.arriving(5, at=int(END.timestamp()) + 60)
    with (
        simulator.serve(world, version=version, options=at(on_page=arrivals)) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        certificate = pipeline.collect(LISTED).certificate
    wanted = expected(world, version)
    assert (certificate.certified, certificate.expected, certificate.distinct) == (
        True,
        len(wanted),
        len(wanted),
    )
    assert log_ids(stored_entries(tmp_path)) == wanted
    assert server.requests.count(LOGS) < 1.1 * len(wanted) / 100


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    "hook",
    [
        pytest.param(lambda: simulator.arriving(5, at=int(DAY.timestamp()) + 50_000), id="arrive"),
        pytest.param(lambda: simulator.vanishing(3), id="vanish"),
        pytest.param(lambda: simulator.changing(3), id="change"),
    ],
)
def test_a_window_that_moves_while_it_is_read_is_complete_once_it_rests(
    hook: Callable[[], PageHook], tmp_path: Path
) -> None:
    """Rows that arrive, vanish or change inside the window behind the walk's back are found by comparison."""
    world = make_day(2_000)
    options = at(on_page=for_pages(18, hook()))
    with (
        simulator.serve(world, options=options) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        certificate = pipeline.collect(LISTED).certificate
    wanted = expected(world, "1.12.1")
    assert (certificate.certified, certificate.distinct) == (True, len(wanted))
    assert set(wanted) <= set(log_ids(stored_entries(tmp_path)))


@pytest.mark.fault(10)
def test_a_window_that_never_rests_ends_without_a_certificate(tmp_path: Path) -> None:
    """Rows that arrive in the window before every answer leave it unproved, and nothing seen is dropped."""
    world = make_day(1_000)
    before = {run.log_id for run in world.runs()}
    moving = simulator.arriving(2, at=int(DAY.timestamp()) + 40_000)
    with (
        simulator.serve(world, options=at(on_page=moving)) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        certificate = pipeline.collect(LISTED).certificate
    assert not certificate.certified
    assert "the source counts" in certificate.reason
    assert before <= set(log_ids(stored_entries(tmp_path)))
    assert server.requests.total < 100


@pytest.mark.fault(10)
def test_vanished_runs_stay_in_the_ledger_and_are_told(tmp_path: Path) -> None:
    """What the source has deleted is kept, and the certificate counts what the source still lists."""
    world = make_day(120, mix=FINAL_MIX)
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        run_all(pipeline)
        for run in world.runs()[100:110]:
            world.remove(run.id)
        result = run_all(pipeline)
    assert (result["certificate"]["certified"], result["certificate"]["distinct"]) == (True, 110)
    assert (result["logs_count"], result["missing"]) == (120, 0)


@pytest.mark.fault(11)
@pytest.mark.parametrize("version", RELEASES)
def test_a_second_with_more_rows_than_a_page_is_complete(version: str, tmp_path: Path) -> None:
    """350 rows of one second are all found, although their order changes with every answer."""
    world = make_day(900, ties=0.6, busiest_second=350)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        certificate = pipeline.collect(LISTED).certificate
    assert certificate.certified
    assert log_ids(stored_entries(tmp_path)) == expected(world, version)


@pytest.mark.parametrize("version", RELEASES)
def test_an_unchanged_window_costs_at_most_three_requests(version: str, tmp_path: Path) -> None:
    """The second report of a day whose runs have all ended asks for the count and no detail."""
    world = make_day(80, mix=FINAL_MIX, orphans=0.05)
    with (
        simulator.serve(world, version=version, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        first = run_all(pipeline)
        server.requests.clear()
        second = run_all(pipeline)
    assert server.requests.total <= 3
    assert second["requests"] == server.requests.total
    for name in ("logs_count", "detailed", "missing", "by_status", "total_tokens", "cost"):
        assert second[name] == first[name]


@pytest.mark.parametrize("version", RELEASES)
def test_a_day_of_many_pages_is_compared_in_another_process_too(version: str, tmp_path: Path) -> None:
    """The clock of the source, or a third comparison, but never more than three requests; then one by one."""
    world = make_day(350, mix=FINAL_MIX, orphans=0.05)
    seen: list[tuple[int, int]] = []
    with simulator.serve(world, version=version, options=at()) as server:
        for _ in range(2):
            with opened(server.base_url, tmp_path) as pipeline:
                first = pipeline.collect(LISTED)
                server.requests.clear()
                second = pipeline.collect(LISTED)
                seen += [(first.requests, first.certificate.distinct), (server.requests.total, 0)]
                assert first.certificate.certified
                assert second.certificate.certified
    (reading, rows), (again, _), (elsewhere, rows_elsewhere), (once_more, _) = seen
    assert reading > 3
    assert max(again, elsewhere, once_more) <= 3
    assert rows == rows_elsewhere == len(expected(world, version))


@pytest.mark.fault(18)
def test_stuck_runs_do_not_cost_requests_for_ever(tmp_path: Path) -> None:
    """Two days later the runs that never ended are stuck, shown and no longer asked for."""
    world = make_day(80, mix={"succeeded": 0.9, "running": 0.1})
    later = Access(now=NOW + timedelta(days=2))
    with (
        simulator.serve(world, options=at(later.now)) as server,
        opened(server.base_url, tmp_path, later) as pipeline,
    ):
        run_all(pipeline)
        server.requests.clear()
        result = run_all(pipeline)
    assert server.requests.total <= 3
    assert result["stuck"] == result["open"] > 0


@pytest.mark.fault(18)
def test_open_runs_are_asked_again_until_they_have_ended(tmp_path: Path) -> None:
    """A run that was open at the first report is whole at the second, although its row did not move."""
    world = make_day(80, mix={"succeeded": 0.8, "running": 0.2})
    open_ids = [run.id for run in world.runs() if run.status == "running"]
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        first = run_all(pipeline)
        for run_id in open_ids:
            world.change(run_id, status="succeeded", finished_at=int(END.timestamp()), elapsed_time=9.0)
        server.requests.clear()
        second = run_all(pipeline)
        asked = server.requests.total
        third = run_all(pipeline)
    assert (first["open"], second["open"]) == (len(open_ids), 0)
    assert second["by_status"] == {"success": 80}
    assert asked <= 2 * len(open_ids) + 3
    assert third["requests"] <= 3


def test_a_longer_window_reads_only_what_no_certificate_covers(tmp_path: Path) -> None:
    """A week's report after seven daily ones costs one comparison a day at most."""
    world = make_day(1_500, start=DAY - timedelta(days=6))
    week = order(after=(DAY - timedelta(days=6)).isoformat(), with_details=False)
    with simulator.serve(world, options=at()) as server, opened(server.base_url, tmp_path) as pipeline:
        for days in range(7):
            day = DAY - timedelta(days=days)
            pipeline.collect(order(after=day.isoformat(), before=(END - timedelta(days=days)).isoformat()))
        server.requests.clear()
        certificate = pipeline.collect(week).certificate
    assert (certificate.certified, certificate.distinct) == (True, 1_500)
    assert server.requests.total == 1
