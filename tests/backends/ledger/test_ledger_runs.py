"""Runs in every ledger: saving, merging, counting, reading in order."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import APP, AT, FAILED, OTHER_APP, SCOPE, SECOND, START, WINDOW, gone_run, open_run, run

from flowledger.domain.certificates import Scope
from flowledger.domain.runs import AppKey, Creator, Missing, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ports import Ledger

ON_ONE_LEDGER = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def held(ledger: Ledger, scope: Scope = SCOPE) -> list[Run]:
    return [entry.run for entry in ledger.entries(scope, with_details=False)]


def save(ledger: Ledger, *runs: Run, at: datetime = AT, scope: Scope = SCOPE) -> None:
    ledger.save_runs(runs, scope=scope, at=at)


def test_a_run_comes_back_as_it_was_saved(ledger: Ledger) -> None:
    """Every field of a run survives, times to the microsecond and decimals to the last zero."""
    save(ledger, run(1))
    (found,) = held(ledger)
    assert found == run(1)
    assert str(found.elapsed_s) == "1.230"
    assert found.listed_at.tzinfo is UTC


def test_a_bare_run_comes_back_bare(ledger: Ledger) -> None:
    """What a source does not say stays None."""
    bare = Run(APP, "bare", START, RunStatus.PENDING, "")
    save(ledger, bare)
    assert held(ledger) == [bare]


def test_saving_nothing_is_fine(ledger: Ledger) -> None:
    """An empty page changes nothing."""
    save(ledger)
    assert ledger.count(SCOPE) == 0
    assert held(ledger) == []


def test_saving_again_changes_nothing(ledger: Ledger) -> None:
    """The same page twice is once."""
    for _ in range(2):
        save(ledger, run(1), run(2), run(1))
    assert held(ledger) == [run(2), run(1)]


def test_an_open_run_becomes_final(ledger: Ledger) -> None:
    """A later page with the run's end replaces the open one."""
    save(ledger, open_run(1))
    save(ledger, run(1))
    assert held(ledger) == [run(1)]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_final_run_is_never_made_open_again(ledger: Ledger, at_once: bool) -> None:
    """A page read before the run's end and saved after it does not undo the end, in one batch or two."""
    if at_once:
        save(ledger, run(1), open_run(1))
    else:
        save(ledger, run(1))
        save(ledger, open_run(1))
    assert held(ledger) == [run(1)]


def test_a_final_run_may_be_corrected(ledger: Ledger) -> None:
    """A final run replaces a final run."""
    save(ledger, run(1))
    save(ledger, run(1, total_tokens=5))
    assert held(ledger) == [run(1, total_tokens=5)]


def test_a_sighting_without_log_id_or_row_keeps_the_held_ones(ledger: Ledger) -> None:
    """A list that names no log row takes neither the log id nor the raw row away."""
    save(ledger, open_run(1))
    save(ledger, run(1, log_id=None, raw=b""))
    assert held(ledger) == [run(1)]


def test_a_gone_row_is_kept(ledger: Ledger) -> None:
    """A row whose run no longer exists is counted and shown."""
    save(ledger, gone_run(1))
    assert held(ledger) == [gone_run(1)]
    assert ledger.count(SCOPE) == 1


def test_a_known_run_that_goes_keeps_its_data(ledger: Ledger) -> None:
    """A run that the source deletes is marked gone, keeps what was known and is not counted twice."""
    save(ledger, run(1), run(2))
    save(ledger, gone_run(1))
    assert held(ledger) == [run(2), run(1, gone=True)]
    save(ledger, gone_run(1), at=AT + SECOND)
    assert held(ledger) == [run(2), run(1, gone=True)]
    assert ledger.count(SCOPE, collected_since=AT + SECOND) == 1


def test_a_known_run_that_goes_under_its_own_id_keeps_its_data(ledger: Ledger) -> None:
    """Marking works for sources whose gone rows still name the run."""
    save(ledger, run(1))
    save(ledger, replace(gone_run(1), run_id="run-000001"))
    assert held(ledger) == [run(1, gone=True)]


def test_a_gone_row_gives_way_to_its_run(ledger: Ledger) -> None:
    """A run that turns up takes the place of the row that stood for it."""
    save(ledger, gone_run(1))
    save(ledger, run(1))
    assert held(ledger) == [run(1)]
    save(ledger, open_run(1))
    assert held(ledger) == [run(1)]


def test_a_run_and_its_gone_row_in_one_batch_are_one(ledger: Ledger) -> None:
    """Order within a batch does not matter for what counts."""
    save(ledger, gone_run(1), run(1), run(2), gone_run(2))
    assert held(ledger) == [run(2, gone=True), run(1)]


