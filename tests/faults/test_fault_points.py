"""Each write, fsync, rename and commit of a whole run fails, or is the last thing a process did."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from doomed_runs import DoomedRuns, doomed_runs, entries, unfinished, visible
from fault_points import MODES, sampled
from simulated_dify import FINAL_MIX, at, make_day

import flowledger_simulator as simulator
from flowledger.domain.runs import Entry

pytestmark = pytest.mark.process

RUNS = 12
FEW = 6
"""How many points of each mode are tried in every run."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What runs that nothing disturbs leave behind, and a process for more of them."""

    runs: DoomedRuns
    ledger: list[Entry]
    reports: frozenset[tuple[str, bytes]]
    points: tuple[str, ...]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    """A run to the end, against a server whose clock stands."""
    with simulator.serve(make_day(RUNS, mix=FINAL_MIX), options=at()) as server, doomed_runs(server) as runs:
        folder = tmp_path_factory.mktemp("undisturbed")
        ended = runs.run(folder)
        assert ended.status == 0, ended.said
        yield Undisturbed(runs, entries(folder), visible(folder), ended.points)


def test_a_run_has_points_of_every_kind(undisturbed: Undisturbed) -> None:
    """What is counted is what is written: files, the ledger, syncs, renames and commits."""
    kinds = {point.partition(" ")[0] for point in undisturbed.points}
    assert kinds == {"write", "fsync", "rename", "commit"}
    assert len(undisturbed.ledger) == RUNS


@pytest.mark.fault(25, 26)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
def test_whatever_point_a_run_ends_at_the_next_one_repairs_it(
    mode: str, undisturbed: Undisturbed, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Nothing partial has a final name, the ledger is whole, and the next run equals an undisturbed one.

    ``FLOWLEDGER_FAULT_POINTS`` says how many points are tried; 0, or ``--whole``, for all of them.
    """
    count = len(undisturbed.points)
    wanted = int(os.environ.get("FLOWLEDGER_FAULT_POINTS", "0" if pytestconfig.getoption("whole") else FEW))
    for point in sampled(count, wanted or count, seed=MODES.index(mode)):
        folder = tmp_path / f"{point}"
        broken = undisturbed.runs.run(folder, mode, point)
        where = f"{mode} at {point}, {undisturbed.points[point - 1]}: {broken.said}"
        assert broken.status in ((-9,) if mode in ("kill", "cut") else (0, 1)), where
        assert "Traceback" not in broken.said, where
        assert visible(folder) <= undisturbed.reports, where
        if broken.status == 0:
            assert visible(folder) == undisturbed.reports, where
        if broken.status >= 0:
            assert unfinished(folder) == [], where
        repaired = undisturbed.runs.run(folder)
        assert repaired.status == 0, f"{where}\nthen: {repaired.said}"
        assert entries(folder) == undisturbed.ledger, where
        assert visible(folder) == undisturbed.reports, where
        shutil.rmtree(folder)
