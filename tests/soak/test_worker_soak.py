"""A short soak: scheduled runs while each kind of trouble happens once; ``scripts/soak`` is the long one."""

from collections.abc import Iterator

import pytest
from soak_disruptions import KINDS, plan
from soak_program import Outcome, soak

pytestmark = pytest.mark.timeout(600)

DAYS = (2, 5, 6)
"""Of each app; the first one's machine goes at once, which takes it a minute and a half."""
SEED = 382
"""Its last runs are not struck: they catch up what the struck ones before them have missed."""
ENDS = ("Completed", "Failed", "Crashed")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, postgresql_server: str) -> Iterator[Outcome]:
    """What came of it, after everything was caught up."""
    said: list[str] = []
    yield soak(
        tmp_path_factory.mktemp("soak"), postgresql_server, DAYS, SEED, plan(sum(DAYS), SEED), said.append
    )
    print("\n".join(said))


def problems(outcome: Outcome, promise: str) -> list[str]:
    """Give what is wrong with one promise."""
    (found,) = (check for check in outcome.checks if check.promise == promise)
    return [*found.problems]


def test_every_trouble_happened(outcome: Outcome) -> None:
    """Each kind at least once, and all runs came to an end all the same."""
    assert {disruption.kind for disruption in outcome.story.disrupted} == set(KINDS)
    assert len(outcome.story.done) == sum(DAYS)
    assert {state for _, state, _ in outcome.story.done} <= set(ENDS)


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