def test_a_run_may_come_back(ledger: Ledger) -> None:
    """A run listed with its data again is no longer gone."""
    save(ledger, run(1))
    save(ledger, gone_run(1))
    save(ledger, run(1))
    assert held(ledger) == [run(1)]


def test_apps_are_kept_apart(ledger: Ledger) -> None:
    """The same run id in another app, or another source, is another run."""
    others = [OTHER_APP, AppKey("other", APP.app_id)]
    save(ledger, run(1), *(run(1, app=app) for app in others))
    for app in (APP, *others):
        assert held(ledger, Scope(app, WINDOW)) == [run(1, app=app)]


def test_window_bounds_are_inclusive(ledger: Ledger) -> None:
    """A closed window holds the rows of its first and of its last second, and no other."""
    save(ledger, *(run(number) for number in range(5)))
    inner = Scope(APP, Window.between(START + SECOND, START + 3 * SECOND))
    assert [each.run_id for each in held(ledger, inner)] == ["run-000003", "run-000002", "run-000001"]
    assert ledger.count(inner) == 3


def test_the_last_second_counts_whole(ledger: Ledger) -> None:
    """A run filed within a window's last second is inside, as ``Window`` itself decides."""
    late = run(1, listed_at=START + timedelta(seconds=3, microseconds=999_999))
    save(ledger, late, run(4))
    inner = Scope(APP, Window.between(START, START + 3 * SECOND))
    assert (held(ledger, inner), ledger.count(inner)) == ([late], 1)


def test_a_creator_of_whom_nothing_is_known_is_not_nobody(ledger: Ledger) -> None:
    """An empty creator and none are told apart."""
    for number, creator in enumerate((None, Creator(""))):
        save(ledger, run(number, creator=creator))
        assert held(ledger)[0].creator == creator


def test_a_row_that_does_not_know_who_started_it_takes_nothing_away(ledger: Ledger) -> None:
    """A chatflow's list has neither creator nor error; what its detail told stays, once the run has ended."""
    known = run(1, creator=Creator("end_user", name="小王"), error="out of credit")
    save(ledger, known)
    save(ledger, run(1, creator=None, error=None))
    assert held(ledger) == [known]


def cursor_row(number: int = 0, **changes: Any) -> Run:
    """Make a row of a list that files runs under their own ids and has neither user nor error."""
    bare = {"log_id": f"run-{number:06d}", "creator": None, "error": None, "created_from": None}
    return run(number, **{**bare, **changes})


def open_cursor_row(number: int = 0, **changes: Any) -> Run:
    """Make the row of such a list of a run that has not ended."""
    return cursor_row(number, status=RunStatus.RUNNING, source_status="running", finished_at=None, **changes)


def refreshed(number: int = 0, **changes: Any) -> Run:
    """Make what a run's detail tells: no version, no row, an error."""
    told = {
        "log_id": None,
        "workflow_version": None,
        "created_from": None,
        "raw": b"",
        "error": "out of credit",
    }
    return run(number, **{**told, **changes})


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.RUNNING])
def test_a_second_collection_keeps_error_and_user(ledger: Ledger, status: RunStatus) -> None:
    """A chatflow's list, read again, leaves what details told of failed and of stuck runs."""
    row = cursor_row(1, status=status)
    save(ledger, row)
    known = replace(row, creator=Creator("end_user", name="小王"), error="out of credit")
    ledger.save_details([(known, Missing("not asked for"))])
    for _ in range(2):
        save(ledger, row)
        assert held(ledger) == [known]


def test_a_gone_row_leaves_the_raw_row_of_its_run(ledger: Ledger) -> None:
    """The deleted run's last row of data is worth more than the row that says it is gone."""
    save(ledger, run(1))
    save(ledger, replace(gone_run(1), raw=b"{}"))
    assert held(ledger) == [run(1, gone=True)]


KINDS_OF_ROWS = (run, open_run, gone_run, cursor_row, open_cursor_row, refreshed)


@given(
    seen=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(KINDS_OF_ROWS)), min_size=1, max_size=10),
    cut=st.integers(0, 10),
)
@ON_ONE_LEDGER
def test_no_row_takes_away_what_another_carried(
    ledger: Ledger, seen: Sequence[tuple[int, Any]], cut: int
) -> None:
    """Collected twice, in any order and overlap, every field that any row carried is there."""
    app = AppKey("sample", str(uuid4()))
    runs = [replace(make(number), app=app) for number, make in seen]
    for _ in range(2):
        save(ledger, *runs[:cut], scope=Scope(app, WINDOW))
        ledger.save_details([(each, Missing("not asked for")) for each in runs[cut:]])
    found = held(ledger, Scope(app, WINDOW))
    by_number = {int(each.run_id[-6:]): each for each in found if not each.run_id.startswith("log:")}
    for number in {number for number, make in seen if make is not gone_run}:
        sightings = [
            replace(make(number), app=app) for n, make in seen if n == number and make is not gone_run
        ]
        for name in ("creator", "error", "created_from", "workflow_version", "log_id", "finished_at"):
            carried = any(getattr(each, name) for each in sightings)
            assert bool(getattr(by_number[number], name)) == carried, name
        assert bool(by_number[number].raw) == any(each.raw for each in sightings)


