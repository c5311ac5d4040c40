"""Details in every ledger: keeping, rebuilding, and telling what is still wanted."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import (
    APP,
    AT,
    FAILED,
    SCOPE,
    SECOND,
    START,
    WINDOW,
    detailed,
    gone_run,
    open_run,
    run,
)

from flowledger.domain.certificates import Scope
from flowledger.domain.runs import AppKey, Detail, Entry, Level, Missing, Run, RunStatus, missing_reason
from flowledger.errors import LedgerError
from flowledger.ledger import open_ledger
from flowledger.ledger.rules import LEFT_OUT, NOT_READ, StoredDetail
from flowledger.ports import Ledger

LONG_AGO = START - timedelta(days=1)
LATER = START + timedelta(days=1)


def is_pending(run: Run, stored: StoredDetail | None, level: Level, open_since: datetime) -> bool:
    """Whether a run needs enrichment (``ports.Ledger.pending``, in Python)."""
    if stored is None:
        return level > Level.NONE
    if stored.level < level and not stored.permanent:
        return True
    return stored.may_change and (not run.status.is_open or run.listed_at >= open_since)


def entries(ledger: Ledger, scope: Scope = SCOPE) -> Sequence[Entry]:
    return list(ledger.entries(scope))


def pending(ledger: Ledger, level: Level = Level.NODES, open_since: object = LONG_AGO) -> list[str]:
    return [each.run_id for each in ledger.pending(SCOPE, level, open_since=open_since)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "detail",
    [
        detailed(),
        detailed(nodes=0, answer="好"),
        detailed(nodes=Missing("no console access")),
        detailed(nodes=Missing("deleted", permanent=True)),
        detailed(nodes=Missing("")),
        Missing("timed out"),
        Missing("the source has deleted it", permanent=True),
    ],
)
def test_a_detail_comes_back_as_it_was_saved(ledger: Ledger, detail: Detail) -> None:
    """Whole, without nodes, or missing for a reason: a detail is rebuilt equal."""
    ledger.save_details([(run(1), detail)])
    assert entries(ledger) == [Entry(run(1), detail)]


def test_a_run_without_detail_says_so(ledger: Ledger) -> None:
    """Nothing held is a Missing, never silently absent; left out by request is another."""
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    assert entries(ledger) == [Entry(run(1), NOT_READ)]
    assert list(ledger.entries(SCOPE, with_details=False)) == [Entry(run(1), LEFT_OUT)]


def test_a_page_keeps_the_detail(ledger: Ledger) -> None:
    """Listing a run again does not touch what is held of its detail."""
    ledger.save_details([(open_run(1), detailed())])
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    assert entries(ledger) == [Entry(run(1), detailed())]


def test_a_detail_replaces_the_held_one_whole(ledger: Ledger) -> None:
    """Nodes and bodies of the former detail do not show through."""
    first, second = detailed(nodes=5), detailed(nodes=1, answer="x")
    ledger.save_details([(run(1), first), (run(2), first)])
    ledger.save_details([(run(1), first), (run(1), second)])
    assert entries(ledger) == [Entry(run(2), first), Entry(run(1), second)]


def test_a_failure_to_read_again_takes_no_held_details_place(ledger: Ledger) -> None:
    """What was read once stays; a reason takes only another reason's place."""
    held = detailed()
    ledger.save_details([(run(1), held), (run(2), Missing("busy"))])
    ledger.save_details([(run(1), Missing("deleted")), (run(2), Missing("deleted", permanent=True))])
    assert entries(ledger) == [Entry(run(2), Missing("deleted", permanent=True)), Entry(run(1), held)]


def test_a_detail_brings_the_run_up_to_date(ledger: Ledger) -> None:
    """The run as it was when its detail was read replaces the one listed, and a stale one does not."""
    ledger.save_runs([open_run(1), run(2)], scope=SCOPE, at=AT)
    ledger.save_details([(run(1), detailed()), (open_run(2), detailed())])
    assert [entry.run for entry in entries(ledger)] == [run(2), run(1)]


def test_a_detail_is_no_collection(ledger: Ledger) -> None:
    """Reading a detail does not count as having seen the run in the source's list."""
    ledger.save_details([(run(1), detailed())])
    assert ledger.count(SCOPE) == 1
    assert ledger.count(SCOPE, collected_since=LONG_AGO) == 0
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    ledger.save_details([(run(1), detailed(nodes=3))])
    assert ledger.count(SCOPE, collected_since=AT) == 1


def test_the_detail_of_a_gone_row_is_for_the_run_it_stands_for(ledger: Ledger) -> None:
    """A gone row of a known run gives that run the detail; a run that turns up starts without one."""
    ledger.save_runs([run(1), gone_run(2)], scope=SCOPE, at=AT)
    lost = Missing("deleted", permanent=True)
    ledger.save_details([(gone_run(1), lost), (gone_run(2), lost)])
    ledger.save_runs([run(2)], scope=SCOPE, at=AT)
    assert entries(ledger) == [Entry(run(2), NOT_READ), Entry(run(1, gone=True), lost)]
    assert pending(ledger) == ["run-000002"]


