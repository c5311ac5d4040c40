"""What is told about a result is decided from its values alone."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.domain.figures import Figures, ProblemRun, UserFigures
from flowledger.domain.messages import (
    LISTED_FAILURES,
    Occasion,
    comparable,
    failure_rows,
    notice_id,
    occasion_of,
    stored_locally_note,
    stored_locally_reason,
)
from flowledger.domain.runs import RunStatus

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"certificate": {"certified": True}}, Occasion.SUCCESS),
        ({"certificate": {"certified": False}}, Occasion.UNCERTIFIED),
        ({"certificate": {}}, Occasion.SUCCESS),
        ({"certificate": "x"}, Occasion.SUCCESS),
        ({}, Occasion.SUCCESS),
    ],
)
def test_the_certificate_decides(result: dict[str, object], expected: Occasion) -> None:
    """Only what says that it is not certified is trouble."""
    assert occasion_of(result) is expected


def test_only_trouble_is_trouble() -> None:
    """Somebody has to do something about these five."""
    troubles = {occasion for occasion in Occasion if occasion.needs_action}
    assert troubles == {
        *(Occasion.UNCERTIFIED, Occasion.FAILURE, Occasion.CRASH),
        *(Occasion.STEP_FAILED, Occasion.APPROVAL_REQUIRED),
    }


@given(st.lists(st.text(max_size=80), min_size=1, max_size=3), st.sampled_from(Occasion))
def test_an_id_is_the_same_everywhere_and_short(parts: list[str], occasion: Occasion) -> None:
    """It ends with its occasion, and any text makes one."""
    known = notice_id(occasion, *parts)
    assert known == notice_id(occasion, *parts)
    assert len(known) <= 100
    assert known.endswith(str(occasion))


def test_other_outcomes_have_other_ids() -> None:
    """Also where they are long."""
    run = "r" * 200
    assert notice_id(Occasion.CRASH, "run", "1") == "run-1-crash"
    ids = {notice_id(occasion, run + more) for occasion in Occasion for more in ("", "1")}
    assert len(ids) == 2 * len(Occasion)


def trouble(number: int) -> ProblemRun:
    """Give a failed run."""
    return ProblemRun(f"run-{number}", None, AT, "failed", "line one\nline two " + "x" * 400, "a\nnode")


@given(st.text(max_size=2000))
def test_a_note_of_what_waits_says_first_what_follows(reason: str) -> None:
    """It is one short line, however long the reason, and is known again among others."""
    note = stored_locally_note(reason)
    assert note.startswith("kept on this machine until the storage takes it; the next run uploads it: ")
    assert len(note) <= 300
    assert "\n" not in note
    found = stored_locally_reason(["only runs with status failed", note])
    assert found is not None
    assert found in note
    assert stored_locally_reason(["only runs with status failed", "4 files were uploaded"]) is None


def test_few_failures_are_told_shortly() -> None:
    """The newest, each on one line."""
    told = failure_rows(Figures(failures=tuple(trouble(number) for number in range(9))))
    assert [failure["run_id"] for failure in told] == [f"run-{number}" for number in range(LISTED_FAILURES)]
    assert told[0]["node"] == "a node"
    assert str(told[0]["error"]).startswith("line one line two x")
    assert len(str(told[0]["error"])) == 300


def test_figures_that_can_be_compared() -> None:
    """Failed, partial and interrupted runs did not succeed; a stopped one was meant to stop."""
    statuses = [RunStatus.FAILED, RunStatus.PARTIAL, RunStatus.INTERRUPTED, RunStatus.CANCELLED]
    user = UserFigures("u", 1, 1, AT.date(), AT.date())
    figures = Figures(runs=9, open=1, by_status=dict.fromkeys(statuses, 2), users=(user,), total_tokens=7)
    assert comparable(figures) == {"runs": 9, "open": 1, "failed": 6, "users": 1, "total_tokens": 7}


def test_a_failed_run_is_named_as_people_know_it() -> None:
    """By user and question, beside its time; both on one line."""
    run = ProblemRun("run-1", None, AT, "failed", "e", "node", "user\n1", "how much\nis it?")
    (row,) = failure_rows(Figures(failures=(run,)))
    assert (row["user"], row["question"], row["at"]) == ("user 1", "how much is it?", AT.isoformat())
