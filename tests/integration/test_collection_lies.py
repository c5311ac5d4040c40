"""A Dify whose list lies and moves while it is read: no certificate where a row is left out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from simulated_dify import DAY, FINAL_MIX, LOGS, NOW, at, make_day, opened, order, stored_entries

import flowledger_simulator as simulator
from flowledger.errors import FlowledgerError
from flowledger.services.pipeline import Pipeline
from flowledger_simulator.world import PageHook

LISTED = order(with_details=False)
LIES = (
    *("endless", "repeat", "duplicate", "no-more", "wrong-page", "wrong-limit", "total-above", "total-below"),
    *("hidden", "emptied", "error-beside", "error-object", "500", "503", "429", "reset", "drop", "cut-json"),
)
CHANGES: tuple[Callable[[int], PageHook], ...] = (
    lambda seed: simulator.arriving(2, at=int(DAY.timestamp()) + 1000 * (seed % 80)),
    lambda seed: simulator.exchanging(2, seed=seed),
    lambda seed: simulator.moving(3, seed=seed),
    lambda seed: simulator.vanishing(2, seed=seed),
)


def listed(world: simulator.World) -> set[tuple[str, int]]:
    """Return the rows that a world lists, each with its time."""
    return {(run.log_id, run.listed_at) for run in world.runs()}


def left_out(folder: Path, rows: set[tuple[str, int]]) -> set[str]:
    """Return those rows that the ledger does not hold."""
    return {row for row, _ in rows} - {entry.run.log_id or "" for entry in stored_entries(folder)}


def certified(pipeline: Pipeline) -> bool:
    """Collect the day, and tell whether it was certified."""
    try:
        return pipeline.collect(LISTED).certificate.certified
    except FlowledgerError:
        return False


@pytest.mark.fault(9, 10, 12)
@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_list_does_no_certified_day_lacks_a_row(seed: int, tmp_path: Path) -> None:
    """Rows that were listed all the time are stored; what came meanwhile is found by the next reading."""
    chance = Random(seed)
    world = make_day(350, mix=FINAL_MIX, ties=0.3, busiest_second=chance.choice((5, 120)))
    lies = ",".join(f"{kind}:{chance.choice((0.04, 0.15))}@{LOGS}" for kind in chance.sample(LIES, 4))
    change, pages = chance.choice(CHANGES)(seed), iter(range(chance.randint(0, 12)))

    def change_at_first(world: simulator.World) -> None:
        if next(pages, None) is not None:
            change(world)

    faults, options = simulator.parse_faults(lies, seed=seed), at(on_page=change_at_first)
    before = listed(world)
    with (
        simulator.serve(world, faults=faults, options=options) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        was_certified = certified(pipeline)
        throughout = before & listed(world)
        assert not was_certified or not left_out(tmp_path, throughout), lies
        assert server.requests.count(LOGS) < 400
        pages, faults.rules = iter(()), ()
        later = replace(
            pipeline, clock=lambda: NOW + timedelta(hours=2), certificate_max_age=timedelta(hours=1)
        )
        assert certified(later)
    assert not left_out(tmp_path, listed(world)), lies


@pytest.mark.fault(9, 12)
@pytest.mark.parametrize("kind", LIES)
def test_a_comparison_believes_no_lie(kind: str, tmp_path: Path) -> None:
    """A row that came since is found, whatever the answers to the comparison say."""
    world = make_day(350, mix=FINAL_MIX)
    with (
        simulator.serve(world, options=at()) as server,
        opened(server.base_url, tmp_path) as pipeline,
    ):
        assert certified(pipeline)
        world.add_runs(1, int(DAY.timestamp()) + 7)
        server.faults.rules = simulator.parse_faults(f"{kind}:#1-2@{LOGS}").rules
        was_certified = certified(pipeline)
    assert not was_certified or not left_out(tmp_path, listed(world))