def test_runs_come_newest_first(ledger: Ledger) -> None:
    """Ties are ordered by log id, then by run id; a run without log id comes first among them."""
    tied = [run(number, at_s=7, log_id=f"log-{9 - number // 2}") for number in range(6)]
    runs = [*tied, run(6, at_s=7, log_id=None), run(7, at_s=8), run(8, at_s=6)]
    save(ledger, *runs)
    order = ["000007", "000006", "000004", "000005", "000002", "000003", "000000", "000001", "000008"]
    assert [each.run_id for each in held(ledger)] == [f"run-{name}" for name in order]


@pytest.mark.usefixtures("short_pages")
def test_long_scopes_are_streamed_whole(ledger: Ledger) -> None:
    """Pages join without gap or overlap, also where one second fills several of them."""
    runs = [run(number, at_s=number // 20) for number in range(50)]
    save(ledger, *runs)
    found = held(ledger)
    assert len(found) == ledger.count(SCOPE) == 50
    assert found == sorted(
        sorted(runs, key=lambda each: each.run_id), key=lambda each: -each.listed_at.timestamp()
    )


@pytest.mark.usefixtures("short_pages")
def test_reading_goes_on_while_rows_arrive(ledger: Ledger) -> None:
    """Rows written while a reader is under way neither stop it nor make it repeat a row."""
    save(ledger, *(run(number) for number in range(60)))
    reader = ledger.entries(SCOPE)
    seen = [next(reader).run.run_id]
    save(ledger, *(run(number) for number in range(60, 70)))
    seen += [entry.run.run_id for entry in reader]
    assert seen == [f"run-{number:06d}" for number in reversed(range(60))]


def test_a_filtered_scope_holds_what_was_saved_under_it(ledger: Ledger) -> None:
    """Members are those of exactly this app, window and filter."""
    save(ledger, run(1), run(2), run(3))
    save(ledger, run(2), scope=FAILED)
    save(ledger, run(2), run(3), scope=FAILED)
    assert held(ledger, FAILED) == [run(3), run(2)]
    assert ledger.count(FAILED) == 2
    assert ledger.count(SCOPE) == 3
    for other in (
        Scope(APP, WINDOW, "status=stopped"),
        Scope(APP, Window(WINDOW.after, WINDOW.before - 1), FAILED.query),
    ):
        assert ledger.count(other) == 0
        assert held(ledger, other) == []


def test_a_filtered_run_counts_in_the_whole_scope(ledger: Ledger) -> None:
    """A run first seen through a filter is a run of its window."""
    save(ledger, run(2), scope=FAILED)
    assert held(ledger) == [run(2)]


def test_count_tells_what_a_collection_has_seen(ledger: Ledger) -> None:
    """Only runs that a collection begun at an instant or later has seen are counted."""
    save(ledger, run(1), run(2), at=AT)
    save(ledger, run(2), run(3), at=AT + SECOND)
    save(ledger, open_run(3), at=AT)
    save(ledger, run(2), scope=FAILED, at=AT)
    assert [ledger.count(SCOPE, collected_since=AT + shift * SECOND) for shift in (-1, 0, 1, 2)] == [
        3,
        3,
        2,
        0,
    ]
    assert ledger.count(FAILED, collected_since=AT + SECOND) == 1


def test_count_tells_how_many_are_in_a_status_of_the_source(ledger: Ledger) -> None:
    """By the source's own word, of all or of those that a collection has seen."""
    stopped = run(4, source_status="stopped")
    save(ledger, run(1), run(2), stopped, at=AT)
    save(ledger, run(3), stopped, at=AT + SECOND)
    counts = {word: ledger.count(SCOPE, source_status=word) for word in ("succeeded", "stopped", "paused")}
    assert counts == {"succeeded": 3, "stopped": 1, "paused": 0}
    assert ledger.count(SCOPE, collected_since=AT + SECOND, source_status="succeeded") == 1
    save(ledger, run(1), scope=FAILED, at=AT)
    assert ledger.count(FAILED, source_status="succeeded") == 1


def test_a_collection_sees_final_runs_through_older_pages(ledger: Ledger) -> None:
    """A final run listed as open by a later collection stays final, and counts as seen."""
    save(ledger, run(1), at=AT)
    save(ledger, open_run(1), at=AT + SECOND)
    assert held(ledger) == [run(1)]
    assert ledger.count(SCOPE, collected_since=AT + SECOND) == 1


def test_times_of_any_zone_are_the_same_instant(ledger: Ledger) -> None:
    """A time given in another zone is kept as the instant it is."""
    shanghai = timezone(timedelta(hours=8))
    save(ledger, run(1, started_at=datetime(2026, 11, 1, 8, tzinfo=shanghai)))
    assert held(ledger)[0].started_at == START


def test_what_databases_refuse_is_replaced_in_columns_and_kept_in_the_raw_row(ledger: Ledger) -> None:
    """NUL and lone surrogates become U+FFFD, a number beyond 64 bits unknown; the raw row is exact."""
    raw = b'{"error": "a\\u0000b\\ud800", "total_tokens": 1e30}'
    save(ledger, run(1, run_id="r\0", error="a\0b\ud800c", total_tokens=10**30, raw=raw))
    save(ledger, run(1, run_id="r\0", error="a\0b\ud800c", total_tokens=10**30, raw=raw))
    assert held(ledger) == [run(1, run_id="r\ufffd", error="a\ufffdb\ufffdc", total_tokens=None, raw=raw)]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
maybe_texts = st.none() | texts
instants = st.none() | st.datetimes(timezones=st.just(UTC))
numbers = st.none() | st.integers(-(2**63) + 1, 2**63 - 1)
creators = st.none() | st.builds(Creator, texts, maybe_texts, maybe_texts, maybe_texts, maybe_texts)
fields: dict[str, st.SearchStrategy[Any]] = {
    "source_status": texts,
    "status": st.sampled_from(RunStatus),
    "workflow_version": maybe_texts,
    "created_from": maybe_texts,
    "creator": creators,
    "error": maybe_texts,
    "elapsed_s": st.none() | st.decimals(allow_nan=False),
    "total_tokens": numbers,
    "total_steps": numbers,
    "exceptions_count": numbers,
    "started_at": instants,
    "finished_at": instants,
    "raw": st.binary(max_size=40),
}


@given(
    changes=st.fixed_dictionaries(fields), run_id=texts.filter(bool), log_id=st.none() | texts.filter(bool)
)
@ON_ONE_LEDGER
def test_any_run_comes_back_equal(
    ledger: Ledger, changes: dict[str, Any], run_id: str, log_id: str | None
) -> None:
    """Any text, number, decimal and time that a source may give survives."""
    app = AppKey("sample", str(uuid4()))
    saved = run(1, app=app, run_id=run_id, log_id=log_id, **changes)
    save(ledger, saved, scope=Scope(app, WINDOW))
    (found,) = held(ledger, Scope(app, WINDOW))
    assert found == saved
    assert repr(found.elapsed_s) == repr(saved.elapsed_s)


sightings = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([run, open_run, gone_run])), min_size=1, max_size=12
)


