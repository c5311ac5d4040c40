"""A short soak: scheduled runs while something goes wrong; ``scripts/soak`` is the long one.

With ``--whole`` every kind of trouble happens once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from soak_disruptions import KINDS, Disruption, plan, short_plan
from soak_program import Outcome, soak

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

DAYS = (2, 2, 3)
"""Of each app."""
WHOLE_DAYS = (2, 5, 6)
"""With every trouble; the first one's machine goes at once, which takes it a minute and a half."""
SEED = 382
"""Its last runs are not struck: they catch up what the struck ones before them have missed."""
ENDS = ("Completed", "Failed", "Crashed")


@dataclass(frozen=True)
class Wanted:
    """How many days of each app are worked off, and what goes wrong meanwhile."""

    days: Sequence[int]
    disruptions: Sequence[Disruption]


@pytest.fixture(scope="module")
def wanted(pytestconfig: pytest.Config) -> Wanted:
    """The short form, or the whole."""
    if pytestconfig.getoption("whole"):
        return Wanted(WHOLE_DAYS, plan(sum(WHOLE_DAYS), SEED))
    return Wanted(DAYS, short_plan())


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: str, wanted: Wanted
) -> Iterator[Outcome]:
    """What came of it, after everything was caught up."""
    said: list[str] = []
    folder = tmp_path_factory.mktemp("soak")
    yield soak(folder, postgresql_server, wanted.days, SEED, wanted.disruptions, said.append)
    print("\n".join(said))


def problems(outcome: Outcome, promise: str) -> list[str]:
    """Give what is wrong with one promise."""
    (found,) = (check for check in outcome.checks if check.promise == promise)
    return [*found.problems]


def test_every_trouble_happened(outcome: Outcome, wanted: Wanted) -> None:
    """Each that was planned, every kind in the whole form; and all runs came to an end all the same."""
    assert {each.kind for each in outcome.story.disrupted} == {each.kind for each in wanted.disruptions}
    assert len(outcome.story.done) == sum(wanted.days)
    assert {state for _, state, _ in outcome.story.done} <= set(ENDS)


def test_the_whole_form_has_every_kind() -> None:
    """Nothing that a soak can do is left to chance."""
    assert {each.kind for each in plan(sum(WHOLE_DAYS), SEED)} == set(KINDS)


@pytest.mark.fault(26, 27)
def test_the_ledger_holds_what_dify_holds(outcome: Outcome) -> None:
    """Every window is certified, with the runs, figures and nodes that the source has, each once."""
    assert problems(outcome, "the ledger holds what Dify holds") == []


@pytest.mark.fault(34)
def test_every_period_is_reported_once(outcome: Outcome) -> None:
    """A run that was killed before its report is caught up, one that was killed after it is not."""
    assert problems(outcome, "every period is reported once") == []


@pytest.mark.fault(34)
def test_every_end_is_told_once(outcome: Outcome) -> None:
    """Failures and crashes as such, successes as such, and nothing waits."""
    assert problems(outcome, "every end is told once") == []


def test_nothing_grows(outcome: Outcome) -> None:
    """Memory, files, threads and connections of server, workers and ledger stay within their limits."""
    assert problems(outcome, "nothing grows") == []


def test_nothing_stays_behind(outcome: Outcome) -> None:
    """Neither processes nor connections nor temporary folders."""
    assert problems(outcome, "nothing stays behind") == []


@pytest.mark.fault(33)
def test_a_run_whose_prefect_server_is_restarted_ends_visibly(outcome: Outcome) -> None:
    """The server is killed while the run is under way, and comes back with its database."""
    ends = [
        state
        for step, state, _ in outcome.story.done
        if step.disruption and step.disruption.kind.startswith("Prefect restarted") and step.struck
    ]
    assert ends
    assert set(ends) <= set(ENDS)
