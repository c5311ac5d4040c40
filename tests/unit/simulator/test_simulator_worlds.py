"""Made-up and loaded worlds, and what can be done to them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_site import ask_logs, make_site

from flowledger.errors import UsageError
from flowledger_simulator import Recipe, Release, load_dataset, make_world

DATASET = Path(__file__).parents[2] / "data" / "legacy" / "dataset.json"


def shares(recipe: Recipe) -> tuple[float, int]:
    """Give the share of runs that share a second, and the size of the busiest one."""
    seconds = Counter(run.listed_at for run in make_world(recipe).runs())
    return sum(size for size in seconds.values() if size > 1) / recipe.runs, max(seconds.values())


def test_ties_are_as_ordered() -> None:
    """30 % of the runs share a second, 90 of them the same one; more than a page is possible."""
    assert shares(Recipe(runs=2000)) == (0.3, 90)
    assert shares(Recipe(runs=500, ties=0.5, busiest_second=130)) == (0.5, 130)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 80), st.floats(0, 1), st.integers(2, 60), st.integers(0, 9))
def test_every_recipe_gives_as_many_runs_within_its_interval(
    runs: int, ties: float, busiest: int, seed: int
) -> None:
    """Number and interval hold for any ties; run and log ids differ."""
    recipe = Recipe(seed=seed, runs=runs, ties=ties, busiest_second=busiest)
    made = make_world(recipe).runs()
    first, last = recipe.seconds()
    assert len({run.id for run in made} | {run.log_id for run in made}) == 2 * runs
    assert all(first <= run.listed_at <= last for run in made)
    assert len({run.started_us for run in made}) == runs


def test_a_log_row_is_rounded_where_the_run_is_truncated() -> None:
    """The log row's second is the run's or the one after."""
    assert {run.listed_at - run.created_at for run in make_world().runs()} == {0, 1}


def test_the_same_recipe_gives_the_same_world() -> None:
    """Ids, times and contents are equal, wherever it is made."""
    one, other = (make_world(Recipe(runs=30)).runs() for _ in range(2))
    assert [(run.id, run.log_id, run.status) for run in one] == [
        (run.id, run.log_id, run.status) for run in other
    ]
    assert [run.content.nodes(run) for run in one] == [run.content.nodes(run) for run in other]


def test_too_short_an_interval_is_refused() -> None:
    """The message says what to change."""
    end = datetime(2026, 11, 21, tzinfo=UTC)
    with pytest.raises(UsageError, match="earlier start"):
        make_world(Recipe(runs=100, ties=0.0, start=end - timedelta(seconds=50), end=end))


def test_new_runs_are_listed_in_the_wanted_second() -> None:
    """They appear in every order that was already asked for."""
    world = make_world(Recipe(runs=50))
    newest = world.runs()[0].listed_at
    made = world.add_runs(3, newest + 10)
    assert {run.id for run in world.runs()[:3]} == {run.id for run in made}


def test_a_removed_run_is_gone() -> None:
    """Neither its row nor the run is left."""
    world = make_world(Recipe(runs=5, orphans=0.0))
    run = world.runs()[2]
    world.remove(run.id)
    assert world.find(world.app.id, run.id) is None
    assert len(world.runs()) == 4


def test_the_data_set_is_served_as_it_was_recorded() -> None:
    """All forty rows are listed on 1.9.1, the running one too, and null outputs stay null."""
    world = load_dataset(DATASET)
    page = ask_logs(make_site("1.9.1", world), limit="100")
    statuses = Counter(row["workflow_run"]["status"] for row in page["data"])
    assert statuses == {"succeeded": 37, "running": 1, "partial-succeeded": 1, "failed": 1}
    assert {run.content.outputs(run) is None for run in world.runs()} == {True, False}
    assert world.app.name == "客服问答"


def test_a_loaded_world_makes_nothing_up() -> None:
    """There is no pattern to make runs from."""
    with pytest.raises(LookupError, match="loaded"):
        load_dataset(DATASET).add_runs(1, 0)


@pytest.mark.parametrize("text", ["1.12", "newest", "", "1.8.1"])
def test_impossible_releases_are_refused(text: str) -> None:
    """A release is three numbers, 1.9.0 or later."""
    with pytest.raises(UsageError, match="Dify"):
        Release.parse(text)