def test_raw_bodies_are_exact(ledger: Ledger) -> None:
    """Bodies come back byte for byte under their names, NUL escapes, spaces and all."""
    raws = {"body": detailed().raw["body"] + b"  \n", "结果": b'{"a":"\\u0000\\ud800"}\r\n', "empty": b""}
    ledger.save_details([(run(1), replace(detailed(), raw=raws))])
    (entry,) = entries(ledger)
    assert entry.detail == replace(detailed(), raw=raws)


@pytest.mark.usefixtures("short_pages")
def test_many_details_are_streamed_whole(ledger: Ledger) -> None:
    """Every run keeps its own detail across pages."""
    saved = [(run(number), detailed(nodes=number % 3, n=number)) for number in range(30)]
    ledger.save_details(saved)
    assert entries(ledger) == [Entry(*each) for each in reversed(saved)]


def test_a_source_without_decoder_is_named(ledger: Ledger) -> None:
    """What nothing can rebuild stops with the source's name; its runs can still be read."""
    alien = run(1, app=AppKey("alien", "a"))
    ledger.save_details([(alien, detailed())])
    scope = Scope(alien.app, WINDOW)
    assert [entry.run for entry in ledger.entries(scope, with_details=False)] == [alien]
    with pytest.raises(LedgerError, match=r"run-000001 of alien:a.*'alien'.*sample"):
        list(ledger.entries(scope))


@pytest.mark.usefixtures("short_pages")
def test_pending_are_the_runs_without_detail_newest_first(ledger: Ledger) -> None:
    """Runs never read are wanted at any depth, in the order of reports, also page by page."""
    ledger.save_runs([run(number) for number in range(30)], scope=SCOPE, at=AT)
    ledger.save_details([(run(3), detailed())])
    wanted = [f"run-{number:06d}" for number in reversed(range(30)) if number != 3]
    assert pending(ledger) == pending(ledger, Level.RUN) == wanted
    assert pending(ledger, Level.NONE) == []


def test_pending_runs_are_whole(ledger: Ledger) -> None:
    """What needs enrichment is given with all its fields and its raw row."""
    ledger.save_runs([run(1)], scope=SCOPE, at=AT)
    assert list(ledger.pending(SCOPE, Level.RUN, open_since=LONG_AGO)) == [run(1)]


@pytest.mark.usefixtures("short_pages")
def test_pending_goes_on_while_details_are_saved(ledger: Ledger) -> None:
    """Saving what was given, as enrichment does, neither skips nor repeats a run."""
    ledger.save_runs([run(number) for number in range(60)], scope=SCOPE, at=AT)
    seen = []
    for each in ledger.pending(SCOPE, Level.NODES, open_since=LONG_AGO):
        seen.append(each.run_id)
        if len(seen) % 5 == 0:
            ledger.save_details([(run(int(run_id[4:])), detailed(nodes=0)) for run_id in seen[-5:]])
    assert seen == [f"run-{number:06d}" for number in reversed(range(60))]
    assert pending(ledger) == []


def test_pending_of_a_filtered_scope_are_its_members(ledger: Ledger) -> None:
    """A filter narrows enrichment to what was saved under it."""
    ledger.save_runs([run(1), run(2)], scope=SCOPE, at=AT)
    ledger.save_runs([run(2)], scope=FAILED, at=AT)
    assert list(ledger.pending(FAILED, Level.RUN, open_since=LONG_AGO)) == [run(2)]


@pytest.mark.usefixtures("short_pages")
def test_pending_tells_those_never_tried_from_those_that_failed(ledger: Ledger) -> None:
    """Together they are all that is pending."""
    ledger.save_runs([run(number) for number in range(20)], scope=SCOPE, at=AT)
    ledger.save_details([(run(number), Missing("timed out")) for number in range(12, 18)])

    def chosen(tried: bool | None) -> list[int]:
        found = ledger.pending(SCOPE, Level.NODES, open_since=LONG_AGO, tried=tried)
        return [int(each.run_id[4:]) for each in found]

    assert chosen(True) == [17, 16, 15, 14, 13, 12]
    assert chosen(False) == [19, 18, *reversed(range(12))]
    assert chosen(None) == list(reversed(range(20)))


@pytest.mark.usefixtures("short_pages")
def test_open_runs_are_those_that_have_not_ended(ledger: Ledger) -> None:
    """Whatever is known of their details."""
    runs = [replace(run(n), status=RunStatus.RUNNING if n % 3 == 0 else RunStatus.FAILED) for n in range(30)]
    ledger.save_runs(runs, scope=SCOPE, at=AT)
    ledger.save_details([(runs[3], Missing("timed out")), (runs[6], detailed())])
    ledger.save_runs([replace(runs[0], status=RunStatus.SUCCESS)], scope=SCOPE, at=AT)
    found = [each.run_id for each in ledger.open_runs(SCOPE)]
    assert found == [runs[n].run_id for n in reversed(range(3, 30, 3))]
    assert list(ledger.open_runs(FAILED)) == []