@given(seen=sightings, cut=st.integers(0, 12))
@ON_ONE_LEDGER
def test_sightings_in_any_order_give_one_run_each(
    ledger: Ledger, seen: Sequence[tuple[int, Any]], cut: int
) -> None:
    """However rows arrive and are batched, each run is held once, and ended runs stay ended."""
    app = AppKey("sample", str(uuid4()))
    runs = [replace(make(number), app=app) for number, make in seen]
    for _ in range(2):
        for batch in (runs[:cut], runs[cut:]):
            save(ledger, *batch, scope=Scope(app, WINDOW))
    found = {each.log_id: each for each in held(ledger, Scope(app, WINDOW))}
    assert ledger.count(Scope(app, WINDOW)) == len(found) == len({each.log_id for each in runs})
    for each in runs:
        assert not (each.status is RunStatus.SUCCESS and found[each.log_id].status.is_open)
        assert each.gone or found[each.log_id].raw == each.raw


@pytest.mark.parametrize("before", [open_run, gone_run])
def test_a_run_that_ends_and_goes_within_one_batch_is_held_as_it_ended(ledger: Ledger, before: Any) -> None:
    """Its deletion at the source is no reason to forget what the row before it told."""
    save(ledger, before(1))
    save(ledger, run(1), gone_run(1))
    (found,) = held(ledger)
    assert found == replace(run(1), gone=True)


def test_decimals_keep_their_exponent(ledger: Ledger) -> None:
    """Decimals are not normalised."""
    save(ledger, run(1, elapsed_s=Decimal("1E+3")), run(2, elapsed_s=Decimal("0.10")))
    assert [str(each.elapsed_s) for each in held(ledger)] == ["0.10", "1E+3"]