DETAILS: Sequence[Detail | None] = (
    None,
    Missing("timed out"),
    Missing("deleted", permanent=True),
    detailed(nodes=Missing("no console access")),
    detailed(nodes=Missing("deleted", permanent=True)),
    detailed(),
)


def wanted(then: Run, now: Run, detail: Detail | None, level: Level, fresh: bool) -> bool:
    """The rule of ``ports.Ledger.pending``, said again in other words."""
    depth = DETAILS.index(detail)
    is_permanent = depth in (2, 4)
    held = Level.NONE if depth < 3 else Level.RUN if depth < 5 else Level.NODES
    if held < level and not is_permanent:
        return True
    return held > Level.NONE and then.status.is_open and (fresh or not now.status.is_open)


@pytest.mark.parametrize("level", list(Level))
def test_pending_follows_its_rule(ledger: Ledger, level: Level) -> None:
    """Depth, permanence, a run open when read, its end since, and being stuck decide, in all combinations."""
    cases = [
        (detail, then_open, now_open)
        for detail, then_open, now_open in product(DETAILS, [True, False], [True, False])
        if then_open or not now_open
    ]
    runs = []
    for number, (detail, then_open, now_open) in enumerate(cases):
        then, now = ((open_run if is_open else run)(number) for is_open in (then_open, now_open))
        if detail is not None:
            ledger.save_details([(then, detail)])
        ledger.save_runs([now], scope=SCOPE, at=AT)
        runs.append((then, now, detail))
    for open_since, fresh in ((LONG_AGO, True), (LATER, False)):
        expected = [now.run_id for then, now, detail in runs if wanted(then, now, detail, level, fresh)]
        assert pending(ledger, level, open_since) == expected[::-1]


def test_fresh_means_listed_at_the_instant_or_later(ledger: Ledger) -> None:
    """A run listed exactly at the limit is still polled, one a second older is stuck."""
    ledger.save_details([(open_run(number), detailed()) for number in (1, 2, 3)])
    assert pending(ledger, Level.NODES, START + 2 * SECOND) == ["run-000003", "run-000002"]


@pytest.mark.parametrize("depth", list(Level))
def test_a_settled_detail_is_never_pending(depth: Level) -> None:
    """What is left out of the index of unsettled runs is never wanted, and only that is left out."""
    for permanent, read_open in product([True, False], repeat=2):
        held = StoredDetail(depth, "", permanent, read_open)
        wishes = product([run(), open_run()], Level)
        ever = any(is_pending(now, held, level, LONG_AGO) for now, level in wishes)
        assert held.settled is not ever


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    outputs=st.dictionaries(st.text(max_size=6), json_values, max_size=3),
    nodes=st.integers(0, 4) | st.builds(Missing, st.text(st.characters(exclude_categories=["Cs", "Cc"]))),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_any_detail_comes_back_equal(
    ledger: Ledger, outputs: dict[str, object], nodes: int | Missing
) -> None:
    """Any JSON a source may give survives in the bodies."""
    app = AppKey("sample", str(uuid4()))
    saved = detailed(nodes=nodes, **{f"k{key}": value for key, value in outputs.items()})
    ledger.save_details([(run(1, app=app), saved)])
    (entry,) = ledger.entries(Scope(app, WINDOW))
    assert entry.detail == saved
    assert missing_reason(entry.detail) == missing_reason(saved)


def test_reasons_are_cleaned(ledger: Ledger) -> None:
    """A reason quoting a hostile text is kept readable."""
    ledger.save_details([(run(1), Missing("a\0b\udfff"))])
    assert entries(ledger)[0].detail == Missing("a\ufffdb\ufffd")


def test_nodes_with_hostile_texts_are_kept(ledger: Ledger) -> None:
    """Typed columns of node executions take any text and any number."""
    detail = detailed(nodes=1)
    hostile = replace(detail.nodes[0], title="\0\ud83d", error="e\0", total_tokens=-(10**40), node_id="")  # type: ignore[index]
    ledger.save_details([(run(1), replace(detail, nodes=(hostile,)))])
    assert entries(ledger) == [Entry(run(1), detail)]


def test_memory_ledgers_share_nothing() -> None:
    """Every memory ledger starts empty."""
    first, second = (open_ledger("memory://", {}) for _ in range(2))
    first.save_runs([run(1)], scope=SCOPE, at=AT)
    assert (first.count(SCOPE), second.count(SCOPE)) == (1, 0)
    assert first.count(Scope(APP, WINDOW)) == 1
